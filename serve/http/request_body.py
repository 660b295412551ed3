"""An HTTP request to photos and options: what was sent, checked, before any pixel is decoded.

Bodies in, one ``DepthRequest`` out. The bytes say what a body is, wherever its media type leaves it
open or cannot be right. Nothing in a body is executed, and sizes are read before the memory for
them is taken.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np
from flask import Request
from werkzeug.exceptions import ClientDisconnected

from runtime.errors import InputError, LimitError
from runtime.photo.decode import is_image, photo_size
from runtime.scene.known_points import KnownPoints
from runtime.scene.query import SceneQuery
from runtime.storage import SCHEME, read_object, split_address
from serve.http.arrays import (
    CAMERAS,
    POINTS,
    SentArray,
    camera_matrices,
    check_count,
    check_pixels,
    known_points,
    read_images,
    read_npz,
)
from serve.http.encodings import decode_base64, decode_body, encodings_of, is_base64_of_photo
from serve.http.forms import Field, read_multipart, read_urlencoded
from serve.http.options import (
    CUSTOM_ATTRIBUTES,
    Options,
    parse_custom_attributes,
    parse_options,
)
from serve.http.problems import Problem, shown
from serve.http.settings import MIB, Settings

SentPhoto = Union[bytes, SentArray]  # an encoded image, or pixels

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/x-image")
NPY, NPZ = "application/x-npy", "application/x-npz"
JSON, MULTIPART = "application/json", "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MEDIA_TYPES = (*IMAGES, NPY, NPZ, MULTIPART, JSON)
PHOTO = "a photo"
# What clients put on bytes of any kind: boto3 and OpenCV, curl, those who put nothing
ANY_BYTES = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    URLENCODED,
    "*/*",
)
PHOTO_FIELDS = ("image", "images")
FIRST_FIELD = re.compile(rb"[a-z_]{1,40}=")
NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"

MAX_VALUES = 100_000  # in JSON; each may take seventy times its text in memory


@dataclass(frozen=True)
class DepthRequest:
    """What is to be done: photos, what is known of their cameras, and options.

    ``extrinsics``: float64 (N, 3 or 4, 4), world-to-camera; ``intrinsics``: float64 (N, 3, 3), in
    pixels of the photos. ``sizes_hw`` are the photos' own. ``points`` are of
    known distance. ``others``: of the custom attributes
    what is not ours.
    """

    photos: tuple[SentPhoto, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    options: Options
    extrinsics: Optional[np.ndarray] = None
    intrinsics: Optional[np.ndarray] = None
    others: str = ""
    points: Optional[KnownPoints] = None

    @property
    def query(self) -> SceneQuery:
        """What is asked of a scene.

        Raises:
            InputError: cameras or options that do not go together.
        """
        return SceneQuery(
            self.extrinsics,
            self.intrinsics,
            use_ray_pose=self.options.use_ray_pose,
            ref_view_strategy=self.options.ref_view_strategy,
        )


def read_request(
    request: Request,
    settings: Settings,
    claim: Callable[[int], None] = lambda count: None,
) -> DepthRequest:
    """Read a request.

    Args:
        claim: called with each number of bytes that it unpacks to, before they are kept.
    Raises:
        Problem: the media type is none that holds photos, or the body is not what it claims.
        InputError, LimitError: what is in it cannot be used.
    """
    options = parse_options(Options(), request.args.items(multi=True), "query parameter")
    attributes = request.headers.get(CUSTOM_ATTRIBUTES, "")
    options, others = parse_custom_attributes(options, attributes)
    cameras: dict[str, Any] = {}
    photos: Sequence[SentPhoto]
    encodings = encodings_of(
        request.headers.get("Content-Encoding", ""), request.headers.get("Transfer-Encoding", "")
    )
    body = _body(request)
    if encodings and body:
        limit = request.max_content_length or int(settings.max_body_mb * MIB)
        body = decode_body(body, encodings, limit, claim)
    if not body:
        raise Problem("bad_request", "the body is empty; send a photo")
    kind = kind_of(request.mimetype, body)
    if kind == NPY:
        photos = _array(body, "body", settings)
    elif kind == NPZ:
        photos, cameras = read_npz(body, settings)
    elif kind == JSON:
        photos, cameras, options = _from_json(body, options, settings)
    elif kind in (MULTIPART, URLENCODED):
        most = 4 * settings.max_views + 16
        fields = read_urlencoded(body, most)
        if kind == MULTIPART:
            fields = read_multipart(body, request.mimetype_params, most)
        photos, cameras, options = _from_form(fields, options, settings)
    else:
        photos = _photos(body, "body", settings)
    if not photos:
        raise InputError("no photo in the request; send one or more")
    check_count(len(photos), settings)
    return DepthRequest(
        photos=tuple(photos),
        sizes_hw=tuple(_checked_size(photo, settings) for photo in photos),
        options=options,
        extrinsics=camera_matrices(cameras.get("extrinsics"), "extrinsics", len(photos)),
        intrinsics=camera_matrices(cameras.get("intrinsics"), "intrinsics", len(photos)),
        points=known_points(cameras.get(POINTS), len(photos)),
        others=others,
    )


def kind_of(media_type: str, body: bytes) -> str:
    """What a body is: ``PHOTO``, NPY, NPZ, JSON, MULTIPART or URLENCODED.

    A form is one if its type says so. Of all else the bytes decide, and the type only where they
    leave it open.

    Raises:
        Problem: neither says that it holds a photo.
    """
    if media_type == MULTIPART:
        return MULTIPART
    if is_image(body):
        return PHOTO
    if body.startswith(NPY_MAGIC):
        return NPY
    if body.startswith(ZIP_MAGIC):
        return NPZ
    if media_type in (NPY, NPZ):
        return media_type
    if media_type in (JSON, "text/json") or media_type.endswith("+json"):
        return JSON
    if media_type == URLENCODED and FIRST_FIELD.match(body):
        return URLENCODED
    if is_base64_of_photo(body):
        return PHOTO
    if media_type in ANY_BYTES and body[:64].lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        return JSON
    if media_type in (*IMAGES, *ANY_BYTES) or media_type.startswith("image/"):
        return PHOTO  # of no known format, as reading it will say
    raise Problem(
        "unsupported_media_type",
        f"Content-Type {shown(media_type)}: use one of {', '.join(MEDIA_TYPES)}",
        headers={"Accept-Post": ", ".join(MEDIA_TYPES)},
    )


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


def _photos(data: bytes, name: str, settings: Settings) -> Sequence[SentPhoto]:
    """The photos of some bytes: an array holds one or several, all else is one."""
    if is_image(data):
        return [data]
    if data.startswith(NPY_MAGIC):
        return _array(data, name, settings)
    if data.startswith(ZIP_MAGIC):
        raise InputError(f"{name} is an archive; send it alone, as the body, as {NPZ}")
    return [decode_base64(data.decode("latin-1"), name) if is_base64_of_photo(data) else data]


def _array(data: bytes, name: str, settings: Settings) -> Sequence[SentPhoto]:
    return read_images(lambda: io.BytesIO(data), name, settings)


def _from_form(
    fields: Iterable[Field], options: Options, settings: Settings
) -> tuple[Sequence[SentPhoto], dict[str, Any], Options]:
    photos: list[SentPhoto] = []
    cameras = {}
    pairs = []
    for field in fields:
        if field.is_file:
            photos += _photos(field.data, "photo", settings)
        elif field.name in PHOTO_FIELDS:  # without a file's name: its bytes, or text as in JSON
            data = _source(field.text(), settings) if field.data.isascii() else field.data
            photos += _photos(data, field.name, settings)
        elif field.name in (*CAMERAS, POINTS):
            cameras[field.name] = _parse_json(field.data, field.name)
        else:
            pairs.append((field.name, field.text()))
    return photos, cameras, parse_options(options, pairs, "form field")


def _from_json(
    body: bytes, options: Options, settings: Settings
) -> tuple[Sequence[SentPhoto], dict[str, Any], Options]:
    facts = _parse_json(body, "body")
    if not isinstance(facts, dict):
        raise InputError('the JSON is no object; give {"image": "...base64..."}')
    cameras = {name: facts.pop(name, None) for name in (*CAMERAS, POINTS)}
    if "image" in facts and "images" in facts:
        raise InputError("the JSON has both image and images; give one")
    sources = [facts.pop("image")] if "image" in facts else facts.pop("images", None)
    if not isinstance(sources, list) or not all(isinstance(one, str) for one in sources):
        raise InputError("image: give base64 text or s3://bucket/key; images: a list of them")
    check_count(len(sources), settings)
    options = parse_options(options, facts.items(), "JSON field")
    photos: list[SentPhoto] = []
    for text in sources:
        photos += _photos(_source(text, settings), "image", settings)
    return photos, cameras, options


def _source(text: str, settings: Settings) -> bytes:
    if text[:100].lstrip().startswith(SCHEME):
        text = text.strip()
        bucket, _ = split_address(text)
        if bucket not in settings.s3_buckets:
            raise Problem(
                "forbidden_bucket",
                f"{shown(text)}: name the bucket in DEPTH_S3_BUCKETS to allow it",
            )
        return read_object(text, int(settings.max_body_mb * MIB))
    return decode_base64(text)


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


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _checked_size(photo: SentPhoto, settings: Settings) -> tuple[int, int]:
    """Height and width, from the header; nothing is decoded."""
    if isinstance(photo, bytes):
        if not photo:
            raise InputError("photo: empty, 0 bytes")
        height, width = photo_size(photo)
    else:
        height, width = photo.size_hw
    check_pixels(height, width, settings)
    return height, width
