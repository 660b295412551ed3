"""What may go to an endpoint: refusals before anything is created or paid for. Pure.

Manifests and a choice of instance in; silence and warnings out, or an error.
"""

from collections.abc import Sequence

from runtime.artifact.manifest import Manifest
from runtime.engines import CPU, CUDA, ENGINES, USUAL_ON_CUDA
from runtime.errors import InputError
from runtime.predict.choose import needs_consent
from serve.sagemaker.instances import InstanceType, places


def admit(
    manifests: Sequence[Manifest],
    instance: InstanceType,
    allow_seeded: bool = False,
    accepted_licences: Sequence[str] = (),
) -> list[str]:
    """Refuse what must not be served there; returns sentences that somebody should read.

    Raises:
        InputError: artifacts of several models, an artifact for other hardware, random weights
            that were not allowed, or a licence that was not accepted and forbids commercial use
            or is not known.
    """
    warnings = []
    models = sorted({manifest.model for manifest in manifests})
    if len(models) > 1:
        raise InputError(
            f"models {', '.join(models)} in one archive: an endpoint serves one; pack them apart"
        )
    for manifest in manifests:
        if manifest.target not in instance.targets:
            raise InputError(f"{manifest.name} {_why_not(manifest.target, instance)}")
        if manifest.weights.seeded and not allow_seeded:
            raise InputError(
                f"{manifest.name} has random weights, so its depth means nothing; compile it with "
                "a checkpoint, or pass --allow-seeded for a trial"
            )
        licence = manifest.weights.licence
        if needs_consent(licence) and licence not in accepted_licences:
            given = f" (accepted: {', '.join(accepted_licences)})" if accepted_licences else ""
            raise InputError(
                f"{manifest.name}: the licence of its weights is {licence!r}, which does not allow "
                f"commercial use{given}; if yours is none, pass --accept-licence {licence!r}"
            )
        if manifest.weights.seeded:
            warnings.append(f"{manifest.name}: random weights, its depth means nothing")
        if needs_consent(licence):
            warnings.append(f"{manifest.name}: {licence!r} accepted, so no commercial use")
        if manifest.parity.status != "passed":
            warnings.append(
                f"{manifest.name}: parity is {manifest.parity.status!r}: run `python -m compile "
                "verify` on such an instance and pack it again, or its depth is unproven"
            )
    return warnings


def _why_not(target: str, instance: InstanceType) -> str:
    if instance.device == CUDA and CPU in ENGINES[target].devices:
        return (
            f"is for {target}, which would run on the CPU of {instance.name} and leave its GPU "
            f"idle; use {places(target)}, or compile with --target {USUAL_ON_CUDA}"
        )
    return (
        f"is for {target}, which does not run on {instance.name}; use {places(target)}, or "
        f"compile with --target {instance.targets[0]}"
    )
