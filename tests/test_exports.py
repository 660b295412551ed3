"""Depth files: exact where they hold floats, honest where they round, clear on what they hold."""

import dataclasses
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from exports.colour import COLORMAPS, SPECTRAL_R, colorize, nearness
from exports.depth16 import BAND_ROWS, MAX_UINT16, Encoding16, to_uint16
from exports.files import FORMATS, SUFFIXES, FileOptions
from exports.npz import encode_npz
from exports.pfm import encode_pfm
from exports.png import encode_png
from exports.tiff import TIFF_DESCRIPTION
from exports.write import write_prediction
from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import KINDS, OutputSpec
from runtime.errors import InputError
from runtime.predict.found import SEEDED, SIMULATED, Prediction, provenance_of

DISPARITY, DEPTH, METRIC = OutputSpec("disparity"), OutputSpec("depth"), OutputSpec("depth_m", 20.0)
OUTPUTS = [DISPARITY, DEPTH, METRIC]
SECONDS = {"inference": 0.25}
PHOTO = np.full((5, 7, 3), 9, np.uint8)
each_output = pytest.mark.parametrize("output", OUTPUTS, ids=list(KINDS))
each_format = pytest.mark.parametrize("name", FORMATS)

shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
maps = arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False))


@pytest.fixture
def depth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 19, (5, 7)).astype(np.float32)


@pytest.fixture
def predict(tiny_artifact: Artifact, depth):
    """Make a prediction of a kind, from seeded weights or not."""

    def make(output: OutputSpec, seeded: bool = False, values: np.ndarray = depth) -> Prediction:
        manifest = tiny_artifact.manifest
        weights = dataclasses.replace(
            manifest.weights, source="seeded" if seeded else "checkpoint", file="vits.pth"
        )
        manifest = dataclasses.replace(manifest, output=output, weights=weights)
        artifact = dataclasses.replace(tiny_artifact, manifest=manifest)
        return Prediction(
            depth=values,
            output=output,
            provenance=provenance_of(artifact),
            input=manifest.input,
            photo_hw=values.shape,
        )

    return make


def written(prediction: Prediction, folder: Path, name: str) -> Path:
    """Write one format and return its file."""
    write_prediction(prediction, folder / "photo.jpg", FileOptions((name,)), PHOTO, SECONDS)
    return folder / f"photo.jpg{SUFFIXES[name]}"


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "photo.jpg.json").read_text(encoding="utf-8"))


@each_output
def test_npz_holds_the_exact_map_under_the_name_of_its_kind(output, predict, depth, tmp_path):
    with np.load(written(predict(output), tmp_path, "npz")) as arrays_:
        assert arrays_.files == [output.kind, "meta"]
        assert json.loads(str(arrays_["meta"]))["unit"] == output.unit
        np.testing.assert_array_equal(arrays_[output.kind], depth)
        assert arrays_[output.kind].dtype == np.float32


@each_output
def test_npz_is_numpys_own_byte_for_byte(output, depth):
    facts = {"kind": output.kind, "caf\u00e9": 1}
    for values in (depth, depth[::2, ::-1]):
        expected = io.BytesIO()
        np.savez(expected, **{output.kind: values, "meta": np.array(json.dumps(facts))})
        assert encode_npz({output.kind: values}, facts) == expected.getvalue()


@pytest.mark.parametrize("name", ["pfm", "tiff"])
def test_a_float_file_holds_the_exact_map_and_opencv_reads_it(name, predict, depth, tmp_path):
    read = cv2.imread(str(written(predict(DEPTH), tmp_path, name)), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, depth)


@each_output
def test_exr_holds_the_exact_map_in_a_channel_of_its_kind_and_says_so(
    output, predict, depth, tmp_path
):
    import OpenEXR

    with OpenEXR.File(str(written(predict(output), tmp_path, "exr"))) as file:
        np.testing.assert_array_equal(file.channels()[output.kind].pixels, depth)
        assert json.loads(file.header()["comments"])["unit"] == output.unit


@pytest.mark.parametrize("name", ["png", "png16", "tiff"])
@each_output
def test_an_image_file_says_in_itself_what_it_holds(output, name, predict, tmp_path):
    with Image.open(written(predict(output), tmp_path, name)) as image:
        text = image.tag_v2[TIFF_DESCRIPTION] if name == "tiff" else image.text["Description"]
    facts = json.loads(text)
    assert facts["kind"] == output.kind
    assert facts["unit"] == output.unit
    assert facts["larger_is_nearer"] == output.larger_is_nearer
    assert facts["model"] == "vits"


def test_a_16_bit_png_says_in_itself_how_to_read_its_numbers(predict, tmp_path):
    with Image.open(written(predict(DISPARITY), tmp_path, "png16")) as image:
        described = json.loads(image.text["Description"])["png16"]
    assert described == facts_of(tmp_path)["png16"]


@each_output
def test_a_16_bit_png_reads_back_by_its_own_description(output, predict, depth, tmp_path):
    file = written(predict(output), tmp_path, "png16")
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16 and stored.shape == depth.shape
    how = facts_of(tmp_path)["png16"]
    read = how["offset"] + how["scale"] * stored.astype(np.float64)
    assert np.abs(read - depth).max() <= 0.52 * how["scale"]


def test_metres_are_stored_as_millimetres():
    metres = np.array([[0.001, 1.5, 19.9996]], np.float32)
    stored, how = to_uint16(metres, METRIC)
    assert stored.tolist() == [[1, 1500, 20000]]
    assert how == Encoding16(0.001, 0.0, "metre", invalid=0, out_of_range=0)


def test_metres_that_do_not_fit_are_stored_as_no_depth_and_counted():
    metres = np.array([[65.535, 65.536], [80.0, 1e30]], np.float32)
    stored, how = to_uint16(metres, METRIC)
    assert stored.tolist() == [[65535, 0], [0, 0]]
    assert how.out_of_range == 3


def test_a_pixel_without_a_number_hides_none_beside_it_that_does_not_fit():
    metres = np.array([[np.nan, 100.0, 2.0, -1.0, np.inf]], np.float32)
    stored, how = to_uint16(metres, METRIC)
    assert stored.tolist() == [[0, 0, 2000, 0, 0]] and how.out_of_range == 2


def test_metres_below_zero_are_stored_as_no_depth():
    stored, how = to_uint16(np.array([[-0.001, -1e9, 0.0, 1.0]], np.float32), METRIC)
    assert stored.tolist() == [[0, 0, 0, 1000]] and how.invalid == 0


@given(maps)
def test_relative_values_come_back_within_half_a_step(depth):
    stored, how = to_uint16(depth, DISPARITY)
    assert stored.dtype == np.uint16 and stored.shape == depth.shape
    assert (how.unit, how.invalid, how.out_of_range) == ("relative", None, 0)
    if 0 < float(depth.max()) - float(depth.min()) < 1e-30:
        return  # a step would be too small for a float32
    read = how.offset + how.scale * stored.astype(np.float64)
    # 0.5 and a little: the division before the rounding is itself rounded, to float32
    assert np.abs(read - depth).max() <= 0.52 * how.scale


@given(maps)
def test_relative_values_use_all_16_bits(depth):
    stored, _ = to_uint16(depth, DEPTH)
    if float(depth.max()) - float(depth.min()) > 1e-30:
        assert (stored[depth == depth.min()] == 0).all()
        assert (stored[depth == depth.max()] == MAX_UINT16).all()


@pytest.mark.parametrize("output", [DISPARITY, DEPTH], ids=["disparity", "depth"])
def test_a_constant_map_reads_back_as_that_constant(output):
    stored, how = to_uint16(np.full((3, 4), 2.5, np.float32), output)
    np.testing.assert_array_equal(how.offset + how.scale * stored, np.full((3, 4), 2.5))


@each_output
@each_format
def test_a_constant_map_is_written(name, output, predict, tmp_path):
    values = np.full((5, 7), 3.0, np.float32)
    assert written(predict(output, values=values), tmp_path, name).stat().st_size > 0
    facts = facts_of(tmp_path)
    assert facts["min"] == facts["max"] == 3.0


@given(maps, st.sampled_from(OUTPUTS))
def test_nearness_goes_from_0_at_the_farthest_to_1_at_the_nearest(depth, output):
    near = nearness(depth, output)
    assert near.dtype == np.float32 and near.min() >= 0 and near.max() <= 1
    if depth.min() == depth.max():
        assert not near.any()
        return
    nearest = depth == (depth.max() if output.larger_is_nearer else depth.min())
    farthest = depth == (depth.min() if output.larger_is_nearer else depth.max())
    assert (near[nearest] == 1).all() and (near[farthest] == 0).all()


@each_output
def test_near_is_warm_and_far_is_violet_for_every_kind(output):
    painted = colorize(np.array([[1.0, 2.0]], np.float32), output)
    near, far = painted[0, ::-1] if output.larger_is_nearer else painted[0]
    assert near.tolist() == [0x9E, 0x01, 0x42]
    assert far.tolist() == [0x5E, 0x4F, 0xA2]


@each_output
@pytest.mark.parametrize("height", [1, BAND_ROWS - 1, BAND_ROWS, BAND_ROWS + 1, 3 * BAND_ROWS])
def test_painting_and_storing_in_bands_of_rows_changes_no_bit(height, output):
    depth = np.random.default_rng(height).uniform(-1, 80, (height, 9)).astype(np.float32)
    (table,) = colorize(np.arange(256, dtype=np.float32)[None], DISPARITY)
    whole = table[(nearness(depth, output) * 255).astype(np.uint8)]
    np.testing.assert_array_equal(colorize(depth, output), whole)
    if output.unit == "metre":
        expected = np.round(depth * 1000)
        expected[(expected < 0) | (expected > MAX_UINT16)] = 0
        beyond = int((depth > 65.5354).sum())
    else:
        expected = np.round((depth - depth.min()) / (depth.max() - depth.min()) * MAX_UINT16)
        beyond = 0
    stored, how = to_uint16(depth, output)
    np.testing.assert_array_equal(stored, expected)
    assert how.out_of_range == beyond


@each_output
@pytest.mark.parametrize("colormap", ["inferno", "magma", "viridis"])
def test_near_is_bright_in_the_maps_that_go_from_dark_to_bright(colormap, output):
    painted = colorize(np.array([[1.0, 2.0]], np.float32), output, colormap).astype(int)
    near, far = painted[0, ::-1] if output.larger_is_nearer else painted[0]
    assert near.sum() > far.sum() + 200


@each_output
def test_near_is_white_and_far_is_black_in_gray(output):
    painted = colorize(np.array([[1.0, 2.0]], np.float32), output, "gray")
    near, far = painted[0, ::-1] if output.larger_is_nearer else painted[0]
    assert near.tolist() == [255, 255, 255] and far.tolist() == [0, 0, 0]


def test_turbo_is_red_near_and_blue_far():
    far, near = colorize(np.array([[1.0, 2.0], [1.1, 1.9]], np.float32), DISPARITY, "turbo")[1]
    assert near[0] > near[2] and far[2] > far[0]


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_every_colormap_has_as_many_colours_as_steps(colormap):
    ramp = np.arange(256, dtype=np.float32)[None]
    painted = colorize(ramp, DISPARITY, colormap)
    assert painted.dtype == np.uint8 and painted.shape == (1, 256, 3)
    assert len(np.unique(painted[0], axis=0)) > 200


@each_format
def test_a_file_is_named_after_its_photo_and_its_format(name, predict, tmp_path):
    files = write_prediction(predict(METRIC), tmp_path / "my.photo.jpg", FileOptions((name,)))
    assert files == [
        tmp_path / f"my.photo.jpg{SUFFIXES[name]}",
        tmp_path / "my.photo.jpg.json",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_all_formats_together_are_listed_in_the_sidecar_which_is_written_last(predict, tmp_path):
    files = write_prediction(predict(DEPTH), tmp_path / "photo.jpg", FileOptions(FORMATS))
    assert files[-1] == tmp_path / "photo.jpg.json"
    assert facts_of(tmp_path)["files"] == {name: f"photo.jpg{SUFFIXES[name]}" for name in FORMATS}
    assert all(file.is_file() for file in files)


def test_side_by_side_is_the_photo_then_the_colours(predict, depth, tmp_path):
    options = FileOptions(("npz",), side_by_side=True)
    write_prediction(predict(DISPARITY), tmp_path / "photo.jpg", options, PHOTO)
    with Image.open(tmp_path / "photo.jpg.side_by_side.png") as image:
        pixels = np.array(image)
    np.testing.assert_array_equal(pixels[:, :7], PHOTO)
    np.testing.assert_array_equal(pixels[:, 7:], colorize(depth, DISPARITY))
    assert set(facts_of(tmp_path)["files"]) == {"npz", "side_by_side"}


def test_the_colormap_asked_for_is_used_and_named(predict, depth, tmp_path):
    write_prediction(predict(DEPTH), tmp_path / "photo.jpg", FileOptions(("png",), "magma"))
    with Image.open(tmp_path / "photo.jpg.color.png") as image:
        np.testing.assert_array_equal(np.array(image), colorize(depth, DEPTH, "magma"))
    assert facts_of(tmp_path)["colormap"]["name"] == "magma"


@each_output
def test_the_sidecar_says_what_where_from_and_how(output, predict, depth, tmp_path):
    prediction = predict(output)
    written(prediction, tmp_path, "npz")
    facts = facts_of(tmp_path)
    expected = {
        "kind": output.kind,
        "unit": output.unit,
        "larger_is_nearer": output.larger_is_nearer,
        "max_depth_m": output.max_depth_m,
        "focal_px": None,
        "min": float(depth.min()),
        "max": float(depth.max()),
        "size": {"height": 5, "width": 7},
        "grid": "photo",
        "model": "vits",
        "artifact": {
            "name": "vits-28x28-b1-torchscript",
            "digest": prediction.provenance.artifact.digest,
        },
        "licence": "Apache-2.0",
        "photo": "photo.jpg",
        "files": {"npz": "photo.jpg.npz"},
        "seconds": {"inference": 0.25},
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["weights"]["source"] == "checkpoint" and facts["weights"]["file"] == "vits.pth"
    assert facts["preprocessing"]["network_size"] == {"height": 28, "width": 28}
    assert facts["preprocessing"]["aspect_stretch"] == pytest.approx(5 / 7)
    assert "warning" not in facts


def test_depth_from_random_weights_carries_a_warning_in_every_description(predict, tmp_path):
    file = written(predict(DISPARITY, seeded=True), tmp_path, "png")
    assert "random weights" in facts_of(tmp_path)["warning"]
    with Image.open(file) as image:
        assert "random weights" in json.loads(image.text["Description"])["warning"]
    with np.load(written(predict(DISPARITY, seeded=True), tmp_path, "npz")) as arrays_:
        assert "random weights" in json.loads(str(arrays_["meta"]))["warning"]


def test_a_picture_from_random_weights_is_stamped_and_others_are_not(predict, tmp_path):
    flat = np.zeros((100, 300), np.float32)
    colours = {}
    for seeded in (True, False):
        prediction = predict(DISPARITY, seeded, flat)
        (file, _) = write_prediction(prediction, tmp_path / "p", FileOptions(("png",)))
        colours[seeded] = len(np.unique(np.array(Image.open(file)).reshape(-1, 3), axis=0))
    assert colours[True] > 2 and colours[False] == 1


def test_a_photos_name_in_any_script_is_kept(predict, tmp_path):
    write_prediction(predict(DEPTH), tmp_path / "été 山.jpg", FileOptions(("npz",)))
    text = (tmp_path / "été 山.jpg.json").read_bytes().decode("utf-8")
    assert '"photo": "été 山.jpg"' in text


def test_a_single_pixel_is_written(predict, tmp_path):
    values = np.full((1, 1), 4.0, np.float32)
    write_prediction(predict(DISPARITY, values=values), tmp_path / "dot", FileOptions(FORMATS))
    assert cv2.imread(str(tmp_path / "dot.pfm"), cv2.IMREAD_UNCHANGED) == 4.0


def test_the_same_prediction_gives_the_same_bytes(depth):
    # no time stamp inside: a rerun changes no file
    assert encode_png(PHOTO, {"a": 1}) == encode_png(PHOTO, {"a": 1})
    assert encode_npz({"a": depth}, {"a": 1}) == encode_npz({"a": depth}, {"a": 1})


def test_a_map_that_is_not_contiguous_is_encoded_as_it_looks(depth):
    view = depth[::-1, ::2]
    with np.load(io.BytesIO(encode_npz({"depth": view}, {}))) as arrays_:
        np.testing.assert_array_equal(arrays_["depth"], view)
    data = np.frombuffer(encode_pfm(view), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), view)


def test_the_colours_are_matplotlibs_to_the_last_level():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    expected = matplotlib.colormaps["Spectral_r"](np.arange(256))[:, :3] * 255
    painted = colorize(np.arange(256, dtype=np.float32)[None], DISPARITY)[0]
    np.testing.assert_array_equal(painted, expected.astype(np.uint8))


def test_the_first_and_last_colours_are_the_palettes_own():
    painted = colorize(np.arange(256, dtype=np.float32)[None], DISPARITY)[0]
    assert bytes(painted[0]).hex() == SPECTRAL_R.split()[0]
    assert bytes(painted[-1]).hex() == SPECTRAL_R.split()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("gif",)}, r"formats \('gif',\): give some of png, png16"),
        ({"formats": ()}, "give some of png, png16"),
        ({"colormap": "jet"}, "colormap='jet': use one of Spectral_r"),
    ],
)
def test_files_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FileOptions(**options)


def test_what_no_graph_made_says_so(predict, tiny_artifact, tmp_path):
    made_up = dataclasses.replace(
        predict(DEPTH), provenance=provenance_of(tiny_artifact, simulated=True)
    )
    write_prediction(made_up, tmp_path / "photo.jpg", FileOptions(("npz",)))
    assert facts_of(tmp_path)["warning"] == SIMULATED
    assert predict(DEPTH, seeded=True).facts()["warning"] == SEEDED
