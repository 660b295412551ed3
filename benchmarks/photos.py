"""Photos of real size, made from the shipped ones: crops, flips, enlarged, brighter or darker.

The same number gives the same photo. They stand in for camera files: as large, as costly to decode,
no two alike; but no sharper than what they were enlarged from.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.crops import center_crop
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos

FULL_HD_HW, TWELVE_MP_HW = (1080, 1920), (3000, 4000)
TOGETHER = 5000  # names in a folder of a list
JPEG_QUALITY = 90
CROP = (0.7, 1.0)  # share of a side that is kept
BRIGHTNESS = (0.75, 1.2)


def write_photos(
    source: Path, folder: Path, count: int, size_hw: tuple[int, int] = FULL_HD_HW
) -> list[Path]:
    """Write JPEG files ``00000-name.jpg`` ...

    Args:
        source: folder of photos to begin with.
    Raises:
        InputError: no photos there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (name, rgb) in enumerate(make_photos(source, count, size_hw)):
        files.append(folder / f"{number:05d}-{name}.jpg")
        _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        files[-1].write_bytes(data.tobytes())
    return files


def write_list(root: Path, photos: Sequence[Path], count: int) -> Path:
    """Write ``root/list.jsonl``: so many names, in folders of 5,000, on the same few photos."""
    file = root / "list.jsonl"
    with file.open("w") as lines:
        for number in range(count):
            name = f"{number // TOGETHER:04d}/{number:07d}.jpg"
            row = {"path": str(photos[number % len(photos)].resolve()), "name": name}
            lines.write(json.dumps(row) + "\n")
    return file


def make_photos(
    source: Path, count: int, size_hw: tuple[int, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """The originals' names, and uint8 (*size_hw, 3) RGB."""
    originals = [(file.stem, read_photo(file)) for file in find_photos(source)]
    for number in range(count):
        name, rgb = originals[number % len(originals)]
        yield name, _varied(center_crop(rgb, size_hw[::-1]), number, size_hw)


def _varied(rgb: np.ndarray, number: int, size_hw: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(number)
    share = rng.uniform(*CROP)
    height, width = (int(side * share) for side in rgb.shape[:2])
    top, left = (
        rng.integers(0, whole - part + 1) for whole, part in zip(rgb.shape, (height, width))
    )
    part = rgb[top : top + height, left : left + width]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    large = cv2.resize(part, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.convertScaleAbs(large, alpha=rng.uniform(*BRIGHTNESS))
