"""DA-2K's layout: ``annotations.json``, and photos beside it with points that people put in order.

A folder in; photos' paths with their pairs out, every name and number checked. The file is an
object: photo's path, relative to the folder -> list of ``{"point1": [row, column], "point2": [row,
column], "closer_point": "point1" or "point2"}``.
Source: DA-2K, Depth Anything V2 (Yang et al., 2024).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from metric_depth.samples import Sample
from runtime.errors import InputError
from runtime.photo.decode import MAX_PIXELS, read_photo

ANNOTATIONS = "annotations.json"
JSON_BYTES = 1 << 26
NAME_LENGTH = 1000


def read_annotations(folder: Path) -> dict[str, np.ndarray]:
    """The folder's annotations, as ``parse_annotations`` returns them.

    Raises:
        InputError: no such file, or not of that form.
    """
    file = folder / ANNOTATIONS
    try:
        if file.stat().st_size > JSON_BYTES:
            raise InputError(f"over {JSON_BYTES:,} bytes, not DA-2K's annotations")
        return parse_annotations(file.read_bytes().decode("utf-8"), folder)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected DA-2K's annotations there") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text, expected DA-2K's annotations") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def parse_annotations(text: str, folder: Path) -> dict[str, np.ndarray]:
    """Read DA-2K's annotations.

    Args:
        folder: what the photos' paths are relative to; none may lead out of it.
    Returns:
        photo's path -> pairs, int (N, 2, 2), nearer point first; points are not yet compared
        with the photo's size.
    Raises:
        InputError: not of that form; the text names the first entry that is not.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})") from None
    if not isinstance(content, dict) or not content:
        raise InputError("expected an object of photos' paths, each with a list of pairs")
    root, found = folder.resolve(), {}
    for name, pairs in content.items():
        _check_inside(name, root)
        if not isinstance(pairs, list) or not pairs:
            raise InputError(f"{name!r}: expected a list of pairs, found {_short(pairs)}")
        found[name] = np.array([_pair(pair, name) for pair in pairs], np.int64)
    return found


def _check_inside(name: str, root: Path) -> None:
    """Refuse a photo's path that leads elsewhere, by its text or by a link."""
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(name) <= NAME_LENGTH
    if not plain or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{_short(name)}: not a plain relative path such as images/indoor/1.jpg")
    try:
        where = (root / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
        raise InputError(f"{name!r}: cannot be resolved ({error})") from None
    if root not in where.parents:
        raise InputError(f"{name!r}: leads out of the folder; photos must lie inside it")


def _pair(pair: Any, name: str) -> list[Any]:
    """One annotation as [nearer, farther]."""
    if isinstance(pair, dict):
        first, second, closer = pair.get("point1"), pair.get("point2"), pair.get("closer_point")
        if _is_point(first) and _is_point(second) and closer in ("point1", "point2"):
            return [first, second] if closer == "point1" else [second, first]
    raise InputError(
        f"{name!r}: {_short(pair)} is not a pair, expected point1 and point2 as [row, column] and "
        "closer_point as point1 or point2"
    )


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(part) is int and 0 <= part < MAX_PIXELS for part in point)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def read_sample(photo: Path, pairs: np.ndarray) -> Sample:
    """A photo and its pairs.

    Raises:
        InputError: the photo cannot be read, or is smaller than the points say.
    """
    rgb = read_photo(photo)
    outside = (pairs >= rgb.shape[:2]).any(axis=(1, 2))
    if outside.any():
        raise InputError(
            f"{photo}: the photo is {rgb.shape[0]} x {rgb.shape[1]}, so the pair "
            f"{pairs[outside][0].tolist()} is not in it; points are [row, column]"
        )
    return Sample(rgb, pairs=pairs)
