"""A scene with more photos than a graph takes views: groups that overlap, and their joining.

Counts in, groups out; maps and cameras of each group in, one scene out, in the scale and the axes
of the first group. numpy only.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from runtime.scene.blend import blended_camera, blended_depth, blended_intrinsics, mixed_conf
from runtime.scene.links import Link, SharedFrames, link_windows

log = logging.getLogger(__name__)

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


def overlap_of(views: int) -> int:
    """How many views two groups of so many share: a quarter."""
    return max(1, views // 4) if views > 1 else 0


def group_views(photos: int, views: int) -> list[tuple[int, ...]]:
    """Split photos, in their order, into groups of ``views`` that overlap by a quarter.

    The last group ends with the last photo, so its overlap may be larger. Single views overlap by
    nothing.
    """
    if photos <= views:
        return [tuple(range(photos))]
    if views == 1:
        return [(index,) for index in range(photos)]
    step = views - overlap_of(views)
    starts = [*range(0, photos - views, step), photos - views]
    return [tuple(range(start, start + views)) for start in starts]


def join_groups(parts: Sequence[Maps], groups: Sequence[tuple[int, ...]], linked: bool) -> Maps:
    """Bring groups of views into the scale and axes of the first, by the views they share.

    Args:
        parts: what was found about each group.
        groups: the views of each, ascending; together all views from 0 on.
        linked: whether groups must be aligned; with known cameras they share axes already.
    Returns:
        the same maps of all views. Depth, confidence and cameras of a view of several groups are
        blended, as those of a sequence are; all else is of the first of them.
    """
    rows: dict[int, Maps] = {}
    for part, group in zip(parts, groups):
        shared = [row for row, view in enumerate(group) if view in rows]
        if linked and shared:
            part = _moved(part, _link(rows, part, group, shared))
        for at, row in enumerate(shared):
            own = {name: array[row] for name, array in part.items()}
            rows[group[row]] = _blended(rows[group[row]], own, (at + 0.5) / len(shared))
        for row, view in enumerate(group):
            rows.setdefault(view, {name: array[row] for name, array in part.items()})
    return {name: np.stack([rows[view][name] for view in range(len(rows))]) for name in parts[0]}


def _link(rows: Mapping[int, Maps], part: Maps, group: Sequence[int], shared: list[int]) -> Link:
    """From a group into the scene so far."""
    known = [
        np.stack([rows[group[row]][name] for row in shared])
        for name in ("depth", "conf", "extrinsics")
    ]
    new = [part[name][shared] for name in ("depth", "conf", "extrinsics")]
    link = link_windows(SharedFrames(*known), SharedFrames(*new))
    if link.broken:
        log.warning(
            "views %d to %d disagree with those before (%.0f %% of depth agrees, cameras turn by "
            "%.0f degrees): their scale and place may be wrong",
            *(group[0], group[-1], 100 * link.inliers, link.turn_deg),
        )
    return link


def _moved(part: Maps, link: Link) -> Maps:
    return {
        **part,
        "extrinsics": link.to.move_cameras(part["extrinsics"])[:, :3],
        "depth": (part["depth"] * link.to.scale).astype(np.float32),
    }


def _blended(one: Maps, other: Maps, part: float) -> Maps:
    """A view of two groups, ``part`` of it of the later one."""
    found = {**one}
    found["depth"] = blended_depth(one["depth"], other["depth"], one["conf"], other["conf"], part)
    found["conf"] = mixed_conf(one["conf"], other["conf"], part)
    found["extrinsics"] = blended_camera(one["extrinsics"], other["extrinsics"], part)
    if "intrinsics" in one:
        found["intrinsics"] = blended_intrinsics(one["intrinsics"], other["intrinsics"], part)
    return found
