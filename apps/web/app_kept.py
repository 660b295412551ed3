"""A scene that was found, on the disk: arrays, splats, and what they are; and back.

A folder and a scene in; the same scene, its splats read when they are needed, out. No pickle.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.web.app_engine import FoundScene
from apps.web.app_splats import keep_splats, kept_splats
from exports.scene import ScenePhoto
from runtime.files import write_whole
from runtime.predict.found import Provenance, ScenePrediction

ARRAYS, FACTS = "scene.npz", "found.json"
NAMES = ("depth", "conf", "sky", "extrinsics", "intrinsics", "processed_images")


def write_found(found: FoundScene, folder: Path) -> FoundScene:
    """Write a scene down; returns it with its splats on the disk."""
    (folder / FACTS).unlink(missing_ok=True)
    found = keep_splats(found, folder)
    scene = found.scene
    arrays = {name: value for name in NAMES if (value := getattr(scene, name)) is not None}
    partial = (folder / ARRAYS).with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(folder / ARRAYS)
    facts = {
        "kind": scene.kind,
        "scale_factor": scene.scale_factor,
        "groups": scene.groups,
        "provenance": None if scene.provenance is None else asdict(scene.provenance),
        "photos": [asdict(photo) for photo in found.photos],
    }
    write_whole(folder / FACTS, json.dumps(facts, indent=2).encode())  # last: all is there now
    return found


def read_found(folder: Path) -> Optional[FoundScene]:
    """The scene that ``write_found`` wrote, read-only; None if there is none, or no whole one."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            parts = {name: _read_only(arrays[name]) for name in NAMES if name in arrays}
        known = facts["provenance"]
        scene = ScenePrediction(
            **parts,
            kind=facts["kind"],
            scale_factor=facts["scale_factor"],
            groups=tuple(map(tuple, facts["groups"])),
            provenance=None if known is None else Provenance.of_dict(known),
            gaussians=kept_splats(folder),
        )
        photos = tuple(_photo(one) for one in facts["photos"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return FoundScene(scene, photos)


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _photo(facts: dict[str, Any]) -> ScenePhoto:
    sizes = {name: tuple(facts[name]) for name in ("photo_hw", "resized_hw", "offset_yx")}
    return ScenePhoto(facts["name"], **sizes)
