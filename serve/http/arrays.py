"""NumPy's arrays and archives as they are sent: photos as pixels, and cameras.

Bytes in; photos of which only the headers have been read, and checked cameras, out. Nothing in them
is executed, what an array says of itself is checked before memory for it is taken, and pixels are
unpacked when it is their turn to be decoded.
"""

import io
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError, LimitError
from runtime.photo.arrays import as_rgb
from runtime.photo.decode import check_sides
from runtime.scene.known_points import KnownPoints, points_of_rows
from serve.http.problems import shown
from serve.http.settings import MIB, Settings

CAMERAS = {"extrinsics": ((3, 4), (4, 4)), "intrinsics": ((3, 3),)}
POINTS = "points"  # [[x, y, metres], ...], of known distance
MAX_POINTS_BYTES = 32 << 20
MAX_HEADER = 10_000  # bytes of an array's header: NumPy's own limit, but before they are read
GROWTH = 4  # that an archive may grow by when it is unpacked
MEMBER = b"PK\x01\x02"  # begins an entry in an archive's table of contents
MAX_MEMBERS = 1000
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that NumPy writes
PIECE = 1 << 20  # bytes read at a time
SHAPES = (
    "expected grey (H, W), RGB (H, W, 3) or with alpha (H, W, 4); for a scene, N of them in front"
)

Open = Callable[[], Any]  # a stream of an array in NumPy's format, from its beginning


class Packed:
    """An array as it was sent: its header is read, its numbers are not.

    Args:
        opened: gives its bytes, unpacked one after the other.
    """

    def __init__(self, opened: Open, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._opened, self.dtype, self.shape = opened, dtype, shape
        self._array: Optional[np.ndarray] = None

    def array(self) -> np.ndarray:
        """Its numbers, kept until ``forget``.

        Raises:
            InputError: they are damaged, or end early.
        """
        if self._array is None:
            try:
                with self._opened() as stream:
                    self._array = read_npy(stream, math.inf, lambda dtype, shape: None)
            except InputError:
                raise
            except Exception as error:  # zlib's and zipfile's own
                raise InputError(f"damaged archive ({error})") from None
        return self._array

    def forget(self) -> None:
        """Give its memory back."""
        self._array = None


@dataclass(frozen=True)
class SentArray:
    """One photo of an array: itself, or one of a stack."""

    packed: Packed
    index: Optional[int] = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Its height and width."""
        height, width = self.packed.shape[:2] if self.index is None else self.packed.shape[1:3]
        return height, width

    def rgb(self) -> np.ndarray:
        """uint8 (H, W, 3).

        Raises:
            InputError: damaged, or values whose meaning is not clear.
        """
        array = self.packed.array()
        return as_rgb(array if self.index is None else array[self.index])


def read_npy(
    stream: Any, limit_bytes: float, check: Callable[[np.dtype, tuple[int, ...]], None]
) -> np.ndarray:
    """Read an array in NumPy's format; what it says of itself is checked before memory is taken.

    Args:
        check: raises if an array of this dtype and shape is not what is wanted.
    Raises:
        InputError: not such an array, one that would need pickles, or one that is cut short.
        LimitError: it is larger than the limit.
    """
    dtype, shape, fortran = _checked_header(stream, limit_bytes, check)
    size = math.prod(shape) * dtype.itemsize
    data = np.empty(size, np.uint8)
    filled = 0
    while filled < size:
        part = stream.read(min(PIECE, size - filled))
        if not part:
            raise InputError(f"array of {dtype} {shape}: the data ends early")
        data[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    stream.read(1)  # the end of an archive's member, where its checksum is looked at
    return data.view(dtype).reshape(shape, order="F" if fortran else "C")


def _checked_header(
    stream: Any, limit_bytes: float, check: Callable[[np.dtype, tuple[int, ...]], None]
) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Number type, shape, and whether columns come first."""
    try:
        shape, fortran, dtype = _npy_header(stream)
    except Exception as error:  # the reader evaluates a literal: what is wrong has many names
        raise InputError(f"not an array in NumPy's format ({error})") from None
    if max(shape, default=1) > limit_bytes:
        raise LimitError(f"array of {dtype} {shape}: over {limit_bytes:,} bytes")
    if dtype.hasobject or dtype.kind not in "buif" or any(side < 1 for side in shape):
        raise InputError(f"array of {dtype} {shape}: send plain numbers, one at least")
    check(dtype, shape)
    if math.prod(shape) * dtype.itemsize > limit_bytes:
        raise LimitError(f"array of {dtype} {shape}: over {limit_bytes:,} bytes")
    return dtype, shape, fortran


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    reader, digits = {
        (1, 0): (np.lib.format.read_array_header_1_0, 2),
        (2, 0): (np.lib.format.read_array_header_2_0, 4),
    }[version]
    length = stream.read(digits)
    if int.from_bytes(length, "little") > MAX_HEADER:
        raise ValueError(f"its header claims over {MAX_HEADER:,} bytes")
    found = reader(io.BytesIO(length + stream.read(int.from_bytes(length, "little"))))
    return tuple(int(side) for side in found[0]), found[1], found[2]


def read_images(opened: Open, where: str, settings: Settings) -> Sequence[SentArray]:
    """One photo or a stack of them, in NumPy's format; only the header is read.

    Args:
        where: what it is called in an error.
    Raises:
        InputError, LimitError: as for ``read_npy``; or it is no such photo, or too large.
    """

    def check(dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if len(shape) not in (2, 3, 4) or (len(shape) > 2 and shape[-1] not in (1, 2, 3, 4)):
            first = len(shape) > 2 and shape[-3] in (1, 3, 4)
            channels = "; its channels come first: put them last" if first else ""
            raise InputError(f"{where} is {dtype} {shape}, {SHAPES}{channels}")
        if len(shape) == 4:
            check_count(shape[0], settings)
        height, width = shape[-3:-1] if len(shape) > 2 else shape
        check_pixels(height, width, settings)

    with opened() as stream:
        dtype, shape, _ = _checked_header(stream, unpacked_limit(settings), check)
    packed = Packed(opened, dtype, shape)
    count = shape[0] if len(shape) == 4 else None
    return [SentArray(packed, index) for index in range(count)] if count else [SentArray(packed)]


def unpacked_limit(settings: Settings) -> int:
    """Bytes that an archive of arrays may unpack to."""
    return GROWTH * int(settings.max_body_mb * MIB)


def read_npz(body: bytes, settings: Settings) -> tuple[Sequence[SentArray], dict[str, np.ndarray]]:
    """Photos, and cameras by their names, of an archive in NumPy's format.

    Raises:
        InputError, LimitError: it is damaged, holds what is not asked for, or is too large.
    """
    wanted = ("image", "images", *CAMERAS, POINTS)
    found: dict[str, Any] = {}
    if body.count(MEMBER) > MAX_MEMBERS:
        raise LimitError(f"an archive of over {MAX_MEMBERS:,} members; give those that are needed")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for info in archive.infolist():
                name = info.filename[: -len(".npy")]
                if name not in wanted or name in found:
                    raise InputError(
                        f"{shown(info.filename)} in the archive, or twice: give image or images, "
                        "and extrinsics, intrinsics and points if they are known"
                    )
                if info.compress_type not in PACKED or info.flag_bits & 1:
                    raise InputError(
                        f"{name}: packed as NumPy never does; use numpy.savez_compressed"
                    )
                if name in CAMERAS:
                    limit = settings.max_views * 16 * 16  # numbers of 16 bytes at most
                    with archive.open(info) as stream:
                        found[name] = read_npy(stream, limit, lambda dtype, shape: None)
                elif name == POINTS:
                    with archive.open(info) as stream:
                        found[name] = read_npy(stream, MAX_POINTS_BYTES, lambda dtype, shape: None)
                else:
                    found[name] = read_images(_member(body, info.filename), name, settings)
    except InputError:
        raise
    except Exception as error:  # zlib has errors of its own
        raise InputError(f"not an archive in NumPy's format, or damaged ({error})") from None
    if ("image" in found) == ("images" in found):
        raise InputError("the archive holds no image, or both image and images; give one")
    cameras = {name: found[name] for name in (*CAMERAS, POINTS) if name in found}
    return found.get("image") or found["images"], cameras


def _member(body: bytes, name: str) -> Open:
    return lambda: zipfile.ZipFile(io.BytesIO(body)).open(name)


def camera_matrices(value: Any, name: str, photos: int) -> Optional[np.ndarray]:
    """Cameras out of whatever was sent: float64 (N, rows, columns), or None if nothing was.

    Args:
        value: an array, or lists of numbers; the matrix of a single photo may come bare.
        name: extrinsics or intrinsics.
        photos: N.
    Raises:
        InputError: it is no such array.
    """
    if value is None:
        return None
    shapes = CAMERAS[name]
    wanted = " or ".join(f"({photos}, {rows}, {columns})" for rows, columns in shapes)
    try:
        matrices = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is no array of numbers; give {wanted}") from None
    if matrices.ndim == 2 and photos == 1:
        matrices = matrices[None]
    if matrices.shape not in [(photos, *shape) for shape in shapes]:
        raise InputError(f"{name} is {matrices.shape}, expected {wanted}: one a photo")
    if isinstance(value, list) and not _only_numbers(value):
        raise InputError(f"{name} is no array of numbers; give {wanted}")
    if not np.isfinite(matrices).all():
        raise InputError(f"{name} holds numbers that are not finite")
    return matrices


def known_points(value: Any, photos: int) -> Optional[KnownPoints]:
    """Points whose distance is known, out of whatever was sent; None if nothing was.

    Raises:
        InputError: they are no such points, or several photos came.
    """
    if value is None:
        return None
    if photos > 1:
        raise InputError("points: of one photo; send it alone")
    return points_of_rows(value)


def _only_numbers(value: Any) -> bool:
    """False for the texts, truths and nothings that NumPy would take for numbers."""
    if isinstance(value, list):
        return all(map(_only_numbers, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_count(photos: int, settings: Settings) -> None:
    """Refuse more photos in a request than are allowed.

    Raises:
        LimitError: there are more.
    """
    if photos > settings.max_views:
        raise LimitError(f"{photos} photos in one request, limit {settings.max_views}")


def check_pixels(height: int, width: int, settings: Settings) -> None:
    """Refuse a photo of more pixels than are allowed, or of none.

    Raises:
        LimitError: it has more.
        InputError: it has none.
    """
    limit = settings.max_pixels
    check_sides(height, width, "photo")
    if height * width > limit:
        raise LimitError(
            f"photo: {width} x {height} = {width * height:,} pixels, limit {limit:,}; shrink it, "
            "or raise DEPTH_MAX_PIXELS"
        )
    if height * width == 0:
        raise InputError(f"photo: {width} x {height} pixels")
