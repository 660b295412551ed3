"""Several artifacts in one file, ``model.tar.gz``, as SageMaker unpacks it into /opt/ml/model.

Verified artifacts in, the same bytes out for the same artifacts; and back, from a file that nobody
has to trust, packed by us or by hand: the artifacts' folders, one folder of these, or an artifact's
files alone. Names are plain; what ``runtime.artifact.tar`` refuses is refused, not skipped.
"""

import contextlib
import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

from runtime.artifact.folder import (
    MANIFEST,
    MANIFEST_BYTES,
    Artifact,
    read_artifact,
)
from runtime.artifact.manifest import PLAIN, Manifest, from_json
from runtime.artifact.tar import blocks, entries
from runtime.errors import ArtifactError, InputError
from runtime.files import partial_folder, reason, writing_whole
from runtime.names import below

LIMIT_BYTES = 16 << 30  # twice the largest model in float32
LIMIT_FILES = 1000
DEEPEST = 3  # parts of a name: a folder of artifacts, an artifact, a file
LEVEL = 1  # weights are noise to gzip: higher levels cost minutes and gain nothing
_PLAIN = re.compile(PLAIN)
_BROKEN = (gzip.BadGzipFile, EOFError, zlib.error, tarfile.HeaderError)
_USTAR = slice(257, 262)
# How files begin that people give instead
OTHER_KINDS = {
    b"PK": "a zip",
    b"\xfd7zXZ": "a tar.xz",
    b"BZh": "a tar.bz2",
    b"\x28\xb5\x2f\xfd": "a tar.zst",
    b"7z\xbc\xaf": "a 7z",
    b"version https://git-lfs": "a pointer of git-lfs, not the file it stands for",
    b"<": "a page of HTML or XML, perhaps of a failed download",
}

Sink = Callable[[str, str, Iterator[bytes]], None]  # artifact's folder, file, its bytes in blocks


def pack(artifacts: Iterable[Artifact], file: Path) -> Path:
    """Write artifacts into one archive, whole or not at all; returns ``file``.

    Only what the manifests name, in order of name, with no time and no owner, so equal artifacts
    make equal bytes (under one version of zlib).

    Raises:
        InputError: no artifact, or two of one name.
        ArtifactError: a file is not what its manifest says, or too large for the format (8 GiB).
    """
    ordered = sorted(artifacts, key=lambda artifact: artifact.manifest.name)
    names = [artifact.manifest.name for artifact in ordered]
    if not names:
        raise InputError(f"no artifact to write into {file}; make one with `make compile`")
    if len(set(names)) < len(names):
        raise InputError(f"artifacts {names}: one name twice, and the second would hide the first")
    for artifact in ordered:
        artifact.verify()
    with writing_whole(file) as raw:
        _write(ordered, raw)
    return file


def unpack(
    file: Path,
    folder: Path,
    limit_bytes: int = LIMIT_BYTES,
    limit_files: int = LIMIT_FILES,
) -> list[Artifact]:
    """Extract and verify an archive; returns its artifacts, by name. On failure nothing stays.

    Args:
        limit_bytes: most bytes of all files together, uncompressed.
        limit_files: most files.
    Raises:
        ArtifactError: not such an archive, damaged, over a limit, an artifact in it is not what
            its manifest says, or one of that name is in ``folder`` already.
    """
    made = not folder.exists()
    try:
        with partial_folder(folder) as scratch:
            places: dict[str, str] = {}

            def sink(group: str, inner: str, data: Iterator[bytes]) -> None:
                number = places.setdefault(group, str(len(places)))
                file = below(scratch, f"{number}/{inner}")
                file.parent.mkdir(exist_ok=True)
                with file.open("xb") as out:
                    for block in data:
                        out.write(block)

            found = _walk(file, sink, limit_bytes, limit_files)
            for manifest in found.values():
                if (folder / manifest.name).exists():
                    raise ArtifactError(
                        f"{folder / manifest.name} exists already; extract into an empty folder"
                    )
            for group, manifest in found.items():
                (scratch / places[group]).rename(below(folder, manifest.name))
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    names = sorted(manifest.name for manifest in found.values())
    return [read_artifact(folder / name) for name in names]


def inspect(
    file: Path, limit_bytes: int = LIMIT_BYTES, limit_files: int = LIMIT_FILES
) -> list[Manifest]:
    """Verify an archive without writing anything; returns its manifests, by name.

    Raises:
        ArtifactError: as ``unpack``.
    """

    def sink(name: str, inner: str, blocks: Iterator[bytes]) -> None:
        for _ in blocks:
            pass

    found = _walk(file, sink, limit_bytes, limit_files)
    return sorted(found.values(), key=lambda manifest: manifest.name)


def _write(artifacts: list[Artifact], raw: BinaryIO) -> None:
    with (
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for artifact in artifacts:
            for name in sorted([MANIFEST, *(spec.name for spec in artifact.manifest.files)]):
                source = artifact.path / name
                info = tarfile.TarInfo(f"{artifact.manifest.name}/{name}")  # no time, no owner
                info.size = source.stat().st_size
                info.mode = 0o644
                with source.open("rb") as content:
                    try:
                        tar.addfile(info, content)
                    except ValueError as error:  # ustar: 8 GiB a file, 100 characters a name
                        raise ArtifactError(f"{source}: {error}; tar cannot hold it") from None


def _walk(file: Path, sink: Sink, limit_bytes: int, limit_files: int) -> dict[str, Manifest]:
    """Hand every file to ``sink``, then hold what was seen against the manifests, by folder."""
    seen: dict[str, dict[str, tuple[int, str]]] = {}  # folder -> file -> size, sha256
    texts: dict[str, bytes] = {}
    left = limit_bytes

    def claim(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise ArtifactError(f"{file}: more than {limit_bytes:,} bytes in it, uncompressed")

    try:
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as packed:
            stream: Any = packed
            for entry in entries(stream, str(file), limit_files, claim):
                group, inner = _checked_name(entry.parts, file)
                if inner in seen.setdefault(group, {}):
                    raise ArtifactError(f"{file}: {'/'.join(entry.parts)} is in it twice")
                kept = io.BytesIO() if inner == MANIFEST else None
                if kept is not None and entry.size > MANIFEST_BYTES:
                    raise ArtifactError(
                        f"{file}: {'/'.join(entry.parts)} is over {MANIFEST_BYTES} bytes"
                    )
                digest = hashlib.sha256()
                sink(group, inner, _told(blocks(stream, entry.size), digest.update, kept))
                seen[group][inner] = (entry.size, digest.hexdigest())
                if kept is not None:
                    texts[group] = kept.getvalue()
    except FileNotFoundError as error:
        if error.filename != str(file):
            raise
        raise ArtifactError(
            f"{file}: no such archive; make one with `python -m serve.sagemaker package`"
        ) from None
    except IsADirectoryError:
        raise ArtifactError(f"{file}: a folder, expected an archive; give it as a folder") from None
    except PermissionError as error:
        raise ArtifactError(f"{file}: cannot be read ({reason(error)})") from None
    except _BROKEN as error:
        raise ArtifactError(
            f"{file}: cannot be read as model.tar.gz ({_kind_of(file) or error}): cut short, "
            "damaged or another format; make it again with `python -m serve.sagemaker package`"
        ) from error
    if not seen:
        raise ArtifactError(f"{file}: empty, expected one artifact at least")
    found = {group: _verified(file, group, seen[group], texts) for group in sorted(seen)}
    if len({group.rpartition("/")[0] if group else None for group in seen}) > 1:
        raise ArtifactError(f"{file}: artifacts in it lie in {sorted(seen)}; put them side by side")
    return found


def _kind_of(file: Path) -> str:
    """What a file is that is no gzip, if people mistake it for one; empty if nobody knows."""
    with file.open("rb") as raw:
        head = raw.read(512)
    if head[_USTAR] == b"ustar":
        return "it is a tar without gzip"
    kinds = (kind for start, kind in OTHER_KINDS.items() if head.lstrip().startswith(start))
    return next((f"it is {kind}" for kind in kinds), "")


def _checked_name(parts: list[str], file: Path) -> tuple[str, str]:
    """An artifact's folder in the archive, "" for none, and the file's name."""
    if not 0 < len(parts) <= DEEPEST or not all(map(_PLAIN.fullmatch, parts)):
        raise ArtifactError(
            f"{file}: {'/'.join(parts)!r} does not belong in it, only plain files named "
            "<artifact>/<file>; make it with `python -m serve.sagemaker package`"
        )
    return "/".join(parts[:-1]), parts[-1]


def _told(
    data: Iterator[bytes], hashed: Callable[[bytes], None], kept: Optional[io.BytesIO]
) -> Iterator[bytes]:
    for block in data:
        hashed(block)
        if kept is not None:
            kept.write(block)
        yield block


def _verified(
    file: Path, group: str, found: dict[str, tuple[int, str]], texts: dict[str, bytes]
) -> Manifest:
    where = f"{file}: {group or 'its top'}"
    if group not in texts:
        raise ArtifactError(
            f"{where} has no {MANIFEST}, so it is no artifact, and {sorted(found)[0]} does not "
            "belong in it; leave it out"
        )
    try:
        manifest = from_json(texts[group].decode("utf-8"))
    except (ArtifactError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: {error}") from None
    if group and manifest.name != group.rpartition("/")[2]:
        raise ArtifactError(f"{where}: its manifest says {manifest.name}; pack it again")
    expected = {spec.name: (spec.bytes, spec.sha256) for spec in manifest.files}
    if {inner: facts for inner, facts in found.items() if inner != MANIFEST} != expected:
        raise ArtifactError(
            f"{where}: its files are not those the manifest names, byte for byte; pack it again"
        )
    return manifest
