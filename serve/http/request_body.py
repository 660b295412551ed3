"""An HTTP request to photos and options: what was sent, checked, before any pixel is decoded.

Bodies of nine kinds in, one ``Job`` out. Nothing in a body is executed, and sizes are read before
the memory for them is taken.
"""

import base64
import binascii
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Optional, Union

import numpy as np
from flask import Request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.formparser import FormDataParser

from exports.colour import COLORMAPS
from runtime.errors import InputError, LimitError
from runtime.photo.decode import photo_size
from runtime.scene.reference_view import DEFAULT_STRATEGY, STRATEGIES
from runtime.storage import SCHEME, read_object, split_address
from serve.http.problems import Problem
from serve.http.settings import MIB, Settings

Photo = Union[bytes, np.ndarray]  # an encoded image, or uint8 RGB (H, W, 3)

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/x-image")
NPY, NPZ = "application/x-npy", "application/x-npz"
JSON, MULTIPART = "application/json", "multipart/form-data"
KINDS = (*IMAGES, NPY, NPZ, MULTIPART, JSON)
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

CAMERAS = {"extrinsics": ((3, 4), (4, 4)), "intrinsics": ((3, 3),)}
MAX_HEADER = 10_000  # bytes of an array's header: NumPy's own limit, but before they are read
MAX_VALUES = 100_000  # in JSON; each may take seventy times its text in memory
GROWTH = 4  # that an archive may grow by when it is unpacked
SHOWN = 80  # characters of what was sent, in a sentence about it
MEMBER = b"PK\x01\x02"  # begins an entry in an archive's table of contents


@dataclass(frozen=True)
class Options:
    """What a client may ask for: in the address, in custom attributes, or in the body."""

    size: Optional[str] = None
    png: str = "16"
    colormap: str = "Spectral_r"
    encoding: str = "base64"
    focal_px: Optional[float] = None
    use_ray_pose: bool = False
    ref_view_strategy: str = DEFAULT_STRATEGY


CHOICES = {
    "size": ("input", "model"),
    "png": ("16", "color"),
    "colormap": COLORMAPS,
    "encoding": ("base64", "list"),
    "use_ray_pose": ("0", "1", "false", "true"),
    "ref_view_strategy": STRATEGIES,
}


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    photos: tuple[Photo, ...]
    options: Options
    extrinsics: Optional[np.ndarray] = None  # float64 (N, 3 or 4, 4), world-to-camera
    intrinsics: Optional[np.ndarray] = None  # float64 (N, 3, 3), in pixels of the photos
    sizes_hw: tuple[tuple[int, int], ...] = field(default=())


def read_job(request: Request, settings: Settings) -> Job:
    """Read a request.

    Raises:
        Problem: the media type is none that holds photos, or the body is not what it claims.
        InputError, LimitError: what is in it cannot be used.
    """
    options = parse_options(Options(), request.args.items(multi=True), "query parameter")
    attributes = request.headers.get(CUSTOM_ATTRIBUTES, "")
    pairs = [part.partition("=") for part in attributes.split(";") if part.strip()]
    options = parse_options(
        options, [(key.strip(), value.strip()) for key, _, value in pairs], CUSTOM_ATTRIBUTES
    )
    kind = request.mimetype
    if kind not in KINDS:
        raise Problem(
            "unsupported_media_type",
            f"Content-Type {_shown(kind) if kind else 'missing'}: use one of {', '.join(KINDS)}",
        )
    cameras: dict[str, Any] = {}
    photos: list[Photo]
    body = _body(request)
    if not body:
        raise Problem("bad_request", f"the body is empty; send a photo as {kind}")
    if kind == NPY:
        photos = list(_read_images(io.BytesIO(body), "body", settings))
    elif kind == NPZ:
        photos, cameras = _from_npz(body, settings)
    elif kind == JSON:
        photos, cameras, options = _from_json(body, options, settings)
    elif kind == MULTIPART:
        photos, cameras, options = _from_form(body, request, options)
    else:
        photos = [body]
    if not photos:
        raise InputError("no photo in the request; send one or more")
    _check_count(len(photos), settings)
    sizes_hw = tuple(_checked_size(photo, settings.max_pixels) for photo in photos)
    return Job(
        tuple(photos),
        options,
        _matrices(cameras.get("extrinsics"), "extrinsics", len(photos)),
        _matrices(cameras.get("intrinsics"), "intrinsics", len(photos)),
        sizes_hw,
    )


def parse_options(options: Options, pairs: Iterable[tuple[str, Any]], where: str) -> Options:
    """Add name-value pairs to options.

    Raises:
        InputError: an unknown name, or a value that is not allowed.
    """
    for name, value in pairs:
        if name == "focal_px":
            value = _positive(value)
        elif name in CHOICES:
            value = str(value).lower() if isinstance(value, bool) else value
            if value not in CHOICES[name]:
                raise InputError(f"{name}={_shown(value)}: use one of {', '.join(CHOICES[name])}")
            if name == "use_ray_pose":
                value = value in ("1", "true")
        else:
            known = ", ".join((*CHOICES, "focal_px"))
            raise InputError(f"{where} {_shown(name)} is unknown; there are {known}")
        options = replace(options, **{name: value})
    return options


def read_npy(
    stream: Any, limit_bytes: int, check: Callable[[np.dtype, tuple[int, ...]], None]
) -> np.ndarray:
    """Read an array in NumPy's format; what it says of itself is checked before memory is taken.

    Args:
        check: raises where an array of this dtype and shape is not what is wanted.
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


def _body(request: Request) -> bytes:
    try:
        body = request.get_data(cache=False)
    except ClientDisconnected:
        raise Problem("body_incomplete", "fewer bytes came than Content-Length says") from None
    expected = request.content_length
    if expected is not None and len(body) < expected:
        raise Problem("body_incomplete", f"{len(body)} bytes came of {expected}")
    limit = request.max_content_length
    if expected is None and limit is not None and len(body) >= limit and _more(request):
        raise LimitError(f"over {limit:,} bytes")
    return body


def _more(request: Request) -> bool:
    """Of a body in chunks, werkzeug gives as much as is allowed, and is silent about the rest."""
    return bool(request.environ["wsgi.input"].read(1))


def _read_images(stream: Any, where: str, settings: Settings) -> "Sequence[np.ndarray]":
    """One photo, or a stack of them."""

    def check(dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if dtype != np.uint8 or len(shape) not in (3, 4) or shape[-1] != 3:
            raise InputError(
                f"{where} is {dtype} {shape}, expected RGB: uint8 (H, W, 3), or (N, H, W, 3) for "
                "a scene"
            )
        if len(shape) == 4:
            _check_count(shape[0], settings)
        _check_pixels(shape[-3], shape[-2], settings.max_pixels)

    images = read_npy(stream, GROWTH * int(settings.max_body_mb * MIB), check)
    return list(images) if images.ndim == 4 else [images]


def _from_npz(body: bytes, settings: Settings) -> "tuple[list[Photo], dict[str, Any]]":
    wanted = ("image", "images", *CAMERAS)
    found: dict[str, Any] = {}
    if body.count(MEMBER) > 1000:
        raise LimitError("an archive of over 1,000 members; give those that are needed")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for info in archive.infolist():
                name = info.filename[: -len(".npy")]
                if name not in wanted or name in found:
                    raise InputError(
                        f"{_shown(info.filename)} in the archive, or twice: give image or images, "
                        "and extrinsics and intrinsics if they are known"
                    )
                with archive.open(info) as stream:
                    if name in CAMERAS:
                        limit = settings.max_views * 16 * 16  # numbers of 16 bytes at most
                        found[name] = read_npy(stream, limit, lambda dtype, shape: None)
                    else:
                        found[name] = _read_images(stream, name, settings)
    except InputError:
        raise
    except Exception as error:  # zlib, lzma and bz2 have errors of their own
        raise InputError(f"not an archive in NumPy's format, or damaged ({error})") from None
    if ("image" in found) == ("images" in found):
        raise InputError("the archive holds no image, or both image and images; give one")
    cameras = {name: found[name] for name in CAMERAS if name in found}
    return list(found.get("image") or found["images"]), cameras


def _from_form(
    body: bytes, request: Request, options: Options
) -> "tuple[list[Photo], dict[str, Any], Options]":
    # werkzeug on its own takes a broken form for an empty one, and puts its files on the disk
    parser = FormDataParser(
        stream_factory=_in_memory,
        max_form_memory_size=request.max_form_memory_size,
        max_form_parts=request.max_form_parts,
        silent=False,
    )
    try:
        _, form, files = parser.parse(
            io.BytesIO(body), MULTIPART, len(body), request.mimetype_params
        )
    except ValueError as error:  # no boundary, parts without end
        raise Problem("bad_request", f"not a form that can be read ({error})") from None
    photos: list[Photo] = [file.read() for _, file in files.items(multi=True)]
    cameras = {}
    pairs = []
    for name, text in form.items(multi=True):
        if name in CAMERAS:
            cameras[name] = _parse_json(text.encode(), name)
        else:
            pairs.append((name, text))
    return photos, cameras, parse_options(options, pairs, "form field")


def _in_memory(
    total_content_length: Optional[int],
    content_type: Optional[str],
    filename: Optional[str],
    content_length: Optional[int] = None,
) -> IO[bytes]:
    return io.BytesIO()


def _from_json(
    body: bytes, options: Options, settings: Settings
) -> "tuple[list[Photo], dict[str, Any], Options]":
    facts = _parse_json(body, "body")
    if not isinstance(facts, dict):
        raise InputError('the JSON is no object; give {"image": "...base64..."}')
    cameras = {name: facts.pop(name, None) for name in CAMERAS}
    if "image" in facts and "images" in facts:
        raise InputError("the JSON has both image and images; give one")
    sources = [facts.pop("image")] if "image" in facts else facts.pop("images", None)
    if not isinstance(sources, list) or not all(isinstance(one, str) for one in sources):
        raise InputError("image: give base64 text or s3://bucket/key; images: a list of them")
    _check_count(len(sources), settings)
    options = parse_options(options, facts.items(), "JSON field")
    photos: list[Photo] = [_source(text, settings) for text in sources]
    return photos, cameras, options


def _source(text: str, settings: Settings) -> bytes:
    if text.startswith(SCHEME):
        bucket, _ = split_address(text)
        if bucket not in settings.s3_buckets:
            raise Problem(
                "forbidden_bucket",
                f"{_shown(text)}: name the bucket in DEPTH_S3_BUCKETS to allow it",
            )
        return read_object(text, int(settings.max_body_mb * MIB))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"image is neither base64 nor s3://bucket/key ({error})") from None


def _parse_json(text: bytes, where: str) -> Any:
    """JSON as its standard has it: no NaN, and no name twice."""
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise LimitError(f"{where}: over {MAX_VALUES:,} values in JSON")
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_no_name_twice)
    except RecursionError:
        raise InputError(f"{where}: JSON that is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _no_name_twice(pairs: "list[tuple[str, Any]]") -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _check_count(photos: int, settings: Settings) -> None:
    if photos > settings.max_views:
        raise LimitError(f"{photos} photos in one request, limit {settings.max_views}")


def _checked_size(photo: Photo, max_pixels: int) -> tuple[int, int]:
    """Height and width, from the header; nothing is decoded."""
    if isinstance(photo, bytes):
        if not photo:
            raise InputError("photo: empty, 0 bytes")
        height, width = photo_size(photo)
    else:
        height, width = photo.shape[:2]
    _check_pixels(height, width, max_pixels)
    return height, width


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise LimitError(
            f"photo: {width} x {height} = {width * height:,} pixels, limit {max_pixels:,}; shrink "
            "it, or raise DEPTH_MAX_PIXELS"
        )
    if height * width == 0:
        raise InputError(f"photo: {width} x {height} pixels")


def _matrices(value: Any, name: str, photos: int) -> Optional[np.ndarray]:
    """Cameras (N, rows, columns) out of whatever was sent; one of one photo may come bare."""
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


def _only_numbers(value: Any) -> bool:
    """False for the texts, truths and nothings that NumPy would take for numbers."""
    if isinstance(value, list):
        return all(map(_only_numbers, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """What was sent, as short as a sentence bears."""
    if isinstance(value, str):
        return repr(value[:SHOWN]) + ("..." if len(value) > SHOWN else "")
    return repr(value)[:SHOWN] if isinstance(value, (int, float)) else type(value).__name__


def _positive(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"focal_px={_shown(value)}: give pixels, above 0")
    return number


def header_facts(facts: Mapping[str, str]) -> str:
    """Facts for the header that SageMaker passes on: ``name=value;...``, ASCII, 1,024 at most."""
    text = ";".join(f"{name}={value}" for name, value in facts.items())
    return text.encode("ascii", "replace").decode()[:1024]
