"""Scenes on disk whose cameras are known: each kind of folder as a list of scenes, read one by one.

A dataset's name in; photos, true cameras and, where they are, true depth maps out. Other people
wrote these folders: names come from walking them, and files are read within bounds. A scene that
cannot be used raises ``InputError`` when it is loaded.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Optional

import numpy as np

from metric_depth.colmap_points import has_points, points_by_image, sparse_depth
from metric_depth.depth_maps import read_colmap_map, read_npy, read_png, read_raw
from metric_depth.samples import evenly
from metric_depth.scene_samples import METRE, UNKNOWN_UNIT, SceneEntry, SceneSample
from runtime.errors import InputError
from runtime.photo.decode import orientation_of, photo_size, read_photo
from runtime.photo.find import find_photos
from runtime.scene.camera_files import read_cameras
from runtime.scene.camera_match import Shot, match_cameras

VIEWS = 10  # photos of a scene, evenly spaced, unless somebody says how many
GENERATED_VIEWS, GENERATED_SCENES = 4, 16

ReadDepth = Callable[[Path, "tuple[int, int]"], np.ndarray]


def _millimetres(file: Path, size_hw: "tuple[int, int]") -> np.ndarray:
    return read_png(file, 1000.0)


def _npy(file: Path, size_hw: "tuple[int, int]") -> np.ndarray:
    return read_npy(file)


def _colmap_map(file: Path, size_hw: "tuple[int, int]") -> np.ndarray:
    return read_colmap_map(file)


class Layout(NamedTuple):
    """Where a kind of folder has what; the first place that is there counts.

    ``depth``: places with ``{name}``, the photo's below its folder, or ``{stem}``, the same without
    suffix; and how they are read. ``threshold``: up to which a point is right, as Depth Anything 3
    has it.
    """

    photos: tuple[str, ...]
    cameras: tuple[str, ...]
    depth: tuple[tuple[str, ReadDepth], ...]
    unit: str = UNKNOWN_UNIT
    threshold: Optional[float] = None


LAYOUTS = {
    "colmap": Layout(
        photos=("images",),
        cameras=("sparse/0", "sparse", "transforms.json", "cameras.json"),
        depth=(
            ("depth/{stem}.png", _millimetres),
            ("depth/{stem}.npy", _npy),
            ("stereo/depth_maps/{name}.geometric.bin", _colmap_map),
        ),
    ),
    "eth3d": Layout(
        photos=("images",),
        cameras=("dslr_calibration_undistorted", "dslr_calibration_jpg"),
        depth=(("ground_truth_depth/{name}", read_raw),),
        unit=METRE,
        threshold=0.25,
    ),
    "scannetpp": Layout(
        photos=("dslr/undistorted_images", "dslr/resized_undistorted_images", "images"),
        cameras=("dslr/nerfstudio/transforms_undistorted.json", "dslr/colmap", "sparse/0"),
        depth=(
            ("dslr/undistorted_depths/{stem}.png", _millimetres),
            ("dslr/render_depth/{stem}.png", _millimetres),
            ("depth/{stem}.png", _millimetres),
        ),
        unit=METRE,
        threshold=0.05,
    ),
}
SCENE_KINDS = ("views", *LAYOUTS)


@dataclass(frozen=True)
class SceneDataset:
    """Scenes of one kind; ``about`` says what is measured."""

    title: str
    about: str
    entries: list[SceneEntry]


def open_scenes(
    kind: str, folder: Optional[Path], title: str, count: Optional[int], views: Optional[int]
) -> SceneDataset:
    """List a dataset's scenes.

    Args:
        kind: of ``SCENE_KINDS``.
        folder: a scene, or a folder of scenes; None for generated ones.
        count: how many scenes, evenly spaced over the list; views: how many photos of each.
    Raises:
        InputError: no such folder, or no scene of that layout in it.
    """
    if folder is None:
        return _generated(count or GENERATED_SCENES, views or GENERATED_VIEWS)
    layout = LAYOUTS[kind]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one in {kind}'s layout")
    inner = sorted(one for one in folder.iterdir() if one.is_dir())
    found = [one for one in [folder] if _first(one, layout.cameras)] or [
        one for one in inner if _first(one, layout.cameras)
    ]
    if not found:
        raise InputError(
            f"{folder}: no scene in it, nor in its folders; expected photos in "
            f"{' or '.join(layout.photos)}, and cameras in {' or '.join(layout.cameras)}"
        )
    found = evenly(found, count)
    return SceneDataset(
        title,
        f"Scenes in {kind}'s layout, up to {views or VIEWS} photos of each, evenly spaced by name.",
        [
            SceneEntry(one.name, functools.partial(load_scene, one, layout, views or VIEWS))
            for one in found
        ],
    )


def load_scene(folder: Path, layout: Layout, views: int) -> SceneSample:
    """Read a scene: photos with a known camera, and the depth of each.

    Photos that have a depth map leave out those that have none. If none has, the points of a COLMAP
    model are true depth; without them, cameras alone are judged.

    Raises:
        InputError: files are missing or damaged, sizes do not fit, or lenses are no pinholes.
    """
    photos, cameras = _first(folder, layout.photos), _first(folder, layout.cameras)
    if photos is None or cameras is None:
        raise InputError(f"{folder}: no photos in {' or '.join(layout.photos)}")
    files = find_photos(photos, recursive=True)
    names = [file.relative_to(photos).as_posix() for file in files]
    shots = [
        Shot(name, photo_size(file), turned=orientation_of(file))
        for name, file in zip(names, files)
    ]
    matched = match_cameras(read_cameras(cameras), shots)
    maps = {index: _depth_of(folder, names[index], layout) for index in matched.indices}
    usable = [at for at, index in enumerate(matched.indices) if maps[index] is not None]
    usable = usable or list(range(len(matched.indices)))
    taken = evenly(usable, views)
    chosen = [matched.indices[at] for at in taken]
    extrinsics, intrinsics = matched.extrinsics[taken], matched.intrinsics[taken]
    depth = [
        _depth(place, names[index], shots[index].size_hw)
        for index in chosen
        if (place := maps[index]) is not None
    ]
    is_sparse = not depth and has_points(cameras)
    if is_sparse:
        shown = [shots[index] for index in chosen]
        sparse = _sparse(points_by_image(cameras), shown, intrinsics, extrinsics)
        depth = sparse if any(np.isfinite(one).any() for one in sparse) else []
    return SceneSample(
        photos=[read_photo(files[index]) for index in chosen],
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        depth=depth or None,
        depth_from="COLMAP's points" if is_sparse else "depth maps",
        unit=layout.unit,
        threshold=layout.threshold,
    )


def _depth(place: tuple[Path, ReadDepth], name: str, photo_hw: "tuple[int, int]") -> np.ndarray:
    """A photo's map, which may be smaller, but of the same shape to a pixel."""
    file, read = place
    depth = read(file, photo_hw)
    (rows, columns), (height, width) = depth.shape, photo_hw
    if abs(rows * width - columns * height) > max(height, width):
        raise InputError(
            f"{name}: its depth is {rows} x {columns}, which is no map of all of a photo of "
            f"{height} x {width}"
        )
    return depth


def _sparse(
    points: dict[str, np.ndarray],
    shots: Sequence[Shot],
    intrinsics: np.ndarray,
    extrinsics: np.ndarray,
) -> list[np.ndarray]:
    """Maps of a model's points; a photo is found by its path, or by its file's name."""
    short = {PurePosixPath(name).name: one for name, one in points.items()}
    none = np.zeros((0, 3))
    return [
        sparse_depth(
            points.get(shot.name, short.get(PurePosixPath(shot.name).name, none)),
            lens,
            pose,
            shot.size_hw,
        )
        for shot, lens, pose in zip(shots, intrinsics, extrinsics)
    ]


def _depth_of(folder: Path, name: str, layout: Layout) -> Optional[tuple[Path, ReadDepth]]:
    stem = PurePosixPath(name).with_suffix("").as_posix()
    for pattern, read in layout.depth:
        file = folder / pattern.format(name=name, stem=stem)
        if file.is_file():
            return file, read
    return None


def _first(folder: Path, names: Sequence[str]) -> Optional[Path]:
    """The first of these places that is there: a file, or a folder with files in it."""
    for name in names:
        place = folder / name
        if place.is_file() or (place.is_dir() and any(one.is_file() for one in place.rglob("*"))):
            return place
    return None


def _generated(count: int, views: int) -> SceneDataset:
    """Scenes that training never sees, from several places."""
    from metric_depth.datasets import GENERATED_MAX_M, GENERATED_SIZES_HW
    from metric_depth.generated_views import generated_scene
    from metric_depth.scenes import HELD_OUT_SEED

    entries = []
    for index in range(count):
        seed, size_hw = HELD_OUT_SEED + index, GENERATED_SIZES_HW[index % len(GENERATED_SIZES_HW)]
        load = functools.partial(generated_scene, seed, views, size_hw, GENERATED_MAX_M)
        entries.append(SceneEntry(f"seed-{seed}", load))
    about = (
        f"Generated scenes held out from training, {views} views of each, seeds from "
        f"{HELD_OUT_SEED}; depth counts up to {GENERATED_MAX_M:.0f} m, sky does not."
    )
    return SceneDataset("views", about, entries)
