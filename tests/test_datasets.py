"""Datasets: what each layout gives, how pairs are drawn, and what hostile or broken files get."""

import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metric_depth.da2k import parse_annotations
from metric_depth.datasets import (
    DATASETS,
    GENERATED_SIZES_HW,
    DatasetName,
    garg_crop,
    open_dataset,
    parse_name,
)
from metric_depth.samples import (
    PAIR_RATIO,
    PAIRS,
    Entry,
    Sample,
    draw_pairs,
    evenly,
    with_depth,
)
from runtime.errors import InputError

HELD_OUT_SEED = 2**31


def save_png16(path: Path, stored: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored.astype(np.uint16)).save(path)


def pair(first, second, closer="point1"):
    return {"point1": first, "point2": second, "closer_point": closer}


@pytest.fixture
def renderer(monkeypatch):
    """A stand-in for the scenes: depth 1 m at the bottom to 100 m, and sky in the upper half."""

    def render(seeds, size_hw, device="cpu"):
        height, width = size_hw
        rows = torch.linspace(100.0, 1.0, height)[:, None].expand(height, width).clone()
        rows[: height // 2] = torch.inf
        rgb = torch.full((1, 3, height, width), seeds[0] % 251, dtype=torch.uint8)
        return types.SimpleNamespace(rgb=rgb, depth_m=rows[None])

    scenes = types.SimpleNamespace(HELD_OUT_SEED=HELD_OUT_SEED, render_scenes=render)
    monkeypatch.setitem(sys.modules, "metric_depth.scenes", scenes)


# names


def test_names_are_a_kind_and_where_it_needs_one_a_folder(tmp_path):
    assert parse_name("generated") == DatasetName("generated")
    assert parse_name("nyu:some/where") == DatasetName("nyu", Path("some/where"))
    assert DatasetName("nyu", tmp_path / "test").title == "nyu-test"
    assert DatasetName("kitti", tmp_path / "KITTI").title == "kitti"
    assert DatasetName("motorcycle", tmp_path).title == "motorcycle"


@pytest.mark.parametrize(
    "text, says",
    [
        ("imagenet", f"unknown; choose one of {', '.join(DATASETS)}"),
        ("da2k", "give da2k:FOLDER"),
        ("nyu:", "give nyu:FOLDER"),
        ("generated:here", "has no folder"),
    ],
)
def test_other_names_are_refused(text, says):
    with pytest.raises(InputError, match=says):
        parse_name(text)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder, expected one in kitti's layout"):
        open_dataset(DatasetName("kitti", tmp_path / "gone"))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_count_takes_that_many_different_samples_in_order(length, count):
    entries = [Entry(str(index), Sample) for index in range(length)]
    names = [int(entry.name) for entry in evenly(entries, count)]
    assert len(names) == min(length, count)
    assert names == sorted(set(names)) and names[0] == 0


# pairs from depth


@given(st.integers(0, 2**32 - 1))
def test_drawn_pairs_are_in_order_apart_and_among_the_pixels_that_count(seed):
    random = np.random.RandomState(7)
    depth_m, scored = random.uniform(1, 3, (20, 30)), random.rand(20, 30) < 0.5
    pairs = draw_pairs(depth_m, scored, seed)
    near, far = (depth_m[pairs[:, end, 0], pairs[:, end, 1]] for end in (0, 1))
    assert len(pairs) == PAIRS
    assert (far >= PAIR_RATIO * near).all()
    assert scored[pairs[..., 0], pairs[..., 1]].all()
    assert np.array_equal(pairs, draw_pairs(depth_m, scored, seed))


def test_where_nothing_counts_or_all_is_flat_there_are_no_pairs():
    flat = np.ones((20, 30))
    assert draw_pairs(flat, np.zeros((20, 30), bool), 0).shape == (0, 2, 2)
    assert draw_pairs(flat, np.ones((20, 30), bool), 0).shape == (0, 2, 2)


def test_drawn_pairs_are_the_same_on_every_machine():
    depth_m = np.arange(1.0, 13.0).reshape(3, 4)
    drawn = draw_pairs(depth_m, np.ones((3, 4), bool), seed=0, count=2)
    assert drawn.tolist() == [[[0, 0], [1, 1]], [[0, 3], [2, 3]]]


def test_sky_unknown_and_far_do_not_count():
    depth_m = np.array([[np.inf, np.nan, 0.0, 5.0, 81.0]] * 3, np.float32)
    sample = with_depth("x", np.zeros((3, 5, 3), np.uint8), depth_m, 80.0, ...)
    assert sample.scored.tolist() == [[False, False, False, True, False]] * 3


# generated


def test_generated_scenes_are_held_out_and_of_three_aspect_ratios(renderer):
    dataset = open_dataset(DatasetName("generated"), count=4)
    assert [entry.name for entry in dataset.entries] == [
        f"seed-{HELD_OUT_SEED + index}" for index in range(4)
    ]
    samples = [entry.load() for entry in dataset.entries]
    sizes = [sample.rgb.shape[:2] for sample in samples]
    assert sizes == [*GENERATED_SIZES_HW, GENERATED_SIZES_HW[0]]
    first = samples[0]
    assert first.rgb.dtype == np.uint8 and first.rgb[0, 0, 0] == HELD_OUT_SEED % 251
    assert first.depth_m.shape == first.scored.shape == sizes[0]
    assert not first.scored[np.isinf(first.depth_m)].any()
    assert first.depth_m[first.scored].max() <= 80.0
    assert len(first.pairs) == PAIRS


# motorcycle


def save_motorcycle(folder: Path, **arrays: np.ndarray) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "motorcycle_left.png")
    np.savez(folder / "motorcycle_disp.npz", **arrays)


def test_motorcycles_disparity_becomes_metres_by_its_calibration(tmp_path):
    disparity = np.full((20, 30), 40.0, np.float32)
    disparity[0, 0] = np.inf
    save_motorcycle(tmp_path, arr_0=disparity)
    (entry,) = open_dataset(DatasetName("motorcycle", tmp_path)).entries
    sample = entry.load()
    assert sample.depth_m[5, 5] == pytest.approx(994.978 * 0.193001 / 71.086)
    assert math.isnan(sample.depth_m[0, 0]) and not sample.scored[0, 0]


def test_motorcycle_is_found_in_an_installed_package_without_importing_it(tmp_path, monkeypatch):
    data = tmp_path / "skimage" / "data"
    data.mkdir(parents=True)
    (tmp_path / "skimage" / "__init__.py").write_text("raise SystemExit('imported')")
    save_motorcycle(data, arr_0=np.full((20, 30), 40.0, np.float32))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(open_dataset(DatasetName("motorcycle")).entries) == 1


def test_without_the_motorcycle_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"pip install scikit-image==0\.19\.3"):
        open_dataset(DatasetName("motorcycle", tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install scikit-image==0\.19\.3"):
        open_dataset(DatasetName("motorcycle"))


def test_pickles_in_the_disparity_file_are_not_read(tmp_path):
    save_motorcycle(tmp_path, arr_0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not scikit-image's disparity map"):
        open_dataset(DatasetName("motorcycle", tmp_path)).entries[0].load()


# da2k


def test_annotations_become_pairs_nearer_point_first(tmp_path):
    text = json.dumps(
        {
            "images/a.jpg": [pair([1, 2], [3, 4]), pair([5, 6], [7, 8], "point2")],
            "images/ü b/c.png": [pair([0, 0], [1, 1])],
        }
    )
    found = parse_annotations(text, tmp_path)
    assert list(found) == ["images/a.jpg", "images/ü b/c.png"]
    assert found["images/a.jpg"].tolist() == [[[1, 2], [3, 4]], [[7, 8], [5, 6]]]


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "images/../../a.jpg",
        "/etc/passwd",
        "images//a.jpg",
        "./a.jpg",
        "",
        "C:/a.jpg",
        "..\\a.jpg",
        "a\0.jpg",
        "a\n.jpg",
        "\ud800.jpg",
        "a/" * 600 + "b.jpg",
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="not a plain relative path such as"):
        parse_annotations(json.dumps({name: [pair([1, 2], [3, 4])]}), tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path, save_photo):
    save_photo(tmp_path / "outside" / "a.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "images").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="leads out of the folder"):
        parse_annotations(json.dumps({"images/a.png": [pair([1, 2], [3, 4])]}), inside)


@pytest.mark.parametrize("name", ["loop/a.jpg", "x" * 300 + ".jpg"], ids=["loop", "long"])
def test_a_path_that_cannot_be_followed_is_an_error_of_its_own_photo(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "annotations.json").write_text(json.dumps({name: [pair([1, 2], [3, 4])]}))
    with pytest.raises((InputError, OSError), match=r"loop|too long"):
        open_dataset(DatasetName("da2k", tmp_path)).entries[0].load()


@pytest.mark.parametrize(
    "text, says",
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected an object"),
        ("{}", "expected an object"),
        ('{"a.jpg": []}', "'a.jpg': expected a list of pairs, found \\[\\]"),
        ('{"a.jpg": {}}', "'a.jpg': expected a list of pairs"),
        ('{"a.jpg": [3]}', "'a.jpg': 3 is not a pair"),
    ],
)
def test_text_of_another_form_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        parse_annotations(text, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        pair([1, 2], [3]),
        pair([1, 2], [3, 4, 5]),
        pair([1, 2], [3, -4]),
        pair([1, 2], [3, 4.5]),
        pair([1, 2], [3, True]),
        pair([1, 2], [3, 10**30]),
        pair([1, 2], "34"),
        pair([1, 2], [3, 4], "point3"),
        pair([1, 2], [3, 4], ["point1"]),
        {"point1": [1, 2], "point2": [3, 4]},
    ],
)
def test_a_pair_of_another_form_is_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="is not a pair, expected point1 and point2 as"):
        parse_annotations(json.dumps({"a.jpg": [wrong]}), tmp_path)


def test_da2k_photos_are_read_and_points_outside_them_refused(tmp_path, save_photo):
    save_photo(tmp_path / "images" / "a.png", height=20, width=30)
    annotations = {
        "images/a.png": [pair([19, 29], [0, 0])],
        "images/gone.png": [pair([1, 2], [3, 4])],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    good, gone = open_dataset(DatasetName("da2k", tmp_path)).entries
    assert good.load().pairs.tolist() == [[[19, 29], [0, 0]]]
    assert good.load().depth_m is None
    with pytest.raises(InputError, match="cannot be read"):
        gone.load()
    annotations["images/a.png"] = [pair([29, 19], [0, 0])]  # column and row, the usual mistake
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    with pytest.raises(InputError, match=r"20 x 30, so the pair .* points are \[row, column\]"):
        open_dataset(DatasetName("da2k", tmp_path)).entries[0].load()


def test_da2k_without_its_annotations_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"annotations\.json.*expected DA-2K's annotations there"):
        open_dataset(DatasetName("da2k", tmp_path))
    (tmp_path / "annotations.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        open_dataset(DatasetName("da2k", tmp_path))


# nyu and kitti


@pytest.mark.parametrize(
    "photo, truth",
    [
        ("kitchen/rgb_00045.jpg", "kitchen/sync_depth_00045.png"),
        ("00045_colors.png", "00045_depth.png"),
        ("45.jpg", "45.png"),
    ],
)
def test_nyu_in_each_of_its_layouts(tmp_path, save_photo, photo, truth):
    save_photo(tmp_path / photo, 480, 640)
    save_photo(tmp_path / "rgb_1.jpg", 20, 30)  # has no depth, so it is no sample
    stored = np.full((480, 640), 2500)
    stored[100, 100], stored[100, 101] = 0, 10_001
    save_png16(tmp_path / truth, stored)
    (entry,) = open_dataset(DatasetName("nyu", tmp_path)).entries
    assert entry.name == photo
    sample = entry.load()
    assert sample.depth_m[0, 0] == 2.5 and math.isnan(sample.depth_m[100, 100])
    assert sample.scored.sum() == (471 - 45) * (601 - 41) - 2
    assert sample.scored[45, 41] and not sample.scored[44, 41] and not sample.scored[45, 601]


def test_nyu_of_another_size_or_depth_is_refused_when_it_is_read(tmp_path, save_photo):
    save_photo(tmp_path / "1.jpg", 20, 30)
    save_png16(tmp_path / "1.png", np.full((20, 30), 1000))
    save_photo(tmp_path / "2.jpg", 480, 640)
    save_photo(tmp_path / "2.png", 480, 640)
    save_photo(tmp_path / "3.jpg", 480, 640)
    (tmp_path / "3.png").write_bytes(b"no picture")
    save_photo(tmp_path / "4.jpg", 480, 640)
    save_png16(tmp_path / "4.png", np.full((20, 30), 1000))
    errors = ["expected NYU's", "one channel of 16 bits", "cannot be read", "the depth map is"]
    entries = open_dataset(DatasetName("nyu", tmp_path)).entries
    for entry, says in zip(entries, errors):
        with pytest.raises(InputError, match=says):
            entry.load()


@pytest.mark.parametrize("truth", ["proj_depth/groundtruth/image_02", "groundtruth_depth/image_02"])
def test_kitti_pairs_photos_and_depth_of_one_drive_and_frame(tmp_path, save_photo, truth, caplog):
    save_photo(tmp_path / "raw/2011_09_26/drive_a/image_02/data/0000000005.png", 100, 200)
    save_photo(tmp_path / "raw/2011_09_26/drive_b/image_02/data/0000000005.png", 100, 200)
    for frame in (5, 6):
        stored = np.zeros((100, 200))
        stored[40:, ::2] = 10 * 256
        stored[60, 100] = 81 * 256
        save_png16(tmp_path / "gt" / "drive_a" / truth / f"{frame:010d}.png", stored)
    (entry,) = open_dataset(DatasetName("kitti", tmp_path)).entries
    assert "1 depth maps have no photo" in caplog.text
    assert entry.name == "drive_a/0000000005"
    sample = entry.load()
    assert sample.depth_m[50, 0] == 10.0 and math.isnan(sample.depth_m[50, 1])
    assert sample.scored[50, 8] and not sample.scored[50, 6]  # Garg's crop begins at column 7
    assert not sample.scored[39].any() and not sample.scored[99].any()
    assert not sample.scored[60, 100]  # beyond 80 m


def test_gargs_crop_is_the_published_one():
    # 153 to 371 and 44 to 1197, as KITTI evaluations print for 375 x 1242
    assert garg_crop((375, 1242)) == (slice(153, 371), slice(44, 1197))


@pytest.mark.parametrize("kind", ["nyu", "kitti"])
def test_a_folder_of_another_layout_is_refused(tmp_path, kind, save_photo):
    save_photo(tmp_path / "a.png")
    with pytest.raises(InputError, match="expected"):
        open_dataset(DatasetName(kind, tmp_path))
