"""Depth to pictures of a video and to the video itself."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from clips import make_clip, packets, picture, shown, times

from exports.frame_files import frame_files
from exports.v2_picture import levels, v2_picture
from exports.video import can_copy, check_crf, to_yuv, writing_video
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError
from runtime.photo.frames import VideoFrames
from runtime.predict.found import Prediction, Provenance


def found(depth, kind="disparity", seeded=False):
    weights = WeightsSpec("seeded" if seeded else "checkpoint", "0" * 64, "Apache-2.0")
    return Prediction(
        depth, OutputSpec(kind), Provenance("vits", weights), InputSpec((14, 14)), depth.shape
    )


def upstreams(depth, rgb=None, grayscale=False, palette="Spectral_r"):
    """A frame as upstream's loop gives it to its encoder, RGB."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    index = ((depth - depth.min()) / (depth.max() - depth.min()) * 255.0).astype(np.uint8)
    painted = np.repeat(index[..., np.newaxis], 3, axis=-1)
    if not grayscale:
        painted = (matplotlib.colormaps[palette](index)[:, :, :3] * 255)[..., ::-1].astype(np.uint8)
    if rgb is not None:
        gap = np.ones((rgb.shape[0], 50, 3), np.uint8) * 255
        painted = cv2.hconcat([rgb[..., ::-1].copy(), gap, painted])
    return painted[..., ::-1]


@pytest.mark.parametrize("grayscale", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_a_frame_in_its_own_range_is_upstreams_to_the_last_level(grayscale, alone):
    draw = np.random.RandomState(0)
    for _ in range(10):
        depth = (draw.rand(37, 61) ** 3 * draw.rand() * 90 + draw.rand()).astype(np.float32)
        rgb = None if alone else draw.randint(0, 256, (37, 61, 3)).astype(np.uint8)
        one = found(depth)
        got = v2_picture(one, rgb, grayscale, limits=one.value_range)
        np.testing.assert_array_equal(got, upstreams(depth, rgb, grayscale))


def test_one_range_gives_one_value_one_colour_and_ends_at_its_limits():
    depth = np.array([[-5.0, 0.0, 5.0, 10.0, 99.0]], np.float32)
    np.testing.assert_array_equal(levels(depth, (0, 10)), [[0, 0, 127, 255, 255]])
    np.testing.assert_array_equal(levels(depth, (3, 3)), np.zeros((1, 5)))
    one, two = found(depth), found(depth[:, 1:4].copy())
    for colormap in (None, "turbo", "gray"):
        first = v2_picture(one, colormap=colormap, limits=(0, 10))
        np.testing.assert_array_equal(
            first[:, 1:4], v2_picture(two, colormap=colormap, limits=(0, 10))
        )
        np.testing.assert_array_equal(first[:, 0], first[:, 1])
        np.testing.assert_array_equal(first[:, 3], first[:, 4])


def test_random_weights_are_stamped_on_every_frame():
    depth = np.tile(np.linspace(0, 9, 200, dtype=np.float32), (100, 1))
    for rgb in (None, np.zeros((100, 200, 3), np.uint8)):
        plain = v2_picture(found(depth), rgb, limits=(0, 9))
        stamped = v2_picture(found(depth, seeded=True), rgb, limits=(0, 9))
        assert (plain != stamped)[:, -200:].any() and (plain == stamped)[:, :-200].all()


def test_numbers_of_frames_share_their_scale_and_say_it():
    maps = [np.full((2, 2), value, np.float32) for value in (1.0, 2.5, 4.0)]
    stored = []
    for depth in maps:
        files = dict(frame_files(found(depth), ("png16", "npz"), (1.0, 4.0), None))
        assert list(files) == [".png", ".npz"] and b'"scale"' in files[".png"]
        stored.append(cv2.imdecode(np.frombuffer(files[".png"], np.uint8), -1)[0, 0])
    assert stored == [0, 32768, 65535]
    (_, data), *_ = frame_files(found(maps[0], "depth_m"), ("png16",), (2.0, 3.0), None)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), -1)[0, 0] == 1000  # millimetres


def write(clip, output, crf=20, sound=True):
    """Copy a clip through our reader and writer."""
    with VideoFrames(clip, sound=sound) as frames:
        pictures = list(frames)
        height, width = pictures[0].rgb.shape[:2]
        with writing_video(
            output,
            (height, width),
            frames.time_base,
            frames.rate,
            frames.streams,
            frames.aspect,
            crf,
        ) as writer:
            for frame in pictures:
                for packet in frame.sound:
                    writer.sound(packet)
                writer.picture(to_yuv(frame.rgb), frame.pts, frame.duration)
            for packet in frames.last_sound:
                writer.sound(packet)
    return writer


def test_times_and_sound_come_through_to_the_tick_and_the_byte(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", times(20, uneven=True), sound=True)
    writer = write(clip, tmp_path / "b.mp4", crf=1)
    stamps, frames, sound = shown(tmp_path / "b.mp4")
    assert stamps == shown(clip)[0] == [Fraction(one, 90000) for one in times(20, uneven=True)]
    assert sound == packets(clip) and len(sound) == 45 and writer.left_out == 0
    for index, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - picture(index, 48, 64)).mean() < 6


@pytest.mark.parametrize("tick", [Fraction(1, 24), Fraction(1001, 30000), Fraction(1, 1000)])
def test_times_in_any_ticks_come_through(tmp_path, tick):
    pts = [2 * index + index % 2 for index in range(80)]  # more than the encoder looks ahead
    with writing_video(tmp_path / "a.mp4", (48, 64), tick, 1 / (2 * tick)) as writer:
        for index, time in enumerate(pts):
            writer.picture(to_yuv(picture(index, 48, 64)), time, 2)
    assert shown(tmp_path / "a.mp4")[0] == [time * tick for time in pts]


def test_video_that_starts_late_still_starts_late(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", [90000 + one for one in times(10)], sound=True)
    write(clip, tmp_path / "b.mp4")
    assert shown(tmp_path / "b.mp4")[0] == shown(clip)[0]
    assert packets(tmp_path / "b.mp4") == packets(clip)


@pytest.mark.parametrize("size_hw", [(48, 64), (50, 66), (2, 2)])
def test_colours_are_converted_as_ffmpeg_does(size_hw):
    import av

    rgb = cv2.resize(picture(3, 8, 8), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    wanted = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format="yuv444p", dst_colorspace=5, dst_color_range=1, interpolation="AREA"
    )
    height, width = size_hw
    luma, *chroma = wanted.to_ndarray()
    got = to_yuv(rgb).to_ndarray().astype(int)
    assert np.abs(got[:height] - luma).max() <= 1
    halves = got[height:].reshape(2, height // 2, width // 2)
    for plane, whole in zip(halves, chroma):
        mean = whole.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
        assert np.abs(plane - mean).max() <= 2


@pytest.mark.parametrize("size_hw", [(49, 65), (48, 65), (49, 64)])
def test_of_odd_sides_the_last_row_or_column_is_repeated(tmp_path, size_hw):
    rgb = picture(0, *size_hw)
    with writing_video(tmp_path / "a.mp4", size_hw, Fraction(1, 30), Fraction(30), crf=1) as writer:
        writer.picture(to_yuv(rgb), 0, 1)
    (got,) = shown(tmp_path / "a.mp4")[1]
    rows, columns = size_hw[0] % 2, size_hw[1] % 2
    wanted = np.pad(rgb, ((0, rows), (0, columns), (0, 0)), "edge")
    assert got.shape == wanted.shape and np.abs(got.astype(int) - wanted).mean() < 8


def test_the_file_is_what_browsers_play_with_its_index_in_front(tmp_path):
    import av

    write(make_clip(tmp_path / "a.mp4", times(5), sound=True), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        video = container.streams.video[0].codec_context
        assert (video.name, video.pix_fmt) == ("h264", "yuv420p")
        assert (video.colorspace, video.color_range) == (6, 1)  # said, so that none has to guess
    data = (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_a_video_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"older")
    with (
        pytest.raises(RuntimeError),
        writing_video(tmp_path / "a.mp4", (48, 64), Fraction(1, 30), Fraction(30)) as writer,
    ):
        writer.picture(to_yuv(picture(0, 48, 64)), 0, 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"older"


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("exports.video.partial_name", lambda: "full")
    (tmp_path / "full").symlink_to("/dev/full")
    with (
        pytest.raises(OSError, match=r"a\.mp4"),
        writing_video(tmp_path / "a.mp4", (480, 640), Fraction(1, 30), Fraction(30)) as writer,
    ):
        for index in range(60):
            writer.picture(to_yuv(picture(index, 480, 640)), index, 1)
    assert not (tmp_path / "a.mp4").exists()


def test_sound_whose_time_does_not_rise_is_left_out_and_counted(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", times(5), sound=True)
    with (
        VideoFrames(clip) as frames,
        writing_video(
            tmp_path / "b.mp4", (48, 64), frames.time_base, frames.rate, frames.streams
        ) as writer,
    ):
        for frame in frames:
            writer.picture(to_yuv(frame.rgb), frame.pts, frame.duration)
            for packet in frame.sound:
                packet.dts = packet.pts = min(packet.dts, 3000)
                writer.sound(packet)
    assert writer.left_out > 0 and len(packets(tmp_path / "b.mp4")) == writer.packets[1]


def test_sound_that_mp4_does_not_hold_is_known_before(tmp_path):
    import av

    for codec, form, held in (("wmav2", "asf", False), ("aac", "mp4", True)):
        with av.open(str(tmp_path / "a"), "w", format=form) as container:
            assert can_copy(container.add_stream(codec, rate=44100)) is held


@pytest.mark.parametrize("crf", [-1, 52])
def test_a_quality_that_x264_has_not_is_refused(crf):
    with pytest.raises(InputError, match="nothing lost"):
        check_crf(crf)
