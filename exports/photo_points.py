"""One photo's depth to points with colours, and these to PLY and GLB.

Metres, the photo and its camera in; points a block of rows at a time, or a file's blocks of bytes,
out. OpenCV's axes: x right, y down, z forward; those of glTF in GLB. No disk.
Source: ``metric_depth/depth_to_pointcloud.py`` of Depth Anything V2; the edge filter is MoGe's.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import cv2
import numpy as np

from exports.glb import POINTS, Geometry, encode_glb
from exports.ply import encode_ply
from exports.points import CENTRES, PIXEL_GRIDS, check_pixel_grid
from runtime.errors import InputError
from runtime.photo.preprocess import resize_bytes
from runtime.predict.found import Prediction
from runtime.scene.focal import PhotoCamera, fov_of

BAND_ROWS = 64  # of a photo, at a time
COLOURS = ("red", "green", "blue")
AXES = "OpenCV: x right, y down, z forward, from the camera"
GLB_AXES = "glTF: x right, y up, z towards the viewer, from the camera; OpenCV's y and z negated"
SRGB = "the photo's own bytes (sRGB), shown without light"


@dataclass(frozen=True)
class PointOptions:
    """Which pixels become points, and how they are stored.

    Args:
        stride: every so many rows and columns.
        max_depth_jump: leaves out pixels around which depth differs by more than this share of it:
            edges, where it is neither the one thing's nor the other's. None: all are kept.
        pixel_grid: ``centres``: the axis of a photo goes through its middle. ``upstream``: through
            the middle of pixel (height / 2, width / 2), half a pixel off.
        as_upstream: float64 in PLY, and pixels without depth stay, at the camera.
    Raises:
        InputError: a value that cannot be.
    """

    stride: int = 1
    max_depth_jump: Optional[float] = None
    pixel_grid: str = CENTRES
    as_upstream: bool = False

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise InputError(f"stride={self.stride}: give 1 or more")
        check_pixel_grid(self.pixel_grid)
        if self.max_depth_jump is not None and not 0 < self.max_depth_jump < np.inf:
            raise InputError(f"max_depth_jump={self.max_depth_jump}: give a share above 0, as 0.05")


class PhotoPoints:
    """The points of one photo, made when they are asked for.

    Args:
        depth: float32 (H, W), metres along the camera's axis; 0 or not finite where there is none.
        rgb: uint8 (H, W, 3).
    Raises:
        InputError: sizes that differ.
    """

    def __init__(
        self,
        depth: np.ndarray,
        rgb: np.ndarray,
        camera: PhotoCamera,
        options: PointOptions = PointOptions(),
    ) -> None:
        if depth.ndim != 2 or rgb.shape != (*depth.shape, 3):
            raise InputError(f"depth is {depth.shape}, the photo {rgb.shape}: expected one size")
        self.depth, self.rgb, self.camera, self.options = depth, rgb, camera, options
        self.count = sum(int(kept.sum()) for _, kept in self._kept())

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row by row: float64 (P, 3) in metres, and uint8 (P, 3)."""
        for rows, kept in self._kept():
            yield self._points(rows, kept), self.rgb[rows, :: self.options.stride][kept]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them: float32 (N, 3) in metres, and uint8 (N, 3)."""
        points, colours = np.empty((self.count, 3), np.float32), np.empty((self.count, 3), np.uint8)
        done = 0
        for some, rgb in self.blocks():
            to = slice(done, done + len(some))
            points[to], colours[to] = some, rgb
            done = to.stop
        return points, colours

    def _kept(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Bands of rows, and which of their pixels become points: bool (rows, columns)."""
        step = self.options.stride
        for start in range(0, len(self.depth), BAND_ROWS * step):
            rows = slice(start, min(start + BAND_ROWS * step, len(self.depth)), step)
            some = self.depth[rows, ::step]
            if self.options.as_upstream:
                kept = np.ones(some.shape, bool)
            else:
                kept = np.isfinite(some) & (some > 0)
            if self.options.max_depth_jump is not None:
                kept &= ~self._edges(rows)
            yield rows, kept

    def _edges(self, rows: slice) -> np.ndarray:
        """Where depth jumps within the 3 x 3 pixels around: bool, of the rows and columns kept."""
        assert self.options.max_depth_jump is not None
        top = max(rows.start - 1, 0)
        band = np.ascontiguousarray(self.depth[top : rows.stop + 1], np.float32)
        there = np.isfinite(band) & (band > 0)
        around = np.ones((3, 3), np.uint8)
        high = cv2.dilate(np.where(there, band, np.float32(0)), around)
        low = cv2.erode(np.where(there, band, np.float32(np.finfo(np.float32).max)), around)
        with np.errstate(invalid="ignore"):
            jumps = (high - low) > np.float32(self.options.max_depth_jump) * band
        own = slice(rows.start - top, rows.stop - top, self.options.stride)
        return np.asarray((jumps & there)[own, :: self.options.stride])

    def _points(self, rows: slice, kept: np.ndarray) -> np.ndarray:
        """Upstream's own steps and types, so that its very bits come out."""
        step = self.options.stride
        axis = self._axis()
        x = (np.arange(0, self.depth.shape[1], step) - axis[0]) / self.camera.focal_px[0]
        y = (np.arange(rows.start, rows.stop, step) - axis[1]) / self.camera.focal_px[1]
        z = self.depth[rows, ::step][kept]
        row, column = np.nonzero(kept)
        return np.stack((x[column] * z, y[row] * z, z.astype(np.float64)), axis=1)

    def _axis(self) -> tuple[float, float]:
        """The principal point, x and y; 0, 0 is the middle of the first pixel."""
        height, width = self.depth.shape
        middle = PIXEL_GRIDS[self.options.pixel_grid]
        return self.camera.principal or (width / 2 - middle, height / 2 - middle)

    def facts(self) -> dict[str, Any]:
        """What the points are, as JSON values."""
        height, width = self.depth.shape
        fx, fy = self.camera.focal_px
        return {
            "unit": "metre",
            "axes": AXES,
            "focal_px": [fx, fy],
            "focal_from": self.camera.how,
            "field_of_view_deg": round(fov_of(fx, width), 3),
            "principal_point": list(self._axis()),
            "pixel_grid": "0, 0 is the middle of the upright photo's first pixel",
            "photo": f"{width} x {height}",
            "points": self.count,
            "stride": self.options.stride,
            "max_depth_jump": self.options.max_depth_jump,
            "colours": SRGB,
        }


def points_of(
    found: Prediction,
    rgb: np.ndarray,
    camera: PhotoCamera,
    options: PointOptions = PointOptions(),
) -> PhotoPoints:
    """The points of a prediction.

    Args:
        rgb: the photo; made as small as the map if that is on the network's grid.
        camera: in pixels of the photo.
    Raises:
        InputError: its depth is not in metres.
    """
    refuse_relative(found.output.kind)
    if found.grid == "model":
        size_hw = (found.depth.shape[0], found.depth.shape[1])
        camera = camera.resized((rgb.shape[0], rgb.shape[1]), size_hw)
        rgb = resize_bytes(rgb, size_hw)
    return PhotoPoints(found.depth, rgb, camera, options)


def refuse_relative(kind: str) -> None:
    """Refuse a map that would not become the shape of what was photographed.

    Raises:
        InputError: it is not in metres.
    """
    if kind != "depth_m":
        what, more = "relative depth", "give the focal length to da3metric-large, "
        if kind == "disparity":
            what, more = "disparity, known up to scale and shift", ""
        raise InputError(
            f"points need metres, but this is {what}: a wall would come out bent, and things flat "
            f"or stretched; {more}use a metric model (vits-indoor, vits-outdoor), or give points "
            "of known distance (--fit-points, points in a request)"
        )


def point_facts(found: Prediction, points: PhotoPoints) -> dict[str, Any]:
    """What a file of points says of itself: the points, and where their depth comes from."""
    facts = {**points.facts(), "max_depth_m": found.output.max_depth_m}
    if found.metres_by is not None:
        facts["metres_by"] = found.facts()["metres_by"]
    return {**facts, **found.provenance.facts()}


def points_ply(found: Prediction, points: PhotoPoints) -> Iterator[bytes]:
    """A whole PLY file, block by block: x, y, z float32, red, green, blue uint8.

    With ``as_upstream`` x, y and z are float64, and but for the comments it is upstream's file.
    """
    number = "<f8" if points.options.as_upstream else "<f4"
    dtype = np.dtype([(axis, number) for axis in "xyz"] + [(name, "u1") for name in COLOURS])

    def rows() -> Iterator[np.ndarray]:
        for places, colours in points.blocks():
            block = np.empty(len(places), dtype)
            for index, axis in enumerate("xyz"):
                block[axis], block[COLOURS[index]] = places[:, index], colours[:, index]
            yield block

    said = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in point_facts(found, points).items()
    }
    yield from encode_ply(rows(), dtype, points.count, said)


def points_glb(found: Prediction, points: PhotoPoints) -> Iterator[bytes]:
    """A whole GLB file, block by block; all points are in memory once."""
    places, colours = points.arrays()
    places[:, 1:] *= -1
    shapes = [Geometry(POINTS, places, colours)] if len(places) else []
    extras = {**point_facts(found, points), "axes": GLB_AXES}
    yield from encode_glb(shapes, extras)
