"""Small videos for tests, made here: H.264 and a tone, at any times, turned or cut as wanted."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np

TICK = Fraction(1, 90000)
QUARTERS = {  # clockwise -> (a, b, c, d) of the matrix in a track's header
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}
UNEVEN = (0, 3000, 9000, 9100, 20000, 30000, 30001, 40000)


def times(count, uneven=False):
    """Ticks of so many frames: a 30th of a second apart, or uneven at first."""
    if not uneven:
        return [3000 * index for index in range(count)]
    return [*UNEVEN, *(50000 + 4000 * index for index in range(count))][:count]


def picture(index, height, width):
    """One frame: moving gradients, its upper left quarter bright: uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x + 3 * index, y + x // 2, (x + y) // 2 + index], axis=-1) % 160
    rgb[: height // 2, : width // 2] += 80
    return rgb.astype(np.uint8)


def make_clip(file, pts, height=48, width=64, sound=False, turn=0, codec="libx264", tick=TICK):
    """Write a clip whose frames have these times in ticks; its path."""
    import av

    options = {"movflags": "faststart"} if Path(file).suffix in (".mp4", ".mov") else {}
    with av.open(str(file), "w", options=options) as container:
        video = container.add_stream(codec, rate=30)
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        video.time_base = video.codec_context.time_base = tick
        tone = container.add_stream("aac", rate=44100) if sound else None
        for index, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), "rgb24")
            frame.pts, frame.time_base = time, tick
            for packet in video.encode(frame):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
        if tone is not None:
            _add_tone(av, container, tone, max(1, round(pts[-1] * tick)))
    if turn:
        turn_clip(file, turn, height, width)
    return Path(file)


def _add_tone(av, container, stream, seconds):
    at = np.arange(seconds * 44100) / 44100
    wave = (0.3 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)[None]
    for start in range(0, wave.shape[1], 1024):
        part = np.ascontiguousarray(wave[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
        frame.rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)


def turn_clip(file, turn, height, width):
    """Write into an MP4's first track header how it is to be shown, as phones do."""
    data = bytearray(Path(file).read_bytes())
    at = data.find(b"tkhd") + 4
    at += 4 + (32 if data[at] else 20) + 16
    a, b, c, d = QUARTERS[turn]
    x = width if a < 0 else height if c < 0 else 0
    y = height if d < 0 else width if b < 0 else 0
    one = 1 << 16
    data[at : at + 36] = struct.pack(
        ">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30
    )
    Path(file).write_bytes(data)


def shown(file):
    """What a player shows: times in seconds, frames as stored, and packets of sound."""
    import av

    with av.open(str(file)) as container:
        stamps, frames = [], []
        for frame in container.decode(video=0):
            stamps.append(frame.pts * frame.time_base)
            frames.append(frame.to_ndarray(format="rgb24"))
    return stamps, frames, packets(file)


def packets(file):
    """Sound: bytes and time in seconds of each packet."""
    import av

    with av.open(str(file)) as container:
        return [
            (bytes(packet), packet.pts * packet.time_base)
            for stream in container.streams.audio[:1]
            for packet in container.demux(stream)
            if packet.dts is not None
        ]
