"""Photos with a known answer: each dataset as a list of samples that are read one by one.

A dataset's name in; photos, true depth and ordered point pairs out. Nothing is downloaded and no
photo of these datasets is shipped. Every kind of folder holds files that someone else wrote, so
names in them are checked before a file is opened, arrays are read without pickles, and a sample
that cannot be used raises ``InputError`` when it is loaded, not when the dataset is opened.
"""

import functools
import importlib.util
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from metric_depth.da2k import read_annotations, read_sample
from metric_depth.depth_maps import read_png
from metric_depth.samples import PAIRS_ABOUT, Entry, Sample, evenly, with_depth
from metric_depth.scene_folders import LAYOUTS, SCENE_KINDS
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.find import SUFFIXES

log = logging.getLogger(__name__)

PHOTO_KINDS = ("generated", "motorcycle", "da2k", "nyu", "kitti")
DATASETS = (*PHOTO_KINDS, *SCENE_KINDS)
FOLDER_KINDS = ("da2k", "nyu", "kitti", *LAYOUTS)
GENERATED_KINDS = ("generated", "views")

GENERATED_COUNT = 64
GENERATED_SIZES_HW = ((378, 504), (504, 378), (420, 420))
GENERATED_MAX_M = 80.0

NYU_MAX_M = 10.0
NYU_HW = (480, 640)
# Eigen et al.'s crop of NYU: the part of the frame that the projected depth covers
NYU_CROP = (slice(45, 471), slice(41, 601))

KITTI_MAX_M = 80.0
# Garg et al.'s crop of KITTI, in parts of height and of width
GARG_ROWS = (0.40810811, 0.99189189)
GARG_COLUMNS = (0.03594771, 0.96405229)

MOTORCYCLE_MAX_M = 10.0
# The calibration that scikit-image states for its reduced copy of the pair
FOCAL_PX, BASELINE_M, OFFSET_PX = 994.978, 0.193001, 31.086
MOTORCYCLE_HOW = (
    "The wheel names no licence for the photo, so we do not ship it. Get it with `pip install "
    "scikit-image==0.19.3` (Python 3.7 to 3.10), or unzip that wheel anywhere and give "
    "motorcycle:FOLDER, its skimage/data folder"
)


@dataclass(frozen=True)
class Dataset:
    """Samples of one kind; ``about`` says what is measured."""

    title: str
    about: str
    entries: list[Entry]


@dataclass(frozen=True)
class DatasetName:
    """What a user types: ``generated``, ``motorcycle``, ``motorcycle:FOLDER``, ``nyu:FOLDER``."""

    kind: str
    folder: Optional[Path] = None

    def __post_init__(self) -> None:
        if self.kind not in DATASETS:
            raise InputError(
                f"dataset {self.kind!r} is unknown; choose one of {', '.join(DATASETS)}"
            )
        if self.kind in FOLDER_KINDS and self.folder is None:
            raise InputError(f"dataset {self.kind} needs its folder: give {self.kind}:FOLDER")
        if self.kind in GENERATED_KINDS and self.folder is not None:
            raise InputError(f"dataset {self.kind} has no folder: it is made as it is needed")

    @property
    def has_scenes(self) -> bool:
        """Whether it holds scenes of several photos, not photos."""
        return self.kind in SCENE_KINDS

    @property
    def title(self) -> str:
        """``generated``, ``nyu``, or ``nyu-FOLDER`` where the folder's own name says more."""
        name = self.folder.resolve().name if self.folder else ""
        plain = self.kind == "motorcycle" or name.lower() in ("", self.kind)
        return self.kind if plain else f"{self.kind}-{name}"


def parse_name(text: str) -> DatasetName:
    """Read ``KIND`` or ``KIND:FOLDER``.

    Raises:
        InputError: another kind, or a folder too many or too few.
    """
    kind, _, folder = text.partition(":")
    return DatasetName(kind, Path(folder) if folder else None)


def open_dataset(name: DatasetName, count: Optional[int] = None) -> Dataset:
    """List the samples of a dataset of photos.

    Args:
        count: how many samples; a folder's are taken evenly spaced over the list, by name. None
            takes all of a folder and ``GENERATED_COUNT`` generated ones.
    Raises:
        InputError: no such folder, or nothing of that layout in it.
    """
    if name.kind == "generated":
        return _generated(count or GENERATED_COUNT)
    openers = {"motorcycle": _motorcycle, "da2k": _da2k, "nyu": _nyu, "kitti": _kitti}
    if name.folder is not None and not name.folder.is_dir():
        raise InputError(f"{name.folder}: no such folder, expected one in {name.kind}'s layout")
    about, entries = openers[name.kind](name.folder)
    return Dataset(name.title, about, evenly(entries, count))


def _generated(count: int) -> Dataset:
    """Scenes that training never sees: their seeds are its own and beyond."""
    from metric_depth.scenes import HELD_OUT_SEED

    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
    about = (
        f"Generated scenes held out from training, seeds from {HELD_OUT_SEED}; depth counts up to "
        f"{GENERATED_MAX_M:.0f} m, sky does not. {PAIRS_ABOUT}."
    )
    entries = [
        Entry(
            f"seed-{seed}",
            functools.partial(_scene, seed, GENERATED_SIZES_HW[index % len(GENERATED_SIZES_HW)]),
        )
        for index, seed in enumerate(seeds)
    ]
    return Dataset("generated", about, entries)


def _scene(seed: int, size_hw: tuple[int, int]) -> Sample:
    from metric_depth.scenes import render_scenes

    scenes = render_scenes([seed], size_hw)
    rgb = scenes.rgb[0].permute(1, 2, 0).contiguous().cpu().numpy()  # (3, H, W) -> (H, W, 3)
    depth_m = scenes.depth_m[0].cpu().numpy().astype(np.float32)
    return with_depth(f"seed-{seed}", rgb, depth_m, GENERATED_MAX_M, ...)


def _motorcycle(folder: Optional[Path]) -> tuple[str, list[Entry]]:
    """Middlebury's motorcycle (2014), in the reduced copy that scikit-image 0.19.3 carries."""
    folder = folder or _skimage_data()
    photo, truth = folder / "motorcycle_left.png", folder / "motorcycle_disp.npz"
    for file in (photo, truth):
        if not file.is_file():
            raise InputError(f"{file}: not there. {MOTORCYCLE_HOW}")
    about = (
        "Middlebury 2014 motorcycle, left photo, measured disparity (scikit-image 0.19.3's copy, "
        f"500 x 741); depth from its calibration. {PAIRS_ABOUT}."
    )
    return about, [Entry("motorcycle", functools.partial(_motorcycle_sample, photo, truth))]


def _skimage_data() -> Path:
    """The installed package's data, found without importing it."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"dataset motorcycle needs scikit-image. {MOTORCYCLE_HOW}")
    return Path(spec.submodule_search_locations[0]) / "data"


def _motorcycle_sample(photo: Path, truth: Path) -> Sample:
    try:
        with np.load(truth, allow_pickle=False) as arrays:
            disparity_px = arrays["arr_0"].astype(np.float32)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{truth}: not scikit-image's disparity map ({error})") from None
    depth_m = FOCAL_PX * BASELINE_M / (disparity_px + OFFSET_PX)
    depth_m[~np.isfinite(disparity_px)] = np.nan  # the file marks them as infinitely near
    return with_depth("motorcycle", read_photo(photo), depth_m, MOTORCYCLE_MAX_M, ...)


def _da2k(folder: Optional[Path]) -> tuple[str, list[Entry]]:
    assert folder is not None
    found = read_annotations(folder)
    total = sum(len(pairs) for pairs in found.values())
    about = f"DA-2K layout: {total} pairs of points that people put in order."
    return about, [
        Entry(name, functools.partial(read_sample, folder / name, pairs))
        for name, pairs in found.items()
    ]


def _nyu(folder: Optional[Path]) -> tuple[str, list[Entry]]:
    """NYU Depth V2 as files: a photo and a 16-bit PNG of millimetres beside it, 0 not known.

    Any depth of folders, in any of the usual names: ``rgb_00045.jpg`` and ``sync_depth_00045.png``
    (BTS, AdaBins), ``00045_colors.png`` and ``00045_depth.png`` (DenseDepth), ``45.jpg`` and
    ``45.png``. Depth counts from 1 mm to 10 m inside Eigen's crop of the 480 x 640 frame.
    """
    assert folder is not None
    photos = sorted(f for f in folder.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg", ".png"))
    both = [(photo, truth) for photo in photos if (truth := _nyu_truth(photo)) is not None]
    if not both:
        raise InputError(
            f"{folder}: no photo with its depth, expected rgb_N.jpg and sync_depth_N.png, "
            "N_colors.png and N_depth.png, or N.jpg and N.png (16 bits, millimetres)"
        )
    about = f"NYU layout: depth up to {NYU_MAX_M:.0f} m inside Eigen's crop. {PAIRS_ABOUT}."
    return about, [
        Entry(
            photo.relative_to(folder).as_posix(),
            functools.partial(_nyu_sample, photo, truth, photo.relative_to(folder).as_posix()),
        )
        for photo, truth in both
    ]


def _nyu_truth(photo: Path) -> Optional[Path]:
    """The depth map that belongs to a photo, if this is a photo that has one."""
    stem = photo.stem
    if stem.startswith("rgb_"):
        truth = photo.with_name(f"sync_depth_{stem[4:]}.png")
    elif stem.endswith("_colors"):
        truth = photo.with_name(f"{stem[: -len('_colors')]}_depth.png")
    else:
        truth = photo.with_suffix(".png")
    return truth if truth != photo and truth.is_file() else None


def _nyu_sample(photo: Path, truth: Path, name: str) -> Sample:
    rgb = read_photo(photo)
    if rgb.shape[:2] != NYU_HW:
        raise InputError(f"{photo}: {rgb.shape[:2]}, expected NYU's {NYU_HW}, as its crop is")
    return with_depth(name, rgb, read_png(truth, 1000.0), NYU_MAX_M, NYU_CROP)


def _kitti(folder: Optional[Path]) -> tuple[str, list[Entry]]:
    """KITTI's left colour camera with the annotated depth: 16-bit PNG of metres x 256, 0 unknown.

    Below the folder, at any depth: ``DRIVE/image_02/data/N.png`` (or ``.jpg``), and
    ``DRIVE/proj_depth/groundtruth/image_02/N.png`` as in the archive of annotated depth, or
    ``DRIVE/groundtruth_depth/image_02/N.png``. The two DRIVE folders share a name and may lie
    apart. Every frame that has both is taken: for the Eigen split's numbers keep its 652 annotated
    test frames there and no others. Depth counts from 1 mm to 80 m inside Garg's crop.
    """
    assert folder is not None
    photos = {
        (file.parents[2].name, file.stem): file
        for file in sorted(folder.rglob("image_02/data/*"))
        if file.suffix.lower() in SUFFIXES
    }
    truths = {
        (file.parents[3 if file.parents[1].name == "groundtruth" else 2].name, file.stem): file
        for file in sorted(folder.rglob("image_02/*.png"))
        if file.parents[1].name in ("groundtruth", "groundtruth_depth")
    }
    both = sorted(photos.keys() & truths.keys())
    if not both:
        raise InputError(
            f"{folder}: {len(photos)} photos and {len(truths)} depth maps, none of one frame; "
            "expected DRIVE/image_02/data/N.png and DRIVE/proj_depth/groundtruth/image_02/N.png"
        )
    if len(both) < len(truths):
        log.warning("%s: %d depth maps have no photo, left out", folder, len(truths) - len(both))
    about = (
        f"KITTI layout: annotated depth up to {KITTI_MAX_M:.0f} m inside Garg's crop. "
        f"{PAIRS_ABOUT}."
    )
    return about, [
        Entry(
            f"{drive}/{frame}",
            functools.partial(
                _kitti_sample, photos[drive, frame], truths[drive, frame], f"{drive}/{frame}"
            ),
        )
        for drive, frame in both
    ]


def _kitti_sample(photo: Path, truth: Path, name: str) -> Sample:
    rgb = read_photo(photo)
    return with_depth(
        name, rgb, read_png(truth, 256.0), KITTI_MAX_M, garg_crop((rgb.shape[0], rgb.shape[1]))
    )


def garg_crop(size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Garg et al.'s crop of a KITTI photo of this size."""
    return (
        slice(int(GARG_ROWS[0] * size_hw[0]), int(GARG_ROWS[1] * size_hw[0])),
        slice(int(GARG_COLUMNS[0] * size_hw[1]), int(GARG_COLUMNS[1] * size_hw[1])),
    )
