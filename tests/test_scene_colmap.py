"""A scene as a COLMAP model: upstream's numbers, real tracks, and what COLMAP makes of them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_recipe import GOLDEN, golden, holes, scene

from depth_anything_3.specs import Prediction
from depth_anything_3.utils.export import export
from runtime.errors import InputError

UPSTREAM = {"pixel_grid": "upstream"}
SIZES = ((100, 60), (63, 42), (42, 28))  # width, height


def photos(folder: Path, count: int) -> list[str]:
    """Photos of the goldens' names and sizes."""
    paths = [folder / f"view {at}.png" for at in range(count)]
    for path, size in zip(paths, SIZES):
        Image.new("RGB", size).save(path)
    return [str(path) for path in paths]


def read_model(folder: Path):
    """cameras, images and points of a binary model, by our own reading of COLMAP's format."""
    cameras, images, points = {}, {}, {}
    data, at = (folder / "cameras.bin").read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        number, model, width, height, *params = struct.unpack_from("<IiQQ4d", data, at)
        cameras[number], at = (model, width, height, params), at + 56
    assert at == len(data)
    data, at = (folder / "images.bin").read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        number, *pose, camera = struct.unpack_from("<I7dI", data, at)
        end = data.index(b"\0", at + 64)
        name, (count,) = data[at + 64 : end].decode(), struct.unpack_from("<Q", data, end + 1)
        seen = np.frombuffer(data, [("xy", "<f8", 2), ("id", "<u8")], count, end + 9)
        images[number], at = (name, camera, np.array(pose), seen), end + 9 + 24 * count
    assert at == len(data)
    data, at = (folder / "points3D.bin").read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        number, x, y, z, r, g, b, error, length = struct.unpack_from("<Q3d3BdQ", data, at)
        track = np.frombuffer(data, "<u4", 2 * length, at + 51).reshape(-1, 2)
        points[number], at = ((x, y, z), (r, g, b), error, track), at + 51 + 8 * length
    assert at == len(data)
    return cameras, images, points


CASES = {
    "n1": (lambda: scene(1, 28, 56), 1, {}),
    "n2": (lambda: scene(2, 28, 42), 2, {}),
    "n3_44_p90": (lambda: scene(3, 28, 42, whole=True), 3, {"conf_thresh_percentile": 90}),
    "n2_lower": (
        lambda: scene(2, 28, 42),
        2,
        {"conf_thresh_percentile": 80, "process_res_method": "lower_bound_resize"},
    ),
}


@pytest.mark.parametrize("tracks", [True, False])
@pytest.mark.parametrize("case", list(CASES))
def test_colmap_is_upstreams_but_for_cut_places_and_longer_tracks(case, tracks, tmp_path):
    make, count, options = CASES[case]
    found = make()
    options = {"image_paths": photos(tmp_path, count), "tracks": tracks, **UPSTREAM, **options}
    export(found, "colmap", tmp_path / "out", colmap=options)
    cameras, images, points = read_model(tmp_path / "out")
    kept = golden("colmap_cases")
    for at in range(1, count + 1):
        model, width, height, params = cameras[at]
        assert (model, (width, height)) == (1, SIZES[at - 1])
        np.testing.assert_array_equal(params, kept[f"{case}__params"][at - 1])
        name, camera, pose, seen = images[at]
        assert (name, camera) == (f"view {at - 1}.png", at)
        np.testing.assert_allclose(pose[:4], kept[f"{case}__qvec"][at - 1], atol=1e-7)
        np.testing.assert_allclose(pose[4:], kept[f"{case}__tvec"][at - 1], atol=1e-7)
        own = len(kept[f"{case}__img{at}_pid"])
        assert len(seen) == own or (tracks and len(seen) > own)
        np.testing.assert_array_equal(seen["id"][:own], kept[f"{case}__img{at}_pid"])
        np.testing.assert_allclose(seen["xy"][:own], kept[f"{case}__img{at}_xy_fixed"], atol=1e-9)
        np.testing.assert_array_equal(
            np.floor(seen["xy"][:own] + 1e-9), kept[f"{case}__img{at}_xy"]
        )
    np.testing.assert_array_equal(list(points), kept[f"{case}__pid_order"])
    np.testing.assert_allclose([p[0] for p in points.values()], kept[f"{case}__xyz"], atol=1e-5)
    np.testing.assert_array_equal([p[1] for p in points.values()], kept[f"{case}__rgb"])
    assert {p[2] for p in points.values()} == {-1.0}
    first = [(1, *p[3][0]) for p in points.values()]
    np.testing.assert_array_equal(first, kept[f"{case}__track"])
    assert tracks or all(len(p[3]) == 1 for p in points.values())
    np.testing.assert_array_equal(found.intrinsics, make().intrinsics)


def test_colmap_has_upstreams_bytes(tmp_path):
    options = {"image_paths": photos(tmp_path, 1), **UPSTREAM}
    export(scene(1, 28, 56), "colmap", tmp_path / "out", colmap=options)
    for theirs in (GOLDEN / "colmap_n1").iterdir():
        ours = (tmp_path / "out" / theirs.name).read_bytes()
        assert len(ours) == len(theirs.read_bytes())
        if theirs.name in ("cameras.bin", "rigs.bin"):
            assert ours == theirs.read_bytes()
        elif theirs.name == "frames.bin":
            np.testing.assert_allclose(
                np.frombuffer(ours[16:72], "<f8"),
                np.frombuffer(theirs.read_bytes()[16:72], "<f8"),
                atol=1e-7,
            )


def plane() -> Prediction:
    """A plane before three cameras, of which pixels the goldens know where the others see them."""
    found = scene(3, 28, 42)
    found.depth = golden("plane_tracks")["depth"]
    return found


@pytest.mark.parametrize("pixel_grid", ["upstream", "centres"])
def test_every_view_that_sees_a_point_observes_it_and_where_it_sees_it(pixel_grid, tmp_path):
    kept, found = golden("plane_tracks"), plane()
    options = {
        "image_paths": photos(tmp_path, 3),
        "conf_thresh_percentile": 0,
        "pixel_grid": pixel_grid,
    }
    export(found, "colmap", tmp_path / "out", colmap=options)
    _, images, points = read_model(tmp_path / "out")
    assert len(points) == 3 * 28 * 42
    if pixel_grid == "upstream":
        np.testing.assert_allclose(
            [p[0] for p in points.values()], kept["points"].reshape(-1, 3), atol=1e-5
        )
    lengths = []
    for number, (_, _, _, track) in points.items():
        v, pixel = divmod(number - 1, 28 * 42)
        place = divmod(pixel, 42)
        lengths.append(len(track))
        for image, index in track:
            assert images[image][3]["id"][index] == number
        if pixel_grid == "centres":
            continue
        seen_in = [int(image) - 1 for image, _ in track]
        assert seen_in[0] == v and len(set(seen_in)) == len(seen_in)
        assert set(seen_in) == set(np.flatnonzero(kept["visible"][v, :, place[0], place[1]]))
        for image, index in track:
            scale = np.array(SIZES[image - 1]) / (42, 28)
            expected = kept["uv"][v, image - 1, place[0], place[1]] * scale
            np.testing.assert_allclose(images[image][3]["xy"][index], expected, atol=2e-4)
    assert abs(np.mean(lengths) - 2.2145691609977325) < 0.02


def test_a_point_behind_something_nearer_is_not_observed(tmp_path):
    found = plane()
    found.depth[1] *= 0.5  # something stands in front of the plane, in view 1 alone
    options = {"image_paths": photos(tmp_path, 3), "conf_thresh_percentile": 0, **UPSTREAM}
    export(found, "colmap", tmp_path / "out", colmap=options)
    _, _, points = read_model(tmp_path / "out")
    seen = {(p[3][0][0], image) for p in points.values() for image in p[3][:, 0]}
    assert seen == {(1, 1), (2, 2), (3, 3), (1, 3), (3, 1)}


def test_pixels_without_depth_make_neither_places_nor_points(tmp_path):
    options = {"image_paths": photos(tmp_path, 2), "conf_thresh_percentile": 0, "tracks": False}
    export(holes(), "colmap", tmp_path / "out", colmap=options)
    _, images, points = read_model(tmp_path / "out")
    assert [len(image[3]) for image in images.values()] == [42 * 56 - 4, 42 * 56 - 40]
    assert len(points) == 2 * 42 * 56 - 44


def test_places_are_the_middles_of_pixels_and_project_back(tmp_path):
    export(scene(2, 28, 42), "colmap", tmp_path, colmap={"image_paths": photos(tmp_path, 2)})
    cameras, images, points = read_model(tmp_path)
    for number, (name, camera, pose, seen) in images.items():
        assert name == f"view {number - 1}.png"
        _, width, height, (fx, fy, cx, cy) = cameras[camera]
        world = np.array([points[int(one)][0] for one in seen["id"]])
        w, x, y, z = pose[:4]
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        local = world @ turn.T + pose[4:]
        places = local[:, :2] / local[:, 2:] * (fx, fy) + (cx, cy)
        np.testing.assert_allclose(places, seen["xy"], atol=1e-4)
        own = seen["xy"][seen["id"] <= len(points)][:1]
        assert (own > 0).all() and (seen["xy"] <= (width, height)).all()


def test_names_keep_their_sub_folders(tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (42, 28)).save(tmp_path / folder / "1.png")
        paths.append(str(tmp_path / folder / "1.png"))
    export(scene(2, 28, 42), "colmap", tmp_path / "out", colmap={"image_paths": paths})
    assert [image[0] for image in read_model(tmp_path / "out")[1].values()] == [
        "a/1.png",
        "b/1.png",
    ]
    with pytest.raises(InputError, match="give each photo once"):
        export(scene(2, 28, 42), "colmap", tmp_path, colmap={"image_paths": paths[:1] * 2})


def test_more_points_than_asked_are_thinned_over_all_views(tmp_path):
    options = {"image_paths": photos(tmp_path, 3), "num_max_points": 300}
    export(plane(), "colmap", tmp_path / "out", colmap=options)
    _, _, points = read_model(tmp_path / "out")
    assert list(points) == list(range(1, 301))
    assert {int(p[3][0][0]) for p in points.values()} == {1, 2, 3}


# --- what COLMAP itself makes of it


@pytest.fixture(scope="module")
def pycolmap():
    return pytest.importorskip("pycolmap", reason="pycolmap is not installed: extra dev")


@pytest.mark.parametrize("text", [False, True])
def test_colmap_reads_our_folder(text, pycolmap, tmp_path):
    paths = photos(tmp_path, 3)
    if text:
        with pytest.raises(InputError, match="no names with spaces"):
            export(plane(), "colmap", tmp_path, colmap={"image_paths": paths, "text": True})
        paths = [str(Path(path).rename(path.replace(" ", ""))) for path in paths]
    options = {"image_paths": paths, "text": text}
    export(plane(), "colmap", tmp_path / "out", colmap=options)
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"scene.json"}
    suffix = ".txt" if text else ".bin"
    assert names == {f"{n}{suffix}" for n in ("cameras", "rigs", "frames", "images", "points3D")}
    found = pycolmap.Reconstruction(str(tmp_path / "out"))
    assert [found.images[at].name for at in (1, 2, 3)] == [Path(path).name for path in paths]
    assert found.num_points3D() > 1000
    assert found.compute_mean_track_length() > 2
    found.update_point_3d_errors()
    assert found.compute_mean_reprojection_error() < 1e-3


def test_colmap_bundle_adjusts_our_folder_towards_the_truth(pycolmap, tmp_path):
    truth = plane()
    truth.depth = curved(truth)
    options = {"image_paths": photos(tmp_path, 3), "conf_thresh_percentile": 0, "min_views": 2}
    export(truth, "colmap", tmp_path / "out", colmap=options)
    found = pycolmap.Reconstruction(str(tmp_path / "out"))
    poses = {at: found.images[at].cam_from_world().matrix() for at in (1, 2, 3)}
    random = np.random.RandomState(0)
    shaken = found.images[3].cam_from_world()
    turned = pycolmap.Rotation3d(np.array([0.004, -0.006, 0.005, 1.0]))
    found.frames[3].rig_from_world = (
        pycolmap.Rigid3d(turned, np.array([0.01, -0.02, 0.01])) * shaken
    )
    for point in found.points3D.values():
        point.xyz = point.xyz + random.normal(0, 0.01, 3)

    def off():
        moved = {at: found.images[at].cam_from_world().matrix() for at in (1, 2, 3)}
        return max(abs(moved[at] - poses[at]).max() for at in moved)

    found.update_point_3d_errors()
    error, distance = found.compute_mean_reprojection_error(), off()
    settings = pycolmap.BundleAdjustmentOptions()
    for name in ("refine_focal_length", "refine_principal_point", "refine_extra_params"):
        setattr(settings, name, False)
    pycolmap.bundle_adjustment(found, settings)
    found.update_point_3d_errors()
    assert found.compute_mean_reprojection_error() < 0.05 * error
    assert off() < 0.05 * distance


def curved(found: Prediction) -> np.ndarray:
    """Depth of a bowl in all views, by marching: every view sees the same surface."""
    result = np.empty_like(found.depth)
    rows, columns = np.mgrid[0.5:28.5, 0.5:42.5]
    for v in range(3):
        k, pose = found.intrinsics[v].astype(float), np.eye(4)
        pose[:3] = found.extrinsics[v]
        world = np.linalg.inv(pose)
        ray = np.stack((columns, rows, np.ones_like(rows)), -1) @ np.linalg.inv(k).T
        low, high = np.full(rows.shape, 0.5), np.full(rows.shape, 9.0)
        for _ in range(50):
            middle = (low + high) / 2
            x, y, z = np.moveaxis((ray * middle[..., None]) @ world[:3, :3].T + world[:3, 3], -1, 0)
            behind = z > 3 - 0.1 * x + 0.05 * y + 0.15 * np.sin(2 * x) + 0.1 * np.cos(3 * y)
            low, high = np.where(behind, low, middle), np.where(behind, middle, high)
        result[v] = high
    return result
