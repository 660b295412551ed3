"""What EXIF and XMP say of a photo: how it was held, and the focal length.

Blocks in, as a file has them; two facts out. Broken blocks say nothing and are no error: the pixels
of a photo are good without them.
"""

import math
import re
from dataclasses import dataclass
from typing import Optional

from runtime.photo.ifd import Directory, first_directory

NAME = b"Exif\0\0"
ORIENTATION, EXIF_IFD, FOCAL_35_MM = 0x0112, 0x8769, 0xA405
FILM_DIAGONAL_MM = math.hypot(36, 24)
MAX_BLOCK = 1 << 20  # bytes of EXIF or XMP that are looked at
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


@dataclass(frozen=True)
class Exif:
    """``orientation``: 1 to 8, what turns the stored picture upright.

    ``focal_35_mm``: what the focal length would be on 35 mm film; None if it is not told.
    """

    orientation: int = 1
    focal_35_mm: Optional[float] = None

    @property
    def lies(self) -> bool:
        """True if the upright photo is as wide as the stored one is high."""
        return self.orientation >= 5

    def focal_px(self, size_hw: tuple[int, int]) -> Optional[float]:
        """The focal length in pixels of a photo of this size: its diagonal is that of the film."""
        if self.focal_35_mm is None:
            return None
        return self.focal_35_mm / FILM_DIAGONAL_MM * math.hypot(*size_hw)


def read_exif(block: bytes, xmp: bytes = b"") -> Exif:
    """What a block of EXIF says, or XMP where EXIF says no orientation."""
    for _ in range(2):  # some write its name twice
        block = block[len(NAME) :] if block.startswith(NAME) else block
    return exif_of(first_directory(block[:MAX_BLOCK]), xmp)


def exif_of(directory: Optional[Directory], xmp: bytes = b"") -> Exif:
    """The same of a directory that was found; a TIFF file is one itself."""
    orientation, focal_mm = 0, 0
    if directory is not None:
        orientation = directory.number(ORIENTATION, 0)
        focal_mm = directory.inner(EXIF_IFD).number(FOCAL_35_MM, 0)
    if not 1 <= orientation <= 8:
        found = XMP_ORIENTATION.search(xmp[:MAX_BLOCK])
        orientation = int(found[1]) if found else 1
    return Exif(orientation, float(focal_mm) if focal_mm > 0 else None)
