"""What ``da3`` is given: its kind, and the photos or frames of one scene.

A path in; photos with their names, and cameras if they are known, out. Nothing is written.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from runtime.command_line import UsageError
from runtime.errors import InputError
from runtime.photo.decode import photo_size
from runtime.photo.find import SUFFIXES, WITH_EXTRA, is_photo
from runtime.photo.frames import is_video
from runtime.walk import LeftOut

IMAGE, IMAGES, VIDEO, COLMAP = "image", "images", "video", "colmap"
KINDS = {
    IMAGE: "a photo",
    IMAGES: "a folder with photos directly in it",
    VIDEO: "a video",
    COLMAP: "a folder with the folders images and sparse",
}

log = logging.getLogger(__name__)

Size = tuple[int, int]


@dataclass(frozen=True)
class ScenePhotos:
    """The photos of one scene.

    Args:
        kind: of ``KINDS``.
        place: what was named.
        photos: files; names: of each, relative, with ``/``.
        sizes_hw: of each, upright.
        failed: photos that cannot be read, and why.
    """

    kind: str
    place: Path
    photos: tuple[Path, ...]
    names: tuple[str, ...]
    sizes_hw: tuple[Size, ...] = ()
    failed: tuple[str, ...] = ()

    def some(self, indices: Sequence[int]) -> "ScenePhotos":
        """Only these of them."""
        return replace(
            self,
            photos=tuple(self.photos[index] for index in indices),
            names=tuple(self.names[index] for index in indices),
            sizes_hw=tuple(self.sizes_hw[index] for index in indices) if self.sizes_hw else (),
        )


def kind_of(path: Path) -> Optional[str]:
    """What an input is, one of ``KINDS``; None if it is none of them."""
    if path.is_dir():
        if (path / "images").is_dir() and (path / "sparse").is_dir():
            return COLMAP
        return IMAGES if any(is_photo(file.name) for file in path.iterdir()) else None
    if not path.exists():
        return None
    return VIDEO if is_video(path.name) else IMAGE if is_photo(path.name) else None


def one_photo(path: Path) -> ScenePhotos:
    """A photo, whatever it is called.

    Raises:
        UsageError: no such file.
        InputError: it is no photo.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, not a photo")
    if is_video(path.name):
        raise UsageError(f"{path}: a video, not a photo; use `da3 video`")
    return ScenePhotos(IMAGE, path, (path,), (path.name,), (photo_size(path),))


def photos_in(folder: Path, extensions: Optional[str]) -> ScenePhotos:
    """The photos directly in a folder, sorted by name.

    Args:
        extensions: separated by commas, with or without a dot; None: all that are known.
    Raises:
        UsageError: no such folder, or no photo there.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    wanted: tuple[str, ...] = (*SUFFIXES, *WITH_EXTRA)
    if extensions is not None:
        words = [word.strip().lower() for word in extensions.split(",") if word.strip()]
        wanted = tuple(word if word.startswith(".") else f".{word}" for word in words)
    left_out, photos = LeftOut(), []
    for path in sorted(folder.iterdir(), key=lambda file: file.name):
        name = path.name
        if not path.is_file():
            continue
        if not name.startswith(".") and path.suffix.lower() in wanted:
            photos.append(path)
        else:
            left_out.add_file(name)
    if str(left_out):
        log.info("%s: %s", folder, left_out)
    if not photos:
        raise UsageError(f"{folder}: no photo directly in it ({', '.join(wanted)})")
    return with_sizes(ScenePhotos(IMAGES, folder, tuple(photos), tuple(p.name for p in photos)))


def with_sizes(scene: ScenePhotos) -> ScenePhotos:
    """The same with sizes, by the headers; photos whose header cannot be read are left out.

    Raises:
        InputError: none is left.
    """
    sizes: list[Optional[Size]] = []
    failed = []
    for photo in scene.photos:
        try:
            sizes.append(photo_size(photo))
        except InputError as error:
            sizes.append(None)
            failed.append(str(error))
    read = [index for index, size in enumerate(sizes) if size is not None]
    if not read:
        raise InputError(f"{scene.place}: not one photo can be read; {failed[0]}")
    known = tuple(size for size in sizes if size is not None)
    return replace(scene.some(read), sizes_hw=known, failed=tuple(failed))


def unknown(path: Path) -> InputError:
    """What is said of an input that is of no kind."""
    there = "no such file or folder" if not path.exists() else "of no kind that da3 takes"
    kinds = ", ".join(f"{kind} ({about})" for kind, about in KINDS.items())
    return InputError(f"{path}: {there}; it takes {kinds}")
