"""A COLMAP project to the photos of a scene and their cameras.

A folder with ``images/`` and ``sparse/`` in; the photos whose files are there, by name, out.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from apps.da3_inputs import COLMAP, ScenePhotos, with_sizes
from runtime.command_line import UsageError
from runtime.errors import InputError
from runtime.names import below
from runtime.photo.find import is_photo
from runtime.scene.colmap_model import is_colmap_model, read_colmap
from runtime.scene.known_cameras import CameraFile
from runtime.walk import walk

IMAGES, SPARSE = "images", "sparse"
SHOWN = 5

log = logging.getLogger(__name__)


def colmap_project(folder: Path, subdir: str) -> tuple[ScenePhotos, CameraFile]:
    """Read a project.

    Args:
        subdir: of the model below ``sparse/``; "": there itself, or else in ``0``.
    Raises:
        UsageError: no project, no model, or no photo of it.
        InputError: not one photo can be read.
    """
    images = folder / IMAGES
    if not images.is_dir():
        raise UsageError(f"{images}: no such folder; expected a COLMAP project")
    try:
        file = read_colmap(_model_folder(folder / SPARSE, subdir))
    except InputError as error:
        raise UsageError(str(error)) from None
    there: list[str] = []
    absent: list[str] = []
    for camera in file.cameras:
        try:
            photo = below(images, camera.name)
        except InputError:  # a name that leads elsewhere is no photo of this project
            absent.append(camera.name)
            continue
        (there if photo.is_file() else absent).append(camera.name)
    if absent:
        log.warning("%d images of the model have no file: %s", len(absent), _listed(absent))
    if not there:
        raise UsageError(f"{images}: none of the {len(file.cameras)} images of {file.place}")
    known = set(there)
    files = (path.relative_to(images).as_posix() for path in walk(images) if is_photo(path.name))
    unknown = [name for name in files if name not in known]
    if unknown:
        log.info("%d photos are not in the model: %s", len(unknown), _listed(unknown))
    photos = tuple(images / name for name in there)
    return with_sizes(ScenePhotos(COLMAP, folder, photos, tuple(there))), file


def _model_folder(sparse: Path, subdir: str) -> Path:
    folder = sparse / subdir
    if is_colmap_model(folder) or subdir:
        return folder
    first = sparse / "0"
    if is_colmap_model(first):
        others = [path.name for path in sparse.iterdir() if is_colmap_model(path)]
        more = f", one of {len(others)}; --sparse-subdir names another" if len(others) > 1 else ""
        log.info("%s: no model in it itself: taking %s%s", sparse, first, more)
        return first
    return folder


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
