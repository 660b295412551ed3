"""Which reader a file of cameras needs: by what is in it, whatever it is called.

A file or a folder in; its cameras out. Nothing in it is executed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import InputError
from runtime.scene.cameras_json import of_cameras_json
from runtime.scene.colmap_model import is_colmap_model, read_colmap
from runtime.scene.known_cameras import CameraFile, read_text
from runtime.scene.pose_lines import of_lines
from runtime.scene.transforms_json import of_transforms

COLMAP_FILES = {f"{name}{suffix}" for name in ("images", "cameras") for suffix in (".bin", ".txt")}


def read_cameras(place: Path) -> CameraFile:
    """Read known cameras.

    Args:
        place: ``cameras.json``, ``transforms.json``, poses of TUM or KITTI, or a COLMAP model: its
            folder, or a file of it.
    Raises:
        InputError: it cannot be read, or is none of these.
        LimitError: it is too large.
    """
    if place.is_dir():
        for folder in (place, place / "sparse" / "0", place / "sparse", place / "0"):
            if is_colmap_model(folder):
                return read_colmap(folder)
        raise InputError(f"{place}: a folder without a COLMAP model; name a file of cameras")
    if place.name in COLMAP_FILES and is_colmap_model(place.parent):
        return read_colmap(place.parent)
    text = read_text(place)
    if text.lstrip()[:1] not in ("{", "["):
        return of_lines(text, place)
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error})") from None
    if isinstance(facts, Mapping) and "frames" in facts:
        return of_transforms(facts, place)
    if isinstance(facts, Mapping) and "photos" in facts:
        return of_cameras_json(facts, place)
    raise InputError(f"{place}: JSON with neither frames (nerfstudio) nor photos (cameras.json)")
