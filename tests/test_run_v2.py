"""Depth Anything V2's own commands: upstream's flags and pixels, and what upstream trips over."""

import contextlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from apps import run_v2, upstream_v2
from apps.estimators import Estimator
from compile.checkpoint import build_model
from compile.fetch import local_checkpoint
from compile.registry import DEMO, MODELS
from depth_anything_v2.dpt import DepthAnythingV2
from exports.v2_picture import v2_picture
from layers.checkpoint import load_checkpoint
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import CheckpointError, InputError
from runtime.photo.decode import read_photo
from runtime.predict.found import Prediction, Provenance
from runtime.predict.predictor import Prepared

ROOT = Path(__file__).parent.parent
SMALL = ("--model", DEMO, "--input-size", "70", "--device", "cpu")


def found(depth, kind="disparity", seeded=False):
    """A prediction of this map."""
    weights = WeightsSpec("seeded" if seeded else "checkpoint", "0" * 64, "Apache-2.0")
    return Prediction(
        depth, OutputSpec(kind), Provenance("vits", weights), InputSpec((14, 14)), depth.shape
    )


def upstreams(depth, palette, rgb=None, grayscale=False):
    """The picture as upstream's script comes to it, BGR and matplotlib and all; RGB."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    index = ((depth - depth.min()) / (depth.max() - depth.min()) * 255.0).astype(np.uint8)
    if grayscale:
        painted = np.dstack([index] * 3)
    else:
        painted = (matplotlib.colormaps[palette](index)[..., :3] * 255)[..., ::-1].astype(np.uint8)
    if rgb is not None:
        gap = np.ones((len(rgb), 50, 3), np.uint8) * 255
        painted = cv2.hconcat([rgb[..., ::-1].copy(), gap, painted])
    return painted[..., ::-1]


@pytest.fixture(scope="module")
def demo():
    model = build_model(MODELS[DEMO])
    load_checkpoint(model, local_checkpoint(MODELS[DEMO]), DEMO, {})
    return model


@pytest.fixture
def photos(tmp_path, monkeypatch, save_photo):
    """Two photos in a folder of the current one."""
    monkeypatch.chdir(tmp_path)
    save_photo(tmp_path / "in" / "a.png", seed=1)
    save_photo(tmp_path / "in" / "b.jpg", seed=2)
    return tmp_path / "in"


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize(
    ("kind", "palette"), [("disparity", "Spectral_r"), ("depth_m", "Spectral")]
)
@pytest.mark.parametrize("grayscale", [False, True])
def test_the_picture_is_upstreams_to_the_last_level(kind, palette, grayscale):
    draw = np.random.RandomState(0)
    for _ in range(20):
        depth = (draw.rand(37, 61) ** 3 * draw.rand() * 90 + draw.rand()).astype(np.float32)
        rgb = draw.randint(0, 256, (37, 61, 3)).astype(np.uint8)
        got = v2_picture(found(depth, kind), rgb, grayscale)
        np.testing.assert_array_equal(got, upstreams(depth, palette, rgb, grayscale))


def test_every_level_of_both_palettes_is_matplotlibs():
    ramp = np.arange(256, dtype=np.float32)[None]
    for kind, palette in (("disparity", "Spectral_r"), ("depth_m", "Spectral")):
        got = v2_picture(found(ramp, kind))
        np.testing.assert_array_equal(got, upstreams(ramp, palette))


def test_depth_is_that_of_infer_image_and_the_file_is_upstreams(photos, demo, capsys):
    assert run_v2.main([*SMALL, "--img-path", "in/a.png", "--outdir", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out/a.png"]
    rgb = read_photo(photos / "a.png")
    depth = demo.infer_image(rgb[..., ::-1], 70)
    np.testing.assert_array_equal(pixels("out/a.png"), upstreams(depth, "Spectral_r", rgb))
    facts = json.loads(Path("out/a.json").read_text())
    assert (facts["kind"], facts["photo"], facts["model"]) == ("disparity", "a.png", DEMO)
    assert facts["files"] == {"picture": "a.png"}
    assert facts["picture"]["range"] == {
        "of": "this map alone",
        "min": depth.min(),
        "max": depth.max(),
    }


def test_the_exact_map_comes_with_the_picture_if_it_is_asked_for(photos, demo):
    assert run_v2.main([*SMALL, "--img-path", "in", "--outdir", "o", "--formats", "npz,png16"]) == 0
    assert sorted(file.name for file in Path("o").iterdir()) == [
        f"{name}.{suffix}" for name in "ab" for suffix in ("depth16.png", "json", "npz", "png")
    ]
    rgb = read_photo(photos / "b.jpg")
    with np.load("o/b.npz") as stored:
        np.testing.assert_array_equal(stored["disparity"], demo.infer_image(rgb[..., ::-1], 70))
    facts = json.loads(Path("o/b.json").read_text())
    assert facts["files"] == {"picture": "b.png", "npz": "b.npz", "png16": "b.depth16.png"}
    assert facts["photo"] == "b.jpg"


def test_a_compiled_graph_of_the_exact_size_gives_the_same_depth(photos, demo, caplog):
    caplog.set_level(logging.INFO)
    command = [
        *SMALL,
        "--engine",
        "artifact",
        "--img-path",
        "in",
        "--outdir",
        "o",
        "--formats",
        "npz",
    ]
    assert run_v2.main(command) == 0
    rgb = read_photo(photos / "a.png")
    expected = demo.infer_image(rgb[..., ::-1], 70)
    with np.load("o/a.npz") as stored:
        assert np.abs(stored["disparity"] - expected).max() <= 1e-4 * np.ptp(expected)
    assert len(list(Path("artifacts").iterdir())) == 1
    facts = json.loads(Path("o/a.json").read_text())
    assert facts["artifact"]["name"].startswith(f"{DEMO}-")
    caplog.clear()
    assert run_v2.main(command) == 0
    assert "compiling" not in caplog.text


class Metric:
    """A metric checkpoint of vits: 20 m, random weights, under an official or another name."""

    def __init__(self, file: Path) -> None:
        from compile.seeded import fill_seeded

        self.model = DepthAnythingV2("vits", max_depth=20.0).eval()
        fill_seeded(self.model)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), file)
        self.file = file


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    return Metric(tmp_path_factory.mktemp("w") / "depth_anything_v2_metric_hypersim_vits.pth")


def run_metric(metric, *more):
    command = ["--load-from", str(metric.file), "--img-path", "in/a.png", "--outdir", "o", *more]
    return run_v2.main([*command, "--input-size", "42", "--device", "cpu"], metric=True)


def test_metres_are_saved_as_upstream_saves_them(photos, metric):
    assert run_metric(metric, "--max-depth", "20", "--save-numpy", "--encoder", "vits") == 0
    rgb = read_photo(photos / "a.png")
    depth = metric.model.infer_image(rgb[..., ::-1], 42)
    stored = np.load("o/a_raw_depth_meter.npy")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, depth)
    np.testing.assert_array_equal(pixels("o/a.png"), upstreams(depth, "Spectral", rgb))
    facts = json.loads(Path("o/a.json").read_text())
    assert (facts["kind"], facts["unit"], facts["max_depth_m"]) == ("depth_m", "metre", 20.0)
    assert facts["files"] == {"picture": "a.png", "npy": "a_raw_depth_meter.npy"}


def test_the_files_name_says_encoder_and_greatest_depth(photos, metric, caplog):
    caplog.set_level(logging.WARNING)
    assert run_metric(metric) == 0
    assert json.loads(Path("o/a.json").read_text())["max_depth_m"] == 20.0
    assert not caplog.text
    assert run_metric(metric, "--max-depth", "80", "--save-numpy") == 0
    assert "--max-depth 80: the weights of vits-indoor were trained with 20" in caplog.text
    rgb = read_photo(photos / "a.png")
    depth = metric.model.infer_image(rgb[..., ::-1], 42)
    np.testing.assert_allclose(np.load("o/a_raw_depth_meter.npy"), 4 * depth, rtol=1e-6)


def test_a_checkpoint_of_ones_own_takes_upstreams_defaults(photos, metric, tmp_path):
    own = Metric(tmp_path / "mine.pth")
    assert run_metric(own, "--encoder", "vits", "--max-depth", "10") == 0
    assert json.loads(Path("o/a.json").read_text())["max_depth_m"] == 10.0


@pytest.mark.parametrize(
    ("name", "encoder", "message"),
    [
        ("depth_anything_v2_vits.pth", "vits", "gives relative disparity, not metres"),
        ("depth_anything_v2_metric_vkitti_vitb.pth", "vits", "weights of vitb, but --encoder"),
        ("nowhere.pth", "vits", "no such file"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(photos, name, encoder, message, capsys):
    if name.startswith("depth"):
        Path(name).write_bytes(b"whatever")
    command = ["--load-from", name, "--encoder", encoder, "--img-path", "in"]
    assert run_v2.main(command, metric=True) == 1
    assert message in capsys.readouterr().err
    assert not Path("vis_depth").exists()


def test_missing_weights_are_named_with_what_to_do(photos, monkeypatch, capsys):
    def unreachable(spec):
        raise CheckpointError("no internet")

    monkeypatch.setattr(upstream_v2, "local_checkpoint", lambda spec: None)
    monkeypatch.setattr(upstream_v2, "fetch_checkpoint", unreachable)
    assert run_v2.main(["--encoder", "vits", "--img-path", "in"]) == 1
    said = capsys.readouterr().err
    assert "checkpoints/depth_anything_v2_vits.pth: not there" in said
    assert "make checkpoints MODEL=vits" in said and "--model demo" in said


# What upstream's script does with each of these is in its users' issues: most end it


def test_what_is_no_photo_in_a_folder_costs_nothing(photos, save_photo):
    (photos / "notes.txt").write_text("hello")
    (photos / ".DS_Store").write_bytes(b"\0")
    save_photo(photos / "deeper" / "c.png", seed=3)
    assert run_v2.main([*SMALL, "--img-path", "in", "--outdir", "o"]) == 0
    assert sorted(file.name for file in Path("o").glob("*.png")) == ["a.png", "b.png", "c.png"]


def test_a_list_may_have_empty_lines_and_remarks(photos):
    Path("list.txt").write_text("in/a.png\n# not this one\n\nin/b.jpg\n\n")
    assert run_v2.main([*SMALL, "--img-path", "list.txt", "--outdir", "o"]) == 0
    assert sorted(file.name for file in Path("o").glob("*.png")) == ["a.png", "b.png"]


def test_a_list_elsewhere_names_photos_beside_it(photos):
    (photos / "list.txt").write_text("a.png\n")
    assert run_v2.main([*SMALL, "--img-path", "in/list.txt", "--outdir", "o"]) == 0
    assert Path("o/a.png").is_file()


def test_names_that_would_meet_get_more_of_their_path(photos, save_photo, caplog):
    caplog.set_level(logging.INFO)
    save_photo(photos / "sub" / "a.png", seed=3)
    save_photo(photos / "b.png", seed=4)
    assert run_v2.main([*SMALL, "--img-path", "in", "--outdir", "o"]) == 0
    names = sorted(str(file.relative_to("o")) for file in Path("o").rglob("*.png"))
    assert names == ["a.png", "b.jpg.png", "b.png.png", "sub/a.png"]
    assert "would have results of one name" in caplog.text


def test_photos_of_several_places_have_names_of_their_own(photos, save_photo):
    save_photo(Path("more") / "a.png", seed=3)
    assert run_v2.main([*SMALL, "--img-path", "in", "more", "--outdir", "o"]) == 0
    names = sorted(str(file.relative_to("o")) for file in Path("o").rglob("*.png"))
    assert names == ["b.png", "in/a.png", "more/a.png"]


def test_a_picture_never_takes_the_place_of_a_photo(photos, capsys):
    before = (photos / "a.png").read_bytes()
    assert run_v2.main([*SMALL, "--img-path", "in/a.png", "--outdir", "in"]) == 1
    assert "would take the place of a photo" in capsys.readouterr().err
    assert (photos / "a.png").read_bytes() == before


def test_a_bad_photo_costs_only_itself(photos, capsys):
    (photos / "bad.png").write_bytes(b"not a photo")
    assert run_v2.main([*SMALL, "--img-path", "in", "--outdir", "o"]) == 1
    assert sorted(file.name for file in Path("o").glob("*.png")) == ["a.png", "b.png"]
    assert "failed: in/bad.png: not an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (["--img-path", "nowhere"], 1, "nowhere: no such file"),
        ([], 2, "the following arguments are required: --img-path"),
        (["--img-path", "in", "--encoder", "vitx"], 2, "invalid choice: 'vitx'"),
        (["--img-path", "in", "--encoder", "vits", "--model", DEMO], 2, "leave --encoder out"),
        (["--img-path", "in", "--input-size", "0"], 2, "whole number of at least 1"),
        (["--img-path", "in", "--enc", "vits"], 2, "unrecognized arguments"),
    ],
)
def test_bad_usage_is_said_before_anything_happens(photos, command, status, message, capsys):
    try:
        assert run_v2.main(command) == status
    except SystemExit as stopped:
        assert stopped.code == status
    assert message in capsys.readouterr().err
    assert not Path("vis_depth").exists()


class Steps:
    """An estimator's stages that note what they do; the map is the photo's first channel."""

    batch = 1

    def __init__(self, hold: float = 0.0) -> None:
        self.hold, self.done, self.busy, self.together = hold, [], 0, 0

    def __call__(self, rgb, focal_px=None):
        raise AssertionError("one photo at a time")

    def prepare(self, rgb):
        with self._step("prepare"):
            return Prepared(rgb[None, ..., 0].astype(np.float32), rgb.shape[:2], 0, {})

    def infer(self, group):
        with self._step("infer"):
            return [(group[0].tensor[0], 0.0)]

    def finish(self, prepared, depth, seconds):
        with self._step("finish"):
            if depth.shape == (9, 9):
                raise InputError("a photo of 9x9")
            return found(depth), {}

    @contextlib.contextmanager
    def _step(self, name):
        self.busy += 1
        self.together = max(self.together, self.busy)
        time.sleep(self.hold)
        yield
        self.done.append(name)
        self.busy -= 1


def test_photos_are_read_and_painted_while_others_are_in_the_network(tmp_path, save_photo):
    places = {}
    for number in range(6):
        photo = save_photo(tmp_path / f"{number}.png", height=9 + number % 3, seed=number, width=9)
        places[photo] = tmp_path / "out" / photo.stem
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no photo")
    places = {bad: tmp_path / "out" / "bad", **places}
    steps = Steps(0.03)
    estimator = Estimator(
        "x", "x", "disparity", found(np.ones((2, 2))).provenance.weights, steps, {}
    )
    outcomes = list(run_v2.run_photos(places, estimator, run_v2.Look(True)))
    assert [one.photo for one in outcomes] == list(places), "in the photos' order, bad ones too"
    assert [bool(one.error) for one in outcomes] == [True, True, False, False, True, False, False]
    assert "a photo of 9x9" in outcomes[1].error and steps.together > 1
    for one in outcomes:
        if not one.error:
            rgb = read_photo(one.photo)
            expected = v2_picture(found(rgb[..., 0].astype(np.float32)), None)
            np.testing.assert_array_equal(pixels(one.files[0]), expected)


def test_a_constant_map_is_black_and_said_to_be(tmp_path, caplog):
    photo = tmp_path / "p.png"
    Image.fromarray(np.full((8, 9, 3), 3, np.uint8)).save(photo)
    weights = found(np.ones((2, 2))).provenance.weights
    estimator = Estimator("x", "x", "disparity", weights, Steps(), {})
    places = {photo: tmp_path / "out" / "p"}
    (outcome,) = run_v2.run_photos(places, estimator, run_v2.Look(True, True))
    assert "p.png: depth is constant, 3; the picture is black" in caplog.text
    assert not pixels(outcome.files[0]).any()


def test_random_weights_are_stamped():
    depth = np.random.RandomState(0).rand(60, 200).astype(np.float32)
    assert (v2_picture(found(depth)) != v2_picture(found(depth, seeded=True))).any()


@pytest.mark.parametrize("folder", [".", "metric_depth"])
def test_the_scripts_start_from_any_folder(folder):
    for script in ("run.py", "metric_depth/run.py"):
        done = subprocess.run(
            [sys.executable, str(ROOT / script), "--help"],
            cwd=ROOT / folder, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0 and "--img-path" in done.stdout, done.stderr


def test_the_smallest_program_writes_a_picture_beside_the_photo(photos, tiny_artifact):
    artifacts = Path("artifacts")
    artifacts.symlink_to(tiny_artifact.path.parent)
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "in/a.png"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["in/a.depth.png"]
    assert pixels("in/a.depth.png").shape == read_photo(photos / "a.png").shape


def test_lists_that_name_nothing_are_refused(tmp_path):
    empty = tmp_path / "list.txt"
    empty.write_text("# nothing\n\n")
    with pytest.raises(InputError, match="names no file"):
        upstream_v2.listed(empty)


def test_known_points_turn_the_picture_into_one_of_metres(photos, demo):
    depth = demo.infer_image(read_photo(photos / "a.png")[..., ::-1], 70)
    places = [np.unravel_index(index, depth.shape) for index in (depth.argmin(), depth.argmax())]
    scale = 0.5 / depth.max()
    rows = [f"{x},{y},{1 / (scale * depth[y, x] + 0.1)}" for y, x in places]
    Path("known.csv").write_text("\n".join(rows))
    words = [
        *SMALL,
        "--outdir",
        "o",
        "--formats",
        "npz",
        "--fit-points",
        "known.csv",
        "--pred-only",
    ]
    assert run_v2.main([*words, "--img-path", "in/a.png"]) == 0
    with np.load("o/a.npz") as stored:
        metres = stored["depth_m"]
    np.testing.assert_allclose(metres, 1 / (scale * depth + 0.1), rtol=1e-4)
    np.testing.assert_array_equal(pixels("o/a.png"), upstreams(metres, "Spectral"))
    assert json.loads(Path("o/a.json").read_text())["metres_by"]["used"] == 2
    assert run_v2.main([*words, "--img-path", "in"]) == 1  # one file, two photos
