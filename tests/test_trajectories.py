"""Camera paths against upstream's, frame by frame."""

import numpy as np
import pytest
from scene_recipe import golden, scene

from exports.camera_moves import between, dolly_zoom, kernel, smoothed, wander
from exports.trajectories import MODES, camera_path, centred, scaled_to, splat_cameras
from runtime.errors import InputError
from runtime.scene.cameras import homogeneous, inverse

SIZE_HW = (28, 42)
CASES = sorted(
    name[: -len("__viewmats")]
    for name in golden("gs_trajectories")
    if name.endswith("__viewmats") and "_n" in name and name.split("_n")[-1][0].isdigit()
)


def check(path, case, size_hw=SIZE_HW):
    kept = golden("gs_trajectories")
    np.testing.assert_allclose(path.extrinsics(), kept[f"{case}__viewmats"], atol=1e-5)
    if f"{case}__K" in kept:
        ours = centred(path.intrinsics, size_hw)
        np.testing.assert_allclose(ours, kept[f"{case}__K"], atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_paths_are_upstreams(case):
    mode, _, count = case.rpartition("_n")
    found = scene(int(count), *SIZE_HW)
    check(camera_path(found.extrinsics, found.intrinsics, mode), case)


def test_all_modes_were_looked_at():
    assert {case.rpartition("_n")[0] for case in CASES} == set(MODES)


def test_frame_counts_are_upstreams():
    for count, interpolate, extend in (
        (2, 48, 122),
        (54, 372, 494),
        (56, 166, 250),
        (300, 300, 422),
    ):
        poses = np.tile(np.eye(4), (count, 1, 1))
        poses[:, 0, 3] = np.arange(count)
        k = np.diag([40.0, 40.0, 1.0])[None]
        assert len(camera_path(poses, k, "interpolate")) == interpolate
        assert len(camera_path(poses, k, "extend")) == extend


def test_cameras_of_metric_scenes_are_in_the_unit_of_the_splats():
    kept, found = golden("gs_trajectories"), scene(2, *SIZE_HW)
    for case, factor in (("metric_scale", 2.5), ("metric_noscale", None)):
        ours = splat_cameras(found.extrinsics, factor)
        np.testing.assert_allclose(ours, kept[f"{case}__viewmats"], atol=1e-5)


def test_a_larger_picture_shows_the_same():
    kept, found = golden("gs_trajectories"), scene(2, *SIZE_HW)
    larger = scaled_to(found.intrinsics, SIZE_HW, (56, 84))
    ours = centred(larger, (56, 84))
    np.testing.assert_allclose(ours, kept["out_hw_56x84__K_fixed"], atol=1e-4)


def test_own_cameras_are_taken_as_they_are():
    found = scene(5, *SIZE_HW)
    check(camera_path(found.extrinsics, found.intrinsics, "original"), "own_cameras")


def test_a_single_view_wanders():
    found = scene(1, *SIZE_HW)
    check(camera_path(found.extrinsics, found.intrinsics, "extend"), "wander_n1")


def test_pieces_are_upstreams():
    kept = golden("gs_trajectories")
    found = scene(6, *SIZE_HW)
    cameras = inverse(homogeneous(found.extrinsics))
    np.testing.assert_allclose(cameras, kept["helper_c2w"], atol=1e-5)
    t = np.linspace(0, 1, 7)
    np.testing.assert_allclose(
        between(cameras[0], cameras[5], t), kept["helper_interp_0_5"], atol=1e-5
    )
    parallel = kept["helper_parallel_b"].astype(np.float64)
    np.testing.assert_allclose(
        between(cameras[0], parallel, t), kept["helper_interp_parallel"], atol=1e-5
    )
    beside, behind = np.eye(4), np.diag([-1.0, 1.0, -1.0, 1.0])
    beside[0, 3] = 1
    for other, name in ((beside, "identity"), (np.eye(4), "same"), (behind, "opposite")):
        ours = between(np.eye(4), other, t)
        np.testing.assert_allclose(ours, kept[f"helper_interp_{name}"], atol=1e-5)
    for window in (1, 3, 5, 50):
        ours = smoothed(cameras, window)
        np.testing.assert_allclose(ours, kept[f"helper_smooth_k{window}"], atol=1e-5)


def test_smoothing_windows_are_opencvs():
    kept = golden("feat_vis_cases")
    for window in (1, 3, 5, 7, 9, 11, 47, 51):
        np.testing.assert_allclose(kernel(window), kept[f"kernel_{window}"], atol=1e-7)


def test_smoothed_cameras_can_be_rotations():
    found = scene(9, *SIZE_HW)
    for rotations_only, limit in ((False, 0.1), (True, 1e-12)):
        path = camera_path(found.extrinsics, found.intrinsics, "smooth", rotations_only)
        turn = path.cameras[:, :3, :3]
        off = abs(turn @ np.swapaxes(turn, 1, 2) - np.eye(3)).max()
        assert off < limit and (rotations_only or off > 1e-6)


@pytest.mark.parametrize(
    ("mode", "count", "match"),
    [("nope", 2, "use one of original, smooth"), ("wobble_inter", 3, "need 4")],
)
def test_what_has_no_path_is_refused(mode, count, match):
    found = scene(count, *SIZE_HW)
    with pytest.raises(InputError, match=match):
        camera_path(found.extrinsics, found.intrinsics, mode)
    with pytest.raises(InputError, match="give one each"):
        camera_path(found.extrinsics, found.intrinsics[:2].repeat(2, axis=0), "smooth")


def test_one_lens_does_for_all_cameras():
    found = scene(3, *SIZE_HW)
    path = camera_path(found.extrinsics, found.intrinsics[:1], "original")
    np.testing.assert_array_equal(path.intrinsics, found.intrinsics[[0, 0, 0]])
    assert len(wander(path.cameras[0], path.intrinsics[0])[0]) == 122
    assert len(dolly_zoom(path.cameras[0], path.intrinsics[0])[0]) == 120
