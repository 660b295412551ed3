"""The pixels of a TIFF, band by band: unpacked, put in their place, and turned into RGB.

A file and its ``TiffHeader`` in, RGB uint8 (H, W, 3) out, as stored. Deflate by zlib, the other
methods by libtiff; planes, tiles, depths and kinds of colour in numpy. Alpha is dropped; colours
that were multiplied with it are divided by it.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image

from runtime.photo import libtiff
from runtime.photo.header import Piece
from runtime.photo.inflate import inflated
from runtime.photo.samples import fields, spread
from runtime.photo.tiff import (
    BASE,
    CMYK,
    DEFLATES,
    ICC_LAB,
    LAB,
    NONE,
    PALETTE,
    PHOTOMETRIC,
    RGB,
    WHITE_ZERO,
    YCBCR,
    TiffHeader,
    places,
)

BAND_BYTES = 1 << 22
AROUND_ZERO = np.array([0, 128, 128], np.uint8)  # from a and b above zero to signed ones
FLIPPED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def decode(data: bytes, header: TiffHeader) -> np.ndarray:
    """Its pixels.

    Raises:
        ValueError, OSError: they are damaged, or end early.
    """
    height, width = header.size_hw
    rgb = np.empty((height, width, 3), np.uint8)
    coded = header.compression == libtiff.JPEG or header.photometric == YCBCR
    bands = _coded_bands(data, header) if coded else _plain_bands(data, header)
    top = 0
    for band in bands:
        rows = min(len(band), height - top)
        rgb[top : top + rows] = band[:rows, :width]
        top += rows
    if top < height:
        raise ValueError("its pixels end early")
    return rgb


def _parts(data: bytes, header: TiffHeader) -> Iterator[list[Iterator[bytes]]]:
    """The packed strips or tiles of each plane."""
    starts, sizes = places(header, len(data))
    planes = header.channels if header.planar else 1
    each = header.blocks // planes
    exact = header.compression == NONE  # some writers count wrongly; the size is known

    def of_plane(plane: int) -> Iterator[bytes]:
        for index in range(plane * each, (plane + 1) * each):
            size = _block_bytes(header, index % each) if exact else int(sizes[index])
            part = data[starts[index] : starts[index] + max(0, size)]
            yield part.translate(FLIPPED) if header.reversed_bits else part

    yield [of_plane(plane) for plane in range(planes)]


def _block_rows(header: TiffHeader, index: int) -> int:
    """Rows of one strip or tile: the last strip has what is left."""
    rows = header.block_hw[0]
    return rows if header.tiled else min(rows, header.size_hw[0] - index * rows)


def _block_bytes(header: TiffHeader, index: int) -> int:
    return _block_rows(header, index) * header.row_bytes


def _plain_bands(data: bytes, header: TiffHeader) -> Iterator[np.ndarray]:
    """RGB of some rows at a time, all of them as high but the last."""
    (parts,) = _parts(data, header)
    planes = [_rows(_unpacked(one, header), header) for one in parts]
    wanted = _wanted_channels(header)
    for bands in zip(*planes):
        if header.planar:
            kept = [channel for channel in wanted if channel < len(bands)]
            samples = np.concatenate([_samples(bands[channel], header) for channel in kept], 2)
        else:
            samples = _samples(bands[0], header)[..., wanted]
        yield _rgb(samples, header)


def _wanted_channels(header: TiffHeader) -> list[int]:
    """Those that colours are made of, and alpha if they were multiplied with it."""
    own = list(range(BASE[header.photometric]))
    return own if header.alpha is None else [*own, header.alpha]


def _unpacked(parts: Iterator[bytes], header: TiffHeader) -> Iterator[Piece]:
    """The bytes of one strip or tile after the other, in pieces."""
    if header.compression == NONE:
        yield from parts
    elif header.compression in DEFLATES:
        for index, part in enumerate(parts):
            left = _block_bytes(header, index)
            for some in inflated([memoryview(part)], left):
                left -= len(some)
                yield some
            if left:
                raise ValueError("its pixels end early")
    else:
        width = header.block_hw[1] if header.compression in libtiff.FAX else header.row_bytes
        each = max(1, BAND_BYTES // (header.block_hw[0] * header.row_bytes))
        index = 0
        while group := list(islice(parts, each)):
            rows = [_block_rows(header, index + one) for one in range(len(group))]
            found = libtiff.unpacked(group, header.compression, width, rows, header.more)
            flat = found.reshape(-1).data
            for start in range(0, len(flat), BAND_BYTES):
                yield flat[start : start + BAND_BYTES]
            index += len(group)


def _rows(pieces: Iterator[Piece], header: TiffHeader) -> Iterator[np.ndarray]:
    """Pieces of any length as bands of whole rows: uint8 (rows, tiles, bytes of a tile's row)."""
    rows = header.block_hw[0] if header.tiled else 1
    unit = rows * header.row_bytes * header.across
    size = unit * max(1, BAND_BYTES // unit)
    waiting: list[Piece] = []
    have = 0
    for piece in pieces:
        waiting.append(piece)
        have += len(piece)
        if have >= size:
            whole = b"".join(waiting)
            for start in range(0, have - size + 1, size):
                yield _band(memoryview(whole)[start : start + size], rows, header)
            waiting = [whole[have - have % size :]]
            have %= size
    if have:
        whole = b"".join(waiting)[: have - have % unit]
        if whole:
            yield _band(memoryview(whole), rows, header)


def _band(raw: memoryview, rows: int, header: TiffHeader) -> np.ndarray:
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, header.across, rows, header.row_bytes)
    return blocks.swapaxes(1, 2).reshape(-1, header.across, header.row_bytes)


def _samples(rows: np.ndarray, header: TiffHeader) -> np.ndarray:
    """Upper 8 bits of each sample: uint8 (rows, pixels, channels of a plane)."""
    columns, channels, bits = header.block_hw[1], header.per_pixel, header.bits
    flat = np.ascontiguousarray(rows).reshape(-1, header.row_bytes)
    if bits == 16:
        wide = flat.view(header.order + "u2").reshape(-1, columns, channels)
        if header.predictor == 2:
            wide = np.cumsum(wide, axis=1, dtype=np.uint16)
        samples = (wide >> 8).astype(np.uint8)
    else:
        samples = fields(flat, bits, columns * channels).reshape(-1, columns, channels)
        if header.predictor == 2:
            samples = np.cumsum(samples, axis=1, dtype=np.uint8)
    return samples.reshape(len(rows), -1, channels)


def _rgb(samples: np.ndarray, header: TiffHeader) -> np.ndarray:
    """What samples show: uint8 (rows, pixels, 3)."""
    kind = header.photometric
    if kind == PALETTE:
        assert header.palette is not None
        return header.palette[samples[..., 0]]
    samples = spread(samples, header.bits)
    if header.alpha is not None:
        samples = _divided(samples[..., :-1], samples[..., -1:])
    if kind == RGB:
        return samples
    if kind == CMYK:
        return _converted(samples, "CMYK")
    if kind in (LAB, ICC_LAB):
        return _converted(samples ^ AROUND_ZERO if kind == ICC_LAB else samples, "LAB")
    grey = 255 - samples if kind == WHITE_ZERO else samples
    return np.repeat(grey, 3, axis=2)


def _divided(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours that were multiplied with alpha, as they were before; black where it is 0."""
    whole = colours.astype(np.uint16) * 255 // np.maximum(alpha, 1)
    return np.where(alpha > 0, np.minimum(whole, 255), 0).astype(np.uint8)


def _converted(samples: np.ndarray, mode: str) -> np.ndarray:
    """To RGB by Pillow, which has littleCMS for Lab."""
    rows, columns = samples.shape[:2]
    packed = np.ascontiguousarray(samples).tobytes()
    return np.asarray(Image.frombytes(mode, (columns, rows), packed, "raw", mode).convert("RGB"))


def _coded_bands(data: bytes, header: TiffHeader) -> Iterator[np.ndarray]:
    """RGB of strips or tiles that libtiff turns into colours: JPEG, and YCbCr."""
    (parts,) = _parts(data, header)
    if header.planar:
        yield from _coded_planes(parts, header)
        return
    more = {
        **header.more,
        PHOTOMETRIC: ("H", [header.photometric]),
        258: ("H", [8] * header.channels),
        277: ("H", [header.channels]),
        284: ("H", [1]),
    }
    yield from _pictures(parts[0], header, more)


def _coded_planes(parts: list[Iterator[bytes]], header: TiffHeader) -> Iterator[np.ndarray]:
    """Planes of JPEG, each a picture in grey."""
    planes = [_pictures(one, header, {**header.more, 258: ("H", [8])}) for one in parts]
    for bands in zip(*planes):
        samples = np.stack([band[..., 0] for band in bands], -1)
        yield _rgb(samples[..., _wanted_channels(header)], header)


def _pictures(
    parts: Iterator[bytes], header: TiffHeader, more: libtiff.Tags
) -> Iterator[np.ndarray]:
    rows, columns = header.block_hw
    each = header.across
    if not header.tiled:
        each = max(1, BAND_BYTES // max(1, rows * columns * 3))
    index = 0
    while group := list(islice(parts, each)):
        if header.tiled:
            tall = libtiff.colours(
                group, header.compression, (rows * len(group), columns), rows, more
            )
            yield np.concatenate(np.split(tall, len(group)), axis=1)
        else:
            high = sum(_block_rows(header, index + one) for one in range(len(group)))
            yield libtiff.colours(group, header.compression, (high, columns), rows, more)
        index += len(group)
