"""Metres from relative depth: a scale and a shift that outliers do not move, or a refusal."""

import io
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError, LimitError
from runtime.predict.found import Prediction, Provenance
from runtime.scene import known_points
from runtime.scene.fit import FAR, Fit, fit_points, sample
from runtime.scene.intrinsics import read_intrinsics
from runtime.scene.known_points import (
    KnownPoints,
    points_of_bytes,
    points_of_map,
    points_of_rows,
    read_points,
)

SCALE, SHIFT = 0.2, 0.05
SIZE_HW = (40, 60)
XYZ = [[1, 2, 3.5], [4, 5, 6.25]]


def a_map(seed=0):
    return (np.random.RandomState(seed).rand(*SIZE_HW) * 5).astype(np.float32)


def metres_of(values, kind, scale=SCALE, shift=SHIFT):
    fitted = scale * values.astype(np.float64) + shift
    return 1 / fitted if kind == "disparity" else fitted


def some_points(values, kind, count, wrong=0.0, noise=0.0, seed=1):
    """Points of a map whose metres are known, a share of them wrong."""
    draw = np.random.RandomState(seed)
    y, x = draw.randint(0, SIZE_HW[0], count), draw.randint(0, SIZE_HW[1], count)
    metres = metres_of(values[y, x], kind) * (1 + noise * draw.randn(count))
    metres[: int(wrong * count)] *= draw.choice([0.3, 3, 7], int(wrong * count))
    return KnownPoints(np.stack((x, y), axis=1).astype(np.float64), metres)


def prediction(depth, kind="disparity"):
    weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0")
    return Prediction(
        depth, OutputSpec(kind), Provenance("vits", weights), InputSpec((14, 14)), depth.shape
    )


@pytest.mark.parametrize("kind", ["disparity", "depth", "depth_m"])
@pytest.mark.parametrize("count", [2, 3, 12, 400])
def test_scale_and_shift_of_exact_points_are_found_exactly(kind, count):
    values = a_map()
    fit = fit_points(values, kind, some_points(values, kind, count))
    np.testing.assert_allclose((fit.scale, fit.shift), (SCALE, SHIFT), rtol=1e-9)
    assert fit.fitted_in == ("disparity" if kind == "disparity" else "depth")
    assert (fit.points, fit.used) == (count, count)
    assert fit.rms_m < 1e-9 and fit.rms_rel < 1e-9
    found = fit.metres(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, metres_of(values, kind), rtol=1e-6)


@pytest.mark.parametrize("kind", ["disparity", "depth"])
@pytest.mark.parametrize(("count", "wrong"), [(5, 0.4), (10, 0.3), (60, 0.45), (3000, 0.49)])
def test_points_that_are_wrong_do_not_count(kind, count, wrong):
    values = a_map()
    fit = fit_points(values, kind, some_points(values, kind, count, wrong))
    np.testing.assert_allclose((fit.scale, fit.shift), (SCALE, SHIFT), rtol=1e-6)
    assert fit.used == count - int(wrong * count)


@pytest.mark.parametrize("kind", ["disparity", "depth"])
def test_noise_moves_the_fit_little_and_is_stated(kind):
    values = a_map()
    fit = fit_points(values, kind, some_points(values, kind, 500, wrong=0.3, noise=0.03))
    np.testing.assert_allclose((fit.scale, fit.shift), (SCALE, SHIFT), rtol=0.05)
    assert fit.rms_rel == pytest.approx(0.03, rel=0.2)
    assert fit.median_rel == pytest.approx(0.6745 * 0.03, rel=0.2)
    assert 0 < fit.median_m < fit.rms_m


def test_a_wall_with_most_of_the_points_does_not_decide_the_slope():
    values = np.full(SIZE_HW, 1.0, np.float32)
    values[:, :20] = np.linspace(2, 5, 20, dtype=np.float32)
    xy = [(x, 5) for x in range(30, 60)] + [(x, 9) for x in range(20)]
    rows = [[x, y, float(metres_of(values[y, x], "disparity"))] for x, y in xy]
    fit = fit_points(values, "disparity", points_of_rows(rows))
    np.testing.assert_allclose((fit.scale, fit.shift), (SCALE, SHIFT), rtol=1e-9)


@given(
    scale=st.floats(0.01, 50),
    shift=st.floats(0.001, 5),
    count=st.integers(8, 40),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["disparity", "depth"]),
)
def test_a_third_of_wrong_points_never_moves_the_fit(scale, shift, count, seed, kind):
    values = a_map(seed)
    draw = np.random.RandomState(seed)
    places = draw.permutation(values.size)[:count]
    y, x = np.divmod(places, SIZE_HW[1])
    metres = metres_of(values[y, x], kind, scale, shift)
    metres[: count // 4] *= draw.choice([0.2, 4.0], count // 4)
    points = KnownPoints(np.stack((x, y), axis=1).astype(float), metres)
    fit = fit_points(values, kind, points)
    again = fit_points(values.copy(), kind, points)
    assert fit == again
    right = values[y, x][count // 4 :]
    np.testing.assert_allclose(
        fit.scale * right.astype(float) + fit.shift, scale * right.astype(float) + shift, rtol=0.02
    )


def test_between_pixels_the_map_is_bilinear_and_on_them_exact():
    values = a_map()
    xy = np.array([[3, 4], [3.5, 4], [3, 4.25], [-0.5, 0], [59.5, 39.5]])
    found = sample(values, xy)
    wide = values.astype(np.float64)
    expected = [
        wide[4, 3],
        (wide[4, 3] + wide[4, 4]) / 2,
        0.75 * wide[4, 3] + 0.25 * wide[5, 3],
        wide[0, 0],
        wide[39, 59],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == wide[4, 3]


def test_metres_are_finite_to_the_horizon_and_beyond():
    fit = Fit("disparity", 1.0, -0.5, 2, 2, 0, 0, 0, 0, far_m=40.0)
    found = fit.metres(np.array([[2.5, 0.51, 0.5, 0.2, -1e9]], np.float32))
    np.testing.assert_allclose(found, [[0.5, 40, 40, 40, 40]])
    fit = Fit("depth", 2.0, -1.0, 2, 2, 0, 0, 0, 0, far_m=40.0)
    np.testing.assert_allclose(
        fit.metres(np.array([[0.25, 0.5, 1, 99]], np.float32)), [[0, 0, 1, 40]]
    )


def test_a_prediction_in_metres_says_how_it_came_to_them():
    values = a_map()
    values[0, :3] = -1.0  # beyond infinity
    points = some_points(values, "disparity", 10, wrong=0.2)
    found = prediction(values).in_metres(points)
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert (facts["kind"], facts["unit"], facts["larger_is_nearer"]) == ("depth_m", "metre", False)
    assert facts["max_depth_m"] is None
    said = facts["metres_by"]
    assert (said["points"], said["used"], said["fitted_in"]) == (10, 8, "disparity")
    assert said["far_m"] == pytest.approx(FAR * np.sort(points.metres[2:])[-1])
    assert said["share_at_far_m"] == pytest.approx(3 / values.size)
    assert said["share_at_0"] == 0
    assert np.isfinite(found.depth).all() and found.value_range[1] == np.float32(said["far_m"])
    assert "metres_by" not in prediction(values).facts()


def test_points_are_of_the_photos_pixels_even_if_the_map_is_not():
    small = a_map()
    found = prediction(small)
    from dataclasses import replace

    from runtime.photo.postprocess import resize_to_photo

    photo = resize_to_photo(small, (79, 119))
    on_photo = replace(found, depth=photo, photo_hw=(79, 119))
    points = KnownPoints(
        np.array([[10.0, 70], [100, 3], [57, 33]]),
        metres_of(photo[[70, 3, 33], [10, 100, 57]], "disparity"),
    )
    on_model = replace(found, grid="model", photo_hw=(79, 119)).in_metres(points)
    assert on_model.metres_by == on_photo.in_metres(points).metres_by
    assert on_model.depth.shape == small.shape


def refused(values, kind, rows, match):
    with pytest.raises(InputError, match=match):
        fit_points(values, kind, points_of_rows(rows))


def test_points_that_cannot_tell_scale_and_shift_are_refused():
    ramp = np.tile(np.linspace(0, 10, 60, dtype=np.float32), (40, 1))
    one, two = [0, 0, 2.0], [59, 0, 0.5]
    refused(ramp, "disparity", [], "0 given, expected at least two")
    refused(ramp, "disparity", [one], "1 given, expected at least two")
    refused(ramp, "disparity", [one, [5, 5, 2.0]], "all 2 are at 2 metres")
    refused(ramp, "disparity", [one, [0, 9, 0.5]], "gives all 2 that agree one disparity")
    refused(ramp, "depth", [[0, 0, 1.0], [0, 9, 2.0]], "gives all 2 that agree one depth")
    refused(np.full((40, 60), 3.0, np.float32), "disparity", [one, two], "one disparity")
    refused(ramp, "disparity", [one, [60, 0, 0.5]], r"x 60, y 0, outside of the upright photo of")
    refused(ramp, "disparity", [one, [0, -1, 0.5]], "outside")
    refused(ramp, "disparity", [one, [59, 0, -0.5]], "point 2 is at -0.5 metres; give distances")
    refused(ramp, "disparity", [one, [59, 0, 0]], "is at 0 metres")
    refused(ramp, "disparity", [one, [59, 0, float("nan")]], "is at nan metres")
    refused(ramp, "disparity", [[0, 0, 0.5], [59, 0, 2.0]], "sees as nearer would not be nearer")
    refused(ramp, "depth", [[0, 0, 2.0], [59, 0, 0.5]], "sees as farther would not be farther")
    refused(ramp, "disparity", [one, two, [30, 0, 90.0]], "only 2 of 3 agree on one scale and")
    refused(ramp, "disparity", [[59, 0, 1.0], [55, 0, 90.0]], "of the photo would lie beyond inf")


@pytest.mark.parametrize(("count", "right", "expected"), [(20, 6, 10), (60, 8, 20), (21, 2, 7)])
def test_points_of_which_too_few_agree_are_refused(count, right, expected):
    values = a_map()
    points = some_points(values, "disparity", count)
    draw = np.random.RandomState(5)
    points.metres[right:] = 10 ** draw.uniform(-2, 3, count - right)
    with pytest.raises(InputError, match=rf"only \d+ of {count} agree .* expected {expected} or"):
        fit_points(values, "disparity", points)


def test_a_third_of_many_points_is_enough():
    values = a_map()
    points = some_points(values, "disparity", 600)
    points.metres[220:] = 10 ** np.random.RandomState(5).uniform(-2, 3, 380)
    fit = fit_points(values, "disparity", points)
    np.testing.assert_allclose((fit.scale, fit.shift), (SCALE, SHIFT), rtol=1e-3)
    assert 220 <= fit.used < 240


@pytest.mark.parametrize(
    "text",
    [
        "x,y,metres\n1,2,3.5\n4,5,6.25\n",
        "1,2,3.5\n4,5,6.25",
        "# by hand\n\n1, 2, 3.5\r\n4, 5, 6.25\r\n",
        "metres;y;x;what\n3,5;2;1;cup\n6,25;5;4;wall\n",
        "X\tY\tMetres\n1\t2\t3.5\n4\t5\t6.25\n",
        "1 2 3.5\n4  5  6.25\n",
        "\ufeffx,y,metres\n1,2,3.5\n4,5,6.25\n",
        '"x","y","metres"\n"1","2","3.5"\n"4","5","6.25"\n',
    ],
)
@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
def test_lines_of_points_come_as_people_and_programs_write_them(text, code):
    points = points_of_bytes(text.encode(code), "known.csv")
    np.testing.assert_array_equal(np.column_stack((points.xy, points.metres)), XYZ)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_sparse_map_gives_the_pixels_that_hold_a_distance(tmp_path):
    millimetres = np.zeros((6, 7), np.uint16)
    millimetres[2, 1], millimetres[5, 4] = 3500, 6250
    file = tmp_path / "known.png"
    file.write_bytes(png(millimetres))
    points = read_points(file)
    np.testing.assert_array_equal(np.column_stack((points.xy, points.metres)), XYZ)
    np.testing.assert_allclose(read_points(file, 256.0).metres, [3500 / 256, 6250 / 256])
    with pytest.raises(InputError, match="the map is 7 x 6, the upright photo 8 x 6"):
        points.check_inside((6, 8))
    points.check_inside((6, 7))
    for depth in (millimetres / 1000.0, np.where(millimetres, millimetres / 1000.0, np.nan)):
        for name in ("depth", "depth_m"):
            again = points_of_bytes(npz(**{name: depth}), "a.npz")
            np.testing.assert_allclose(again.metres, points.metres)
            np.testing.assert_array_equal(again.xy, points.xy)
    np.testing.assert_array_equal(points_of_bytes(npz(points=XYZ), "a.npz").metres, [3.5, 6.25])


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("a.csv", b"", "a.csv: no points; expected lines of x,y,metres"),
        ("a.csv", b"x,y,metres\n", "a.csv: points: 0 given"),
        ("a.csv", b"x,y,z\n1,2,3\n4,5,6\n", "header is 'x,y,z', expected x,y,metres"),
        ("a.csv", b"1,2,3\n4,five,6\n", "a.csv, line 2: '4,five,6' is no x,y,metres"),
        ("a.csv", b"1,2,3\n4,5\n", "line 2"),
        ("a.csv", b"1,2,3\n4,5,-6\n", "a.csv: points: point 2 is at -6 metres"),
        ("a.csv", b"1,2,3\n4,nan,6\n", "a place that is no number"),
        ("a.csv", b"\xff\xfe\x00", "no text"),
        ("a.csv", b"\x80\x81", "no text"),
        ("a.png", b"\x89PNG\r\n\x1a\n damaged", "a.png: "),
        ("a.png", png(np.zeros((4, 4, 3), np.uint8)), "RGB, expected one channel of 16 bits"),
        ("a.png", png(np.zeros((4, 4), np.uint8)), "L, expected one channel of 16 bits"),
        ("a.png", png(np.zeros((4, 4), np.uint16)), "0 given"),
        ("a.npz", b"PK damaged", "no NumPy archive"),
        ("a.npz", npz(other=np.zeros(3)), "expected one of points, depth, depth_m"),
        ("a.npz", npz(points=np.zeros((2, 2))), "no list of"),
        ("a.npz", npz(depth=np.zeros((2, 2, 2))), "expected numbers"),
        ("a.npz", npz(points=np.array([{}, {}])), "a.npz: "),
        ("a.json", b"[]", "points come as .csv, .txt, .npz, .png"),
    ],
)
def test_a_file_that_holds_no_points_is_refused_by_name(name, data, match):
    with pytest.raises(InputError, match=match):
        points_of_bytes(data, name)


def test_an_archive_that_unpacks_to_much_is_refused(monkeypatch):
    monkeypatch.setattr(known_points, "MAX_BYTES", 100_000)
    with pytest.raises(LimitError, match="unpacks to over"):
        points_of_bytes(npz(depth=np.zeros((200, 200))), "a.npz")


@pytest.mark.parametrize(
    "rows",
    [
        None,
        "text",
        5,
        {},
        [1, 2, 3],
        [[1, 2], [3, 4]],
        [[1, 2, "3"], [4, 5, "6"]],
        [[True] * 3] * 2,
    ],
)
def test_what_is_no_list_of_points_is_refused(rows):
    with pytest.raises(InputError, match=r"no list of \[x, y, metres\]"):
        points_of_rows(rows)


def test_a_map_of_texts_is_refused():
    with pytest.raises(InputError, match="expected numbers"):
        points_of_map(np.array([["a"]]))


@pytest.mark.parametrize(
    "read", [read_points, lambda pipe: read_intrinsics(pipe, "a.jpg", (4, 4))], ids=["points", "K"]
)
def test_a_pipe_is_refused_and_nobody_waits_for_it(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="a device or a pipe, expected a file"):
        read(tmp_path / "pipe.csv")
