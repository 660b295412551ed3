"""What answers say of themselves: warnings, the artifact, and by which focal length metres are."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from served import encoded, get, needing_focal, post, problem, serving

from exports.colour import colorize, paint
from runtime.photo.exif import EXIF_IFD, FOCAL_35_MM
from runtime.predict.found import SEEDED
from runtime.predict.predictor import Predictor


@pytest.fixture(scope="module")
def rgb(make_photo) -> np.ndarray:
    return make_photo(37, 53, seed=4)


def test_random_weights_are_said_wherever_an_answer_says_anything(make_artifact, rgb):
    artifact = make_artifact(seeded=True)
    predicted = Predictor([artifact])(rgb)
    photo = encoded(rgb, "png")
    with serving(artifact.path) as served:
        for accept in ("image/png", "application/x-npy", "application/json"):
            _, headers, body = post(served.base, photo, {"Accept": accept})
            assert headers["X-Depth-Warning"] == SEEDED
            attributes = headers["X-Amzn-SageMaker-Custom-Attributes"]
            assert f"warning={SEEDED};kind=disparity" in attributes
        assert json.loads(body)["warning"] == SEEDED
        _, _, body = post(served.base, photo, {"Accept": "image/png"}, "/v1/depth?png=color")
        picture = np.asarray(Image.open(io.BytesIO(body)))
        assert np.array_equal(picture, paint(predicted)), "stamped, as the file of it is"
        assert not np.array_equal(picture, colorize(predicted.depth, predicted.output))
        assert json.loads(get(served.base, "/info")[2])["warning"] == SEEDED
        lines = [json.loads(line) for line in served.log.splitlines()]
    (line,) = [line for line in lines if SEEDED in line["message"]]
    assert (line["level"], line["message"]) == ("WARNING", f"vits: {SEEDED}")


def test_real_weights_come_without_a_warning(tiny_served, rgb):
    _, headers, body = post(tiny_served.base, encoded(rgb, "png"), {"Accept": "application/json"})
    assert headers["X-Depth-Warning"] is None and "warning" not in json.loads(body)
    assert "warning" not in headers["X-Amzn-SageMaker-Custom-Attributes"]
    assert json.loads(get(tiny_served.base, "/info")[2])["warning"] is None


def test_a_folder_of_many_artifacts_is_served_and_what_is_left_out_is_said(
    make_artifact, tmp_path, rgb
):
    used = make_artifact(root=tmp_path)
    for other in ({"batch": 4}, {"precision": "bf16"}, {"seeded": True, "size_hw": (28, 42)}):
        make_artifact(root=tmp_path, **other)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text('{"schema_version": 2}')
    with serving(tmp_path) as served:
        _, headers, _ = post(served.base, encoded(rgb, "png"))
        assert headers["X-Depth-Artifact"] == used.digest
        info = json.loads(get(served.base, "/info")[2])
        log = served.log
    assert [one["digest"] for one in info["artifacts"]] == [used.digest]
    reasons = {one["artifact"]: one["reason"] for one in info["left_out"]}
    assert "batch 4: one of 1 is there" in reasons["vits-28x28-b4-torchscript"]
    assert "bf16: a higher one is there" in reasons["vits-28x28-b1-torchscript-bf16"]
    assert "has random weights" in reasons["vits-28x42-b1-torchscript"]
    assert "schema version 2" in reasons["old"] and "left out" in log
    assert str(tmp_path) not in json.dumps(info), "where it lies is nobody's business"


def with_exif(rgb: np.ndarray, focal_mm: int) -> bytes:
    """A JPEG whose EXIF tells the focal length on 35 mm film."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[FOCAL_35_MM] = focal_mm
    return encoded(rgb, "jpeg", exif=exif)


@pytest.fixture(scope="module")
def metric_served(make_artifact):
    with serving(needing_focal(make_artifact(kind="depth")).path) as served:
        yield served


MATRIX = [[777.0, 0, 20], [0, 777, 15], [0, 0, 1]]


@pytest.mark.parametrize(
    ("more", "exif", "expected"),
    [
        ({"focal_px": 500, "intrinsics": MATRIX}, True, 500),
        ({"intrinsics": MATRIX}, True, 777),
        ({"intrinsics": [MATRIX]}, False, 777),
        ({}, True, 35 / 43.27 * np.hypot(37, 53)),
        ({}, False, None),
    ],
)
def test_a_focal_length_that_is_given_comes_before_what_the_photo_says(
    more, exif, expected, metric_served, rgb
):
    photo = with_exif(rgb, 35) if exif else encoded(rgb, "png")
    message = json.dumps({"image": base64.b64encode(photo).decode(), **more})
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    status, said, body = post(metric_served.base, message, headers)
    facts = json.loads(body)
    assert status == 200, facts
    assert facts["focal_px"] == (expected and pytest.approx(expected, rel=1e-3))
    assert said["X-Depth-Kind"] == ("depth" if expected is None else "depth_m")


@pytest.mark.parametrize("focal_px", [1e307, 10_000_001])
@pytest.mark.parametrize("name", ["focal_px", "intrinsics"])
def test_a_focal_length_that_no_camera_has_is_refused(name, focal_px, metric_served, rgb):
    matrix = [[focal_px, 0, 20], [0, focal_px, 15], [0, 0, 1]]
    value = {"focal_px": focal_px, "intrinsics": matrix}[name]
    photo = base64.b64encode(encoded(rgb)).decode()
    message = json.dumps({"image": photo, name: value})
    answer = post(metric_served.base, message, {"Content-Type": "application/json"})
    assert "in pixels, above 0 and up to 10,000,000" in problem(answer)["detail"]


@pytest.mark.parametrize("name", ["focal_px", "intrinsics"])
def test_a_focal_length_that_does_nothing_is_refused(name, tiny_served, rgb):
    value = {"focal_px": 500, "intrinsics": MATRIX}[name]
    photo = base64.b64encode(encoded(rgb, "png")).decode()
    answer = post(
        tiny_served.base,
        json.dumps({"image": photo, name: value}),
        {"Content-Type": "application/json"},
    )
    said = f"{name}: the depth of vits does not depend on it; leave it out"
    assert problem(answer)["detail"] == said


def test_a_photo_with_exif_needs_no_model_that_uses_it(tiny_served, rgb):
    headers = {"Content-Type": "image/jpeg"}
    assert post(tiny_served.base, with_exif(rgb, 35), headers)[0] == 200
