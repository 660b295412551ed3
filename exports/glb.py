"""Points and lines to binary glTF 2.0.

float32 places, uint8 colours in; blocks of bytes out. ``KHR_materials_unlit``: colours are shown as
they are, without light. What the file means is in the scene's ``extras``.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from runtime.errors import InputError

POINTS, LINES = 0, 1  # modes of a primitive
FLOAT, BYTE = 5126, 5121
BLOCK_ROWS = 1 << 17
NORMALISED = {"componentType": BYTE, "normalized": True}
MATERIAL = {
    "extensions": {"KHR_materials_unlit": {}},
    "pbrMetallicRoughness": {
        "baseColorFactor": [1.0, 1.0, 1.0, 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    },
}


class Geometry(NamedTuple):
    """Points, or lines between each two of them.

    Args:
        mode: ``POINTS`` or ``LINES``.
        positions: float32 (K, 3), K at least 1.
        colours: uint8 (K, 3), or (3,) for all.
    """

    mode: int
    positions: np.ndarray
    colours: np.ndarray


def encode_glb(geometries: Sequence[Geometry], extras: Mapping[str, Any]) -> Iterator[bytes]:
    """A whole file, block by block. Geometries become nodes ``geometry_0`` and so on of one world.

    Args:
        extras: JSON values for the scene.
    """
    accessors: list[dict[str, Any]] = []
    views: list[dict[str, Any]] = []
    meshes: list[dict[str, Any]] = []
    offset = 0
    for index, shape in enumerate(geometries):
        count = len(shape.positions)
        attributes = {}
        for name, kind, length, limits, more in (
            ("POSITION", "VEC3", 12 * count, _limits(shape.positions), {"componentType": FLOAT}),
            ("COLOR_0", "VEC4", 4 * count, _limits(shape.colours, [255]), NORMALISED),
        ):
            attributes[name] = len(accessors)
            accessors.append(
                {"bufferView": len(views), "count": count, "type": kind, **more, **limits}
            )
            views.append({"buffer": 0, "byteOffset": offset, "byteLength": length})
            offset += length
        primitive = {"attributes": attributes, "mode": shape.mode, "material": 0}
        meshes.append({"name": f"geometry_{index}", "primitives": [primitive]})
    children = list(range(1, len(meshes) + 1))
    shapes = [{"name": mesh["name"], "mesh": at} for at, mesh in enumerate(meshes)]
    world = {"name": "world", **({"children": children} if children else {})}
    document = {
        "asset": {"version": "2.0", "generator": "depth-anything-inferentia"},
        "scene": 0,
        "scenes": [{"nodes": [0], "extras": extras}],
        "nodes": [world, *shapes],
    }
    if geometries:
        document.update(
            extensionsUsed=["KHR_materials_unlit"],
            materials=[MATERIAL],
            meshes=meshes,
            accessors=accessors,
            bufferViews=views,
            buffers=[{"byteLength": offset}],
        )
    yield from _container(document, offset, _buffer(geometries))


def _container(document: Any, length: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    whole = 12 + 8 + len(text) + ((8 + length) if length else 0)
    if whole >= 1 << 32:
        raise InputError(f"GLB of {whole:,} bytes: it holds less than 4 GiB; lower num_max_points")
    yield struct.pack("<4sIII4s", b"glTF", 2, whole, len(text), b"JSON") + text
    if length:
        yield struct.pack("<I4s", length, b"BIN\0")
        yield from blocks


def _buffer(geometries: Sequence[Geometry]) -> Iterator[bytes]:
    for shape in geometries:
        for own in _slices(len(shape.positions)):
            yield np.ascontiguousarray(shape.positions[own], "<f4").tobytes()
        for own in _slices(len(shape.positions)):
            yield _rgba(shape, own).tobytes()


def _slices(count: int) -> Iterator[slice]:
    return (slice(at, min(at + BLOCK_ROWS, count)) for at in range(0, count, BLOCK_ROWS))


def _rgba(shape: Geometry, own: slice) -> np.ndarray:
    """Colours of some points, opaque: uint8 (K, 4)."""
    count = len(shape.positions[own])
    rgba = np.empty((count, 4), np.uint8)
    for channel in range(3):  # a column at a time: several times as fast as all three
        rgba[:, channel] = (
            shape.colours[own][..., channel]
            if shape.colours.ndim == 2
            else (shape.colours[channel])
        )
    rgba[:, 3] = 255
    return rgba


def _limits(values: np.ndarray, more: Sequence[int] = ()) -> dict[str, Any]:
    """The least and the greatest of each column."""
    columns = values.reshape(-1, values.shape[-1]).T
    return {
        "min": [*(column.min().item() for column in columns), *more],
        "max": [*(column.max().item() for column in columns), *more],
    }
