"""Which artifacts are used: one answer for every door.

Folders in; artifacts of one model, one set of weights, one target and one precision out, and what
was left out and why. Manifests are read, graphs are not.

The order of preference: real weights before random ones, then the target by the order of
``ENGINES``, then float32 before lower precisions, then the weights that were compiled last, then
the smallest batch. So no photo's depth differs by the size of the graph that it goes to, and who
wants a lower precision names its folder.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runtime.artifact.folder import MANIFEST, Artifact, find_artifacts, read_artifact
from runtime.artifact.manifest import PRECISIONS
from runtime.engines import ENGINES, available
from runtime.errors import ArtifactError
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


def choose(
    roots: Sequence[Path],
    model: str = "",
    use: str = PHOTOS,
    runs: Callable[[str], bool] = available,
    weights_sha256: Optional[str] = None,
) -> Choice:
    """Choose among the artifacts in some folders.

    What cannot be read is left out with a warning; an artifact that is named itself must be read.

    Args:
        roots: artifacts, or folders of them.
        model: which one; empty if there is only one.
        use: one of ``USES``.
        runs: whether a target's graphs can run here.
        weights_sha256: only artifacts with these weights; None for any.
    Raises:
        ArtifactError: none can be used, the text says why; they are of several models; or one that
            is named itself cannot be read.
    """
    artifacts, unreadable = read_artifacts(roots)
    chosen = choose_among(artifacts, model, use, runs, weights_sha256, unreadable)
    for one in chosen.left_out:
        loud = not one.model
        log.log(logging.WARNING if loud else logging.DEBUG, "left out: %s", one)
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
    unreadable: Sequence[LeftOut] = (),
) -> Choice:
    """Choose among artifacts that have been read; arguments and errors as for ``choose``."""
    assert use in USES
    left_out = list(unreadable)
    models = sorted({one.manifest.model for one in artifacts})
    if not model and len(models) > 1:
        raise ArtifactError(
            f"there are artifacts of {', '.join(models)}; name the model: --model, or DEPTH_MODEL "
            "for the service"
        )
    model = model or (models[0] if models else "")

    def keep(wanted: Callable[[Artifact], bool], reason: Callable[[Artifact], str]) -> None:
        nonlocal artifacts
        for one in artifacts:
            if not wanted(one):
                left_out.append(LeftOut(one.path, reason(one), one.manifest.model))
        artifacts = [one for one in artifacts if wanted(one)]

    def prefer(key: Callable[[Artifact], Any], reason: str) -> None:
        best = min((key(one) for one in artifacts), default=None)
        keep(lambda one: key(one) == best, lambda one: reason.format(m=one.manifest))

    keep(
        lambda one: one.manifest.model == model,
        lambda one: f"is of {one.manifest.model}, not of {model}",
    )
    if weights_sha256 is not None:
        keep(
            lambda one: one.manifest.weights.sha256 == weights_sha256,
            lambda one: "was made from other weights",
        )
    keep(
        lambda one: runs(one.manifest.target),
        lambda one: f"target {one.manifest.target} cannot run here",
    )
    keep(lambda one: _serves(one, use), lambda one: _why_not(one, use))
    if not artifacts:
        raise ArtifactError(_nothing(model, left_out))

    prefer(lambda one: one.manifest.weights.seeded, "has random weights, and there are real ones")
    prefer(
        lambda one: list(ENGINES).index(one.manifest.target),
        "target {m.target}: another one is preferred here",
    )
    prefer(
        lambda one: PRECISIONS.index(one.manifest.precision),
        "precision {m.precision}: a higher one is there; name this folder to use it",
    )
    weights = max(artifacts, key=_age_of_weights).manifest.weights
    keep(
        lambda one: one.manifest.weights == weights,
        lambda one: "was made from weights that others have replaced since",
    )
    singles = [one.manifest.input.batch for one in artifacts if one.manifest.views == 1]
    batch = min(singles, default=1)
    keep(
        lambda one: one.manifest.views > 1 or one.manifest.input.batch == batch,
        lambda one: (
            f"batch {one.manifest.input.batch}: one of {batch} is there; name this folder to use it"
        ),
    )
    return Choice(tuple(artifacts), tuple(left_out))


def takes_scenes(artifact: Artifact) -> bool:
    """True if an artifact finds cameras: of an any-view model, for one view or several."""
    return any(stage.name == ENCODER_LOCAL for stage in artifact.manifest.stages)


def _serves(artifact: Artifact, use: str) -> bool:
    if use == SCENE:
        return takes_scenes(artifact)
    return use == BOTH or artifact.manifest.views == 1


def _why_not(artifact: Artifact, use: str) -> str:
    if use == SCENE:
        return "takes each photo for itself; a scene needs an any-view model"
    return f"takes {artifact.manifest.views} photos of one scene; use --views all for it"


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
