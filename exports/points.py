"""Depth to points: rays through pixels, and the choice of a bounded number with an even density.

Depth, intrinsics and poses in; points out, a block of rows at a time. No disk.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from runtime.errors import InputError

CENTRES, UPSTREAM = "centres", "upstream"
PIXEL_GRIDS = {CENTRES: 0.5, UPSTREAM: 0.0}  # where the ray of pixel 0 goes through
BLOCK_PIXELS = 1 << 18  # unprojected at a time
CANDIDATES = 3  # for each point that is kept: drawn first, by the surface each one stands for
SPARE = 1.02  # cells too many, of which some are then left out
TRIES = 16


def check_pixel_grid(pixel_grid: str) -> None:
    """Refuse a grid that does not exist.

    Raises:
        InputError: it is none of ``PIXEL_GRIDS``.
    """
    if pixel_grid not in PIXEL_GRIDS:
        raise InputError(f"pixel_grid={pixel_grid!r}: use one of {', '.join(PIXEL_GRIDS)}")


def row_blocks(size_hw: tuple[int, int]) -> Iterator[slice]:
    """Rows of a picture, about ``BLOCK_PIXELS`` at a time."""
    rows = max(1, BLOCK_PIXELS // size_hw[1])
    for start in range(0, size_hw[0], rows):
        yield slice(start, min(start + rows, size_hw[0]))


def unproject(
    pixels: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, world_to_camera: np.ndarray
) -> np.ndarray:
    """Places in a picture to places in the world.

    Args:
        pixels: (P, 2), x and y.
        depth: (P,), along the camera's z axis.
        intrinsics: (3, 3); world_to_camera: (4, 4), any affine one.
    Returns:
        float64 (P, 3).
    """
    ray = np.concatenate((pixels, np.ones((len(pixels), 1))), axis=1)
    local = (ray @ np.linalg.inv(intrinsics).T) * np.asarray(depth, np.float64)[:, None]
    world = np.linalg.inv(world_to_camera)
    return local @ world[:3, :3].T + world[:3, 3]


def project(
    points: np.ndarray, intrinsics: np.ndarray, world_to_camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places in the world to x, y (P, 2), and to depth (P,); both mean nothing at depth <= 0."""
    local = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    depth = local[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (local @ intrinsics.T)[:, :2] / depth[:, None]
    return pixels, depth


def pixels_of(kept: np.ndarray, first_row: int, pixel_grid: str) -> np.ndarray:
    """x and y of the pixels where a mask (rows, W) is True: float64 (P, 2), row by row."""
    rows, columns = np.nonzero(kept)
    return np.stack((columns, rows + first_row), axis=1) + PIXEL_GRIDS[pixel_grid]


def even_choice(
    areas: Callable[[], Iterable[np.ndarray]],
    positions: Callable[[np.ndarray], np.ndarray],
    total: int,
    count: int,
) -> np.ndarray:
    """Choose points that stand about equally far from each other, however near the cameras were.

    First ``CANDIDATES`` times as many are drawn, by the surface that each one stands for. Space is
    then cut into cells just so small that ``count`` of them hold something, and each gives one.

    Args:
        areas: gives blocks of (P,), the surface that each point stands for.
        positions: gives (K, 3) of the points of these numbers, which rise.
        total: how many there are; count: how many are wanted, fewer.
    Returns:
        int64 (count,), rising; the same each time.
    """
    random = np.random.RandomState(0)
    if total > CANDIDATES * count:
        drawn = _drawn_by_area(areas, CANDIDATES * count, random)
    else:
        drawn = np.arange(total)
    order = random.permutation(len(drawn))
    points = positions(drawn)[order]
    first = _one_a_cell(points, count)
    if len(first) > count:
        first = first[random.permutation(len(first))[:count]]
    elif len(first) < count:  # places that coincide
        left = np.setdiff1d(np.arange(len(drawn)), first)
        first = np.concatenate((first, left[: count - len(first)]))
    return np.sort(drawn[order[first]])


def _drawn_by_area(
    areas: Callable[[], Iterable[np.ndarray]], count: int, random: np.random.RandomState
) -> np.ndarray:
    """``count`` numbers without replacement: rising int64 (count,).

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
    """
    keys, numbers, seen = np.zeros(0), np.zeros(0, np.int64), 0
    for area in areas():
        with np.errstate(divide="ignore"):
            fresh = np.log(random.random_sample(len(area))) / np.maximum(area, 1e-300)
        keys = np.concatenate((keys, fresh))
        numbers = np.concatenate((numbers, np.arange(seen, seen + len(area))))
        seen += len(area)
        if len(keys) > count:
            best = np.argpartition(keys, len(keys) - count)[len(keys) - count :]
            keys, numbers = keys[best], numbers[best]
    return np.sort(numbers)


def _one_a_cell(points: np.ndarray, count: int) -> np.ndarray:
    """The first point of each cell, of cells as large as leaves at least ``count`` of them."""
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max())
    if extent == 0:
        return np.zeros(1, np.int64)
    small, large = extent / (1 << 20), extent
    size = extent / np.sqrt(count)  # of a surface; then halved between what is known
    best = small
    for _ in range(TRIES):
        cells = np.sort(_cells(points, low, size))
        found = 1 + int(np.count_nonzero(cells[1:] != cells[:-1]))
        if found < count:
            large = size
        else:
            best = small = size
            if found <= SPARE * count:
                break
        guess = size * np.sqrt(found / (count * (1 + SPARE) / 2))
        size = guess if small < guess < large else np.sqrt(small * large)
    return np.unique(_cells(points, low, best), return_index=True)[1]


def _cells(points: np.ndarray, low: np.ndarray, size: float) -> np.ndarray:
    """A number for the cell of each point: int64 (P,)."""
    packed = np.zeros(len(points), np.int64)
    for axis in range(3):
        packed = (packed << 21) | ((points[:, axis] - low[axis]) / size).astype(np.int64)
    return packed
