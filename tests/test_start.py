"""An artifact's start: what is verified, loaded and held in memory until its first answer."""

import math
import mmap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compile.job import CompileJob, compile_model
from compile.targets import strips
from runtime.artifact.manifest import StageSpec, TensorSpec
from runtime.engines import available, openvino
from runtime.engines.mapped import given_back, mapped_areas, mapping_of
from runtime.engines.staged import CAMERA_TOKENS, StagedEngine
from runtime.errors import ArtifactError
from runtime.predict.scenes import (
    CAMERA_DECODER,
    DEPTH_HEAD,
    ENCODER_GLOBAL,
    ENCODER_LOCAL,
    METRIC,
    RAY_HEAD,
    later_stages,
)
from runtime.scene.query import SceneQuery

needs_openvino = pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
needs_linux = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="this system has no /proc/self/smaps"
)
MIB = 1 << 20


def resident_kib(file: Path) -> int:
    """Of a mapped file, what this process holds."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(file.resolve()))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@needs_linux
def test_pages_of_a_mapped_file_are_given_back_and_come_again(tmp_path):
    file = tmp_path / "with a space.bin"
    content = np.random.RandomState(0).bytes(4 * MIB)
    file.write_bytes(content)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == content and resident_kib(file) == 4096
        with given_back(mapped_areas(file)):
            deadline = time.monotonic() + 10
            while resident_kib(file) and time.monotonic() < deadline:
                time.sleep(0.005)
            assert resident_kib(file) == 0, "within the block, too"
            assert mapped[-1] == content[-1]
        assert resident_kib(file) == 0
        assert mapped[:] == content
    assert mapped_areas(file) == []
    with given_back(mapped_areas(file)):
        assert not [one for one in threading.enumerate() if one.name == "mapped"]


@needs_linux
def test_of_several_mappings_of_a_file_only_ones_own_is_known(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(MIB))
    with file.open("rb") as opened:
        others = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        mine, areas = mapping_of(file, lambda: mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ))
        address = np.frombuffer(mine, np.uint8).ctypes.data
        assert areas == [(address, MIB)] and len(mapped_areas(file)) == 2
        assert np.frombuffer(others, np.uint8).ctypes.data != address


@needs_linux
def test_what_may_be_written_is_never_given_back(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(MIB))
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped[0] = 7
    with given_back(mapped_areas(file)):
        pass
    assert mapped_areas(file) == [] and mapped[0] == 7
    mapped.close()


@pytest.mark.parametrize(
    "line, areas",
    [
        ("1000-3000 r--s 00000000 fe:00 12 {file}", [(0x1000, 0x2000)]),
        ("1000-3000 r--p 00000000 fe:00 12   {file}", [(0x1000, 0x2000)]),
        ("1000-3000 r-xp 00000000 fe:00 12 {file}", []),
        ("1000-3000 rw-p 00000000 fe:00 12 {file}", []),
        ("1000-3000 r--p 00000000 fe:00 12 {file}.old", []),
        ("1000-3000 rw-p 00000000 00:00 0", []),
        ("1000-3000 r--s 00000000 fe:00 12 {file} (deleted)", []),
    ],
)
def test_only_readable_maps_of_the_very_file_count(tmp_path, line, areas):
    file, maps = tmp_path / "a b.bin", tmp_path / "maps"
    maps.write_text(line.format(file=file.resolve()) + "\n")
    assert mapped_areas(file, maps) == areas
    assert mapped_areas(file, tmp_path / "none") == []


@needs_linux
@needs_openvino
def test_a_graphs_weights_are_held_once_when_it_has_answered(tmp_path):
    job = CompileJob("demo", "openvino", ((28, 28),), 1, tmp_path, seeded="always")
    (artifact,) = compile_model(job)
    (stage,) = artifact.manifest.stages
    engine = openvino.load(artifact.path, artifact.manifest, stage, "cpu", 1)
    image = np.random.RandomState(0).randn(1, 3, 28, 28).astype(np.float32)
    weights = artifact.path / "graph.bin"
    first = engine({"image": image})["disparity"]
    assert mapped_areas(weights), "no longer mapped: these pages are somewhere else"
    # At so small a size OpenVINO runs some layers on the file's own pages
    assert resident_kib(weights) < 0.2 * weights.stat().st_size / 1024
    kept, given = first.copy(), image.copy()
    turned = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    image.flags.writeable = False
    for same in (image, turned):
        np.testing.assert_array_equal(engine({"image": same})["disparity"], kept)
    engine({"image": np.zeros_like(image)})
    np.testing.assert_array_equal(first, kept, "the next call writes elsewhere")
    np.testing.assert_array_equal(image, given)


@needs_openvino
def test_a_row_and_a_column_do_not_become_a_map():
    ops = openvino.import_openvino().opset13
    row = np.random.RandomState(0).randn(1, 8, 1, 24).astype(np.float32)
    column = np.random.RandomState(1).randn(1, 8, 20, 1).astype(np.float32)
    x = np.random.RandomState(2).randn(1, 8, 20, 24).astype(np.float32)
    x[0, 0, 0, 0], x[0, 1, 0, 0], x[0, 2, 0, 0] = np.inf, -np.inf, 3e38

    def made(*constants):
        given = ops.parameter([1, 8, 20, 24], np.float32)
        summed = given
        for constant in constants:
            summed = ops.add(summed, ops.constant(constant))
        return openvino.import_openvino().Model([ops.relu(summed)], [given])

    def larger(graph):
        strips.keep_apart(graph)
        return [op for op in graph.get_ordered_ops() if op.get_type_name() == "Maximum"]

    graph = made(row, column)
    assert len(larger(graph)) == 1
    found = openvino.import_openvino().Core().compile_model(graph, "CPU")([x])[0]
    np.testing.assert_array_equal(found, np.maximum(x + row + column, 0))
    assert largest_of(graph) < x.size < 1 + largest_of(made(row, column)), "else needless"
    assert not larger(made(row, row)), "these two make nothing larger"
    assert not larger(made(row)) and not larger(made())


def largest_of(graph) -> int:
    """Values in the largest constant that OpenVINO has when it has rewritten a graph."""
    compiled = openvino.import_openvino().Core().compile_model(graph, "CPU")
    sizes = [0]
    for node in compiled.get_runtime_model().get_ordered_ops():
        if node.get_rt_info()["layerType"].astype(str) == "Const":
            sizes.append(math.prod(node.get_output_shape(0)))
    return max(sizes)


NAMES = (ENCODER_LOCAL, ENCODER_GLOBAL, DEPTH_HEAD, RAY_HEAD, CAMERA_DECODER)


def staged(folder: Path, load, target: str = "openvino", threads: int = 2) -> StagedEngine:
    """Stages that take nothing and give a number each."""
    tokens = {ENCODER_GLOBAL: (TensorSpec("camera_tokens", (1, 4)),)}
    stages = {name: StageSpec(name, f"{name}.xml", tokens.get(name, ()), ()) for name in NAMES}
    manifest = SimpleNamespace(
        views=1, target=target, stages=tuple(stages.values()), stage=stages.__getitem__
    )
    np.save(folder / CAMERA_TOKENS, np.zeros((1, 4), np.float32))
    return StagedEngine(SimpleNamespace(path=folder, manifest=manifest), "cpu", threads, load)


class Loads:
    """A loader that keeps what it was asked for, and by whom; others than the caller wait."""

    def __init__(self, broken: str = "") -> None:
        self.by: list[tuple[str, bool]] = []
        self.let, self.broken, self._caller = threading.Event(), broken, threading.get_ident()

    def __call__(self, folder, manifest, device, threads, stage):
        beside = threading.get_ident() != self._caller
        self.by.append((stage.name, beside))
        if beside:
            assert self.let.wait(10)
        if stage.name == self.broken:
            raise ArtifactError(f"{stage.name}: damaged")
        return lambda inputs: {"found": np.zeros(1, np.float32)}


def test_stages_load_beside_the_first_one_and_once(tmp_path):
    load = Loads()
    stages, later = staged(tmp_path, load), later_stages(SceneQuery(), False)
    stages.load_ahead(later)
    deadline = time.monotonic() + 10
    while len(load.by) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    stages(ENCODER_LOCAL, {})  # while the next ones still load, as many as there are threads
    assert not load.let.is_set() and load.by[-1] == (ENCODER_LOCAL, False)
    assert sorted(load.by[:-1]) == sorted([(ENCODER_GLOBAL, True), (DEPTH_HEAD, True)])
    load.let.set()
    for name in later:
        stages(name, {})
    stages.load_ahead(later)
    assert sorted(name for name, _ in load.by) == sorted([ENCODER_LOCAL, *later])


@pytest.mark.parametrize("target, threads", [("neuron", 2), ("torchscript", 2), ("openvino", 1)])
def test_devices_and_engines_of_one_thread_load_in_turn(tmp_path, target, threads):
    load = Loads()
    stages = staged(tmp_path, load, target, threads)
    stages.load_ahead(later_stages(SceneQuery(), False))
    stages(ENCODER_LOCAL, {})
    stages(DEPTH_HEAD, {})
    assert load.by == [(ENCODER_LOCAL, False), (DEPTH_HEAD, False)]


def test_whoever_needs_a_stage_meets_what_is_wrong_with_it_each_time(tmp_path):
    load = Loads(broken=ENCODER_GLOBAL)
    load.let.set()
    stages = staged(tmp_path, load)
    stages.load_ahead([ENCODER_GLOBAL, DEPTH_HEAD])
    for _ in range(2):
        with pytest.raises(ArtifactError, match="encoder_global: damaged"):
            stages(ENCODER_GLOBAL, {})
    stages(DEPTH_HEAD, {})


def test_later_stages_are_those_that_a_query_runs():
    assert later_stages(SceneQuery(), False) == [ENCODER_GLOBAL, DEPTH_HEAD, CAMERA_DECODER]
    assert later_stages(SceneQuery(use_ray_pose=True), True) == [
        ENCODER_GLOBAL, DEPTH_HEAD, RAY_HEAD, METRIC,
    ]  # fmt: skip
