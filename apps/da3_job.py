"""One ``da3`` command, in its order: check everything, load, infer, put the export in its place.

Parsed arguments in; files, their paths on stdout, and an exit status out.
"""

import argparse
import contextlib
import datetime
import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import numpy as np

from apps import da3_video
from apps.da3_colmap import colmap_project
from apps.da3_inputs import (
    COLMAP,
    IMAGE,
    KINDS,
    VIDEO,
    ScenePhotos,
    kind_of,
    one_photo,
    photos_in,
    unknown,
)
from apps.da3_options import export_options
from apps.da3_progress import Progress
from apps.export_folder import (
    MARKER,
    Export,
    check_export_folder,
    new_folder,
    writing_export,
)
from apps.scene_checks import ROOM, refuse_licence
from apps.scene_models import SceneModel, find_scene_model, takes_intrinsics_alone
from depth_anything_3.scene_exports import ExportRequest, export_request
from exports.scene_files import SCENE_FORMATS, Asked
from runtime.command_line import UsageError, sentence
from runtime.errors import InputError, LimitError
from runtime.photo.decode import focal_px_of, orientation_of, read_photo
from runtime.photo.preprocess import PATCH_SIZE
from runtime.scene.camera_files import read_cameras
from runtime.scene.camera_match import Shot, match_cameras
from runtime.scene.focal import refuse_useless_focal
from runtime.scene.known_cameras import CameraFile
from runtime.scene.query import SceneQuery
from runtime.scene.views import PROCESS_RES, View

SHOWN = 5

log = logging.getLogger("da3")


@dataclass(frozen=True, eq=False)
class Given:
    """What is known before anything is inferred.

    Args:
        scene: its photos; of a video, those that there will be.
        query: what is asked, with known cameras; ``intrinsics`` may be known alone.
        plan: of a video.
        used_focal: whether ``--focal-px`` told a camera.
    """

    scene: ScenePhotos
    query: SceneQuery
    intrinsics: Optional[np.ndarray] = None
    plan: Optional[da3_video.VideoPlan] = None
    used_focal: bool = False

    def some(self, indices: Sequence[int]) -> "Given":
        """Only these photos."""
        known = None if self.intrinsics is None else self.intrinsics[list(indices)]
        query = self.query.of_views(indices)
        return replace(self, scene=self.scene.some(indices), query=query, intrinsics=known)


def run_job(args: argparse.Namespace) -> int:
    """Do a command; returns the exit status."""
    now, progress = datetime.datetime.now(), Progress(args.quiet)
    asked = asked_of(args)
    kind = kind_of_input(args)
    given = read_given(kind, args, asked)
    for said in given.scene.failed:
        log.warning("failed: %s", said)
    model = find_scene_model(
        args.model_dir, args.device, args.process_res, args.process_res_method, args.seeded_weights
    )
    given = _checked(model, given, args, asked)
    _check_memory(model, given, args)
    read = [args.input, *([args.cameras] if args.cameras else [])]
    check_export_folder(args.export_dir or new_folder(now), read, args.auto_cleanup)
    log.info("%s: loading", model.name)
    model.load(given.scene.sizes_hw)
    _announce(model)
    with writing_export(args.export_dir, now) as export:
        failed = _infer(model, given, args, export, progress)
        files = sorted(path for path in export.scratch.rglob("*") if path.is_file())
        written = [path.relative_to(export.scratch) for path in files]
    for name in written:
        if name.parts[0] != da3_video.FOLDER and name.name != MARKER:
            print(export.folder / name)
    log.info("%s: done -> %s/", args.input, export.folder)
    return 1 if failed or given.scene.failed else 0


def asked_of(args: argparse.Namespace) -> Asked:
    """The formats and their options.

    Raises:
        UsageError: there are none of such names, or with such values.
    """
    try:
        request = _request((Path("photo"),), ("photo",), Path(), args)
    except InputError as error:
        raise UsageError(str(error)) from None
    return request.asked


def kind_of_input(args: argparse.Namespace) -> str:
    """What the input is: as the command says, or as it looks."""
    if args.command != "auto":
        return str(args.command)
    kind = kind_of(args.input)
    if kind is None:
        raise unknown(args.input)
    log.info("%s: %s, %s", args.input, kind, KINDS[kind])
    return kind


def read_given(kind: str, args: argparse.Namespace, asked: Asked) -> Given:
    """The input, its cameras, and what is asked about it."""
    plan: Optional[da3_video.VideoPlan] = None
    file: Optional[CameraFile] = None
    if kind == COLMAP:
        if args.cameras is not None:
            raise UsageError("--cameras: a COLMAP project has its own; leave it out")
        scene, file = colmap_project(args.input, args.sparse_subdir)
    elif kind == VIDEO:
        plan = da3_video.plan_video(args.input, args.fps, args.max_frames)
        scene = plan.scene()
    elif kind == IMAGE:
        scene = one_photo(args.input)
    else:
        scene = photos_in(args.input, getattr(args, "image_extensions", None))
    if args.cameras is not None:
        file = read_cameras(args.cameras)
    needs_splats = any("gaussians" in SCENE_FORMATS[name].needs for name in asked)
    query = SceneQuery(
        align_to_input_ext_scale=args.align_to_input_ext_scale,
        export_feat_layers=args.export_feat,
        infer_gs=needs_splats if args.infer_gs is None else args.infer_gs,
        use_ray_pose=args.use_ray_pose,
        ref_view_strategy=args.ref_view_strategy,
    )
    given = Given(scene, query, plan=plan)
    return given if file is None else _with_cameras(given, file, args)


def _with_cameras(given: Given, file: CameraFile, args: argparse.Namespace) -> Given:
    """Only the photos whose cameras are known, with them."""
    scene, plan = given.scene, given.plan
    asked: list[int] = []

    def focal_px(index: int) -> Optional[float]:
        asked.append(index)
        if args.focal_px is not None or plan is not None:
            return args.focal_px  # type: ignore[no-any-return]
        return focal_px_of(scene.photos[index])

    shots = [
        Shot(
            name,
            scene.sizes_hw[index],
            None if plan is None else plan.places[index],
            None if plan is None else plan.times.seconds(plan.places[index]),
            1 if plan is not None else orientation_of(scene.photos[index]),
        )
        for index, name in enumerate(scene.names)
    ]
    matched = match_cameras(file, shots, focal_px, args.ignore_distortion)
    if matched.missing:
        names = ", ".join(matched.missing[:SHOWN])
        log.warning(
            "left out: %d photos without a camera in %s: %s",
            len(matched.missing),
            file.place,
            names,
        )
    log.info("%s: %d cameras (%s)", file.place, len(matched.indices), file.format)
    query = replace(given.query, extrinsics=matched.extrinsics, intrinsics=matched.intrinsics)
    plan = (
        None
        if plan is None
        else replace(plan, places=tuple(plan.places[index] for index in matched.indices))
    )
    scene = scene.some(matched.indices) if plan is None else plan.scene()
    return Given(scene, query, matched.intrinsics, plan, bool(asked))


def _checked(model: SceneModel, given: Given, args: argparse.Namespace, asked: Asked) -> Given:
    """Refuse what this model has no answer to, or nothing to write of."""
    if given.query.has_cameras and takes_intrinsics_alone(model):
        log.info("%s: takes focal lengths for metres, and no poses", model.name)
        given = replace(given, query=replace(given.query, extrinsics=None, intrinsics=None))
    model.check(given.query)
    refuse_licence(model)
    request = _request(given.scene.photos, given.scene.names, Path(), args)
    cameras = model.finds_cameras or given.query.has_cameras
    query = given.query
    request.check(len(given.scene.photos), cameras, query.infer_gs, bool(query.export_feat_layers))
    for_cloud = request.has_clouds and not model.finds_cameras
    alone = given.intrinsics is None and (takes_intrinsics_alone(model) or for_cloud)
    by_focal = alone or given.used_focal
    refuse_useless_focal(model.name, by_focal, args.focal_px is not None, "--focal-px")
    return given


def _request(
    photos: Sequence[Path],
    names: Sequence[str],
    folder: Path,
    args: argparse.Namespace,
    told: Callable[[Path], None] = lambda file: None,
) -> ExportRequest:
    """What is written, checked; photos are called by these names in it."""
    request = export_request(
        photos,
        folder,
        args.export_format,
        export_options(args),
        conf_thresh_percentile=args.conf_thresh_percentile,
        num_max_points=args.num_max_points,
        show_cameras=args.show_cameras,
        feat_vis_fps=args.feat_vis_fps,
    )
    assert request is not None
    return replace(request, names=tuple(names), told=told)


def _check_memory(model: SceneModel, given: Given, args: argparse.Namespace) -> None:
    """Say what is needed, and refuse more than there is, with a command that would fit.

    Raises:
        LimitError: it is more.
    """
    count, sizes = len(given.scene.photos), given.scene.sizes_hw
    splats = given.query.infer_gs
    needed = model.needed_bytes(count, sizes, splats)
    if needed is None:
        return
    free = model.free_bytes()
    limit = free if free is None else int(free * ROOM)
    limit = int(args.memory_gib * 2**30) if args.memory_gib is not None else limit
    log.info("%s: %d views, about %.1f GiB", model.name, count, needed / 2**30)
    if limit is None or needed <= limit:
        return
    from apps.scene_memory import most_that_fit

    def bytes_of(views: int) -> int:
        return model.needed_bytes(views, sizes, splats) or 0

    fits = most_that_fit(limit, count, bytes_of)
    said = (
        f"{count} views take about {needed / 2**30:.1f} GiB, and there are {limit / 2**30:.1f} to "
        "take"
    )
    if fits and given.plan is not None:
        raise LimitError(f"{said}; this would fit: {_command(args, '--max-frames', fits)}")
    smaller = _smaller_views(args, given, limit, splats)
    if smaller:
        raise LimitError(f"{said}; this would fit: {_command(args, '--process-res', smaller)}")
    less = f"{fits} photos would fit" if fits else "even one is too much: take a smaller model"
    raise LimitError(f"{said}; {less}")


def _smaller_views(
    args: argparse.Namespace, given: Given, limit: int, splats: bool
) -> Optional[int]:
    """The largest ``--process-res`` that fits; None if none does."""
    for side in range(args.process_res or PROCESS_RES, PATCH_SIZE, -PATCH_SIZE):
        model = find_scene_model(
            args.model_dir, args.device, side, args.process_res_method, args.seeded_weights
        )
        needed = model.needed_bytes(len(given.scene.photos), given.scene.sizes_hw, splats)
        if needed is not None and needed <= limit:
            return side
    return None


def _command(args: argparse.Namespace, option: str, value: int) -> str:
    """The command as it was typed, with this option instead of its own."""
    words, kept = list(args.words), []
    while words:
        word = words.pop(0)
        if word == option and words:
            words.pop(0)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return shlex.join(["da3", *kept, option, str(value)])


def _infer(
    model: SceneModel,
    given: Given,
    args: argparse.Namespace,
    export: Export,
    progress: Progress,
) -> bool:
    """Read, infer and write into the scratch folder; returns whether anything was broken."""
    broken = False
    if given.plan is not None:
        given, broken = _extracted(given, args, export, progress)
    views, kept = _views(model, given.scene, progress)
    broken, given = broken or len(kept) < len(given.scene.photos), given.some(kept)
    with contextlib.ExitStack() as stages:
        step = stages.enter_context(
            progress.stage("network", "step", model.steps(given.query, len(views)))
        )
        wrote: list[Callable[[], object]] = []

        def told(file: Path) -> None:
            if not wrote:  # the network is done
                stages.close()
                wrote.append(stages.enter_context(progress.stage("writing", "file")))
            wrote[0]()

        photos, names = given.scene.photos, given.scene.names
        request = _request(photos, names, export.scratch, args, told)
        request = replace(request, stage=progress.stage)
        model.infer(views, photos, given.query, given.intrinsics, args.focal_px, request, step)
    return broken


def _announce(model: SceneModel) -> None:
    """Say whose weights these are, and loudly if they are nobody's."""
    provenance = model.provenance()
    if provenance is not None and provenance.warning is None:
        log.info("%s: weights' licence %s", model.name, provenance.licence)
    elif provenance is not None:
        log.warning("%s: RANDOM WEIGHTS: all that is written means nothing", model.name)


def _extracted(
    given: Given, args: argparse.Namespace, export: Export, progress: Progress
) -> tuple[Given, bool]:
    """The frames of a video, as photos."""
    plan = given.plan
    assert plan is not None
    root = export.scratch if args.keep_frames else export.scratch.parent / "aside"
    with progress.stage("frames", "frame", len(plan.places)) as step:
        scene, facts = da3_video.extract(plan, root / da3_video.FOLDER, step)
    for said in facts["problems"]:
        log.warning("failed: %s", said)
    if not args.keep_frames:
        for row in facts["frames"]:
            del row["file"]
    da3_video.write_description(facts, export.scratch)
    numbers = [int(Path(name).stem) for name in scene.names]
    return replace(given.some(numbers), scene=scene), bool(facts["problems"])


def _views(
    model: SceneModel, scene: ScenePhotos, progress: Progress
) -> tuple[list[View], list[int]]:
    """Each photo's view, and which photos could be read."""
    views: list[View] = []
    kept: list[int] = []
    with progress.stage("reading", "view", len(scene.photos)) as step:
        for index, photo in enumerate(scene.photos):
            try:
                views.append(model.view(read_photo(photo)))
            except InputError as error:
                log.warning("failed: %s", sentence(error, str(photo)))
            else:
                kept.append(index)
            step()
    if not views:
        raise InputError(f"{scene.place}: not one photo can be read")
    return views, kept
