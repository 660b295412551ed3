"""An artifact on disk: a folder with ``manifest.json`` and the files it names.

Written whole or not at all; verified against its hashes before anything in it is used.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runtime.artifact.manifest import FileSpec, Manifest, from_json, to_json
from runtime.errors import ArtifactError
from runtime.files import replace_folder, sha256_of

MANIFEST = "manifest.json"
MANIFEST_BYTES = 1 << 20
HASHERS = 4  # threads at most; hashing leaves Python's lock


@dataclass(frozen=True)
class Artifact:
    """A folder whose manifest has been read; ``digest`` is the manifest's sha256."""

    path: Path
    manifest: Manifest
    digest: str

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            ArtifactError: a file is missing, or its size or hash differs.
        """
        with ThreadPoolExecutor(min(HASHERS, os.cpu_count() or 1)) as hashers:
            for _ in hashers.map(self._verify_file, self.manifest.files):
                pass

    def _verify_file(self, spec: FileSpec) -> None:
        file = self.path / spec.name
        if file.is_symlink() or not file.is_file():
            raise ArtifactError(f"{file}: missing; rebuild the artifact with `make compile`")
        if file.stat().st_size != spec.bytes or sha256_of(file) != spec.sha256:
            raise ArtifactError(
                f"{file}: its bytes are not those the manifest names (damaged, or edited "
                "after the compile); rebuild the artifact with `make compile`"
            )


def describe_files(folder: Path) -> tuple[FileSpec, ...]:
    """Name, hash and size of every file in a folder, by name; the manifest itself left out."""
    files = sorted(file for file in folder.iterdir() if file.name != MANIFEST)
    return tuple(FileSpec(file.name, sha256_of(file), file.stat().st_size) for file in files)


def read_artifact(path: Path) -> Artifact:
    """Read an artifact's manifest; its files are not looked at yet.

    Raises:
        ArtifactError: no manifest there, or one that this package cannot use.
    """
    file = path / MANIFEST
    try:
        if file.stat().st_size > MANIFEST_BYTES:
            raise ArtifactError(f"{file}: over {MANIFEST_BYTES} bytes, not a manifest of ours")
        text = file.read_bytes()
    except OSError:
        raise ArtifactError(
            f"{path}: no {MANIFEST} there, so it is no artifact; make one with `make compile`"
        ) from None
    try:
        manifest = from_json(text.decode("utf-8"))
    except (ArtifactError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: {error}") from None
    return Artifact(path, manifest, hashlib.sha256(text).hexdigest())


def find_artifacts(root: Path) -> list[Path]:
    """Folders below ``root`` that hold a manifest, by name; ``root`` itself if it does.

    If all that lies in ``root`` is one folder, as in an archive packed by hand, those below it.
    """
    if (root / MANIFEST).is_file():
        return [root]
    found = _visible(root, f"*/{MANIFEST}")
    inner = [] if found else _visible(root, f"*/*/{MANIFEST}")
    return inner if len({path.parent for path in inner}) == 1 else found


def _visible(root: Path, pattern: str) -> list[Path]:
    """The folders of the files that a pattern finds, hidden ones left out."""
    found = (file.parent for file in root.glob(pattern))
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def commit(folder: Path, manifest: Manifest, root: Path) -> Artifact:
    """Write the manifest into a finished folder and move it to its name in ``root``.

    An older artifact of that name is replaced.
    """
    text = to_json(manifest)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    target = root / manifest.name
    replace_folder(folder, target)
    return Artifact(target, manifest, hashlib.sha256(text.encode()).hexdigest())
