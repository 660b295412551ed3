"""The emulation of casts on Depth Anything 3: stages, scenes, cameras; mono and metric forms."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from compile import numerics
from compile.__main__ import main
from compile.checkpoint import load_model
from compile.emulated import VIEWS, Emulated
from compile.numerics import MODES
from compile.numerics_da3 import (
    WHOLE,
    StageError,
    camera_error,
    measure_scenes,
    recommend_scene,
    scene_table,
)
from compile.registry import MODELS
from compile.seeded import fill_seeded
from depth_anything_3.config import DA3Spec
from depth_anything_3.model import DepthAnything3Net
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.predict.scenes import SceneOutput
from runtime.scene.focal import METRIC_FOCAL_PX

SIZE_HW = (28, 42)
STAGES = {
    "encoder_local", "encoder_global", "depth_head", "ray_head", "camera_decoder", "camera_encoder",
}  # fmt: skip


@pytest.fixture(scope="module")
def net():
    spec = DA3Spec(
        encoder="vits", taps=(5, 7, 9, 11), features=16, out_channels=(8, 8, 8, 8), alternate_from=4
    )
    model = DepthAnything3Net(spec).eval()
    fill_seeded(model)
    return model


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    files = []
    for number in range(3):
        pixels = np.random.RandomState(number).randint(0, 255, (6, 9, 3)).astype(np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).resize((90, 60), Image.BICUBIC).save(files[-1])
    return files


@pytest.fixture(scope="module")
def found(net, photos):
    return measure_scenes(net, SIZE_HW, photos, 3, ["all", "matmult-fp16"])


def test_each_stage_and_the_whole_are_measured(found):
    errors, cameras = found
    assert {(e.mode, e.stage) for e in errors} == {
        (mode, stage) for mode in ("all", "matmult-fp16") for stage in (*STAGES, WHOLE)
    }
    assert all(0 < e.mean <= e.max < 0.5 and 0.9 < e.pearson <= 1 for e in errors)
    assert [c.mode for c in cameras] == ["all", "matmult-fp16"] and {c.views for c in cameras} == {
        3
    }


def test_more_bits_turn_and_move_cameras_less(found):
    coarse, fine = found[1]
    assert 0 < fine.rotation_deg < coarse.rotation_deg < 10
    assert 0 < fine.focal < coarse.focal < 0.2
    assert 0 < fine.position < coarse.position < 0.5


def test_without_rounding_nothing_is_off(net, photos, monkeypatch):
    exact = replace(MODES["none"], name="exact", products=torch.float32)
    monkeypatch.setitem(numerics.MODES, "exact", exact)
    errors, (camera,) = measure_scenes(net, SIZE_HW, photos[:1], 1, ["exact"])
    assert max(e.max for e in errors) < 1e-6
    assert camera.rotation_deg < 1e-3 and camera.focal < 1e-6 and camera.position is None


def test_scenes_are_made_of_photos_in_turn_and_too_few_are_refused(net, photos):
    with pytest.raises(InputError, match="3 photos, and 4 views a scene"):
        measure_scenes(net, SIZE_HW, photos, 4, ["all"])
    with pytest.raises(InputError, match="matmult-fp16"):
        measure_scenes(net, SIZE_HW, photos[:1], 1, ["fp8"])


def cameras_of(rotations, centres, focals):
    turns = rotations.as_matrix()
    moves = -np.einsum("nij,nj->ni", turns, np.array(centres, float))
    intrinsics = np.stack([np.diag([f, f, 1.0]) for f in focals])
    depth = np.ones((len(turns), 2, 2), np.float32)
    extrinsics = np.concatenate([turns, moves[:, :, None]], 2)
    return SceneOutput(depth, depth, extrinsics, intrinsics, [0])


def test_a_camera_that_is_off_by_a_known_turn_distance_and_focal_is_measured_so():
    """Two cameras 4 apart; the second turned by 0.01 degrees, moved by 0.2, focal off by 2 %."""
    still = Rotation.from_euler("xyz", [[10, 20, 30], [-5, 0, 80]], degrees=True)
    off = Rotation.from_euler("xyz", [[0, 0, 0], [0, 0.01, 0]], degrees=True) * still
    exact = cameras_of(still, [[0, 0, 0], [0, 0, 4]], [100, 200])
    moved = cameras_of(off, [[0, 0, 0], [0, 0.2, 4]], [100, 204])
    error = camera_error("all", moved, exact)
    assert error.rotation_deg == pytest.approx(0.01, rel=1e-6)
    assert error.position == pytest.approx(0.05) and error.focal == pytest.approx(0.02)
    broken = replace(moved, extrinsics=moved.extrinsics * np.nan)
    assert camera_error("all", broken, exact).rotation_deg == math.inf


def test_a_mode_is_recommended_if_depth_is_good_in_every_number_of_views(found):
    def whole(mode, views, mean):
        return StageError(mode, views, WHOLE, mean * 3, mean, 0.9999)

    errors = [whole("all", 1, 0.001), whole("all", 3, 0.02), whole("none", 1, 0.001)]
    errors.append(whole("none", 3, 0.001))
    assert recommend_scene(errors, 0.01, 0.999) == "none"
    assert recommend_scene(errors, 0.03, 0.999) == "all"
    assert recommend_scene(errors, 1e-9, 0.999) is None
    table = scene_table(*found)
    assert "rotation" in table and "| encoder_local | encoder_global |" in table
    assert table.count("| all | 3 |") == 2 and "°" in table
    assert Emulated(stages=tuple(errors)).recommended() == "none"


SINGLE = DA3Spec(encoder="vits", taps=(2, 5, 8, 11), features=16, out_channels=(8, 8, 8, 8))


@pytest.mark.parametrize("focal", [None, METRIC_FOCAL_PX], ids=["mono", "metric"])
def test_forms_of_mono_and_metric_networks_are_emulated_too(photos, focal):
    """Metres are depth times a factor, so the relative error of the metric one is in metres too."""
    model = DepthAnything3Net(SINGLE).eval()
    fill_seeded(model)
    output = OutputSpec("depth", metric_focal_px=focal)
    rough, fine = numerics.measure_model(
        model, SIZE_HW, photos[:2], output, ["all", "matmult-fp16"]
    )
    assert 0 < fine.mean < rough.mean < 0.2 and rough.mean <= rough.max
    assert (rough.abs_rel is None) == (focal is None)
    if focal is not None:
        assert 0 < fine.abs_rel < rough.abs_rel < 0.5


def test_the_command_measures_one_view_and_three(photos, monkeypatch, capsys, net):
    monkeypatch.setattr(
        "compile.checkpoint.load_model",
        lambda spec, file: (net, load_model(MODELS["demo"], None)[1]),
    )
    monkeypatch.setattr("compile.numerics.MODES", {"all": MODES["all"]})
    monkeypatch.setattr("compile.emulated.MODES", {"all": MODES["all"]})
    words = ["numerics", "--model", "da3-small", "--seeded-weights", "--size", "28x28", "--json"]
    assert (
        main([*words, "--photos", str(photos[0].parent), "--pearson", "0.5", "--mean", "0.5"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["emulation"] is True and facts["recommended"] == "all"
    assert {c["views"] for c in facts["cameras"]} == set(VIEWS)


@pytest.mark.parametrize(
    "words, text",
    [
        (["--model", "vits", "--views", "2"], "takes each photo for itself"),
        (["--model", "da3nested-giant-large"], "two networks; ask for da3-giant and"),
    ],
)
def test_what_cannot_be_emulated_is_said(words, text, capsys):
    assert main(["numerics", "--seeded-weights", *words]) == 1
    assert text in capsys.readouterr().err
