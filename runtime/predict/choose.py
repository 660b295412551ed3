"""Which artifacts of a folder are used: those of one model, for the target that is preferred.

Of one precision, too: float32 where there is some, so that no photo's depth differs by the size of
the graph that it goes to. A lower one is for those who name its folder.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.artifact.folder import Artifact, find_artifacts, read_artifact
from runtime.artifact.manifest import PRECISIONS
from runtime.engines import ENGINES, available
from runtime.errors import ArtifactError

NON_COMMERCIAL = ("NC", "untagged")  # in the names of such licences


def usable_artifacts(
    folder: Path, model: str = "", runs: Callable[[str], bool] = available
) -> list[Artifact]:
    """Artifacts of one model in a folder that can run here, for the target that is preferred.

    Args:
        model: which one; empty where there is only one.
        runs: whether a target's graphs can run here.
    Raises:
        ArtifactError: there are none, or they are of several models.
    """
    artifacts = [read_artifact(path) for path in find_artifacts(folder)]
    if not artifacts:
        raise ArtifactError(
            f"{folder}: no artifact there; compile one with `make compile` and mount its folder, "
            "or name it with --artifact or MODEL_DIR"
        )
    models = sorted({one.manifest.model for one in artifacts})
    if model not in ("", *models):
        raise ArtifactError(f"{folder}: holds {', '.join(models)}, not {model}")
    if not model and len(models) > 1:
        raise ArtifactError(
            f"{folder}: holds {', '.join(models)}; one is run: name it, with --model or DEPTH_MODEL"
        )
    artifacts = [one for one in artifacts if one.manifest.model == (model or models[0])]
    targets = {one.manifest.target for one in artifacts}
    for target in filter(runs, ENGINES):
        if target in targets:
            chosen = [one for one in artifacts if one.manifest.target == target]
            precision = min((one.manifest.precision for one in chosen), key=PRECISIONS.index)
            return [one for one in chosen if one.manifest.precision == precision]
    raise ArtifactError(f"{folder}: holds artifacts for {', '.join(targets)}, none can run here")


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
