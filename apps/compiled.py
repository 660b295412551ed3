"""Compiled artifacts of a model, made first if they are not there, for photos and for scenes.

A model's name and photos in; the artifacts to use out. The compile runs in a process of its own, so
torch's memory is gone before the first photo.
"""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from compile.fetch import local_checkpoint
from compile.registry import MODELS, ModelSpec
from runtime.artifact.folder import MANIFEST, Artifact
from runtime.errors import ArtifactError, InputError
from runtime.files import sha256_of
from runtime.photo.decode import photo_size
from runtime.predict.buckets import nearest_bucket, scene_bucket
from runtime.predict.choose import PHOTOS, SCENE, Choice, choose
from runtime.shipped import ROOT

ARTIFACTS = Path("artifacts")
SCENE_VIEWS = 4  # photos of a scene that are compiled for at once

# As ``python -m compile``, but by this package's own modules, whatever lies in the current folder
COMPILE = (
    f"import sys; sys.path[0] = {str(ROOT)!r}; import runpy; "
    "runpy.run_module('compile', run_name='__main__', alter_sys=True)"
)

log = logging.getLogger(__name__)

Size = tuple[int, int]


def choose_or_compile(
    model: str,
    photos: Sequence[Path],
    use: str = PHOTOS,
    size_hw: Optional[Size] = None,
    device: str = "auto",
) -> Choice:
    """The artifacts of a model in ``artifacts/`` for these photos, compiled if they are not there.

    They are compiled if there are none that fit, and again if a checkpoint has come or changed
    since: its hash is in the manifest. Artifacts that somebody made from another file stay.

    Args:
        use: PHOTOS or SCENE, of ``runtime.predict.choose``.
        size_hw: only artifacts of this input size; None: of those that the photos need.
        device: where they will run: auto, cpu or cuda.
    Raises:
        InputError: a scene with a model that takes each photo for itself.
        ArtifactError: the compile failed, or what it made cannot run here.
    """
    spec = MODELS[model]
    if use == SCENE and not spec.any_view:
        takers = ", ".join(name for name, row in MODELS.items() if row.any_view)
        raise InputError(f"--views all: {model} takes each photo for itself; use one of {takers}")
    views = min(len(photos), SCENE_VIEWS) if use == SCENE else 1
    chosen = _choice(model, use, views, size_hw, device)
    checkpoint = local_checkpoint(spec)
    stale = chosen is not None and _is_stale(chosen.artifacts[0], checkpoint)
    if chosen is not None and not stale:
        return chosen.of_one_size(map(shape_of, photos)) if use == SCENE else chosen
    if stale:
        log.info("%s: its weights have come or changed since: compiling it again", model)
    else:
        what = f" for {views} photos at once" if views > 1 else ""
        log.info("no artifact of %s%s in %s/ yet: compiling it, once", model, what, ARTIFACTS)
    sizes = [size_hw] if size_hw else needed_sizes(spec, photos, use)
    compile_sizes(model, sizes, views, device)
    sha256 = sha256_of(checkpoint) if stale and checkpoint is not None else None
    chosen = _choice(model, use, views, size_hw, device, sha256)
    if chosen is None:
        raise ArtifactError(f"no artifact of {model} can run here; see `python -m compile --help`")
    return chosen.of_one_size(map(shape_of, photos)) if use == SCENE else chosen


def needed_sizes(spec: ModelSpec, photos: Sequence[Path], use: str) -> list[Size]:
    """Of a model's usual sizes those to compile: one for a scene, for photos those that they need.

    Models of Depth Anything V2 have few and get them all. Where no photos are known, as before a
    service, the first three: square, and 4:3 both ways.
    """
    if not photos:
        return list(spec.usual_sizes[:3])
    if use == SCENE:
        return [spec.usual_sizes[scene_bucket(map(shape_of, photos), spec.usual_sizes)]]
    if spec.family == "v2":
        return list(spec.usual_sizes)
    wanted = {nearest_bucket(shape_of(photo), spec.usual_sizes) for photo in photos}
    return [spec.usual_sizes[index] for index in sorted(wanted)]


def shape_of(photo: Path) -> Size:
    """Height and width of an upright photo; square if it cannot be read, which is said later."""
    try:
        return photo_size(photo)
    except InputError:
        return 1, 1


def compile_sizes(
    model: str, sizes_hw: Sequence[Size], views: int = 1, device: str = "auto"
) -> None:
    """Compile a model for some sizes and a device.

    Raises:
        ArtifactError: it failed; the compile has said why.
    """
    sizes = ["{}x{}".format(*size_hw) for size_hw in sizes_hw]
    command = [sys.executable, "-c", COMPILE, "--model", model, "--seeded-fallback"]
    command += ["--output", str(ARTIFACTS), "--views", str(views), "--sizes", *sizes]
    command += [] if device == "auto" else ["--device", device]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise ArtifactError(f"compiling {model} failed; the lines above say why")


def _choice(
    model: str,
    use: str,
    views: int,
    size_hw: Optional[Size],
    device: str,
    weights_sha256: Optional[str] = None,
) -> Optional[Choice]:
    """What is there for this use; None if nothing is."""
    if not ARTIFACTS.is_dir():
        return None
    try:
        chosen = choose([ARTIFACTS], model, use, weights_sha256=weights_sha256, device=device)
    except ArtifactError:
        return None
    enough = tuple(
        one
        for one in chosen.artifacts
        if one.manifest.views >= views and size_hw in (None, one.manifest.input.size_hw)
    )
    return Choice(enough, chosen.left_out) if enough else None


def _is_stale(artifact: Artifact, checkpoint: Optional[Path]) -> bool:
    """True if the checkpoint is not the one that the artifact was made from.

    A checkpoint that has not been touched since is not read again.
    """
    weights = artifact.manifest.weights
    if checkpoint is None:
        return False
    if weights.seeded:
        return True
    made = (artifact.path / MANIFEST).stat().st_mtime
    if weights.file != checkpoint.name or checkpoint.stat().st_ctime <= made:
        return False
    return sha256_of(checkpoint) != weights.sha256
