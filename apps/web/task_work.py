"""The work of a task: photos of one scene through the model, and its files into their place.

A checked request in; the names of the files that are there, whole, out. What cannot be done is
refused before the task waits.
"""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from apps.da3_inputs import IMAGES, ScenePhotos, with_sizes
from apps.export_folder import MARKER, check_export_folder, writing_export
from apps.scene_models import PROCESS_METHOD, SceneModel, takes_intrinsics_alone
from apps.web.task_request import TaskRequest
from depth_anything_3.scene_exports import ExportRequest
from exports.scene import Stage
from exports.scene_colmap import names_of
from runtime.errors import InputError, LimitError
from runtime.photo.decode import read_photo
from runtime.predict.found import ScenePrediction
from runtime.scene.focal import refuse_useless_focal
from runtime.scene.query import SceneQuery
from runtime.scene.views import PROCESS_RES, View, check_camera_counts

ROOM = 0.9  # of what is free that a scene may take
READING, INFERRING, WRITING = 0.1, 0.3, 0.9  # upstream's marks of progress

Told = Callable[[float, str], None]  # progress from 0 to 1 and what is done; may raise
# The device for as long as the context lasts; gives what is called between two steps
Device = Callable[[], AbstractContextManager[Callable[[], object]]]


def own_device() -> AbstractContextManager[Callable[[], object]]:
    """A device that nobody else waits for."""
    return contextlib.nullcontext(lambda: None)


@dataclass(frozen=True)
class Work:
    """A request with its photos, checked: what will be done.

    Args:
        sizes_hw: of the photos, upright.
    """

    request: TaskRequest
    photos: tuple[Path, ...]
    names: tuple[str, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    query: SceneQuery

    @property
    def effort(self) -> float:
        """How much it is, in views of the usual size."""
        return len(self.photos) * (self.request.process_res / PROCESS_RES) ** 2


def check_work(model: SceneModel, request: TaskRequest, photos: Sequence[Path]) -> Work:
    """Refuse what cannot be done, or not be written.

    Raises:
        InputError: a photo that cannot be read, or what this model has no answer to.
        LimitError: it would take more memory than there is.
    """
    if not photos:
        raise InputError("image_paths: no photo; name one or more, or upload them")
    for photo in photos:
        if not photo.is_file():
            raise InputError(f"image_paths: {photo.name}: no such file")
    names = tuple(names_of([str(photo) for photo in photos]))
    scene = with_sizes(ScenePhotos(IMAGES, photos[0].parent, tuple(photos), names))
    if scene.failed:
        raise InputError(scene.failed[0])
    count, query = len(photos), request.query()
    check_camera_counts(count, query.extrinsics, request.known_intrinsics)
    sized = at_size(model, request)
    asks = query
    if takes_intrinsics_alone(model):
        asks = SceneQuery(infer_gs=query.infer_gs, export_feat_layers=query.export_feat_layers)
    elif request.extrinsics is None and request.intrinsics is not None:
        raise InputError(
            f"intrinsics alone tell {model.name} nothing; give extrinsics too, or leave them out"
        )
    sized.check(asks)
    exports = request.exports(tuple(photos), Path(), names)
    cameras = model.finds_cameras or query.has_cameras
    exports.check(count, cameras, query.infer_gs, bool(query.export_feat_layers))
    alone = takes_intrinsics_alone(model) or (exports.has_clouds and not model.finds_cameras)
    refuse_useless_focal(model.name, alone, request.focal_px is not None, "focal_px")
    _check_memory(sized, scene, asks.infer_gs)
    return Work(request, tuple(photos), names, scene.sizes_hw, asks)


def at_size(model: SceneModel, request: TaskRequest) -> SceneModel:
    """The model for views of the size that is asked for; upstream's defaults ask for none.

    Raises:
        InputError: it has one size.
    """
    res = None if request.process_res == PROCESS_RES else request.process_res
    method = request.process_res_method
    return model.at(res, None if method == PROCESS_METHOD else method)


def _check_memory(model: SceneModel, scene: ScenePhotos, splats: bool) -> None:
    needed = model.needed_bytes(len(scene.photos), scene.sizes_hw, splats)
    free = model.free_bytes()
    if needed is not None and free is not None and needed > ROOM * free:
        raise LimitError(
            f"{len(scene.photos)} views take about {needed / 2**30:.1f} GiB, and there are "
            f"{ROOM * free / 2**30:.1f} to take; send fewer, or a smaller process_res"
        )


def do_work(
    model: SceneModel, work: Work, folder: Path, told: Told, device: Device = own_device
) -> list[str]:
    """Read, infer and write.

    Args:
        folder: of its files, which replace an earlier export there.
        told: called on the way; what it raises ends the work, and leaves nothing.
        device: held by the network alone: not while photos are read, and files written.
    Returns:
        the files, by name below the folder.
    Raises:
        DepthError, OSError: it cannot be done.
    """
    check_export_folder(folder, work.photos, cleanup=True)

    def write(file: Path) -> None:
        told(WRITING, f"writes {file.name}")

    with writing_export(folder, datetime.datetime.now()) as export:
        request = work.request.exports(work.photos, export.scratch, work.names, write)
        infer_work(model, work, told, replace(request, stage=_stage(told)), device)
        made = [file for file in export.scratch.rglob("*") if file.is_file()]
        names = sorted(file.relative_to(export.scratch).as_posix() for file in made)
    return [name for name in names if name != MARKER]


def infer_work(
    model: SceneModel,
    work: Work,
    told: Told,
    request: Optional[ExportRequest] = None,
    device: Device = own_device,
) -> tuple[ScenePrediction, list[View]]:
    """Read and infer; and write, if it is said what. Errors as for ``do_work``.

    Returns:
        the scene, and how the photos became views.
    """
    sized = at_size(model, work.request)
    scene = ScenePhotos(IMAGES, work.photos[0].parent, work.photos, work.names, work.sizes_hw)
    _check_memory(sized, scene, work.query.infer_gs)
    with device():
        sized.load(work.sizes_hw)  # of several compiled sizes the nearest; weights are there
    count = len(work.photos)
    views = []
    for index, photo in enumerate(work.photos):
        told(READING + (INFERRING - READING) * index / count, f"reads {index + 1} of {count}")
        views.append(sized.view(read_photo(photo)))
    steps, done = sized.steps(work.query, count), 0

    def step() -> None:
        nonlocal done
        give_way()
        done += 1
        share = min(1.0, done / steps) if steps else 0.0
        of = f" of {steps}" if steps else ""
        told(INFERRING + (WRITING - INFERRING) * share, f"infers: step {done}{of}")

    told(INFERRING, "infers")
    known, focal_px = work.request.known_intrinsics, work.request.focal_px
    with contextlib.ExitStack() as held:
        give_way = held.enter_context(device())
        if request is not None:
            request = replace(request, began=held.close)
        found = sized.infer(views, work.photos, work.query, known, focal_px, request, step)
    return replace(found, provenance=sized.provenance()), views


def _stage(told: Told) -> Stage:
    """Has a long export, as a video of splats, said step by step."""

    @contextlib.contextmanager
    def stage(name: str, unit: str, total: int) -> Iterator[Callable[[], object]]:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            share = WRITING + (1 - WRITING) * done / max(total, 1)
            told(min(share, 0.999), f"{name}: {unit} {done} of {total}")

        yield step

    return stage
