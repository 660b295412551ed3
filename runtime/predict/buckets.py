"""Which compiled size photos go to: the one that stretches them least.

Shapes of photos and sizes of graphs in, a place in the list of sizes out.
"""

import math
import statistics
from collections.abc import Iterable, Sequence


def nearest_bucket(photo_hw: tuple[int, int], sizes_hw: Sequence[tuple[int, int]]) -> int:
    """Index of the size whose aspect ratio is nearest, as a ratio; of equals, the largest."""
    return _nearest(photo_hw[0] / photo_hw[1], sizes_hw)


def scene_bucket(photos_hw: Iterable[tuple[int, int]], sizes_hw: Sequence[tuple[int, int]]) -> int:
    """Index of the one size that all photos of a scene go to: that of their median shape."""
    return _nearest(statistics.median(height / width for height, width in photos_hw), sizes_hw)


def _nearest(ratio: float, sizes_hw: Sequence[tuple[int, int]]) -> int:
    def distance(size_hw: tuple[int, int]) -> tuple[float, int]:
        stretch = (size_hw[0] / size_hw[1]) / ratio
        return round(abs(math.log(stretch)), 9), -size_hw[0] * size_hw[1]

    return min(range(len(sizes_hw)), key=lambda index: distance(sizes_hw[index]))
