"""Check an artifact against the eager model, where its device is, and write the report into it."""

from pathlib import Path
from typing import Optional

from compile.checkpoint import load_model
from compile.checks import check_device
from compile.fetch import local_checkpoint
from compile.job import with_parity
from compile.registry import find_model
from compile.targets import absence, target_module
from runtime.artifact.folder import MANIFEST, Artifact, read_artifact
from runtime.artifact.manifest import to_json
from runtime.engines.where import torch_device
from runtime.errors import CheckpointError, DeviceError
from runtime.files import check_output_folder, write_whole


def verify_artifact(
    path: Path, checkpoint: Optional[Path] = None, device: str = "auto"
) -> Artifact:
    """Run the parity report of an artifact on this machine; its manifest then says ``passed``.

    Args:
        path: the artifact's folder.
        checkpoint: the weights it was made of; None looks in ``checkpoints/``.
    Raises:
        ArtifactError: not an artifact, or files that are not those it was made of.
        CheckpointError: the weights are not here, or are not those it was made of.
        CompileError: the graph does not equal the model; the artifact stays as it was.
        DeviceError: the chip it was compiled for is not here.
        InputError: a device that it does not run on, or a folder that cannot be written to.
    """
    artifact = read_artifact(path)
    manifest = artifact.manifest
    check_device(manifest.target, device)
    if device == "cuda":
        torch_device(device)
    check_output_folder(path)
    artifact.verify()
    module = target_module(manifest.target)
    if not getattr(module, "device_present", lambda: True)():
        raise DeviceError(
            f"{path}: compiled for {manifest.target}, and there is {absence(manifest.target)}; its "
            "answers would be arbitrary. Run this on the instance that will serve it"
        )
    spec = find_model(manifest.model)
    file = None
    if not manifest.weights.seeded:
        file = checkpoint or local_checkpoint(spec)
        if file is None:
            raise CheckpointError(
                f"{manifest.weights.file} is not here; give it with --checkpoint, since the report "
                "compares the graph with the model itself"
            )
    model, weights = load_model(spec, file)
    if weights.sha256 != manifest.weights.sha256:
        raise CheckpointError(
            f"{file or 'seeded weights'}: sha256 {weights.sha256[:12]}, the artifact was made of "
            f"{manifest.weights.sha256[:12]}; give the same file with --checkpoint"
        )
    checked = with_parity(manifest, path, model, device)
    write_whole(path / MANIFEST, to_json(checked).encode())
    return read_artifact(path)
