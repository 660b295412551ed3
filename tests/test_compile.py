"""The compile stage: an artifact that equals the model, or no artifact and a reason."""

import hashlib
import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import weakref
import xml.etree.ElementTree as ElementTree
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compile.__main__ import main
from compile.calibration import MAX_IMAGES, Batches, calibration_images, crops, variants
from compile.checkpoint import build_model
from compile.checks import PIXELS
from compile.deploy import DeploymentFormV2
from compile.job import CompileJob, compile_model
from compile.parity import PHOTO, check_parity, compare, parity_inputs
from compile.registry import find_model
from compile.seeded import fill_seeded
from compile.targets import int8
from compile.targets.mixed import rounded
from compile.targets.torchscript import REWRITES
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.artifact.folder import find_artifacts, read_artifact
from runtime.artifact.manifest import InputSpec
from runtime.engines import available, openvino
from runtime.errors import CompileError, InputError
from runtime.photo.decode import read_photo
from runtime.photo.preprocess import photo_to_tensor
from runtime.predict.predictor import Predictor

SIZE = ["--sizes", "56x84"]  # small: every operator of the real size, in a second
TARGETS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not available(name), reason=f"{name} is not installed")
    )
    for name in ("torchscript", "onnx", "openvino")
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """One artifact a target that can be made here, of the metric vits, small, a batch of two."""
    root = tmp_path_factory.mktemp("artifacts")
    made = {}
    for target in filter(available, ("torchscript", "onnx", "openvino")):
        job = CompileJob("vits-indoor", target, ((56, 84),), 2, root, seeded="always")
        (made[target],) = compile_model(job)
    return made


@pytest.mark.parametrize("target", TARGETS)
def test_artifact_states_what_was_compiled_and_how_exact_it_is(compiled, target):
    artifact = read_artifact(compiled[target].path)
    artifact.verify()
    m = artifact.manifest
    assert artifact.path.name == m.name == f"vits-indoor-56x84-b2-{target}"
    assert (m.output.kind, m.output.unit, m.output.max_depth_m) == ("depth_m", "metre", 20.0)
    assert m.weights.source == "seeded" and m.weights.licence == "none: random numbers"
    assert m.versions["torch"] == torch.__version__ and m.versions["python"]
    assert m.parity.status == "passed" and "eager float32" in m.parity.reference
    assert [case.input for case in m.parity.cases] == ["photo", "waves", "noise"]
    assert all(case.max_rel_range <= m.parity.tolerance_rel_range for case in m.parity.cases)
    assert all(case.pearson > 0.9999 for case in m.parity.cases)


@pytest.mark.parametrize("target", TARGETS)
def test_artifact_answers_as_the_eager_model_does(compiled, target):
    model = DepthAnythingV2("vits", max_depth=20.0).eval()
    fill_seeded(model)
    rgb = np.random.RandomState(1).randint(0, 256, (60, 90, 3), dtype=np.uint8)
    predictor = Predictor([compiled[target]])
    prepared = predictor.prepare(rgb)
    ((depth, _),) = predictor.infer([prepared])
    with torch.no_grad():
        expected = model(torch.from_numpy(prepared.tensor))[0].numpy()
    np.testing.assert_allclose(depth, expected, atol=1e-4 * np.ptp(expected))


def test_graph_that_differs_from_the_model_leaves_no_artifact(tmp_path, monkeypatch, capsys):
    exact = DeploymentFormV2.forward
    monkeypatch.setattr(DeploymentFormV2, "forward", lambda self, x: exact(self, x) * 1.001)
    arguments = ["--target", "torchscript", "--seeded-weights", *SIZE, "--output", str(tmp_path)]
    assert main(arguments) == 1
    assert "does not equal the model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_parity_refuses_nan_and_wrong_shapes(tiny_artifact):
    told = tiny_artifact.manifest
    good = np.random.RandomState(0).rand(1, 28, 28).astype(np.float32)
    bad = good.copy()
    bad[0, 3, 3] = np.nan
    with pytest.raises(CompileError, match="off by inf"):
        check_parity(
            lambda _: {"disparity": bad}, lambda _: {"disparity": good}, told, "eager", 0.1
        )
    with pytest.raises(CompileError, match="returned, expected"):
        compare("photo", good[0], good)


def test_parity_measures_are_what_their_names_say():
    expected = np.array([[0.0, 1.0], [2.0, 4.0]])
    case = compare("photo", expected + 0.4, expected)
    assert case.max_abs == pytest.approx(0.4) and case.max_rel_range == pytest.approx(0.1)
    assert case.mean_rel == pytest.approx(0.4 / 1.75) and case.pearson == pytest.approx(1.0)


def test_parity_inputs_are_fixed_and_differ_within_a_batch():
    spec = InputSpec((56, 84), batch=2)
    first, second = parity_inputs(spec), parity_inputs(spec)
    assert list(first) == ["photo", "waves", "noise"]
    for name, image in first.items():
        assert image.shape == spec.shape and image.dtype == np.float32
        np.testing.assert_array_equal(image, second[name])
        assert not np.array_equal(image[0], image[1])


def test_command_prints_one_folder_a_size_and_nothing_else(tmp_path):
    arguments = ["--model", "demo", "--target", "torchscript", "--seeded-weights"]
    arguments += ["--output", str(tmp_path), "--sizes", "28x28", "28x42"]
    command = [sys.executable, "-m", "compile", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / f"demo-{size}-b1-torchscript") for size in ("28x28", "28x42")
    ]
    assert len(find_artifacts(tmp_path)) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_outside_the_output_folder_is_written(compiled, tmp_path, target):
    """Import, compile-side and run-side, with a home folder that can be looked at."""
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from runtime.artifact.folder import read_artifact\n"
        "from runtime.predict.predictor import Predictor\n"
        "from compile.targets import target_module\n"
        "target_module(sys.argv[2]).versions()\n"
        "Predictor([read_artifact(Path(sys.argv[1]))]).warm_up()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", code, str(compiled[target].path), target]
    done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("pixels, dtype", [("rgb", "float32"), ("rgb8", "uint8")])
@pytest.mark.parametrize("target", TARGETS)
def test_graph_that_takes_rgb_is_as_exact_and_says_what_it_takes(tmp_path, target, pixels, dtype):
    job = CompileJob("demo", target, ((56, 84),), 1, tmp_path, seeded="always", pixels=pixels)
    (artifact,) = compile_model(job)
    m = artifact.manifest
    assert (m.input.dtype, m.input.mean) == (dtype, (0.0, 0.0, 0.0))
    assert "rgb-input" in m.rewrites and m.parity.status == "passed"
    rgb = np.random.RandomState(1).randint(0, 256, (56, 84, 3), dtype=np.uint8)
    prepared = Predictor([artifact]).prepare(rgb)
    assert prepared.tensor.dtype == dtype
    np.testing.assert_allclose(prepared.tensor[0], rgb.transpose(2, 0, 1), atol=1e-4)


def test_rewrites_can_be_left_out_and_the_manifest_says_which_were_made(tmp_path):
    job = CompileJob(
        "demo", "torchscript", ((28, 28),), 1, tmp_path, seeded="always", without=("layer-scale",)
    )
    (artifact,) = compile_model(job)
    assert artifact.manifest.rewrites == tuple(n for n in REWRITES if n != "layer-scale")


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_bf16_artifact_is_named_after_it_and_states_its_error(tmp_path):
    arguments = ["--model", "demo", "--target", "openvino", "--precision", "bf16", *SIZE]
    assert main([*arguments, "--seeded-weights", "--output", str(tmp_path)]) == 0
    artifact = read_artifact(tmp_path / "demo-56x84-b1-openvino-bf16")
    artifact.verify()
    m = artifact.manifest
    assert (m.precision, m.name, m.parity.status) == ("bf16", artifact.path.name, "passed")
    assert 1e-4 < m.parity.tolerance_rel_range <= 0.1
    assert all(case.pearson > 0.999 for case in m.parity.cases)
    halves = np.fromfile(artifact.path / "graph.bin", np.uint16)[0::2]
    assert (halves == 0).mean() > 0.95, "weights are rounded to what a file's archive makes small"


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_operators_kept_in_float32_make_bf16_more_exact(tmp_path, monkeypatch):
    def error_of(folder):
        job = CompileJob("demo", "openvino", ((126, 168),), 1, folder, precision="bf16")
        (artifact,) = compile_model(job)
        return artifact.manifest.parity.cases[0].mean_rel

    kept = error_of(tmp_path / "kept")
    monkeypatch.setattr("compile.targets.mixed.KEPT", re.compile("^$"))
    assert kept < 0.9 * error_of(tmp_path / "none")


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_the_heads_of_a_staged_model_keep_their_ends_in_float32(tmp_path):
    size = ((28, 42),)
    job = CompileJob("da3-small", "openvino", size, 1, tmp_path, seeded="always", precision="bf16")
    (artifact,) = compile_model(job)
    assert artifact.manifest.parity.status == "passed"
    marked = {file.stem: marks_in(file) for file in artifact.path.glob("*.xml")}
    assert {name for name, marks in marked.items() if marks} == {"depth_head", "ray_head"}
    assert all("fusions" in name or "output_conv2" in name for name in marked["depth_head"])


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_bf16_marks_the_ends_of_fusions_and_of_the_head_and_nothing_else(tmp_path):
    job = CompileJob(
        "demo", "openvino", ((28, 42),), 1, tmp_path, seeded="always", precision="bf16"
    )
    (artifact,) = compile_model(job)
    names = marks_in(artifact.path / "graph.xml")
    marked = {re.search(r"(fusions\.\d/out_conv|output_conv2\.\d)/", name)[1] for name in names}
    fusions = {f"fusions.{level}/out_conv" for level in range(4)}
    assert marked == {*fusions, "output_conv2.1", "output_conv2.2", "output_conv2.3"}
    assert "float32" in artifact.manifest.compiler


def marks_in(file):
    """Names of the operators that a graph's file marks as float32."""
    layers = ElementTree.parse(file).getroot().iterfind("layers/layer")
    return [
        one.attrib["name"] for one in layers if one.find("rt_info/*[@name='precise']") is not None
    ]


@pytest.fixture
def calibration(tmp_path):
    """A folder with one photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(PHOTO, folder)
    return folder


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_engines_that_share_a_processor_are_not_pinned_to_its_first_cores(tmp_path, monkeypatch):
    job = CompileJob("demo", "openvino", ((28, 28),), 1, tmp_path, seeded="always")
    (artifact,) = compile_model(job)
    file = artifact.path / artifact.manifest.stages[0].graph
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert not openvino.compiled(file, "f32", 1).get_property("ENABLE_CPU_PINNING")
    assert openvino.compiled(file, "f32", 1).get_property("INFERENCE_NUM_THREADS") == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    graphs = (openvino.compiled(file, "f32", 1), openvino.compiled(file, "f32"))
    assert len({graph.get_property("ENABLE_CPU_PINNING") for graph in graphs}) == 1


needs_int8 = pytest.mark.skipif(
    not (available("openvino") and importlib.util.find_spec("nncf")),
    reason="nncf is not installed; pip install '.[openvino,int8]'",
)


@needs_int8
def test_int8_artifact_says_what_is_int8_and_how_far_off_it_is(
    tmp_path, monkeypatch, calibration, save_photo
):
    save_photo(calibration / "b.png", seed=1)
    save_photo(calibration / "c.png", seed=2)
    alive = [0]
    stacked = Batches.__getitem__

    def counted(self, index):
        batch = stacked(self, index)
        alive.append(alive[-1] + 1)
        weakref.finalize(batch, lambda: alive.append(alive[-1] - 1))
        return batch

    monkeypatch.setattr(Batches, "__getitem__", counted)
    job = CompileJob(
        "demo",
        "openvino",
        ((28, 42),),
        2,
        tmp_path,
        precision="int8",
        calibration=calibration,
    )
    (artifact,) = compile_model(job)
    assert 1 <= max(alive) <= 2 and len(alive) > 2 * 6 * 2  # six batches, asked for again
    m = artifact.manifest
    assert m.name == "demo-28x42-b2-openvino-int8" and m.parity.status == "passed"
    assert m.compiler["int8_layers"] == "60"  # of twelve blocks: four linear layers, scores
    assert m.compiler["calibration"] == "12 images"
    assert m.compiler["held_out"].startswith("6 crops, pearson 0.9")
    assert "float32" not in m.compiler and "block-norms" in m.rewrites
    photo = m.parity.cases[0]
    assert photo.pearson > 0.95 and photo.max_rel_range > 1e-4  # int8 indeed


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_int8_without_its_quantiser_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nncf", None)
    arguments = ["--target", "openvino", "--precision", "int8", "--seeded-weights", *SIZE]
    assert main([*arguments, "--output", str(tmp_path)]) == 1
    assert "nncf is not installed; run: " in capsys.readouterr().err
    assert find_artifacts(tmp_path) == []


@needs_int8
def test_int8_past_its_bound_on_crops_that_were_held_out_is_refused(
    tmp_path, monkeypatch, capsys, calibration
):
    monkeypatch.setattr(int8, "MIN_PEARSON", 0.999999999)
    words = ["--model", "demo", "--seeded-weights", "--target", "openvino", "--precision", "int8"]
    words += [
        "--sizes",
        "28x42",
        "--calibration",
        str(calibration),
        "--output",
        str(tmp_path / "a"),
    ]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert re.search(r"too far off on crops .* not fitted to: pearson 0\.9\d+, off by", said)
    assert "--calibration FOLDER" in said and "--precision bf16" in said
    assert find_artifacts(tmp_path / "a") == []


@needs_int8
def test_the_encoder_of_a_staged_model_becomes_int8_and_all_else_bf16(tmp_path, calibration):
    job = CompileJob(
        "da3-small",
        "openvino",
        ((112, 168),),
        output=tmp_path,
        seeded="always",
        views=(2,),
        precision="int8",
        calibration=calibration,
    )
    (artifact,) = compile_model(job)
    m = artifact.manifest
    assert m.name == "da3-small-112x168-v2-openvino-int8" and m.parity.status == "passed"
    layers = {k: v for k, v in m.compiler.items() if k.endswith("int8_layers")}
    assert layers == {"encoder_local: int8_layers": "15", "encoder_global: int8_layers": "45"}
    assert m.compiler["encoder_global: held_out"].startswith("2 crops, pearson 0.99")
    assert {name.partition(":")[0] for name in m.compiler if name.endswith("float32")} == {
        "depth_head", "ray_head", "camera_decoder", "camera_encoder"
    }  # fmt: skip
    sizes = {file.name: file.bytes for file in m.files}
    assert sizes["encoder_global.bin"] < 1.2 * 9 * 12 * 384**2  # a byte a weight of nine blocks
    (depth,) = (case for case in m.parity.cases if case.input == "photo: whole depth")
    assert depth.pearson > 0.999 and depth.max_rel_range > 1e-4


def test_a_photo_is_varied_and_judged_on_other_parts_of_it(save_photo, tmp_path):
    rgb = read_photo(save_photo(tmp_path / "a.png", 100, 200))
    whole, mirrored, darker, brighter = variants(rgb)
    np.testing.assert_array_equal(whole, rgb)
    np.testing.assert_array_equal(mirrored, rgb[:, ::-1])
    np.testing.assert_allclose(darker, rgb[:70, 60:] * 0.75, atol=0.5)
    bright = np.minimum(rgb[30:, :140][:, ::-1] * 1.2, 255)
    np.testing.assert_allclose(brighter, bright, atol=0.5)
    first, second = crops(rgb)
    np.testing.assert_allclose(first, rgb[:70, :140][:, ::-1] * 0.85, atol=0.5)
    np.testing.assert_allclose(second, np.minimum(rgb[30:, 60:] * 1.1, 255), atol=0.5)


@pytest.mark.parametrize(
    "photos, fitted, judging", [(1, 4, 2), (10, 30, 16), (40, 20, 16), (100, 25, 16)]
)
def test_few_photos_are_varied_and_many_are_thinned(tmp_path, save_photo, photos, fitted, judging):
    for number in range(photos):
        save_photo(tmp_path / f"{number:03}.png", seed=number)
    images, held_out = calibration_images(tmp_path, InputSpec((28, 28)))
    assert (images.total, held_out.total) == (fitted, judging) and fitted <= MAX_IMAGES


def test_batches_are_filled_from_their_first_image(tmp_path, calibration):
    spec = InputSpec((28, 42), batch=3)
    images, held_out = calibration_images(calibration, spec)
    first, second = images
    assert first.shape == spec.shape and first.dtype == np.float32
    np.testing.assert_array_equal(second[1:], first[:2])  # four images fill six places
    assert np.abs(first[0] - first[1][..., ::-1]).max() < 1e-4  # mirrored
    (judging,) = held_out
    np.testing.assert_array_equal(judging[0], judging[2])
    with pytest.raises(InputError, match="--calibration FOLDER"):
        calibration_images(tmp_path / "empty", spec)


def test_a_photo_that_cannot_be_read_is_named_and_left_out_of_a_calibration(
    tmp_path, save_photo, caplog
):
    (tmp_path / "a.png").write_bytes(b"no photo")
    with pytest.raises(InputError, match="no photo there can be read"):
        calibration_images(tmp_path, InputSpec((28, 28)))
    save_photo(tmp_path / "b.png")
    images, held_out = calibration_images(tmp_path, InputSpec((28, 28)))
    assert (images.total, held_out.total) == (4, 2)
    assert f"left out: {tmp_path / 'a.png'}: not an image in a known format" in caplog.text


def test_every_calibration_image_is_in_one_batch():
    images = np.random.RandomState(0).rand(6, 3, 28, 28)
    batches = Batches(list(images), 4)
    assert (batches.total, len(batches)) == (6, 2)
    np.testing.assert_array_equal(np.concatenate(list(batches))[:6], images)


def test_calibration_holds_one_batch_at_a_time_whatever_its_size(tmp_path, save_photo):
    for seed in range(8):
        save_photo(tmp_path / f"{seed}.png", seed=seed)
    spec = InputSpec((140, 140), batch=16)
    images, _ = calibration_images(tmp_path, spec)
    batch_bytes = 4 * math.prod(spec.shape)
    tracemalloc.start()
    try:
        for _ in range(3):
            for batch in images:
                assert batch.nbytes == batch_bytes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert batch_bytes < peak < 2.5 * batch_bytes  # the last one, the next, and change


def test_int8_is_near_enough_only_by_both_measures():
    expected = np.random.RandomState(0).rand(8, 8)
    shifted, spike = compare("", expected + 0.01, expected), expected.copy()
    near = int8.Worst.of([shifted])
    near.check()
    assert near.pearson > 0.999999
    spike[0, 0] += 0.5
    far = int8.Worst.of([shifted, compare("", spike, expected)])
    assert far.max_rel_range > 0.4
    nothing = int8.Worst.of([compare("", np.full((8, 8), np.nan), expected)])
    for one in (far, int8.Worst(pearson=0.99, max_rel_range=0.0), nothing):
        with pytest.raises(CompileError, match="int8 is too far off"):
            one.check()


def test_weights_are_rounded_to_the_nearest_bfloat16():
    values = np.random.RandomState(0).standard_normal(999).astype(np.float32)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0], np.float32)
    for given in (values, ties):
        expected = torch.from_numpy(given).bfloat16().float().numpy()
        np.testing.assert_array_equal(rounded(given), expected)


def test_an_artifact_says_what_photos_are_resized_in_and_every_door_does_it(tmp_path):
    size_hw = (28, 42)
    for pixels in PIXELS:
        for resize, spec in (("float32", "cubic32"), ("float64", "cubic")):
            job = CompileJob("demo", "torchscript", (size_hw,), pixels=pixels, resize=resize)
            assert job.input_spec(size_hw).resize == spec
    job = CompileJob("demo", "torchscript", (size_hw,), 1, tmp_path, resize="float32")
    (artifact,) = compile_model(job)
    predictor = Predictor([read_artifact(artifact.path)])
    rgb = np.random.RandomState(0).randint(0, 256, (90, 130, 3), np.uint8)
    expected = photo_to_tensor(rgb, size_hw, resize="cubic32")
    np.testing.assert_array_equal(predictor.prepare(rgb).tensor, expected)
    assert "cubic in float32" in predictor(rgb).preprocessing()["resize"]


@pytest.mark.skipif(not available("onnx"), reason="onnx is not installed")
def test_same_compile_gives_the_same_manifest(tmp_path):
    job = CompileJob("demo", "onnx", ((28, 28),), 1, tmp_path, seeded="always")
    (first,) = compile_model(job)
    (second,) = compile_model(job)
    assert first.digest == second.digest


def test_a_size_and_a_number_of_views_that_are_named_twice_are_compiled_once(tmp_path):
    job = CompileJob(
        model="demo",
        target="torchscript",
        sizes_hw=((28, 28), (28, 28)),
        output=tmp_path,
        seeded="always",
        views=(1, 1),
    )
    assert len(list(compile_model(job))) == 1


class CountedHash:
    """sha256 that writes down what it found."""

    found: ClassVar[list[str]] = []
    exact = hashlib.sha256

    def __init__(self, data=b""):
        self.digest = self.exact(data)

    def update(self, data):
        self.digest.update(data)

    def hexdigest(self):
        self.found.append(self.digest.hexdigest())
        return self.found[-1]


def test_manifest_names_the_checkpoint_by_its_sha256_which_is_counted_once(tmp_path, monkeypatch):
    model = build_model(find_model("demo"))
    fill_seeded(model)
    file = tmp_path / "mine.safetensors"
    save_file(model.state_dict(), str(file))
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    job = CompileJob(
        model="demo",
        target="torchscript",
        sizes_hw=((28, 28), (28, 42)),
        output=tmp_path / "out",
        checkpoint=file,
    )
    monkeypatch.setattr(CountedHash, "found", [])
    monkeypatch.setattr(hashlib, "sha256", CountedHash)
    artifacts = list(compile_model(job))
    assert [a.manifest.weights.sha256 for a in artifacts] == [expected, expected]
    assert CountedHash.found.count(expected) == 1
    assert artifacts[0].manifest.weights.file == "mine.safetensors"
