"""TensorRT from the artifact to the call, on stand-ins for it and for a GPU."""

import numpy as np
import pytest
import stand_in_tensorrt
import torch
from stand_in_cuda import StandInTorch

from compile.deploy import HAS_FUSED_ATTENTION
from compile.job import CompileJob, compile_model
from compile.verify import verify_artifact
from runtime.engines import available, load_engine
from runtime.engines import tensorrt as module
from runtime.engines.made_here import BESIDE
from runtime.errors import ArtifactError, CompileError, DeviceError, InputError, MissingDependency

onnx = pytest.mark.skipif(
    not (available("onnx") and available("torchscript")), reason="onnxruntime is not installed"
)
pytestmark = onnx


class Gpu(StandInTorch):
    """A torch that sees a GPU and runs on the CPU; nothing is recorded."""

    cuda_stream = 7

    def __init__(self):
        super().__init__(refuses=True)
        self.backends = torch.backends
        self.version = torch.version

    def is_available(self):
        return True

    def get_device_name(self):
        return "Stand-in GPU"

    def get_device_capability(self):
        return (9, 0)

    def from_numpy(self, array):
        return OnDevice(torch.from_numpy(array))


class OnDevice(torch.Tensor):
    """A tensor whose ``to("cuda")`` leaves it where it is."""

    def __new__(cls, tensor):
        return torch.Tensor._make_subclass(cls, tensor)

    def to(self, *where, **options):
        return self.as_subclass(torch.Tensor)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    job = CompileJob(
        "demo",
        "tensorrt",
        ((14, 14),),
        output=tmp_path_factory.mktemp("trt"),
        seeded="always",
        pixels="rgb8",
    )
    (made,) = compile_model(job)
    return made


@pytest.fixture
def gpu(monkeypatch, tmp_path, artifact):
    """Both stand-ins in their places."""
    import shutil

    fake = {"tensorrt": stand_in_tensorrt, "torch": Gpu()}
    monkeypatch.setattr(module, "require", lambda name, *_: fake[name])
    monkeypatch.setattr(module, "torch_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("runtime.engines.cuda_is_here", lambda device: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stand_in_tensorrt, "built", [])
    shutil.rmtree(artifact.path / BESIDE, ignore_errors=True)
    return stand_in_tensorrt


def test_without_a_gpu_the_artifact_is_made_and_its_parity_waits(artifact):
    manifest = artifact.manifest
    assert manifest.name == "demo-14x14-b1-tensorrt" and manifest.parity.status != "passed"
    assert {file.name for file in manifest.files} == {"graph.onnx", "graph.npz"}
    with np.load(artifact.path / "graph.npz") as known:
        assert known["image"].dtype == np.uint8 and known["disparity"].shape == (1, 14, 14)


@pytest.mark.skipif(not HAS_FUSED_ATTENTION, reason="torch 1.13 exports no float16")
def test_float16_is_held_to_the_float32_model(gpu, tmp_path):
    job = CompileJob(
        "demo", "tensorrt", ((14, 14),), output=tmp_path, seeded="always", precision="f16"
    )
    (low,) = compile_model(job)
    assert low.manifest.precision == "f16" and low.manifest.parity.tolerance_rel_range == 2e-2
    with np.load(low.path / "graph.npz") as known:
        image, expected = known["image"], known["disparity"]
    found = load_engine(low.path, low.manifest, "cuda")({"image": image})["disparity"]
    off = np.abs(found - expected).max() / np.ptp(expected)
    assert 1e-5 < off < 2e-2 and found.dtype == np.float32


@pytest.mark.skipif(
    available("tensorrt") and torch.cuda.is_available(), reason="a GPU and tensorrt are here"
)
def test_where_there_is_no_gpu_nothing_is_verified(artifact):
    with pytest.raises(DeviceError, match="there is no CUDA GPU with tensorrt here"):
        verify_artifact(artifact.path)


def test_an_engine_is_built_once_a_version_held_to_the_model_and_run(artifact, gpu, monkeypatch):
    engines = [load_engine(artifact.path, artifact.manifest, "cuda") for _ in "12"]
    assert len(gpu.built) == 1 and (artifact.path / BESIDE).is_dir()
    with np.load(artifact.path / "graph.npz") as known:
        image, expected = known["image"], known["disparity"]
    for engine in engines:
        found = engine({"image": image})["disparity"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected), rtol=0)
    monkeypatch.setattr(gpu, "__version__", "10.1.0")
    load_engine(artifact.path, artifact.manifest, "cuda")
    assert len(gpu.built) == 2


def test_an_engine_that_does_not_equal_the_model_is_refused_and_not_kept(
    artifact, gpu, monkeypatch
):
    monkeypatch.setattr(gpu, "scale", 1.01)
    with pytest.raises(CompileError, match=r"off by .* of the range, tolerance 1e-03"):
        load_engine(artifact.path, artifact.manifest, "cuda")
    assert not list((artifact.path / BESIDE).glob("*.engine"))


def test_what_tensorrt_says_of_a_graph_is_passed_on(artifact, gpu, monkeypatch):
    monkeypatch.setattr(gpu, "refuses", "no importer for op Gelu")
    with pytest.raises(ArtifactError, match=r"TensorRT 10.0.0 cannot read it: no importer for op"):
        load_engine(artifact.path, artifact.manifest, "cuda")


@pytest.mark.skipif(available("tensorrt"), reason="tensorrt is installed")
def test_a_machine_without_it_says_what_is_missing(artifact, monkeypatch):
    monkeypatch.setattr("runtime.engines.cuda_is_here", lambda device: True)
    with pytest.raises(MissingDependency, match=r"tensorrt is not installed.*--target pt2"):
        load_engine(artifact.path, artifact.manifest, "cuda")


@pytest.mark.parametrize(
    "device, said", [("cpu", "runs on cuda only"), ("auto", "needs a CUDA GPU, and none is seen")]
)
def test_a_machine_without_a_gpu_says_that_one_is_missing(artifact, device, said, monkeypatch):
    monkeypatch.setattr("runtime.engines.cuda_is_here", lambda device: False)
    with pytest.raises(InputError, match=said):
        load_engine(artifact.path, artifact.manifest, device)
