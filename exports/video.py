"""Pictures to a video that browsers play: H.264 in MP4, each picture at its own time.

uint8 (H, W, 3) RGB and packets of sound in; a file out, whole or not at all. Sound is copied packet
by packet, never decoded. H.264 here has even sides: of odd ones the last row or column is repeated.
"""

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.errors import InputError
from runtime.files import partial_name
from runtime.optional import require

CRF = 20  # x264's scale of quality: 0 loses nothing, 51 is worst
PRESET = "superfast"  # of x264: half the time of "veryfast", for a file half as large again
PARAMETERS = "b-adapt=0"  # faster still, and here a little smaller at the same quality
BT601, BT709, NARROW = 6, 1, 1  # of H.264's tables
NARROWER = np.rint((np.arange(256) - 128) * (224 / 255) + 128).astype(np.uint8)  # chroma in 16..240


def to_yuv(rgb: np.ndarray) -> Any:
    """What the encoder takes: uint8 (H, W, 3) to an ``av.VideoFrame`` in yuv420p, its sides even.

    Luma by OpenCV, which takes each 2 x 2 pixels' chroma from one of them; here it is from their
    mean. A third of the time of FFmpeg's own conversion.
    """
    av = require("av", "video")
    rows, columns = odd_sides(rgb.shape)
    if rows or columns:
        rgb = np.pad(rgb, ((0, rows), (0, columns), (0, 0)), "edge")
    height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)  # (1.5 H, W): Y, then U and V in halves
    half = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    chroma = cv2.LUT(cv2.cvtColor(half, cv2.COLOR_RGB2YCrCb), NARROWER)
    u, v = planes[height:].reshape(2, *half.shape[:2])
    cv2.extractChannel(chroma, 2, u)
    cv2.extractChannel(chroma, 1, v)
    return av.VideoFrame.from_ndarray(planes, "yuv420p")


class VideoWriter:
    """An MP4 that is being written; made by ``writing_video``."""

    def __init__(
        self, container: Any, video: Any, sound: dict[int, Any], file: Path, errors: type[Exception]
    ) -> None:
        self._container, self._video, self._sound = container, video, sound
        self._file, self._errors = file, errors
        self._time_base = video.time_base  # the stream's own changes when its header is written
        self._durations: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self.packets = dict.fromkeys(sound, 0)
        self.left_out = 0  # packets of sound that do not come after the one before

    def picture(self, frame: Any, pts: int, duration: int) -> None:
        """Add a picture, as of ``to_yuv``, at its time in ticks of the time base.

        Raises:
            OSError: the disk refuses.
        """
        frame.pts, frame.time_base = pts, self._time_base
        if duration:
            self._durations[pts] = duration
        self._write(frame)

    def sound(self, packet: Any) -> None:
        """Copy a packet of sound.

        Raises:
            OSError: the disk refuses.
        """
        index = packet.stream.index
        if index not in self._sound:
            return
        if packet.dts <= self._last.get(index, packet.dts - 1):
            self.left_out += 1
            return
        self._last[index] = packet.dts
        self.packets[index] += 1
        packet.stream = self._sound[index]
        self._mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._write(None)
        try:
            self._container.close()
        except self._errors as error:
            raise self._refused(error) from error

    def _write(self, frame: Any) -> None:
        for packet in self._video.encode(frame):
            duration = self._durations.pop(packet.pts, 0)
            if duration:
                packet.duration = duration
            self._mux(packet)

    def _mux(self, packet: Any) -> None:
        try:
            self._container.mux(packet)
        except self._errors as error:
            raise self._refused(error) from error

    def _refused(self, error: Any) -> OSError:
        return OSError(error.errno, error.strerror, str(self._file))


@contextlib.contextmanager
def writing_video(
    file: Path,
    size_hw: tuple[int, int],
    time_base: Fraction,
    rate: Fraction,
    sound: Sequence[Any] = (),
    aspect: Fraction = Fraction(1),
    crf: int = CRF,
    preset: str = PRESET,
) -> Iterator[VideoWriter]:
    """Write a video beside its place, and put it there when all went well.

    Args:
        size_hw: of the pictures.
        time_base: seconds of a tick.
        rate: pictures a second, about; their times count.
        sound: streams of the source whose packets will come; of codecs that ``can_copy``.
        aspect: of a pixel.
        crf: quality, 0 (nothing lost) to 51.
        preset: x264's name of how hard it tries for a small file.
    Raises:
        OSError: the disk refuses.
        MissingDependency: PyAV is not installed.
    """
    av = require("av", "video")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.parent / partial_name()
    container = None
    try:
        container = av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"})
        options = {"crf": str(crf), "preset": preset}
        if preset == PRESET:
            options["x264-params"] = PARAMETERS
        video = container.add_stream("libx264", rate=rate, options=options)
        video.height, video.width = (side + odd for side, odd in zip(size_hw, odd_sides(size_hw)))
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = time_base
        video.codec_context.sample_aspect_ratio = aspect
        video.codec_context.colorspace, video.codec_context.color_range = BT601, NARROW
        video.codec_context.color_primaries = video.codec_context.color_trc = BT709
        streams = {one.index: container.add_stream_from_template(one) for one in sound}
        writer = VideoWriter(container, video, streams, file, av.error.FFmpegError)
        yield writer
        writer.finish()
        partial.replace(file)
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        if container is not None:
            with contextlib.suppress(Exception):  # closed already, or not to be kept
                container.close()
        with contextlib.suppress(OSError):
            partial.unlink()


def can_copy(stream: Any) -> bool:
    """Whether MP4 holds sound of this stream's codec."""
    av = require("av", "video")
    with contextlib.closing(av.open("/dev/null", "w", format="mp4")) as container:
        return stream.codec_context.name in container.supported_codecs


def odd_sides(size_hw: Sequence[int]) -> tuple[int, int]:
    """Rows and columns that are repeated at the end."""
    return size_hw[0] % 2, size_hw[1] % 2


def check_crf(crf: int) -> int:
    """Refuse a quality that x264 does not have.

    Raises:
        InputError: not 0 to 51.
    """
    if not 0 <= crf <= 51:
        raise InputError(f"crf={crf}: give 0 (nothing lost) to 51 (worst)")
    return crf
