"""Flights through splats as videos: upstream's frames, options and names, and what is ours."""

import json
import logging

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

import av
import torch
from scene_recipe import gaussians, golden, scene
from test_scene_api import Stub

from depth_anything_3.utils.export import export
from exports import scene_splat_video
from exports.clip_depth import limits_of, paint
from exports.scene import scene_of
from exports.scene_splat_video import FPS, GsVideoOptions, flight, pages, size_of
from runtime.errors import InputError, MissingDependency
from runtime.scene.cameras import homogeneous


def found(views=2, h=28, w=42, count=200, seed=2200, **more):
    return scene(views, h, w, gaussians=gaussians(count, seed), **more)


def decoded(file):
    """An MP4's frames: uint8 (F, H, W, 3); and its stream."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), stream.average_rate, stream.codec_context


FRAMES = {
    "original_n2": (2, {"trj_mode": "original"}, 1),
    "original_n2_vcat_D": (
        2,
        {"trj_mode": "original", "vis_depth": "vcat", "color_mode": "RGB+D"},
        1,
    ),
    "original_n2_nodepth": (2, {"trj_mode": "original", "vis_depth": None}, 1),
    "wander_n1": (1, {}, 20),
    "extend_n2": (2, {}, 20),
}


@pytest.mark.parametrize("case", list(FRAMES))
def test_frames_are_upstreams(case):
    kept = golden("gs_render")
    views, options, step = FRAMES[case]
    asked = GsVideoOptions(principal_point="centre", **options)
    ours = np.stack(list(pages(scene_of(found(views)), asked))[::step]).astype(int)
    theirs = kept[f"video_{case}__frames"].astype(int)
    off = abs(ours - theirs)
    if f"video_{case}__depth" in kept:  # where nothing is, upstream paints depth as near
        nothing = kept[f"video_{case}__depth"] == 0
        at = (slice(None), slice(-28, None), slice(-42, None))
        assert not ours[at][nothing].any()
        off[at][nothing] = 0
    assert (off > 3).mean() < 1e-3 and (off > 0).mean() < 5e-3


def test_depth_is_painted_as_upstreams_but_where_nothing_is():
    kept = golden("gs_render")
    depth, theirs = kept["visdepth_in"], kept["visdepth_out"]
    ours = np.stack([paint(one, limits_of(depth)) for one in depth])
    expected = np.floor(255 * np.moveaxis(theirs, 1, -1).clip(0, 1))
    covered = depth > 0
    np.testing.assert_array_equal(ours[covered], expected[covered])
    assert not ours[~covered].any()


def test_depth_of_a_clip_of_nothing_or_of_one_value_or_of_one_pixel_is_painted():
    nothing = np.zeros((6, 5), np.float32)
    assert not paint(nothing, limits_of([nothing])).any()
    flat = np.full((6, 5), 2, np.float32)
    assert (paint(flat, limits_of([flat])) == (158, 1, 66)).all()
    lone = np.zeros((60, 50), np.float32)
    lone[3, 4:6] = 2, 3
    painted = paint(lone, limits_of([nothing, lone]))
    assert tuple(painted[3, 4]) != tuple(painted[3, 5]) and painted[3, 4].any()


def test_a_colour_means_the_same_in_all_frames():
    near, far = np.full((4, 4), 1, np.float32), np.full((4, 4), 9, np.float32)
    near[0], far[0] = 3, 3
    limits = limits_of([near, far])
    first, second = paint(near, limits), paint(far, limits)
    np.testing.assert_array_equal(first[0], second[0])
    assert tuple(first[1, 0]) == (158, 1, 66) and tuple(second[1, 0]) == (94, 79, 162)


# --- the file


def test_a_video_is_h264_in_upstreams_size_and_rate(tmp_path):
    files = export(found(), "gs_video", tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "gs_video/0000_extend.mp4",
        "scene.json",
    ]
    frames, rate, codec = decoded(files[0])
    assert frames.shape == (122, 28, 92, 3) and rate == FPS == 24
    assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p") and codec.profile.startswith("High")
    drawn = np.stack(list(pages(scene_of(found()), GsVideoOptions())))
    assert abs(frames.astype(int) - drawn).mean() < 12  # chroma is halved, and it is small
    said = json.loads((tmp_path / "scene.json").read_text())["formats"]["gs_video"]
    assert said["files"] == ["gs_video/0000_extend.mp4"]
    assert said["options"]["video_quality"] == "high"


@pytest.mark.parametrize(
    ("views", "options", "file", "shape"),
    [
        (2, {"trj_mode": "original"}, "0000_original.mp4", (2, 28, 92)),
        (1, {"trj_mode": "smooth"}, "0000_wander.mp4", (122, 28, 92)),
        (1, {"trj_mode": "dolly_zoom"}, "0000_dolly_zoom.mp4", (120, 28, 92)),
        (4, {"trj_mode": "wobble_inter"}, "0000_wobble_inter.mp4", (30, 28, 92)),
        (2, {"trj_mode": "original", "vis_depth": "vcat"}, "0000_original.mp4", (2, 64, 42)),
        (2, {"trj_mode": "original", "vis_depth": "none"}, "0000_original.mp4", (2, 28, 42)),
        (2, {"trj_mode": "original", "output_name": "my.name"}, "my.name.mp4", (2, 28, 92)),
        (2, {"trj_mode": "original", "out_image_hw": (31, 41)}, "0000_original.mp4", (2, 32, 90)),
        (2, {"trj_mode": "original", "preview": True}, "0000_original.mp4", (2, 14, 50)),
    ],
)
def test_names_and_sizes_are_what_was_asked_for(views, options, file, shape, tmp_path):
    if options.get("trj_mode") in ("smooth", "dolly_zoom", "wobble_inter"):
        options = {**options, "video_quality": "low"}
    export(found(views), "gs_video", tmp_path, gs_video=options)
    frames, _, _ = decoded(tmp_path / "gs_video" / file)
    assert frames.shape == (*shape, 3)


def test_qualities_are_upstreams_and_differ_in_size(tmp_path, monkeypatch):
    assert scene_splat_video.QUALITIES == {
        "low": (28, "veryfast"),
        "medium": (23, "medium"),
        "high": (18, "slow"),
    }
    sizes = []
    for quality in ("low", "medium", "high"):
        options = {"trj_mode": "original", "video_quality": quality}
        export(found(), "gs_video", tmp_path / quality, gs_video=options)
        sizes.append((tmp_path / quality / "gs_video/0000_original.mp4").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_same_splats_give_the_same_file_and_it_is_whole_or_not_there(tmp_path, monkeypatch):
    options = {"trj_mode": "original"}
    for at in "ab":
        export(found(), "gs_video", tmp_path / at, gs_video=options)
    first, second = ((tmp_path / at / "gs_video/0000_original.mp4").read_bytes() for at in "ab")
    assert first == second

    def broken(*_, **__):
        raise RuntimeError("out of light")

    monkeypatch.setattr(scene_splat_video, "pictures", broken)
    with pytest.raises(RuntimeError, match="out of light"):
        export(found(), "gs_video", tmp_path / "c", gs_video=options)
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file()]


def test_a_scene_is_not_changed_and_splats_alone_make_no_video(tmp_path):
    one = found(2, is_metric=1, scale_factor=2.5)
    before = one.extrinsics.copy(), one.gaussians.means.copy()
    export(one, "gs_video", tmp_path / "a", gs_video={"trj_mode": "original"})
    np.testing.assert_array_equal(one.extrinsics, before[0])
    np.testing.assert_array_equal(one.gaussians.means, before[1])
    export(found(2, 42, 56, 4704, 2000), "gs_ply", tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"gs_ply", "scene.json"}


# --- cameras


def test_splats_of_a_metric_model_are_drawn_from_where_its_cameras_are():
    """In the splats' own unit, as upstream does: the picture is that of the same scene unscaled."""
    plain = scene_of(found())
    metric = found(is_metric=1, scale_factor=2.5)
    metric.extrinsics[:, :, 3] *= 2.5
    options = GsVideoOptions(trj_mode="original")
    kept = golden("gs_trajectories")
    for one in (plain, scene_of(metric)):
        path = flight(one, options)
        np.testing.assert_allclose(path.extrinsics(), kept["original_n2__viewmats"], atol=1e-5)
    for ours, expected in zip(pages(scene_of(metric), options), pages(plain, options)):
        assert abs(ours.astype(int) - expected).max() <= 1
    own = GsVideoOptions(extrinsics=metric.extrinsics)  # the caller's are in the same world
    np.testing.assert_allclose(
        flight(scene_of(metric), own).extrinsics(), kept["original_n2__viewmats"], atol=1e-5
    )


def test_own_cameras_are_drawn_as_they_are_whatever_array_they_are_in(tmp_path):
    kept = golden("gs_trajectories")
    poses = homogeneous(scene(5, 28, 42).extrinsics)
    for given in (poses, poses[:, :3], poses[None], torch.from_numpy(poses), poses.tolist()):
        options = GsVideoOptions(extrinsics=given)
        path = flight(scene_of(found()), options)
        np.testing.assert_allclose(path.extrinsics(), kept["own_cameras__viewmats"], atol=1e-5)
        first = found().intrinsics[0]
        np.testing.assert_allclose(path.intrinsics, np.tile(first, (5, 1, 1)), atol=1e-6)
        assert options.file(2) == "gs_video/0000_original.mp4"
    alone = GsVideoOptions(extrinsics=poses[0])
    assert len(flight(scene_of(found()), alone)) == 1
    flown = GsVideoOptions(extrinsics=poses, trj_mode="interpolate")
    assert len(flight(scene_of(found()), flown)) == 45


def test_a_picture_of_another_size_shows_the_same():
    kept = golden("gs_trajectories")
    options = GsVideoOptions(trj_mode="original", out_image_hw=(56, 84), principal_point="centre")
    from exports.trajectories import centred

    path = flight(scene_of(found()), options)
    np.testing.assert_allclose(
        centred(path.intrinsics, (56, 84)), kept["out_hw_56x84__K_fixed"], atol=1e-4
    )
    small = next(pages(scene_of(found()), GsVideoOptions(trj_mode="original", vis_depth=None)))
    large = next(
        pages(
            scene_of(found()),
            GsVideoOptions(trj_mode="original", vis_depth=None, out_image_hw=(56, 84)),
        )
    )
    halved = large.reshape(28, 2, 42, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.95  # each pixel blurs a little


def test_own_lenses_are_in_pixels_of_the_picture_that_is_asked_for():
    k = np.array([[80.0, 0, 42], [0, 80, 28], [0, 0, 1]])
    options = GsVideoOptions(intrinsics=k, out_image_hw=(56, 84), trj_mode="original", preview=True)
    path = flight(scene_of(found()), options)
    assert size_of(scene_of(found()), options) == (28, 42)
    np.testing.assert_allclose(path.intrinsics, [np.diag((0.5, 0.5, 1)) @ k] * 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"trj_mode": "nope"}, "trj_mode='nope': use one of None, original, smooth"),
        ({"color_mode": "RGB"}, "color_mode='RGB'.*vis_depth=None leaves depth out"),
        ({"vis_depth": "left"}, "hcat, vcat, none"),
        ({"video_quality": "best"}, "low, medium, high"),
        ({"chunk_size": 0}, "1 or more"),
        ({"out_image_hw": (0, 5)}, "height and width"),
        ({"out_image_hw": (40.5, 60)}, "whole pixels"),
        ({"out_image_hw": (40, 9000)}, "8000 pixels at most"),
        ({"output_name": "../up"}, "up"),
        ({"renderer": "vulkan"}, "auto, gsplat, cpu"),
        ({"background": (2, 0, 0)}, "from 0 to 1"),
        ({"extrinsics": np.eye(3)}, r"extrinsics are \(1, 3, 3\), expected \(M, 3, 4\) or"),
        ({"extrinsics": np.full((1, 4, 4), np.nan)}, "finite"),
        ({"extrinsics": np.zeros((0, 4, 4))}, "one camera or more"),
        ({"extrinsics": [np.eye(4)] * 3, "intrinsics": [np.eye(3)] * 2}, "2 intrinsics for 3"),
        ({"extrinsics": [np.eye(4)] * 3, "trj_mode": "wobble_inter"}, "need 4"),
        ({"trj_mode": "wobble_inter"}, "2, need 4"),
        ({"intrinsics": [np.eye(3)] * 3}, "3 intrinsics for 2 views"),
        ({"nonsense": 1}, "no option nonsense; it has extrinsics"),
    ],
)
def test_what_makes_no_video_is_refused_before_anything_is_written(options, match, tmp_path):
    with pytest.raises(InputError, match=match):
        export(found(), "mini_npz-gs_video", tmp_path / "out", gs_video=options)
    assert not (tmp_path / "out").exists()


def test_splats_are_needed_and_of_one_scene(tmp_path):
    with pytest.raises(InputError, match="gs_video needs gaussians: use infer_gs=True with"):
        export(scene(2, 28, 42), "gs_video", tmp_path / "out")
    two = found()
    for name in ("means", "scales", "rotations", "harmonics", "opacities"):
        object.__setattr__(two.gaussians, name, np.repeat(getattr(two.gaussians, name), 2, axis=0))
    with pytest.raises(InputError, match="splats of 2 scenes"):
        export(two, "gs_video", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_encoder_is_said_before_the_network_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    stub = Stub("da3-giant")
    photos = [np.zeros((84, 84, 3), np.uint8)]
    with pytest.raises(MissingDependency, match="av is not installed"):
        stub.inference(photos, infer_gs=True, export_dir=tmp_path / "out", export_format="gs_video")
    assert not stub.runs and not (tmp_path / "out").exists()


# --- through inference


def test_upstreams_render_arguments_are_the_videos_cameras(tmp_path):
    photos = [np.full((84, 84, 3), 90, np.uint8)] * 2
    poses = homogeneous(scene(3, 28, 42).extrinsics)
    kwargs = {"gs_video": {"video_quality": "low", "vis_depth": None}}
    Stub("da3-giant").inference(
        photos,
        process_res=84,
        infer_gs=True,
        render_exts=poses,
        render_hw=(40, 60),
        export_dir=tmp_path,
        export_format="gs_video",
        export_kwargs=kwargs,
    )
    frames, _, _ = decoded(tmp_path / "gs_video/0000_original.mp4")
    assert frames.shape == (3, 40, 60, 3)
    assert kwargs == {"gs_video": {"video_quality": "low", "vis_depth": None}}
    said = json.loads((tmp_path / "scene.json").read_text())["formats"]["gs_video"]["options"]
    np.testing.assert_allclose(said["extrinsics"], poses)
    assert said["out_image_hw"] == [40, 60] and said["intrinsics"] is None


def test_an_explicit_option_comes_before_a_plain_argument(tmp_path):
    Stub("da3-giant").inference(
        [np.zeros((84, 84, 3), np.uint8)],
        process_res=84,
        infer_gs=True,
        render_exts=np.eye(4)[None],
        render_hw=(40, 60),
        export_dir=tmp_path,
        export_format="gs_video",
        export_kwargs={"gs_video": {"out_image_hw": (20, 30)}},
    )
    assert decoded(tmp_path / "gs_video/0000_original.mp4")[0].shape == (1, 20, 68, 3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "infer_gs=True with da3-giant"),
        ({"infer_gs": True, "render_exts": np.eye(3)}, "extrinsics are"),
        (
            {"infer_gs": True, "export_kwargs": {"gs_video": {"trj_mode": "wobble_inter"}}},
            "2, need 4",
        ),
    ],
)
def test_a_video_that_cannot_be_is_refused_before_the_network_runs(arguments, match, tmp_path):
    stub = Stub("da3-giant")
    photos = [np.zeros((84, 84, 3), np.uint8)] * 2
    with pytest.raises(InputError, match=match):
        stub.inference(photos, export_dir=tmp_path / "out", export_format="gs_video", **arguments)
    assert not stub.runs and not (tmp_path / "out").exists()


def test_how_long_it_will_take_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        export(found(), "gs_video", tmp_path, gs_video={"trj_mode": "original"})
    assert "splats: 2 frames, about 0 s" in caplog.text and "encoding: 2 frames" in caplog.text


def test_random_weights_are_stamped_on_every_frame():
    from runtime.artifact.manifest import WeightsSpec
    from runtime.predict.found import Provenance

    options = GsVideoOptions(trj_mode="original", vis_depth=None, out_image_hw=(120, 160))
    plain = list(pages(scene_of(found()), options))
    weights = WeightsSpec("seeded", "0" * 64, "Apache-2.0")
    stamped = list(pages(scene_of(found(provenance=Provenance("da3-giant", weights))), options))
    assert all((one != other).any() for one, other in zip(plain, stamped))


# --- the command


@pytest.fixture
def da3(tmp_path, monkeypatch, save_photo, capsys, caplog):
    """Run the command on two photos and a stand-in for da3-giant."""
    from apps import scene_models
    from apps.da3 import main

    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scene_models, "_seeded", Stub)
    for at in range(2):
        save_photo(tmp_path / "room" / f"{at}.png", 84, 112, seed=at)
    model = ("--model-dir", "da3-giant", "--seeded-weights", "--device", "cpu")

    def run(*words):
        try:
            status = main(
                ["images", "room", *model, "--process-res", "56", "--memory-gib", "99", *words]
            )
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return status, printed.out.split(), caplog.text + printed.err

    return run


def test_the_command_makes_a_video_of_splats_and_says_how_far_it_is(da3):
    words = ("--export-option", "gs_video:trj_mode:smooth", "--export-option", "gs_video:vis_depth")
    status, out, said = da3(
        "--export-dir", "out", "--export-format", "gs_video", *words[:3], f"{words[3]}:none"
    )
    assert status == 0, said
    assert out == ["out/gs_video/0000_smooth.mp4", "out/scene.json"]
    assert decoded(out[0])[0].shape == (2, 42, 56, 3)
    assert "splats: 2 frames in" in said and "encoding: 2 frames in" in said


def test_the_command_writes_all_harmonics_if_asked(da3):
    from pathlib import Path

    sizes = []
    for words in ((), ("--sh",)):
        status, out, said = da3("--export-format", "gs_ply", *words)
        assert status == 0, said
        assert out[0].endswith("gs_ply/0000.ply") and len(out) == 2  # and no video
        header = Path(out[0]).read_bytes().partition(b"end_header")[0]
        sizes.append(header.count(b"property float f_rest_"))
    assert sizes == [0, 24]


@pytest.mark.parametrize(
    ("words", "status", "match"),
    [
        (("--export-option", "gs_video:trj_mode:nope"), 2, "use one of None, original"),
        (("--export-option", "gs_video:trj_mode:wobble_inter"), 1, "2, need 4"),
        (("--no-infer-gs",), 1, "infer_gs=True"),
    ],
)
def test_the_command_refuses_a_video_before_the_network_runs(words, status, match, da3, tmp_path):
    import re

    found, out, said = da3("--export-dir", "out", "--export-format", "gs_video", *words)
    assert found == status and not out and re.search(match, said), said
    assert not (tmp_path / "out").exists()
