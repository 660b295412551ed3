"""A sequence from end to end: the first pass through a network, the second to files.

A job in; an output's folder with its results and their report out. What is done of the first pass
is never done again; the second is done whole.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from apps.da3_progress import Progress
from apps.scene_checks import refuse_large_windows, refuse_licence
from apps.scene_models import SceneModel
from apps.scene_options import ALIGNS, KEYFRAMES
from apps.sequence_fill import forget_fills, run_fills
from apps.sequence_loops import find_loops, forget_loops, read_loops
from apps.sequence_model import WindowModel, Windows
from apps.sequence_poses import CAMERAS, COLMAP, INTRINSICS, KITTI, POSES, TRANSFORMS, TUM
from apps.sequence_preview import DONE, RESULTS, Preview, Told
from apps.sequence_preview import FOLDER as PREVIEW
from apps.sequence_report import (
    JSON,
    TEXT,
    earlier_report,
    remove_older,
    remove_older_depth,
    report_of,
    report_text,
)
from apps.sequence_results import DEPTH, VIDEO, Wanted, Writer, sweep_all
from apps.sequence_solve import solve
from apps.sequence_source import Source
from apps.sequence_store import SequenceStore, sequence_store
from apps.sequence_windows import KnownCameras, WindowJob, run_windows
from apps.sequence_workers import Workers
from runtime.errors import InputError
from runtime.files import check_output_folder, sweep, write_whole
from runtime.predict.found import Provenance
from runtime.scene.groups import overlap_of
from runtime.scene.loops import ALIKE
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import DEFAULT_STRATEGY

FILL = KEYFRAMES[0]
VIEWS = 8  # of a window, if the model takes any number
FEW = 8  # below, windows drift two to three times as much

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequenceJob:
    """What is made of a sequence.

    Args:
        output: a folder. views: frames of a window; None: see ``window_size``. overlap: that two
            share. cuts: look for cuts; strategy: of the reference view.
        from_start: forget what is there. wanted: files. scale: what all is multiplied by.
        loops: look for places that are seen again; alike: cosine from which frames are looked at.
        preview_s: seconds between previews; 0: none.
        align: windows by ``depth`` and cameras, or by ``points``, as upstream does.
        keyframes: of ``KEYFRAMES``: frames that look as the last one taken get a camera alone, or
            depth in windows of their own; None: all go through the network together.
    Raises:
        InputError: no such way to align.
    """

    output: Path
    views: Optional[int] = None
    overlap: Optional[int] = None
    cuts: bool = True
    strategy: str = DEFAULT_STRATEGY
    from_start: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    scale: float = 1.0
    loops: bool = False
    alike: float = ALIKE
    preview_s: float = 5.0
    align: str = ALIGNS[0]
    keyframes: Optional[str] = None

    def __post_init__(self) -> None:
        if self.align not in ALIGNS:
            raise InputError(f"align={self.align!r}: use one of {', '.join(ALIGNS)}")
        if self.keyframes not in (None, *KEYFRAMES):
            raise InputError(f"keyframes={self.keyframes!r}: use one of {', '.join(KEYFRAMES)}")


def window_size(model: SceneModel, asked: Optional[int]) -> int:
    """How many frames go together: as many as are compiled for, but not more than asked.

    Raises:
        InputError: fewer than two.
    """
    compiled = model.compiled_views
    wanted = asked or (max(compiled) if compiled else VIEWS)
    if compiled and asked is not None and asked not in compiled:
        raise InputError(
            f"--views {asked}: compiled for {', '.join(map(str, compiled))}; give one of them, or "
            f"compile for {asked} with `python -m compile --views {asked}`"
        )
    if wanted < 2:
        raise InputError(
            f"windows of {wanted} frame share nothing with each other; compile for 8 views with "
            "`python -m compile --views 8`"
        )
    if wanted < FEW:
        log.warning(
            "windows of %d frames: those of %d drift two to three times less; `python -m compile "
            "--views %d`, or --views %d with weights",
            *(wanted, FEW, FEW, FEW),
        )
    return wanted


def run_sequence(
    source: Source,
    model: SceneModel,
    job: SequenceJob,
    known: Optional[KnownCameras] = None,
    progress: Optional[Progress] = None,
    workers: Optional[Workers] = None,
) -> dict[str, Any]:
    """Do all that is missing, and write the results; what ``report.json`` says.

    Args:
        model: what is asked about frames and windows, and finds loops.
        workers: who runs the windows of the first pass; None: the model alone.
    Raises:
        InputError: input, model and options do not go together, or with what is there.
        ArtifactError, DeviceError, OSError: nothing goes on; the same command goes on later.
    """
    _refuse(model, job, known)
    check_output_folder(job.output)
    views = window_size(model, job.views)
    query = SceneQuery(ref_view_strategy=job.strategy)
    first = next((frame for frame in source.frames() if frame.rgb is not None), None)
    if first is None or first.rgb is None:
        raise InputError(f"{source.path}: not one frame of it can be used")
    model.check(query if known is None else known.query(sorted(known.extrinsics)[:1], query))
    size_hw = first.rgb.shape[0], first.rgb.shape[1]
    refuse_licence(model)
    refuse_large_windows(model, views, size_hw, 1 if workers is None else workers.copies)
    log.info("%s: loading", model.name)
    model.load([size_hw])
    windows = WindowJob(
        views, job.overlap, job.cuts, query, known, job.align, job.keyframes is not None
    )
    header = _header(source, model, job, windows, model.view(first.rgb).size_hw)
    del first
    progress = progress or Progress()
    with sequence_store(job.output) as store:
        store.begin(header, job.from_start)
        if job.from_start:
            forget_fills(store)
            forget_loops(store)
        if store.lines:
            log.info("%s: goes on after %d windows", job.output, len(store.lines))
        with progress.stage("windows", "frame", source.expected) as step:
            told = Told(source.path.name, str(job.output), model.name, _warning(model))
            preview = Preview(job.output, job.preview_s, source.expected, step, told)
            preview.begin(store.lines)
            fills = job.keyframes == FILL
            with _running(workers, model, size_hw, job.loops, store, fills) as models:
                run_windows(source, models, windows, store, preview, model.view)
                if fills:
                    run_fills(source, models, windows, store, model.view, step)
        if job.loops and known is None:
            with progress.stage("loops", "loop"):
                find_loops(source, Windows(model), store, query, job.alike)
        preview.ends(RESULTS)
        facts = export_sequence(source, store, job, progress)
        preview.ends(DONE, [JSON, TEXT, *facts["files"]])
        return facts


def _refuse(model: SceneModel, job: SequenceJob, known: Optional[KnownCameras]) -> None:
    """What does not go together. InputError: says what."""
    if not model.finds_cameras:
        raise InputError(
            f"{model.name}: finds no cameras, so windows of it share no scale; use da3-small, "
            "da3-base, da3-large or da3nested-giant-large, or run_video.py for each frame alone"
        )
    if known is not None and job.keyframes is not None:
        raise InputError("--keyframes: cameras are known, and all frames have depth; leave it out")
    if known is not None and job.scale != 1.0:
        raise InputError("--scale: the cameras have a unit of their own; leave it out")


def _header(
    source: Source,
    model: SceneModel,
    job: SequenceJob,
    windows: WindowJob,
    view_hw: tuple[int, int],
) -> dict[str, Any]:
    """What a run must have in common with the one that it goes on with."""
    views, overlap = windows.views, windows.overlap
    return {
        "input": source.identity(),
        "provenance": _provenance_facts(model.provenance(), model.name),
        "settings": {
            "views": views,
            "overlap": overlap_of(views) if overlap is None else overlap,
            "cuts": job.cuts,
            "strategy": job.strategy,
            "view_hw": list(view_hw),
            "describes": job.loops,
            "align": job.align,
            "keyframes": job.keyframes,
            "known_cameras": None if windows.known is None else _hash_of(windows.known),
        },
    }


@contextlib.contextmanager
def _running(
    workers: Optional[Workers],
    model: SceneModel,
    size_hw: tuple[int, int],
    describes: bool,
    store: SequenceStore,
    fills: bool,
) -> Iterator[Sequence[WindowModel]]:
    """Who runs the windows, if any are left."""
    if workers is None or (store.ended is not None and not fills):
        yield [Windows(model, describes)]
        return
    with workers.running(model, size_hw, describes) as models:
        yield models


def export_sequence(
    source: Source, store: SequenceStore, job: SequenceJob, progress: Optional[Progress] = None
) -> dict[str, Any]:
    """The second pass: results of what the first has left; what ``report.json`` says.

    Raises:
        InputError: the input is not the one that the first pass read, or a file is damaged.
    """
    if not store.lines:
        raise InputError(f"{job.output}: not one window there yet; `run` goes on")
    if json.loads(json.dumps(source.identity())) != store.header["input"]:
        raise InputError(f"{source.path}: not what {job.output} was made of; give that one")
    progress = progress or Progress()
    for name in ("", DEPTH, COLMAP, PREVIEW):
        sweep(job.output / name)  # what a killed run has left
    known = store.header["settings"]["known_cameras"] is not None
    loops = read_loops(store) if store.header["settings"]["describes"] else None
    solved = solve(store.lines, known, job.scale, loops["loops"] if loops else ())
    with progress.stage("ranges", "frame") as step:
        seen = sweep_all(store, solved, step)
    provenance = Provenance.of_dict(store.header["provenance"])
    with progress.stage("results", "frame", source.expected) as step:
        writer = Writer(job.output, source, store, solved, seen, provenance, job.wanted, step)
        results = writer.run()
    facts = report_of(
        store, solved, seen, results, job.output, job.scale, provenance, job.wanted.formats
    )
    before = earlier_report(job.output)
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(job.output / JSON, text.encode("utf-8", "backslashreplace"))
    write_whole(job.output / TEXT, report_text(facts).encode("utf-8", "backslashreplace"))
    remove_older_depth(job.output / DEPTH, before, facts)
    made = {file.relative_to(job.output).as_posix() for file in results.files}
    all_names = (TUM, KITTI, POSES, INTRINSICS, TRANSFORMS, CAMERAS, VIDEO, "cloud.ply")
    colmap = [f"{COLMAP}/{name}.bin" for name in ("cameras", "rigs", "frames", "images")]
    others = (*all_names, "cloud.glb", *colmap, f"{COLMAP}/points3D.bin")
    remove_older(job.output, [name for name in others if name not in made])
    return facts


def _hash_of(known: KnownCameras) -> str:
    digest = hashlib.sha256()
    for number in sorted(known.extrinsics):
        digest.update(f"{number}".encode())
        digest.update(known.extrinsics[number].tobytes() + known.intrinsics[number].tobytes())
    return digest.hexdigest()


def _warning(model: SceneModel) -> str:
    """What must be said of its numbers, if anything."""
    provenance = model.provenance()
    return "" if provenance is None else str(provenance.facts().get("warning", ""))


def _provenance_facts(provenance: Optional[Provenance], name: str) -> dict[str, Any]:
    if provenance is None:
        raise InputError(f"{name}: nobody knows whose weights these are; name a model or a file")
    return dataclasses.asdict(provenance)
