"""Gaussian splats to a video of a flight through them: colours, and depth beside them.

A ``Scene`` with splats and options in; an MP4 by PyAV out. Pictures are drawn a few at a time and
kept in a temporary file until all depth is known, so memory does not grow with the frames.
Source: ``utils/export/gs.py`` of Depth Anything 3, which draws on CUDA alone.
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Optional

import numpy as np

from exports.clip_depth import Limits, limits_of, paint
from exports.colour import stamp_warning
from exports.feature_video import encode_video
from exports.rasteriser import Picture
from exports.scene import Scene, as_array
from exports.splat_pictures import AUTO, CHUNK, RENDERERS, check_renderer, pictures
from exports.splat_projection import Splats
from exports.trajectories import MODES, Path, camera_path, centred, scaled_to, splat_cameras
from runtime.errors import InputError
from runtime.names import check_plain
from runtime.optional import require
from runtime.scene.cameras import inverse

FOLDER, FPS = "gs_video", 24
FLIGHT, AS_GIVEN, ONE_VIEW = "extend", "original", "wander"  # modes, if none is asked for
DEPTHS = {"RGB+ED": True, "RGB+D": False}  # whether depth is the mean of what covers a pixel
QUALITIES = {"low": (28, "veryfast"), "medium": (23, "medium"), "high": (18, "slow")}
ACROSS, DOWN, NONE = "hcat", "vcat", "none"
GAP = 8  # white pixels between colours and depth
LARGEST = 8000  # pixels of a side: twice that and the gap are within H.264's 16,384
POINTS = ("given", "centre")
PREVIEW = 2  # a preview's sides are so many times smaller

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GsVideoOptions:
    """What is flown through, and how it is shown. Names are upstream's down to ``output_name``.

    Args:
        extrinsics: own cameras (M, 3 or 4, 4), world-to-camera, in the prediction's world; None:
            the prediction's.
        intrinsics: theirs, (M, 3, 3) or one for all, in pixels of ``out_image_hw``; None: the
            prediction's, scaled; the first one's if there are not M.
        out_image_hw: size of the pictures; None: that of the views.
        chunk_size: pictures that gsplat draws at a time.
        trj_mode: of ``exports.trajectories.MODES``; None: ``extend``, or ``original`` for own
            cameras. A single camera wanders, unless it is the caller's own or ``dolly_zoom``.
        color_mode: ``RGB+ED`` or ``RGB+D``: depth as the mean of what covers a pixel, or its sum.
        vis_depth: ``hcat`` beside the colours, ``vcat`` below them, None (or ``none``): not shown.
        enable_tqdm: a bar on a terminal.
        video_quality: ``low``, ``medium``, ``high``.
        output_name: of the file, without ``.mp4``; None: ``0000_<mode>``.
        preview: half the sides, so about a quarter of the time.
        renderer: ``auto``, ``gsplat``, ``cpu``: see ``exports.splat_pictures``.
        principal_point: ``given``; ``centre``: look through the middle, as upstream does.
        rotations_only: make smoothed cameras rotations again, which upstream does not.
        background: red, green, blue, 0 to 1.
    Raises:
        InputError: values out of their range, or that do not go together.
    """

    extrinsics: Optional[Any] = None
    intrinsics: Optional[Any] = None
    out_image_hw: Optional[tuple[int, int]] = None
    chunk_size: int = CHUNK
    trj_mode: Optional[str] = None
    color_mode: str = "RGB+ED"
    vis_depth: Optional[str] = ACROSS
    enable_tqdm: bool = True
    video_quality: str = "high"
    output_name: Optional[str] = None
    preview: bool = False
    renderer: str = AUTO
    principal_point: str = POINTS[0]
    rotations_only: bool = False
    background: tuple[float, float, float] = (0, 0, 0)

    def __post_init__(self) -> None:
        for name, known in (
            ("trj_mode", (None, *MODES)),
            ("vis_depth", (ACROSS, DOWN, NONE, None)),
            ("video_quality", tuple(QUALITIES)),
            ("renderer", RENDERERS),
            ("principal_point", POINTS),
        ):
            if getattr(self, name) not in known:
                words = ", ".join(str(one) for one in known)
                raise InputError(f"{name}={getattr(self, name)!r}: use one of {words}")
        if self.color_mode not in DEPTHS:
            raise InputError(
                f"color_mode={self.color_mode!r}: use one of {', '.join(DEPTHS)}; vis_depth=None "
                "leaves depth out"
            )
        if self.chunk_size < 1:
            raise InputError(f"chunk_size={self.chunk_size}: use 1 or more")
        if self.output_name is not None:
            check_plain(self.output_name)
        if self.out_image_hw is not None:
            object.__setattr__(self, "out_image_hw", _size(self.out_image_hw))
        colour = tuple(self.background)
        if len(colour) != 3 or not all(0 <= one <= 1 for one in colour):
            raise InputError(f"background={colour}: give red, green and blue from 0 to 1")
        for name, rows in (("extrinsics", (3, 4)), ("intrinsics", (3,))):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _cameras(name, getattr(self, name), rows))
        if self.extrinsics is not None and self.intrinsics is not None:
            counts = len(self.extrinsics), len(self.intrinsics)
            if counts[1] not in (1, counts[0]):
                raise InputError(f"{counts[1]} intrinsics for {counts[0]} extrinsics")
        if self.extrinsics is not None:
            check_mode(self, len(self.extrinsics))

    def mode(self, views: int) -> str:
        """The path that is flown through so many views."""
        if self.extrinsics is not None:
            views = len(self.extrinsics)
            if self.trj_mode in (None, AS_GIVEN):
                return AS_GIVEN
        if views == 1 and self.trj_mode != "dolly_zoom":
            return ONE_VIEW
        return self.trj_mode or FLIGHT

    def file(self, views: int) -> str:
        """The video's name below the scene's folder."""
        return f"{FOLDER}/{self.output_name or f'0000_{self.mode(views)}'}.mp4"


def _size(given: Any) -> tuple[int, int]:
    values = np.asarray(as_array(given))
    if values.shape != (2,) or values.dtype.kind not in "iu" or values.min() < 1:
        raise InputError(f"out_image_hw={given}: give height and width in whole pixels")
    if values.max() > LARGEST:
        raise InputError(f"out_image_hw={given}: a side has {LARGEST} pixels at most")
    return int(values[0]), int(values[1])


def _cameras(name: str, given: Any, rows: tuple[int, ...]) -> np.ndarray:
    """Whatever array it is in, and with upstream's leading axis or without: float64 (M, r, c)."""
    values = np.asarray(as_array(given), np.float64)
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[None]
    columns = rows[-1]
    if values.ndim != 3 or values.shape[1] not in rows or values.shape[2] != columns:
        wanted = " or ".join(f"(M, {row}, {columns})" for row in rows)
        raise InputError(f"{name} are {values.shape}, expected {wanted}")
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f"{name}: give one camera or more, of finite numbers")
    return values


def check_mode(options: GsVideoOptions, views: int) -> None:
    """Refuse a path that so few cameras have not.

    Raises:
        InputError: it needs more of them.
    """
    if options.mode(views) == "wobble_inter" and views < 4:
        raise InputError(f"wobble_inter goes from every third camera on: {views}, need 4")


def check_ready(options: GsVideoOptions, views: Optional[int]) -> None:
    """Refuse, before any work, what cannot be written here, or not of so many views.

    Raises:
        InputError: a path that so few views have not.
        MissingDependency: PyAV is not installed, or gsplat is asked for and is not.
    """
    require("av", "video")
    check_renderer(options.renderer)
    if views is not None and options.extrinsics is None:
        check_mode(options, views)
        lenses = options.intrinsics
        if lenses is not None and len(lenses) not in (1, views):
            raise InputError(f"gs_video: {len(lenses)} intrinsics for {views} views")


def check(scene: Scene, options: GsVideoOptions) -> None:
    """Refuse splats of several scenes.

    Raises:
        InputError: they are.
    """
    shape = scene.gaussians().means.shape
    if shape[0] != 1:
        raise InputError(f"gs_video: splats of {shape[0]} scenes; write one at a time")


def encode(scene: Scene, options: GsVideoOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``gs_video/0000_<mode>.mp4``."""
    crf, preset = QUALITIES[options.video_quality]
    yield options.file(scene.views), encode_video(pages(scene, options), FPS, crf, preset)


def size_of(scene: Scene, options: GsVideoOptions) -> tuple[int, int]:
    """Height and width of the pictures, without depth beside them."""
    height, width = options.out_image_hw or scene.size_hw
    shrink = PREVIEW if options.preview else 1
    return max(height // shrink, 1), max(width // shrink, 1)


def flight(scene: Scene, options: GsVideoOptions) -> Path:
    """The cameras that splats are drawn through, in the splats' unit and in pixels of pictures."""
    size_hw = size_of(scene, options)
    own_hw = options.out_image_hw or scene.size_hw
    views = [scene.camera(view) for view in range(scene.views)]
    if options.intrinsics is not None:
        lenses = scaled_to(options.intrinsics, own_hw, size_hw)
    else:
        lenses = scaled_to(np.stack([lens for lens, _ in views]), scene.size_hw, size_hw)
    if options.extrinsics is not None:
        poses = options.extrinsics
        lenses = lenses if len(lenses) == len(poses) else lenses[:1]
    else:
        poses = np.stack([pose for _, pose in views])
    factor = scene.found.scale_factor if scene.found.is_metric else None
    poses = splat_cameras(poses, None if factor is None else float(factor))
    mode = options.mode(scene.views)
    if mode == AS_GIVEN:  # also a single one
        lenses = np.broadcast_to(lenses, (len(poses), 3, 3))
        return Path(inverse(poses), lenses)
    return camera_path(poses, lenses, mode, options.rotations_only)


def drawn(scene: Scene, options: GsVideoOptions) -> Iterator[Picture]:
    """A picture for each camera of the flight."""
    found = scene.gaussians()
    splats = Splats(
        found.means[0], found.scales[0], found.rotations[0], found.opacities[0], found.harmonics[0]
    )
    path, size_hw = flight(scene, options), size_of(scene, options)
    lenses = path.intrinsics
    if options.principal_point == POINTS[1]:
        lenses = centred(lenses, size_hw)
    yield from pictures(
        splats,
        path.extrinsics(),
        lenses,
        size_hw,
        tuple(options.background),  # type: ignore[arg-type]
        options.renderer,
        options.chunk_size,
    )


def pages(scene: Scene, options: GsVideoOptions) -> Iterator[np.ndarray]:
    """The frames of the video: uint8 (H, W, 3), or as ``vis_depth`` puts depth beside it."""
    frames = len(flight(scene, options))
    size_hw = size_of(scene, options)
    provenance = scene.found.provenance
    warning = None if provenance is None else provenance.warning
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stages:
        kept = _Kept(file, size_hw)
        stage = scene.stage or _bar(options)
        with stage("splats", "frame", frames) as step:
            for picture in drawn(scene, options):
                kept.add(picture, DEPTHS[options.color_mode])
                step()
        limits = None
        if options.vis_depth not in (NONE, None):
            limits = limits_of(depth for _, depth in kept)
        step = stages.enter_context(stage("encoding", "frame", frames))
        for rgb, depth in kept:
            step()
            page = rgb if limits is None else _beside(rgb, depth, limits, options.vis_depth)
            stamp_warning(page, warning)
            yield page


def _beside(
    rgb: np.ndarray, depth: np.ndarray, limits: Limits, layout: Optional[str]
) -> np.ndarray:
    axis = 0 if layout == DOWN else 1
    shape = [*rgb.shape]
    shape[axis] = GAP
    return np.concatenate((rgb, np.full(shape, 255, np.uint8), paint(depth, limits)), axis=axis)


class _Kept:
    """Frames on disk: colours as bytes, depth as float32."""

    def __init__(self, file: BinaryIO, size_hw: tuple[int, int]) -> None:
        self._file, self._size_hw = file, size_hw

    def add(self, picture: Picture, expected: bool) -> None:
        rgb = np.floor(picture.rgb.clip(0, 1) * 255).astype(np.uint8)
        depth = picture.expected_depth() if expected else picture.depth
        self._file.write(rgb.tobytes())
        self._file.write(depth.astype(np.float32).tobytes())

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        height, width = self._size_hw
        pixels = height * width
        self._file.seek(0)
        for block in iter(lambda: self._file.read(7 * pixels), b""):
            rgb = np.frombuffer(block, np.uint8, 3 * pixels).reshape(height, width, 3)
            depth = np.frombuffer(block, np.float32, pixels, 3 * pixels)
            yield rgb.copy(), depth.reshape(height, width)


def _bar(options: GsVideoOptions) -> Any:
    """Stages for callers that have none: a bar on a terminal, and one line of how long it takes."""

    @contextlib.contextmanager
    def stage(name: str, unit: str, total: int) -> Iterator[Callable[[], object]]:
        from tqdm import tqdm

        started, done = time.monotonic(), 0
        disable = None if options.enable_tqdm else True  # None: unless it is a terminal
        with tqdm(total=total, desc=name, unit=unit, disable=disable, leave=False) as bar:

            def step() -> None:
                nonlocal done
                done += 1
                bar.update()
                if done == 1 and total > 1:
                    left = (time.monotonic() - started) * (total - 1)
                    log.info("%s: %d %ss, about %.0f s", name, total, unit, left)

            yield step

    return stage
