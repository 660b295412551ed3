"""What a gallery's folder holds: groups of scenes, and what there is to show of each.

A folder in; upstream's two manifests as JSON values out. Addresses are relative to the gallery's
page, percent-encoded.
Source: ``services/gallery.py`` of Depth Anything 3; ours are the group of scenes that lie one level
up, scenes without a picture, splats, videos and the description.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from runtime.errors import InputError
from runtime.names import check_plain

TOP = "."  # the group of scenes directly in the gallery
MODEL, PICTURE, DESCRIPTION = "scene.glb", "scene.jpg", "scene.json"
DEPTH, SPLATS, VIDEOS = "depth_vis", "gs_ply", "gs_video"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Shown:
    """A scene: its folder below the gallery, and names of files in it."""

    group: str
    name: str
    model: Optional[str]
    thumbnail: Optional[str]
    depth: tuple[str, ...]
    splats: tuple[str, ...]
    videos: tuple[str, ...]
    description: Optional[str]

    @property
    def folder(self) -> str:
        """Below the gallery."""
        return self.name if self.group == TOP else f"{self.group}/{self.name}"

    def files(self) -> list[str]:
        """All of its files that a page asks for, below the gallery."""
        single = (self.model, self.thumbnail, self.description)
        names = [name for name in single if name is not None]
        return [
            f"{self.folder}/{name}" for name in (*names, *self.depth, *self.splats, *self.videos)
        ]

    def facts(self, prefix: str) -> dict[str, Any]:
        """As the page is told: upstream's fields, and ours below ``depth_images``."""

        def address(name: Optional[str]) -> Optional[str]:
            return None if name is None else prefix + quote(f"{self.folder}/{name}")

        return {
            "id": self.name,
            "title": self.name,
            "model": address(self.model),
            "thumbnail": address(self.thumbnail),
            "depth_images": [address(name) for name in self.depth],
            "splats": [address(name) for name in self.splats],
            "videos": [address(name) for name in self.videos],
            "description": address(self.description),
        }


def groups_in(root: Path) -> list[str]:
    """Groups with scenes, by name; ``TOP`` first if scenes lie directly in the gallery."""
    found = [group for group in _folders(root) if any(True for _ in _scenes(root, group))]
    return [*([TOP] if any(True for _ in _scenes(root, TOP)) else []), *found]


def scenes_in(root: Path, group: str) -> list[Shown]:
    """The scenes of a group, by name; none of a group that is not there.

    Raises:
        InputError: a name that could lead elsewhere.
    """
    if group != TOP:
        check_plain(group)
        if "/" in group or group.startswith("."):
            raise InputError(f"{group!r}: no group's name")
    return list(_scenes(root, group))


def manifest(root: Path) -> dict[str, Any]:
    """What ``/manifest.json`` says."""
    return {"groups": [{"id": name, "title": title_of(name)} for name in groups_in(root)]}


def group_manifest(root: Path, group: str, prefix: str = "") -> dict[str, Any]:
    """What ``/manifest/<group>.json`` says; errors as ``scenes_in``."""
    items = [scene.facts(prefix) for scene in scenes_in(root, group)]
    return {"group": group, "items": items}


def title_of(group: str) -> str:
    """What a group is called on the page."""
    return "scenes" if group == TOP else group


def _scenes(root: Path, group: str) -> Iterator[Shown]:
    folder = root if group == TOP else root / group
    for name in _folders(folder):
        scene = _scene(root, group, folder / name)
        if scene is not None:
            yield scene


def _scene(root: Path, group: str, folder: Path) -> Optional[Shown]:
    """What there is to show in a folder; None if nothing is."""

    def one(name: str) -> Optional[str]:
        return name if _is_inside(root, folder / name) else None

    def some(sub: str, *suffixes: str) -> tuple[str, ...]:
        inner = folder / sub
        names = _names_in(inner) if _is_folder(root, inner) else []
        return tuple(
            f"{sub}/{name}"
            for name in names
            if name.lower().endswith(suffixes) and _is_inside(root, inner / name)
        )

    splats, videos = some(SPLATS, ".ply"), some(VIDEOS, ".mp4")
    model = one(MODEL)
    if model is None and not splats and not videos:
        return None
    depth = some(DEPTH, *PICTURES)
    thumbnail = one(PICTURE) or (depth[0] if depth else None)
    return Shown(group, folder.name, model, thumbnail, depth, splats, videos, one(DESCRIPTION))


def _folders(folder: Path) -> list[str]:
    """Names of folders in a folder that a gallery may show."""
    return [
        name
        for name in _names_in(folder)
        if not name.startswith(".") and _is_folder(folder, folder / name)
    ]


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(place.name for place in folder.iterdir())
    except OSError:
        return []


def _is_folder(root: Path, place: Path) -> bool:
    return place.is_dir() and _inside(root, place)


def _is_inside(root: Path, file: Path) -> bool:
    return file.is_file() and _inside(root, file)


def _inside(root: Path, place: Path) -> bool:
    """Whether a link in a gallery stays in it."""
    return root.resolve() in place.resolve().parents
