"""A scene with more photos than a graph takes views: groups that overlap, and their joining.

Counts in, groups out; maps and cameras of each group in, one scene out, in the scale and the axes
of the first group. numpy only.
"""

from collections.abc import Sequence

import numpy as np

from runtime.scene.cameras import inverse
from runtime.scene.similarity import Similarity

# Arrays with a row for each view: depth and conf (n, H, W), extrinsics (n, 3, 4), and any others,
# which go along unchanged.
Maps = dict[str, np.ndarray]


def pick_views(photos: int, compiled: Sequence[int]) -> int:
    """Which of the compiled numbers of views to use for the photos of one scene.

    The smallest that takes all photos, the last of which fills it up; else the largest, whose
    groups then overlap. Single views have no scale in common, so they are used for one photo, or
    if nothing else is compiled.
    """
    enough = [views for views in compiled if views >= photos]
    return min(enough) if enough else max(compiled)


def group_views(photos: int, views: int) -> list[tuple[int, ...]]:
    """Split photos, in their order, into groups of ``views`` that overlap by a quarter.

    The last group ends with the last photo, so its overlap may be larger. Single views overlap by
    nothing.
    """
    if photos <= views:
        return [tuple(range(photos))]
    if views == 1:
        return [(index,) for index in range(photos)]
    step = views - max(1, views // 4)
    starts = [*range(0, photos - views, step), photos - views]
    return [tuple(range(start, start + views)) for start in starts]


def join_groups(parts: Sequence[Maps], groups: Sequence[tuple[int, ...]], linked: bool) -> Maps:
    """Bring groups of views into the scale and axes of the first, by the views they share.

    Args:
        parts: what was found about each group.
        groups: the views of each, ascending; together all views from 0 on.
        linked: whether groups must be aligned; with known cameras they share axes already.
    Returns:
        the same maps of all views. A view of several groups comes from the first of them.
    """
    home: dict[int, tuple[int, int]] = {}  # of a view: the group and the row it is taken from
    moved: list[Maps] = []
    for part, group in zip(parts, groups):
        shared = [row for row, view in enumerate(group) if view in home]
        if linked and shared:
            known = _rows(moved, [home[group[row]] for row in shared])
            fit = fit_groups(known, {name: array[shared] for name, array in part.items()})
            part = {
                **part,
                "extrinsics": fit.move_cameras(part["extrinsics"])[:, :3],
                "depth": (part["depth"] * fit.scale).astype(np.float32),
            }
        for row, view in enumerate(group):
            home.setdefault(view, (len(moved), row))
        moved.append(part)
    return _rows(moved, [home[view] for view in range(len(home))])


def fit_groups(known: Maps, new: Maps) -> Similarity:
    """The similarity that brings a group onto the same views of groups before it.

    The depth of a view in both, where both are surer than their median, gives the scale; its two
    cameras give rotation and translation.

    Args:
        known, new: depth, conf and extrinsics of the shared views, in one order.
    """
    ratios = []
    for old, one, old_conf, one_conf in zip(
        known["depth"], new["depth"], known["conf"], new["conf"]
    ):
        sure = (old_conf >= np.median(old_conf)) & (one_conf >= np.median(one_conf))
        sure = sure if sure.any() else np.ones_like(sure)
        ratios.append(np.median(old[sure] / one[sure]))
    scale = float(np.exp(np.mean(np.log(ratios))))
    old_cameras, new_cameras = inverse(known["extrinsics"]), inverse(new["extrinsics"])
    rotations = (old_cameras[:, :3, :3] @ np.swapaxes(new_cameras[:, :3, :3], 1, 2)).sum(0)
    u, _, v = np.linalg.svd(rotations)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    gaps = old_cameras[:, :3, 3] - scale * new_cameras[:, :3, 3] @ rotation.T
    return Similarity(rotation, gaps.mean(0), scale)


def _rows(parts: Sequence[Maps], places: Sequence[tuple[int, int]]) -> Maps:
    """Rows of several groups, stacked."""
    return {name: np.stack([parts[group][name][row] for group, row in places]) for name in parts[0]}
