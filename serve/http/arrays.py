"""NumPy's arrays and archives as they are sent: photos as pixels, and cameras.

Bytes in, checked arrays out. Nothing in them is executed, and what an array says of itself is
checked before memory for it is taken.
"""

import io
import math
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError, LimitError
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


def read_npy(
    stream: Any, limit_bytes: int, check: Callable[[np.dtype, tuple[int, ...]], None]
) -> np.ndarray:
    """Read an array in NumPy's format; what it says of itself is checked before memory is taken.

    Args:
        check: raises if an array of this dtype and shape is not what is wanted.
    Raises:
        InputError: not such an array, one that would need pickles, or one that is cut short.
        LimitError: it is larger than the limit.
    """
    try:
        shape, fortran, dtype = _npy_header(stream)
    except Exception as error:  # the reader evaluates a literal: what is wrong has many names
        raise InputError(f"not an array in NumPy's format ({error})") from None
    if max(shape, default=1) > limit_bytes:
        raise LimitError(f"array of {dtype} {shape}: over {limit_bytes:,} bytes")
    count = math.prod(shape)
    if dtype.hasobject or dtype.kind not in "uif" or any(side < 1 for side in shape):
        raise InputError(f"array of {dtype} {shape}: send plain numbers, one at least")
    check(dtype, shape)
    if count * dtype.itemsize > limit_bytes:
        raise LimitError(f"array of {dtype} {shape}: over {limit_bytes:,} bytes")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise InputError(f"array of {dtype} {shape}: the data ends early")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


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


def read_images(stream: Any, where: str, settings: Settings) -> Sequence[np.ndarray]:
    """One photo or a stack of them, in NumPy's format: uint8 RGB (H, W, 3) each.

    Args:
        where: what it is called in an error.
    Raises:
        InputError, LimitError: as for ``read_npy``; or it is no such photo, or too large.
    """

    def check(dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if dtype != np.uint8 or len(shape) not in (3, 4) or shape[-1] != 3:
            raise InputError(
                f"{where} is {dtype} {shape}, expected RGB: uint8 (H, W, 3), or (N, H, W, 3) for "
                "a scene"
            )
        if len(shape) == 4:
            check_count(shape[0], settings)
        check_pixels(shape[-3], shape[-2], settings)

    images = read_npy(stream, GROWTH * int(settings.max_body_mb * MIB), check)
    return list(images) if images.ndim == 4 else [images]


def read_npz(body: bytes, settings: Settings) -> tuple[Sequence[np.ndarray], dict[str, np.ndarray]]:
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
                with archive.open(info) as stream:
                    if name in CAMERAS:
                        limit = settings.max_views * 16 * 16  # numbers of 16 bytes at most
                        found[name] = read_npy(stream, limit, lambda dtype, shape: None)
                    elif name == POINTS:
                        found[name] = read_npy(stream, MAX_POINTS_BYTES, lambda dtype, shape: None)
                    else:
                        found[name] = read_images(stream, name, settings)
    except InputError:
        raise
    except Exception as error:  # zlib, lzma and bz2 have errors of their own
        raise InputError(f"not an archive in NumPy's format, or damaged ({error})") from None
    if ("image" in found) == ("images" in found):
        raise InputError("the archive holds no image, or both image and images; give one")
    cameras = {name: found[name] for name in (*CAMERAS, POINTS) if name in found}
    return found.get("image") or found["images"], cameras


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
    if height * width > limit:
        raise LimitError(
            f"photo: {width} x {height} = {width * height:,} pixels, limit {limit:,}; shrink it, "
            "or raise DEPTH_MAX_PIXELS"
        )
    if height * width == 0:
        raise InputError(f"photo: {width} x {height} pixels")
