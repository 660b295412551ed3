"""``--fit-points``: known points of one photo, or a folder of them for many.

Arguments and photos in; the points of each photo, read when its turn comes, out.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runtime.command_line import above_zero
from runtime.errors import InputError
from runtime.photo.find import root_of
from runtime.scene.known_points import MILLIMETRES, SUFFIXES, KnownPoints, read_points


@dataclass(frozen=True)
class PointFiles:
    """Where the points of each photo are.

    Args:
        source: one file, or a folder with a file of each photo's stem, below the same sub-folders.
        root: the folder that the photos are in.
        per_metre: stored values a metre, of PNG files.
    """

    source: Path
    root: Path
    per_metre: float = MILLIMETRES

    def of(self, photo: Path) -> KnownPoints:
        """The points of a photo.

        Raises:
            InputError: there are none, more than one file, or as for ``read_points``.
        """
        return read_points(self._file(photo), self.per_metre)

    def check(self, photos: Sequence[Path]) -> None:
        """Refuse one file for several photos.

        Raises:
            InputError: there are several.
        """
        if len(photos) > 1 and not self.source.is_dir():
            raise InputError(
                f"--fit-points {self.source}: one file, but {len(photos)} photos; give a folder of "
                "files, each with the stem of its photo"
            )

    def folders(self) -> list[Path]:
        """The folder whose files are points, not photos, if it is not the photos' own."""
        own = not self.source.is_dir() or self.source.resolve() == self.root.resolve()
        return [] if own else [self.source]

    def _file(self, photo: Path) -> Path:
        if not self.source.is_dir():
            return self.source
        try:
            below = photo.relative_to(self.root)
        except ValueError:
            below = Path(photo.name)
        places = [(self.source / below).with_suffix(suffix) for suffix in SUFFIXES]
        files = [file for file in places if file.is_file() and not file.samefile(photo)]
        if len(files) != 1:
            found = " and ".join(str(file) for file in files) or "nothing"
            raise InputError(
                f"{photo}: its known points would be {places[0].with_suffix('')} with "
                f"{', '.join(SUFFIXES)}, expected one file, found {found}"
            )
        return files[0]


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """``--fit-points`` and what belongs to it."""
    group = parser.add_argument_group("metres from known points")
    group.add_argument(
        "--fit-points",
        type=Path,
        metavar="PATH",
        help="metres from any model: points whose distance is known, as lines of x,y,metres "
        "(.csv), a sparse depth map of 16 bits (.png) or .npz; for several photos a folder of "
        "such files, each with the stem of its photo (docs/metres.md)",
    )
    group.add_argument(
        "--fit-png-scale",
        type=above_zero,
        metavar="N",
        help=f"stored values a metre in such a PNG; default {MILLIMETRES:g}, millimetres; KITTI's "
        "have 256",
    )


def point_files(args: argparse.Namespace, source: Path) -> Optional[PointFiles]:
    """Where the points are that the options name; None if they name none.

    Args:
        source: the folder, pattern or file of the photos.
    Raises:
        InputError: no such place, a file that cannot be used, or a scale for nothing.
    """
    place = args.fit_points
    if place is None:
        if args.fit_png_scale is not None:
            raise InputError("--fit-png-scale says how --fit-points is stored: give both")
        return None
    root = source.parent if source.is_file() else root_of(source)
    files = PointFiles(place, root, args.fit_png_scale or MILLIMETRES)
    if not place.exists():
        raise InputError(f"--fit-points {place}: no such file or folder")
    if not place.is_dir():
        read_points(place, files.per_metre)
    return files
