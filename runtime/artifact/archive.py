"""Several artifacts in one file, ``model.tar.gz``, as SageMaker unpacks it into /opt/ml/model.

Verified artifacts in, the same bytes out for the same artifacts; and back, from a file that nobody
has to trust. Only ``<artifact>/<file>`` entries, plain files with plain names: links, devices,
folders, extended headers and absolute or climbing paths are refused, not skipped.
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
from typing import BinaryIO, Optional

from runtime.artifact.folder import (
    MANIFEST,
    MANIFEST_BYTES,
    Artifact,
    read_artifact,
)
from runtime.artifact.manifest import PLAIN, Manifest, from_json
from runtime.errors import ArtifactError, InputError
from runtime.files import partial_folder, writing_whole

LIMIT_BYTES = 16 << 30  # twice the largest model in float32
LIMIT_FILES = 1000
LEVEL = 1  # weights are noise to gzip: higher levels cost minutes and gain nothing
PADDING_BYTES = 1 << 20  # zeros after the last file; tar itself pads to 10 kB
_ENTRY = re.compile(rf"({PLAIN})/({PLAIN})")
_BROKEN = (gzip.BadGzipFile, EOFError, zlib.error, tarfile.HeaderError)

Sink = Callable[[str, str, Iterator[bytes]], None]  # artifact, file, its bytes in blocks


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

            def sink(name: str, inner: str, blocks: Iterator[bytes]) -> None:
                (scratch / name).mkdir(exist_ok=True)
                with (scratch / name / inner).open("xb") as out:
                    for block in blocks:
                        out.write(block)

            manifests = _walk(file, sink, limit_bytes, limit_files)
            for manifest in manifests:
                if (folder / manifest.name).exists():
                    raise ArtifactError(
                        f"{folder / manifest.name} exists already; extract into an empty folder"
                    )
            for manifest in manifests:
                (scratch / manifest.name).rename(folder / manifest.name)
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return [read_artifact(folder / manifest.name) for manifest in manifests]


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

    return _walk(file, sink, limit_bytes, limit_files)


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


def _walk(file: Path, sink: Sink, limit_bytes: int, limit_files: int) -> list[Manifest]:
    """Hand every entry to ``sink``, then hold what was seen against the manifests."""
    seen: dict[str, dict[str, tuple[int, str]]] = {}  # artifact -> file -> size, sha256
    texts: dict[str, bytes] = {}
    try:
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as packed:
            left = limit_bytes
            for count, info in enumerate(_headers(packed, file), 1):
                name, inner = _checked_name(info, file)
                if inner in seen.setdefault(name, {}):
                    raise ArtifactError(f"{file}: {info.name} is in it twice")
                if count > limit_files:
                    raise ArtifactError(f"{file}: more than {limit_files} files in it")
                left -= info.size
                if left < 0:
                    raise ArtifactError(
                        f"{file}: more than {limit_bytes:,} bytes in it, uncompressed"
                    )
                kept = io.BytesIO() if inner == MANIFEST else None
                if kept is not None and info.size > MANIFEST_BYTES:
                    raise ArtifactError(f"{file}: {info.name} is over {MANIFEST_BYTES} bytes")
                digest = hashlib.sha256()
                sink(name, inner, _blocks(packed, info.size, digest.update, kept))
                _skip_padding(packed, info.size)
                seen[name][inner] = (info.size, digest.hexdigest())
                if kept is not None:
                    texts[name] = kept.getvalue()
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactError(
            f"{file}: no such archive; make one with `python -m serve.sagemaker package`"
        ) from None
    except _BROKEN as error:
        raise ArtifactError(
            f"{file}: cannot be read as model.tar.gz ({error}): cut short, damaged or another "
            "format; make it again with `python -m serve.sagemaker package`"
        ) from error
    if not seen:
        raise ArtifactError(f"{file}: empty, expected one artifact at least")
    return [_verified(file, name, seen[name], texts) for name in sorted(seen)]


def _headers(packed: gzip.GzipFile, file: Path) -> Iterator[tarfile.TarInfo]:
    """One header after another; whoever takes one must read its bytes before the next.

    Read block by block and not by ``tarfile.open``, which would follow extended headers of any
    size before we could refuse them.
    """
    while True:
        block = _exactly(packed, tarfile.BLOCKSIZE)
        if block.count(0) == tarfile.BLOCKSIZE:
            break
        yield tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    rest = packed.read(PADDING_BYTES + 1)  # to the end: only there gzip compares its checksum
    if len(rest) > PADDING_BYTES or any(rest):
        raise ArtifactError(f"{file}: bytes after its end; make it again")


def _checked_name(info: tarfile.TarInfo, file: Path) -> tuple[str, str]:
    match = _ENTRY.fullmatch(info.name)
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not match or info.size < 0:
        raise ArtifactError(
            f"{file}: {info.name!r} (type {info.type!r}) does not belong in it, only plain files "
            "named <artifact>/<file>; make it with `python -m serve.sagemaker package`"
        )
    return match[1], match[2]


def _blocks(
    packed: gzip.GzipFile, size: int, hashed: Callable[[bytes], None], kept: Optional[io.BytesIO]
) -> Iterator[bytes]:
    while size:
        block = _exactly(packed, min(size, 1 << 20))
        size -= len(block)
        hashed(block)
        if kept is not None:
            kept.write(block)
        yield block


def _skip_padding(packed: gzip.GzipFile, size: int) -> None:
    _exactly(packed, -size % tarfile.BLOCKSIZE)


def _exactly(packed: gzip.GzipFile, size: int) -> bytes:
    block = packed.read(size)
    if len(block) < size:
        raise EOFError("it ends too early")
    return block


def _verified(
    file: Path, name: str, found: dict[str, tuple[int, str]], texts: dict[str, bytes]
) -> Manifest:
    where = f"{file}: {name}"
    if name not in texts:
        raise ArtifactError(f"{where} has no {MANIFEST}, so it is no artifact")
    try:
        manifest = from_json(texts[name].decode("utf-8"))
    except (ArtifactError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: {error}") from None
    if manifest.name != name:
        raise ArtifactError(f"{where}: its manifest says {manifest.name}; pack it again")
    expected = {spec.name: (spec.bytes, spec.sha256) for spec in manifest.files}
    if {inner: facts for inner, facts in found.items() if inner != MANIFEST} != expected:
        raise ArtifactError(
            f"{where}: its files are not those the manifest names, byte for byte; pack it again"
        )
    return manifest
