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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

import numpy as np
from flask import Request
from werkzeug.exceptions import ClientDisconnected

from runtime.depth_file import COLORMAPS
from runtime.errors import InputError, LimitError
from runtime.photo import photo_size
from runtime.reference_view import DEFAULT_STRATEGY, STRATEGIES
from runtime.storage import SCHEME, read_object, split_address
from serve.problems import Problem
from serve.settings import MIB, Settings

Photo = Union[bytes, np.ndarray]  # an encoded image, or uint8 RGB (H, W, 3)

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/x-image")
NPY, NPZ = "application/x-npy", "application/x-npz"
JSON, MULTIPART = "application/json", "multipart/form-data"
KINDS = (*IMAGES, NPY, NPZ, MULTIPART, JSON)
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


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
            f"Content-Type {kind or 'missing'!r}: use one of {', '.join(KINDS)}",
        )
    cameras: dict[str, Any] = {}
    photos: list[Photo]
    if kind == MULTIPART:
        photos, cameras, options = _from_form(request, options)
    else:
        body = _body(request)
        if not body:
            raise Problem("bad_request", f"the body is empty; send a photo as {kind}")
        if kind == NPY:
            photos = _images(read_npy(io.BytesIO(body), _array_limit(settings)), "body")
        elif kind == NPZ:
            photos, cameras = _from_npz(body, _array_limit(settings))
        elif kind == JSON:
            photos, cameras, options = _from_json(body, options, settings)
        else:
            photos = [body]
    if not photos:
        raise InputError("no photo in the request; send one or more")
    if len(photos) > settings.max_views:
        raise LimitError(f"{len(photos)} photos in one request, limit {settings.max_views}")
    sizes_hw = tuple(_checked_size(photo, settings.max_pixels) for photo in photos)
    return Job(
        tuple(photos),
        options,
        _matrices(cameras.get("extrinsics"), "extrinsics", len(photos), ((3, 4), (4, 4))),
        _matrices(cameras.get("intrinsics"), "intrinsics", len(photos), ((3, 3),)),
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
                raise InputError(f"{name}={value!r}: use one of {', '.join(CHOICES[name])}")
            if name == "use_ray_pose":
                value = value in ("1", "true")
        else:
            known = ", ".join((*CHOICES, "focal_px"))
            raise InputError(f"{where} {name!r} is unknown; there are {known}")
        options = replace(options, **{name: value})
    return options


def read_npy(stream: Any, limit_bytes: int) -> np.ndarray:
    """Read an array in NumPy's format; its size is checked before memory is taken.

    Raises:
        InputError: not such an array, one that would need pickles, or one that is cut short.
        LimitError: it is larger than the limit.
    """
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream)
    except Exception as error:  # the reader evaluates a literal: what is wrong has many names
        raise InputError(f"not an array in NumPy's format ({error})") from None
    count = math.prod(shape)
    if dtype.hasobject or dtype.kind not in "uif" or any(side < 0 for side in shape):
        raise InputError(f"array of {dtype} {shape}: send plain numbers")
    if count * dtype.itemsize > limit_bytes:
        raise LimitError(f"array of {dtype} {shape}: over {limit_bytes:,} bytes")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise InputError(f"array of {dtype} {shape}: the data ends early")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _body(request: Request) -> bytes:
    try:
        body = request.get_data(cache=False)
    except ClientDisconnected:
        raise Problem("body_incomplete", "fewer bytes came than Content-Length says") from None
    expected = request.content_length
    if expected is not None and len(body) < expected:
        raise Problem("body_incomplete", f"{len(body)} bytes came of {expected}")
    return body


def _array_limit(settings: Settings) -> int:
    return min(3 * settings.max_pixels * settings.max_views, 16 * int(settings.max_body_mb * MIB))


def _images(array: np.ndarray, where: str) -> "list[Photo]":
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise InputError(
            f"{where} is {array.dtype} {array.shape}, expected RGB: uint8 (H, W, 3), or (N, H, W, "
            "3) for a scene"
        )
    return list(array) if array.ndim == 4 else [array]


def _from_npz(body: bytes, limit: int) -> "tuple[list[Photo], dict[str, Any]]":
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for info in archive.infolist():
                name = info.filename[: -len(".npy")]
                if name not in ("image", "images", "extrinsics", "intrinsics"):
                    raise InputError(
                        f"{info.filename!r} in the archive: give image or images, and extrinsics "
                        "and intrinsics if they are known"
                    )
                with archive.open(info) as stream:
                    found[name] = read_npy(stream, limit)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"not an archive in NumPy's format ({error})") from None
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a damaged archive ({error})") from None  # zlib has errors of its own
    if ("image" in found) == ("images" in found):
        raise InputError("the archive holds no image, or both image and images; give one")
    key = "image" if "image" in found else "images"
    cameras = {name: found[name] for name in ("extrinsics", "intrinsics") if name in found}
    return _images(found[key], key), cameras


def _from_form(request: Request, options: Options) -> "tuple[list[Photo], dict[str, Any], Options]":
    try:
        form = list(request.form.items(multi=True))
        photos: list[Photo] = [file.read() for _, file in request.files.items(multi=True)]
    except ClientDisconnected:
        raise Problem("body_incomplete", "the form ends early") from None
    except ValueError as error:  # no boundary, parts without end
        raise Problem("bad_request", f"not a form that can be read ({error})") from None
    cameras = {}
    pairs = []
    for name, text in form:
        if name in ("extrinsics", "intrinsics"):
            cameras[name] = _parse_json(text.encode(), name)
        else:
            pairs.append((name, text))
    return photos, cameras, parse_options(options, pairs, "form field")


def _from_json(
    body: bytes, options: Options, settings: Settings
) -> "tuple[list[Photo], dict[str, Any], Options]":
    facts = _parse_json(body, "body")
    if not isinstance(facts, dict):
        raise InputError('the JSON is no object; give {"image": "...base64..."}')
    cameras = {name: facts.pop(name, None) for name in ("extrinsics", "intrinsics")}
    sources = facts.pop("images", None)
    if "image" in facts:
        if sources is not None:
            raise InputError("the JSON has both image and images; give one")
        sources = [facts.pop("image")]
    if not isinstance(sources, list) or not all(isinstance(one, str) for one in sources):
        raise InputError("image: give base64 text or s3://bucket/key; images: a list of them")
    if len(sources) > settings.max_views:
        raise LimitError(f"{len(sources)} photos in one request, limit {settings.max_views}")
    options = parse_options(options, facts.items(), "JSON field")
    photos: list[Photo] = [_source(text, settings) for text in sources]
    return photos, cameras, options


def _source(text: str, settings: Settings) -> bytes:
    if text.startswith(SCHEME):
        bucket, _ = split_address(text)
        if bucket not in settings.s3_buckets:
            raise Problem(
                "forbidden_bucket", f"{text}: name the bucket in DEPTH_S3_BUCKETS to allow it"
            )
        return read_object(text, int(settings.max_body_mb * MIB))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"image is neither base64 nor s3://bucket/key ({error})") from None


def _parse_json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{where}: JSON that is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})") from None


def _checked_size(photo: Photo, max_pixels: int) -> tuple[int, int]:
    """Height and width, from the header; nothing is decoded."""
    if isinstance(photo, bytes):
        if not photo:
            raise InputError("photo: empty, 0 bytes")
        height, width = photo_size(photo)
    else:
        height, width = photo.shape[:2]
    if height * width > max_pixels:
        raise LimitError(
            f"photo: {width} x {height} = {width * height:,} pixels, limit {max_pixels:,}; shrink "
            "it, or raise DEPTH_MAX_PIXELS"
        )
    if height * width == 0:
        raise InputError(f"photo: {width} x {height} pixels")
    return height, width


def _matrices(
    value: Any, name: str, photos: int, shapes: tuple[tuple[int, int], ...]
) -> Optional[np.ndarray]:
    """Cameras (N, rows, columns) out of whatever was sent; one of one photo may come bare."""
    if value is None:
        return None
    wanted = " or ".join(f"({photos}, {rows}, {columns})" for rows, columns in shapes)
    try:
        matrices = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is no array of numbers; give {wanted}") from None
    if matrices.ndim == 2 and photos == 1:
        matrices = matrices[None]
    if matrices.shape not in [(photos, *shape) for shape in shapes]:
        raise InputError(f"{name} is {matrices.shape}, expected {wanted}: one a photo")
    if not np.isfinite(matrices).all():
        raise InputError(f"{name} holds numbers that are not finite")
    return matrices


def _positive(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"focal_px={value!r}: give pixels, above 0")
    return number


def header_facts(facts: Mapping[str, str]) -> str:
    """Facts for the one header that SageMaker passes on: ``name=value;...``, ASCII, at most 1,024."""
    text = ";".join(f"{name}={value}" for name, value in facts.items())
    return text.encode("ascii", "replace").decode()[:1024]
