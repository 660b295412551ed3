"""Which artifacts are used: one answer for every door.

Folders in; artifacts of one model, one set of weights, one target and one precision out, and what
was left out and why. Manifests are read, graphs are not.

The order of preference: real weights before random ones, then the target as ``preferred`` says of
the device, then float32 before lower precisions, then the weights that were compiled last, then the
smallest batch. So no photo's depth differs by the size of the graph that it goes to, and who
wants a lower precision names its folder.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runtime.artifact.folder import MANIFEST, Artifact, find_artifacts, read_artifact
from runtime.artifact.manifest import PRECISIONS, Manifest
from runtime.engines import available, preferred, too_old, why_not_on
from runtime.errors import ArtifactError
from runtime.predict.buckets import scene_bucket
from runtime.predict.scenes import ENCODER_LOCAL

log = logging.getLogger(__name__)

# What for: photos each for itself, photos of one scene, or both as they come
PHOTOS, SCENE, BOTH = USES = ("photos", "scene", "both")
NON_COMMERCIAL = ("NC", "untagged")  # in the names of such licences


@dataclass(frozen=True)
class LeftOut:
    """An artifact that is not used, and why."""

    path: Path
    reason: str
    model: str = ""  # "" if it cannot be read

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Choice:
    """Artifacts that are used together, one or more, and those that are not."""

    artifacts: tuple[Artifact, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def model(self) -> str:
        """The one model that they are of."""
        return self.artifacts[0].manifest.model

    def of_one_size(self, photos_hw: Iterable[tuple[int, int]]) -> "Choice":
        """Those of one size, for a scene of photos of these shapes; see ``scene_bucket``."""
        sizes_hw = sorted({one.manifest.input.size_hw for one in self.artifacts})
        size_hw = sizes_hw[scene_bucket(photos_hw, sizes_hw)]
        kept, left_out = [], list(self.left_out)
        for one in self.artifacts:
            if one.manifest.input.size_hw == size_hw:
                kept.append(one)
            else:
                reason = "another size is nearer to the shape of most photos"
                left_out.append(LeftOut(one.path, reason, one.manifest.model))
        return Choice(tuple(kept), tuple(left_out))


def choose(
    roots: Sequence[Path],
    model: str = "",
    use: str = PHOTOS,
    runs: Callable[[str], bool] = available,
    weights_sha256: Optional[str] = None,
    device: Optional[str] = "auto",
) -> Choice:
    """Choose among the artifacts in some folders.

    What cannot be read is left out with a warning; an artifact that is named itself must be read.

    Args:
        roots: artifacts, or folders of them.
        model: which one; empty if there is only one.
        use: one of ``USES``.
        runs: whether a target's graphs can run here.
        weights_sha256: only artifacts with these weights; None for any.
        device: where they will run: auto, cpu or cuda; None: nowhere, their graphs are not loaded.
    Raises:
        ArtifactError: none can be used, the text says why; they are of several models; or one that
            is named itself cannot be read.
    """
    artifacts, unreadable = read_artifacts(roots)
    chosen = choose_among(artifacts, model, use, runs, weights_sha256, device, unreadable)
    for one in chosen.left_out:
        # what cannot be read is news; that a folder holds other models is none
        level = {"": logging.WARNING, chosen.model: logging.INFO}.get(one.model, logging.DEBUG)
        log.log(level, "left out: %s", one)
    return chosen


def read_artifacts(roots: Sequence[Path]) -> tuple[list[Artifact], list[LeftOut]]:
    """The artifacts in some folders, and what is there but cannot be read.

    Raises:
        ArtifactError: a root is no folder, or is itself an artifact that cannot be read.
    """
    artifacts, unreadable = [], []
    for root in roots:
        if (root / MANIFEST).is_file() or not root.is_dir():
            artifacts.append(read_artifact(root))
            continue
        for path in find_artifacts(root):
            try:
                artifacts.append(read_artifact(path))
            except ArtifactError as error:
                said = str(error)
                reason = said[len(str(path)) + 2 :] if said.startswith(f"{path}: ") else said
                unreadable.append(LeftOut(path, reason))
    return artifacts, unreadable


def choose_among(
    artifacts: Sequence[Artifact],
    model: str = "",
    use: str = PHOTOS,
    runs: Callable[[str], bool] = available,
    weights_sha256: Optional[str] = None,
    device: Optional[str] = "auto",
    unreadable: Sequence[LeftOut] = (),
) -> Choice:
    """Choose among artifacts that have been read; arguments and errors as for ``choose``."""
    assert use in USES
    models = sorted({one.manifest.model for one in artifacts})
    if not model and len(models) > 1:
        raise ArtifactError(
            f"there are artifacts of {', '.join(models)}; name the model: --model, or DEPTH_MODEL "
            "for the service"
        )
    model = model or (models[0] if models else "")
    sieve = _Sieve(list(artifacts), list(unreadable))
    sieve.keep(lambda m: m.model == model, lambda m: f"is of {m.model}, not of {model}")
    if weights_sha256 is not None:
        sieve.keep(
            lambda m: m.weights.sha256 == weights_sha256, lambda m: "was made from other weights"
        )
    sieve.keep(
        lambda m: runs(m.target),
        lambda m: too_old(m.target) or f"target {m.target} cannot run here",
    )
    if device is not None:
        cannot = functools.partial(why_not_on, device=device)
        sieve.keep(lambda m: not cannot(m.target), lambda m: cannot(m.target))
    if use == SCENE:
        sieve.keep(
            _takes_scenes,
            lambda m: "takes each photo for itself; a scene needs an any-view model",
        )
    elif use == PHOTOS:
        sieve.keep(
            lambda m: m.views == 1,
            lambda m: f"takes {m.views} photos of one scene; use --views all for it",
        )
    if not sieve.kept:
        raise ArtifactError(_nothing(model, sieve.left_out))
    _prefer(sieve, device or "auto")
    return Choice(tuple(sieve.kept), tuple(sieve.left_out))


class _Sieve:
    """Artifacts that are still in, and those that are out, with the reason."""

    def __init__(self, kept: list[Artifact], left_out: list[LeftOut]) -> None:
        self.kept, self.left_out = kept, left_out

    def keep(self, wanted: Callable[[Manifest], bool], reason: Callable[[Manifest], str]) -> None:
        """Leave out what is not wanted, and say why."""
        for one in self.kept:
            if not wanted(one.manifest):
                self.left_out.append(LeftOut(one.path, reason(one.manifest), one.manifest.model))
        self.kept = [one for one in self.kept if wanted(one.manifest)]

    def prefer(self, key: Callable[[Manifest], Any], reason: Callable[[Manifest], str]) -> None:
        """Keep those whose key is least."""
        best = min(key(one.manifest) for one in self.kept)
        self.keep(lambda m: bool(key(m) == best), reason)


def _prefer(sieve: _Sieve, device: str) -> None:
    """Keep one set of weights, one target, one precision and one batch."""
    sieve.prefer(
        lambda m: m.weights.seeded, lambda m: "has random weights, and there are real ones"
    )
    order = preferred((one.manifest.target for one in sieve.kept), device)
    sieve.prefer(
        lambda m: order.index(m.target),
        lambda m: f"target {m.target}: another one is preferred here",
    )
    sieve.prefer(
        lambda m: PRECISIONS.index(m.precision),
        lambda m: f"precision {m.precision}: a higher one is there; name this folder to use it",
    )
    weights = max(sieve.kept, key=_age_of_weights).manifest.weights
    sieve.keep(
        lambda m: m.weights == weights,
        lambda m: "was made from weights that others have replaced since",
    )
    singles = [one.manifest.input.batch for one in sieve.kept if one.manifest.views == 1]
    batch = min(singles, default=1)
    sieve.keep(
        lambda m: m.views > 1 or m.input.batch == batch,
        lambda m: f"batch {m.input.batch}: one of {batch} is there; name this folder to use it",
    )


def takes_scenes(artifact: Artifact) -> bool:
    """True if an artifact finds cameras: of an any-view model, for one view or several."""
    return _takes_scenes(artifact.manifest)


def _takes_scenes(manifest: Manifest) -> bool:
    return any(stage.name == ENCODER_LOCAL for stage in manifest.stages)


def _age_of_weights(artifact: Artifact) -> tuple[float, str]:
    """When an artifact was written; of equals, some order that does not change."""
    return (artifact.path / MANIFEST).stat().st_mtime, artifact.manifest.weights.sha256


def _nothing(model: str, left_out: Sequence[LeftOut]) -> str:
    ours = [one for one in left_out if one.model in ("", model)] or left_out
    what = f"of {model} " if model else ""
    text = f"no artifact {what}can be used"
    if ours:
        text += ": " + "; ".join(map(str, ours[:3]))
        text += f"; and {len(ours) - 3} more" if len(ours) > 3 else ""
    return (
        f"{text}. Compile one with `make compile`, or name a folder of artifacts with --artifact "
        "(MODEL_DIR for the service)"
    )


def check_licence(artifacts: Sequence[Artifact]) -> None:
    """Refuse weights that may not be used commercially, or whose licence is not known.

    Raises:
        ArtifactError: such weights.
    """
    for artifact in artifacts:
        licence = artifact.manifest.weights.licence
        if needs_consent(licence):
            raise ArtifactError(
                f"{artifact.path}: its weights' licence is {licence!r}, and COMMERCIAL_ONLY=1; "
                "use a model with Apache-2.0 weights (vits, da3-small, da3-base), or unset it"
            )


def needs_consent(licence: str) -> bool:
    """Whether a licence, such as CC-BY-NC-4.0, forbids commercial use or says nothing of it."""
    return any(word in licence for word in NON_COMMERCIAL)
