"""Depth to an HTTP response: bytes of the media type that the client accepts, and headers that say
what they hold.

What was found in, a body with its facts out. What the facts are, the prediction says itself.
"""

import base64
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from werkzeug.datastructures import MIMEAccept

from exports.colour import paint
from exports.depth16 import to_uint16
from exports.files import colormap_facts
from exports.npz import encode_npz
from exports.photo_points import points_glb, points_of, points_ply
from exports.png import encode_png
from exports.scene import scene_of
from exports.scene_files import asked_formats, scene_files
from exports.tiff import encode_tiff
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.found import Prediction, ScenePrediction
from runtime.scene.focal import PhotoCamera
from runtime.scene.views import View
from serve.http.options import CUSTOM_ATTRIBUTES, Options, custom_attributes
from serve.http.problems import Problem
from serve.http.request_body import JSON, NPY, NPZ
from serve.http.settings import JSON_MB, MIB

PNG, TIFF = "image/png", "image/tiff"
PLY, GLB = "application/x-ply", "model/gltf-binary"
POINTS = {PLY: points_ply, GLB: points_glb}  # of a photo, in metres
CLOUDS = {PLY: "ply", GLB: "glb"}  # of a scene, by their names in ``exports.scene_files``
POINT_BYTES = 16  # of three numbers and a colour
# The first is what a client gets that takes anything
FOR_PHOTOS = (NPZ, JSON, PNG, NPY, TIFF, PLY, GLB)
FOR_SCENES = (NPZ, JSON, PLY, GLB)


@dataclasses.dataclass(frozen=True)
class DepthResponse:
    """A body, its media type, and what it holds."""

    body: bytes
    media_type: str
    facts: dict[str, Any]
    scale: str = "1"  # how stored values become depth


def choose_type(accept: MIMEAccept, offered: tuple[str, ...]) -> str:
    """The media type that the client likes best.

    Raises:
        Problem: it likes none of them.
    """
    if not accept:
        return offered[0]
    best = accept.best_match(offered)
    if best is None:
        raise Problem("not_acceptable", f"Accept {accept}: use one of {', '.join(offered)}")
    return str(best)


def encode_photo(
    prediction: Prediction,
    media_type: str,
    options: Options,
    more: dict[str, Any],
    rgb: Optional[np.ndarray] = None,
    camera: Optional[PhotoCamera] = None,
) -> DepthResponse:
    """One photo's depth.

    Args:
        more: facts to add: request id, seconds.
        rgb, camera: the photo, uint8 (H, W, 3), and what its points are shot through; for points.
    Raises:
        InputError: points of depth that is not in metres.
    """
    depth, facts = prediction.depth, {**prediction.facts(), **more}
    if media_type in POINTS:
        assert rgb is not None and camera is not None
        points = points_of(prediction, rgb, camera)
        facts["points"] = points.facts()
        body = b"".join(POINTS[media_type](prediction, points))
        return DepthResponse(body, media_type, facts, "none: points")
    if media_type == NPY:
        return DepthResponse(_npy(depth), NPY, facts)
    if media_type == NPZ:
        return DepthResponse(encode_npz({prediction.output.kind: depth}, facts), NPZ, facts)
    if media_type == TIFF:
        return DepthResponse(encode_tiff(depth, facts), TIFF, facts)
    if media_type == JSON:
        return DepthResponse(_json({**facts, "depth": _array(depth, options)}), JSON, facts)
    if options.png == "color":
        facts["colormap"] = colormap_facts(options.colormap)
        painted = paint(prediction, options.colormap)
        return DepthResponse(encode_png(painted, facts), PNG, facts, "none: a picture for people")
    stored, encoding = to_uint16(depth, prediction.output, prediction.value_range)
    facts["png16"] = dataclasses.asdict(encoding)
    invalid = "" if encoding.invalid is None else f", {encoding.invalid} is no depth"
    scale = f"{encoding.offset:.9g} + {encoding.scale:.9g} * stored{invalid}"
    return DepthResponse(encode_png(stored, facts), PNG, facts, scale)


def encode_scene(
    scene: ScenePrediction,
    views: Sequence[View],
    media_type: str,
    options: Options,
    more: dict[str, Any],
) -> DepthResponse:
    """Depth and cameras of several photos of one scene.

    Depth is on the grid of the views, which share a size, and so are intrinsics; with
    ``size=input`` each photo has an array of its own, ``depth_0`` and so on, and intrinsics are in
    pixels of the photos. Points are those of the views, at most a million.

    Args:
        more: facts to add: request id, seconds.
    """
    if media_type in CLOUDS:
        asked = asked_formats(CLOUDS[media_type])
        _, blocks = next(scene_files(scene_of(scene), asked))  # pictures may follow
        body, facts = b"".join(blocks), {**scene.facts(), **more}
        return DepthResponse(body, media_type, facts, "none: points")
    assert scene.extrinsics is not None and scene.intrinsics is not None
    facts = {**scene.facts(), **more}
    arrays: dict[str, np.ndarray] = {"extrinsics": scene.extrinsics}
    if options.size == "input":
        facts["grid"] = "photo"
        del facts["size"]  # each photo has its own
        arrays["intrinsics"] = np.stack(
            [view.intrinsics_of_photo(own) for view, own in zip(views, scene.intrinsics)]
        )
        for index, view in enumerate(views):
            arrays[f"depth_{index}"] = resize_to_photo(scene.depth[index], view.photo_hw)
    else:
        arrays.update(intrinsics=scene.intrinsics, depth=scene.depth)
        if scene.conf is not None:
            arrays["conf"] = scene.conf
    if media_type == JSON:
        packed = {name: _array(array, options) for name, array in arrays.items()}
        return DepthResponse(_json({**facts, **packed}), JSON, facts)
    return DepthResponse(encode_npz(arrays, facts), NPZ, facts)


def check_expected_size(values: int, media_type: str, limit_mb: float) -> None:
    """Refuse early what would be refused in the end: maps of float32 or points that are too many.

    Args:
        values: pixels of all maps together, or points.
    Raises:
        Problem: as ``check_size``.
    """
    if media_type == PNG:
        return  # compressed: known when it is done
    expected = (POINT_BYTES if media_type in POINTS else 4) * values
    if media_type == JSON:
        expected, limit_mb = expected * 4 // 3, min(limit_mb, JSON_MB)
    if expected > limit_mb * MIB:
        raise _too_large(expected, media_type, limit_mb)


def check_size(response: DepthResponse, limit_mb: float) -> None:
    """Refuse a response that is too large to send.

    Raises:
        Problem: it is, with what to ask for instead.
    """
    limit_mb = min(limit_mb, JSON_MB) if response.media_type == JSON else limit_mb
    if len(response.body) > limit_mb * MIB:
        raise _too_large(len(response.body), response.media_type, limit_mb)


def _too_large(size: int, media_type: str, limit_mb: float) -> Problem:
    return Problem(
        "answer_too_large",
        f"the answer would be {size / MIB:.1f} MiB of {media_type}, limit {limit_mb:g}; ask for "
        f"size=model, or for {PNG} if it is one photo, or send fewer or smaller ones",
    )


def headers_of(
    response: DepthResponse, request_id: str, seconds: dict[str, float], others: str = ""
) -> dict[str, str]:
    """What the body holds, as HTTP headers; the warning is there only if there is one.

    ``others``: custom attributes of the request that are not ours.
    """
    facts = response.facts
    named = {
        "Kind": facts["kind"],
        "Unit": facts["unit"],
        "Scale": response.scale,
        "Size": "{height}x{width}".format(**facts["size"]) if "size" in facts else "per photo",
        "Grid": facts["grid"],
        "Model": facts["model"],
        "Artifact": facts["artifact"]["digest"] if facts["artifact"] else "none: eager",
        "Licence": facts["licence"],
    }
    if "warning" in facts:  # first, because SageMaker's header is cut at its end
        named = {"Warning": facts["warning"], **named}
    short = {name.lower(): value for name, value in named.items()}
    return {
        **{f"X-Depth-{name}": value for name, value in named.items()},
        "X-Request-Id": request_id,
        "Server-Timing": ", ".join(f"{k};dur={v * 1000:.1f}" for k, v in seconds.items()),
        CUSTOM_ATTRIBUTES: custom_attributes({**short, "request_id": request_id}, others),
    }


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, allow_nan=False).encode() + b"\n"


def _array(array: np.ndarray, options: Options) -> Any:
    if options.encoding == "list":
        return array.tolist()  # float32 as the nearest float64, which comes back exactly
    data = np.ascontiguousarray(array)
    little = data.astype(data.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": str(array.dtype),
        "byte_order": "little",
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }
