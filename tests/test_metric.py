"""da3metric-large compiled: depth becomes metres where the focal length is known."""

import json

import numpy as np
import pytest
from PIL import Image

import inference
from compile.job import CompileJob, compile_model
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_3.config import METRIC, NETWORKS, SMALL, DA3Spec
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.photo.exif import EXIF_IFD, FOCAL_35_MM
from runtime.predict.predictor import Predictor

SIZE = (56, 84)
FOCAL_PX = 123.0


@pytest.fixture(scope="module", autouse=True)
def _small_encoder():
    """The same network on the small encoder: seconds instead of minutes, the code is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, METRIC, DA3Spec("vits", (2, 5, 8, 11), 64, SMALL))
        yield


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    job = CompileJob(
        METRIC, "torchscript", (SIZE,), output=tmp_path_factory.mktemp("metric"), seeded="always"
    )
    (artifact,) = compile_model(job)
    return artifact


@pytest.fixture(scope="module")
def predictor(artifact) -> Predictor:
    return Predictor([artifact])


def test_the_manifest_says_at_which_focal_length_depth_is_in_metres(artifact):
    assert artifact.manifest.output == OutputSpec("depth", metric_focal_px=300.0)
    assert [stage.name for stage in artifact.manifest.stages] == ["depth"]
    assert artifact.manifest.parity.status == "passed"


def test_metres_of_the_artifact_are_those_of_the_model(predictor, make_photo):
    model = DepthAnything3(METRIC)
    fill_seeded(model)
    photo = make_photo(*SIZE)
    expected = model.inference([photo], process_res=84, focal_px=FOCAL_PX)
    found = predictor(photo, FOCAL_PX)
    assert (expected.kind, found.output, found.focal_px) == (
        "depth_m",
        OutputSpec("depth_m"),
        FOCAL_PX,
    )
    assert np.allclose(found.depth, expected.depth[0], rtol=1e-3)


def test_twice_the_focal_length_is_twice_the_metres(predictor, make_photo):
    photo = make_photo(70, 100)
    one, two = (predictor(photo, focal_px).depth for focal_px in (100, 200))
    assert np.allclose(two, 2 * one)


def test_the_focal_length_counts_in_pixels_of_the_networks_input(predictor, make_photo):
    photo = make_photo(112, 84)  # squeezed to half its height, as wide as it is
    relative, metres = predictor(photo), predictor(photo, 400)
    assert (relative.output.kind, relative.focal_px) == ("depth", None)
    assert np.allclose(metres.depth, relative.depth * 300 / 300)  # (400 / 2 + 400) / 2 = 300
    assert metres.output.kind == "depth_m"


@pytest.mark.parametrize("focal_px", [0, -1, float("nan"), float("inf")])
def test_a_focal_length_that_is_none_is_refused(focal_px, predictor, make_photo):
    with pytest.raises(InputError, match="give the focal length in pixels, above 0"):
        predictor(make_photo(), focal_px)


def test_the_main_job_takes_focal_lengths_from_exif(artifact, tmp_path, make_photo, capsys):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    photos.mkdir()
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[FOCAL_35_MM] = 35
    Image.fromarray(make_photo(60, 80)).save(photos / "known.jpg", exif=exif)
    Image.fromarray(make_photo(60, 80)).save(photos / "unknown.jpg")
    command = ["--artifact", artifact.path, "--input", photos, "--output", output]
    assert inference.main([str(word) for word in command]) == 0
    known, unknown = (
        json.loads((output / f"{name}.jpg.json").read_text()) for name in ("known", "unknown")
    )
    assert (known["kind"], known["unit"]) == ("depth_m", "metre")
    assert known["focal_px"] == pytest.approx(35 / 43.2666 * 100, rel=1e-3)  # the diagonal is 100
    assert (unknown["kind"], unknown["unit"], unknown["focal_px"]) == ("depth", "relative", None)
    assert inference.main([str(word) for word in [*command, "--focal-px", "90"]]) == 0
    unknown = json.loads((output / "unknown.jpg.json").read_text())
    assert (unknown["kind"], unknown["focal_px"]) == ("depth_m", 90)


def test_a_focal_length_for_a_model_that_does_not_use_it_is_refused(tiny_artifact, capsys):
    command = ["--artifact", str(tiny_artifact.path), "--focal-px", "90"]
    assert inference.main([*command, "--input", str(inference.__file__)]) == 1
    assert "error: --focal-px: the depth of vits does not depend on it" in capsys.readouterr().err
