"""Fixtures: the smallest real things a test can hold, a traced graph and a photo.

No model and no weights: the graph is the mean over the channels, scaled and shifted, so a test can
compute the answer by hand.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a core for each test process
os.environ.setdefault("MKL_NUM_THREADS", "1")

import functools
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import torch
from fuzzing import fuzz  # noqa: F401 a fixture
from hypothesis import settings
from marks import COLLECTED, LIST, in_small, is_named, slow_tests
from PIL import Image
from served import tiny_served  # noqa: F401 a fixture

from compile import seeded
from runtime.artifact.folder import Artifact, commit, describe_files
from runtime.artifact.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    ParityReport,
    StageSpec,
    TensorSpec,
    WeightsSpec,
)
from runtime.files import partial_folder

# The same examples every time: a red run stays red until the code changes.
settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("small", settings.get_profile("repeatable"), max_examples=20)
LARGEST_KEPT = 1_000_000  # values of one tensor; the MLPs of the small models have 600,000


def pytest_configure(config: pytest.Config) -> None:
    """Take fewer examples where the slow tests are left out."""
    settings.load_profile("small" if in_small(config) else "repeatable")


@pytest.hookimpl(tryfirst=True)  # before -m leaves out what it leaves out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow tests by their list, and keep the names of all for tests/test_marks.py."""
    patterns = [one.pattern for one in slow_tests(LIST.read_text())]
    for item in items:
        if any(is_named(item.name, pattern) for pattern in patterns):
            item.add_marker(pytest.mark.slow)
    config.stash[COLLECTED] = [item.name for item in items]


class ChannelMean(torch.nn.Module):
    """(B, 3, H, W) to (B, H, W): ``mean over channels * factor + shift``.

    ``work`` products of large matrices come first: they take time and change nothing.
    """

    def __init__(self, factor: float, shift: float, work: int = 0) -> None:
        super().__init__()
        self.factor, self.shift, self.work = factor, shift, work
        self.register_buffer("matrix", torch.eye(640 if work else 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        product = self.matrix * image.mean()  # not a constant, or it would be computed once
        for _ in range(self.work):
            product = self.matrix @ product
        return image.mean(dim=1) * self.factor + self.shift + 0 * product.mean()


@pytest.fixture(scope="session", autouse=True)
def seeded_weights_are_drawn_once() -> Iterator[None]:
    """Keep the weights of the small models, which many tests ask for, within a test process.

    Larger tensors than a small model has are drawn each time: a process would hold gigabytes.
    """
    draw = seeded.seeded_tensor
    kept = functools.lru_cache(maxsize=None)(draw)

    def once(key: str, shape: tuple[int, ...]) -> np.ndarray:
        return kept(key, shape) if math.prod(shape) <= LARGEST_KEPT else draw(key, shape)

    seeded.seeded_tensor = once
    yield
    seeded.seeded_tensor = draw


@pytest.fixture(scope="session", autouse=True)
def small_graphs_are_not_specialised(request: pytest.FixtureRequest) -> Iterator[None]:
    """TorchScript specialises a graph to what its first runs get: half of a small compile's time.

    `make test` leaves that out, within its own processes; `make test-all` does it, as does every
    server and command that a test starts.
    """
    before = torch.jit.set_fusion_strategy([]) if in_small(request.config) else None
    yield
    if before is not None:
        torch.jit.set_fusion_strategy(before)


@pytest.fixture(autouse=True)
def signals_stay_as_they_were() -> Iterator[None]:
    """A command that runs inside a test may take SIGTERM; the next test finds it free again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


ArtifactFactory = Callable[..., Artifact]
PhotoFactory = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def make_artifact(tmp_path_factory: pytest.TempPathFactory) -> ArtifactFactory:
    """Build a torchscript artifact whose graph is ``mean over channels * factor + shift``."""

    def build(
        size_hw: tuple[int, int] = (28, 28),
        batch: int = 1,
        kind: str = "disparity",
        seeded: bool = False,
        model: str = "vits",
        factor: float = 2.0,
        shift: float = 10.0,
        weights_sha256: str = "0" * 64,
        root: Optional[Path] = None,
        work: int = 0,
        precision: str = "f32",
    ) -> Artifact:
        root = root or tmp_path_factory.mktemp("artifacts")
        with partial_folder(root) as folder:
            module = ChannelMean(factor, shift, work).eval()
            example = torch.zeros(batch, 3, *size_hw)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # newer torch: use export
                graph = torch.jit.trace(module, example, check_trace=False)
            graph.save(str(folder / "graph.pt"))
            manifest = Manifest(
                model=model,
                family="v2",
                target="torchscript",
                precision=precision,
                stages=(
                    StageSpec(
                        kind,
                        "graph.pt",
                        (TensorSpec("image", (batch, 3, *size_hw)),),
                        (TensorSpec(kind, (batch, *size_hw)),),
                    ),
                ),
                input=InputSpec(size_hw, batch),
                output=OutputSpec(kind, 20.0 if kind == "depth_m" else None),
                weights=WeightsSpec(
                    "seeded" if seeded else "checkpoint", weights_sha256, "Apache-2.0"
                ),
                rewrites=(),
                compiler={},
                versions={"torch": torch.__version__},
                parity=ParityReport("passed", "by construction", 1e-4),
                files=describe_files(folder),
            )
            return commit(folder, manifest, root)

    return build


@pytest.fixture(scope="session")
def tiny_artifact(make_artifact: ArtifactFactory) -> Artifact:
    """One 28x28 disparity artifact of batch 1. Shared: copy it before changing it."""
    return make_artifact()


@pytest.fixture(scope="session")
def make_photo() -> PhotoFactory:
    """Make a photo: uint8 (H, W, 3), smooth, no two alike unless they share size and seed."""

    def build(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width]
        waves = [
            np.sin(x * fx + y * fy + phase) for fx, fy, phase in rng.uniform(0.02, 0.15, (3, 3))
        ]
        return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)

    return build


@pytest.fixture(scope="session")
def save_photo(make_photo: PhotoFactory) -> Callable[..., Path]:
    """Write such a photo to a file, in the format its suffix names."""

    def save(path: Path, height: int = 20, width: int = 30, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_photo(height, width, seed)).save(path)
        return path

    return save
