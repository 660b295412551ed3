"""Videos and numbered pictures to frames: all of them, upright, each with its own time."""

import os
import threading
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from clips import QUARTERS, TICK, make_clip, picture, times

from runtime.errors import InputError, LimitError
from runtime.photo import frames as module
from runtime.photo.frames import PictureFrames, VideoFrames, numbered, turned, video_size


def read(source):
    with source as frames:
        return list(frames), frames


def near(got, wanted):
    """Colours, as far as a codec keeps them."""
    return np.abs(got.astype(int) - wanted).mean() < 6


def test_every_frame_comes_with_its_own_time_and_the_sound_between(tmp_path):
    pts = times(20, uneven=True)
    clip = make_clip(tmp_path / "a.mp4", pts, sound=True)
    found, frames = read(VideoFrames(clip))
    assert [frame.pts for frame in found] == pts and frames.time_base == TICK
    assert [frame.index for frame in found] == list(range(20))
    assert all(near(frame.rgb, picture(frame.index, 48, 64)) for frame in found)
    sound = [packet for frame in found for packet in frame.sound] + [*frames.last_sound]
    assert len(sound) == 45  # a second of 1,024 samples each, and the encoder's start
    assert (frames.problems, frames.retimed, frames.left_out) == ([], 0, 0)
    silent, frames = read(VideoFrames(clip, sound=False))
    assert len(silent) == 20 and frames.streams == () and not silent[0].sound


@pytest.mark.parametrize("turn", list(QUARTERS))
def test_a_frame_is_turned_as_its_header_says(tmp_path, turn):
    clip = make_clip(tmp_path / "a.mp4", times(3), turn=turn)
    whole = picture(0, 48, 64)
    upright = {
        0: whole,
        90: np.rot90(whole, -1),
        180: np.rot90(whole, 2),
        270: np.rot90(whole, 1),
        "mirrored": whole[:, ::-1],
    }[turn]
    (first, *_), _ = read(VideoFrames(clip))
    assert first.rgb.shape == upright.shape and near(first.rgb, upright)
    assert video_size(clip) == upright.shape[:2]


def test_all_eight_turns_move_each_pixel_where_the_matrix_says():
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for a, b, c, d in [*QUARTERS.values(), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]:
        got = turned(rgb, (a, b, c, d))
        for y in range(2):
            for x in range(3):
                column, row = a * x + c * y, b * x + d * y
                column += got.shape[1] - 1 if min(a, c) < 0 else 0
                row += got.shape[0] - 1 if min(b, d) < 0 else 0
                assert (got[row, column] == rgb[y, x]).all()


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (1, True), (6, False), (6, True)])
def test_colours_are_those_that_the_header_names(tmp_path, matrix, full):
    import av

    colour = np.full((32, 32, 3), (200, 30, 40), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": "1"})
        video.height = video.width = 32
        video.pix_fmt = "yuv420p"
        video.codec_context.colorspace, video.codec_context.color_range = matrix, 1 + full
        frame = av.VideoFrame.from_ndarray(colour, "rgb24").reformat(
            format="yuv420p", dst_colorspace={1: 1, 6: 5}[matrix], dst_color_range=1 + full
        )
        frame.pts = 0
        for packet in (*video.encode(frame), *video.encode(None)):
            container.mux(packet)
    (first, *_), _ = read(VideoFrames(tmp_path / "a.mp4"))
    assert np.abs(first.rgb.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov", ".ts"])
def test_other_containers_give_all_frames_in_rising_time(tmp_path, suffix):
    if suffix == ".avi":  # which has no times, only a rate
        clip = make_clip(tmp_path / "a.avi", range(12), codec="mpeg4", tick=Fraction(1, 30))
    else:
        clip = make_clip(tmp_path / f"a{suffix}", times(12))
    found, frames = read(VideoFrames(clip))
    seconds = [float(frame.pts * frames.time_base) for frame in found]
    assert len(found) == 12 and frames.problems == []
    np.testing.assert_allclose(np.diff(seconds), 1 / 30, atol=1e-3)


def test_frames_a_second_can_be_limited_and_keep_their_times(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", times(30), sound=True)
    found, frames = read(VideoFrames(clip, fps=Fraction(10)))
    assert [frame.pts for frame in found] == times(30)[::3] and frames.left_out == 20
    sound = [packet for frame in found for packet in frame.sound] + [*frames.last_sound]
    assert len(sound) == 45


def test_times_that_are_missing_or_go_back_are_mended_and_counted(tmp_path):
    clip = make_clip(tmp_path / "a.h264", times(5))
    found, frames = read(VideoFrames(clip))
    pts = [frame.pts for frame in found]
    assert len(pts) == 5 and pts == sorted(set(pts)) and frames.retimed > 0


def test_half_a_file_gives_its_frames_and_says_what_is_missing(tmp_path):
    whole = make_clip(tmp_path / "a.mp4", times(60), 120, 160).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    found, frames = read(VideoFrames(tmp_path / "half.mp4"))
    assert 0 < len(found) < 60
    assert "before its header says so" in frames.problems[-1]


def test_damage_in_the_middle_costs_only_the_middle(tmp_path):
    clip = make_clip(tmp_path / "a.ts", times(60))
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    clip.write_bytes(data)
    found, _ = read(VideoFrames(clip))
    assert len(found) > 50 and near(found[-1].rgb, picture(59, 48, 64))


def test_what_is_no_video_is_refused_with_a_sentence(tmp_path, save_photo):
    photo = save_photo(tmp_path / "photo.jpg")
    (tmp_path / "photo.mp4").write_bytes(photo.read_bytes())
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    cases = {
        "photo.jpg": "a photo, not a video; use `python run.py --img-path",
        "photo.mp4": "a photo, not a video; use `python run.py --img-path",
        "text.mp4": "no video that can be read",
        "empty.mp4": "no video that can be read",
        "nothing.mp4": "no such file",
        ".": "a folder, expected a video",
    }
    for name, said in cases.items():
        with pytest.raises(InputError, match=said):
            VideoFrames(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path):
    import av

    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 44100, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(InputError, match="no stream of frames"):
        VideoFrames(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
    ],
    ids=["hls", "concat"],
)
def test_a_list_of_other_files_is_not_followed(tmp_path, text):
    clip = make_clip(tmp_path / "secret.ts", times(5))
    for name in ("list.mp4", "list.m3u8", "list.ffconcat"):
        (tmp_path / name).write_text(text.format(clip.name))
        with pytest.raises(InputError, match="no video that can be read"):
            VideoFrames(tmp_path / name)


def test_frames_as_large_as_no_photo_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    with pytest.raises(LimitError, match="limit 1,000"):
        VideoFrames(make_clip(tmp_path / "a.mp4", times(2)))


def test_a_pipe_is_read_as_it_comes(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", times(8))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    feeder.start()
    found, _ = read(VideoFrames(pipe))
    feeder.join()
    assert len(found) == 8


def test_numbered_pictures_are_frames_in_the_order_of_their_numbers(tmp_path, save_photo):
    for number in (10, 2, 1):
        save_photo(tmp_path / f"take_{number}.png", seed=number)
    save_photo(tmp_path / "cover.png")
    (tmp_path / "take_3.txt").touch()
    pictures = numbered(tmp_path)
    assert [file.name for file in pictures] == ["take_1.png", "take_2.png", "take_10.png"]
    found, frames = read(PictureFrames(pictures, Fraction(30000, 1001)))
    assert [frame.pts for frame in found] == [0, 1, 2]
    assert frames.time_base == Fraction(1001, 30000) and frames.expected == 3


def test_a_bad_picture_costs_only_itself(tmp_path, save_photo):
    for number in range(4):
        save_photo(tmp_path / f"{number}.png", seed=number)
    (tmp_path / "1.png").write_bytes(b"no picture")
    save_photo(tmp_path / "2.png", height=21)
    found, frames = read(PictureFrames(numbered(tmp_path), Fraction(24)))
    assert [(frame.index, frame.pts) for frame in found] == [(0, 0), (1, 3)]
    assert (
        len(frames.problems) == 2 and "2.png: 30 x 21, the first is 30 x 20" in frames.problems[1]
    )
