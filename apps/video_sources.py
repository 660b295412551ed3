"""Which videos a file, a list or a folder holds, and where the results of each go.

A place on disk in; sources with the path of their files, without a suffix, out.
"""

import logging
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Optional

from apps.upstream_v2 import listed, output_names
from runtime.errors import InputError
from runtime.photo.decode import photo_size
from runtime.photo.find import Inside, is_photo
from runtime.photo.frames import (
    VIDEO_SUFFIXES,
    AnyFrames,
    PictureFrames,
    VideoFrames,
    is_video,
    numbered,
    video_size,
)
from runtime.walk import walk

SUFFIX = ".mp4"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A video, or a folder of numbered pictures; ``base``: its results without a suffix."""

    path: Path
    base: Path

    @property
    def video(self) -> Path:
        """The result."""
        return self.base.with_name(self.base.name + SUFFIX)

    @property
    def reads_again(self) -> bool:
        """False for what comes once, as from a pipe."""
        return self.path.is_dir() or self.path.is_file()

    def frames(self, fps: Optional[Fraction], sound: bool) -> AnyFrames:
        """Open it.

        Raises:
            InputError: it is no video, or pictures without ``fps``.
        """
        if not self.path.is_dir():
            return VideoFrames(self.path, fps, sound)
        pictures = numbered(self.path)
        if not pictures:
            raise InputError(f"{self.path}: no numbered pictures there, as 000001.png")
        if fps is None:
            raise InputError(
                f"{self.path}: {len(pictures)} pictures and no video; give --fps to take them as "
                f"the frames of one, or use `python run.py --img-path {self.path}` for photos"
            )
        return PictureFrames(pictures, fps)

    def size_hw(self) -> tuple[int, int]:
        """Height and width of the first frame, upright.

        Raises:
            InputError: it cannot be read.
        """
        if self.path.is_dir():
            return photo_size(next(iter(numbered(self.path)), self.path))
        return video_size(self.path)

    def state(self) -> str:
        """What changes when the source does: the files' names, sizes and times."""
        files = numbered(self.path) if self.path.is_dir() else [self.path]
        stats = [(file.name, file.stat()) for file in files]
        return ",".join(f"{name}:{one.st_size}:{one.st_mtime_ns}" for name, one in stats)


def find_sources(place: Path, outdir: Path, fps: Optional[Fraction] = None) -> list[Source]:
    """The videos of a file, a ``.txt`` list or a folder with all below it.

    A folder without a video, or one that a list names, may hold numbered pictures.

    Args:
        fps: of pictures; None refuses a folder of them.
    Raises:
        InputError: no such place, no video there, a folder of photos, or a result would take the
            place of a source.
    """
    if place.suffix.lower() == ".txt" and not place.is_dir():
        paths, root = listed(place), place.parent
    elif place.is_dir():
        paths, root = _in_folder(place, outdir), place
    elif _is_there(place):
        paths, root = [place], place.parent
    else:
        raise InputError(f"{place}: no such file or folder; expected a video")
    names = output_names(paths, root)
    sources = [Source(path, outdir / names[path]) for path in paths]
    if paths == [place]:
        sources[0].frames(fps, False).close()  # before a model is loaded for it
    taken = {source.path.resolve() for source in sources}
    for source in sources:
        for result in (source.video, source.base):
            if result.resolve() in taken:
                raise InputError(
                    f"{result}: the result of {source.path} would take its place; name another "
                    "--outdir"
                )
    return sources


def sizes_of(sources: Sequence[Source]) -> Iterator[tuple[int, int]]:
    """Height and width of those that can be read; of the others, it is said later why not."""
    for source in sources:
        if source.reads_again:
            try:
                yield source.size_hw()
            except InputError:
                continue


def _unread(error: OSError) -> None:
    log.warning("%s: cannot be read (%s); left out", error.filename, error.strerror)


def _in_folder(folder: Path, outdir: Path) -> list[Path]:
    if outdir.resolve() == folder.resolve():
        raise InputError(f"{folder}: is both input and output; name another folder")
    inside = Inside([outdir] if folder.resolve() in outdir.resolve().parents else [])
    files = [file for file in walk(folder, refused=_unread) if not inside.holds(file)]
    videos = [file for file in files if is_video(file.name)]
    if videos:
        others = len(files) - len(videos)
        if others:
            log.info("%s: %d files that are no videos are left out", folder, others)
        return videos
    if numbered(folder):
        return [folder]
    photos = sum(is_photo(file.name) for file in files)
    more = f", but {photos} photos: for those, `python run.py`" if photos else ""
    raise InputError(f"{folder}: no video there ({', '.join(VIDEO_SUFFIXES)}){more}")


def _is_there(place: Path) -> bool:
    try:
        mode = place.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
