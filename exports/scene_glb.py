"""A scene's cloud and cameras as one GLB file: in the first camera's axes, turned y up, centred.

A ``Scene`` and options in; file names and blocks of bytes out.
Source: ``utils/export/glb.py`` of Depth Anything 3, whose numbers ``pixel_grid="upstream"`` gives.
"""

import colorsys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from exports import depth_vis
from exports.cloud import cloud_key, make_cloud, median_in
from exports.glb import LINES, POINTS, Geometry, encode_glb
from exports.points import UPSTREAM, unproject
from exports.scene import Frame, Scene
from exports.selection import CloudOptions
from runtime.errors import InputError

FILE, PICTURE = "scene.glb", "scene.jpg"
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's axes to glTF's
AXES = "glTF: x right, y up, z towards the viewer, of the first camera; the median is at 0"
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0))
SATURATION, VALUE = 0.85, 0.95  # of a camera's colour
EXTENT = (5, 95)  # percentiles that a cloud reaches from and to
BLOCK_ROWS = 1 << 17


@dataclass(frozen=True)
class GlbOptions(CloudOptions):
    """A cloud as one GLB file.

    Args:
        show_cameras: draw each camera as a pyramid.
        camera_size: its length, as a share of the cloud's extent from 5 to 95 %.
        export_depth_vis: write ``depth_vis/`` too, and its first picture as ``scene.jpg``.
    Raises:
        InputError: as ``CloudOptions``, or a camera without size.
    """

    show_cameras: bool = True
    camera_size: float = 0.03
    export_depth_vis: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.camera_size < np.inf:
            raise InputError(f"camera_size={self.camera_size}: use more than 0")


def encode(scene: Scene, options: GlbOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``scene.glb``; and depth as pictures, if asked."""
    cloud, frame = make_cloud(scene, options), frame_of(scene, options)
    positions = np.empty_like(cloud.positions)
    for start in range(0, len(positions), BLOCK_ROWS):
        own = slice(start, start + BLOCK_ROWS)
        positions[own] = frame.move(cloud.positions[own])
    shapes = [Geometry(POINTS, positions, cloud.colours)] if len(positions) else []
    if options.show_cameras:
        shapes += cameras(scene, frame, options.camera_size * extent(positions), options.pixel_grid)
    extras = {"hf_alignment": frame.matrix.tolist(), **scene.meaning(frame)}
    yield FILE, encode_glb(shapes, extras)
    if options.export_depth_vis and "images" in scene.gives:
        for name, blocks in depth_vis.encode(scene, depth_vis.DepthVisOptions()):
            data = b"".join(blocks)
            yield name, [data]
            if name == depth_vis.name_of(0):
                yield PICTURE, [data]


def frame_of(scene: Scene, options: CloudOptions) -> Frame:
    """Where the file's axes are: the median of all points is taken before any are thinned out."""

    def make() -> Frame:
        turned, shift = FLIP @ scene.camera(0)[1], np.eye(4)
        median = median_in(make_cloud(scene, options), turned)
        if median is not None:
            shift[:3, 3] = -median
        return Frame("the first camera's, centred", AXES, shift @ turned)

    return scene.once(("frame of glb", cloud_key(options)), make)


def extent(positions: np.ndarray) -> float:
    """How large a cloud is, but for its outermost points; 1 if it has no size."""
    if len(positions) < 2:
        return 1.0
    low, high = np.percentile(positions, EXTENT, axis=0)
    size = float(np.linalg.norm(high - low))
    return size if np.isfinite(size) and size > 0 else 1.0


def cameras(scene: Scene, frame: Frame, length: float, pixel_grid: str) -> list[Geometry]:
    """Each camera as eight lines: from its tip to the picture's corners, and around them."""
    height, width = scene.size_hw
    if pixel_grid == UPSTREAM:
        height, width = height - 1, width - 1
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    result = []
    for view in range(scene.views):
        intrinsics, pose = scene.camera(view)
        world = unproject(corners, np.full(4, length), intrinsics, pose)
        tip = np.linalg.inv(pose)[:3, 3]
        lines = [(tip, corner) for corner in world] + [(world[a], world[b]) for a, b in EDGES]
        places = frame.move(np.array(lines).reshape(-1, 3)).astype(np.float32)
        hue = (view + 0.5) / scene.views
        colour = np.array(colorsys.hsv_to_rgb(hue, SATURATION, VALUE)) * 255
        result.append(Geometry(LINES, places, colour.astype(np.uint8)))
    return result
