"""A file or a folder that is there whole, or not at all.

Bytes in; what readers see is the old content or the new one. Whatever is half written lies beside
its place under a name that begins with ``PARTIAL``, which listings skip and ``sweep`` removes.
Files are read whole, too, within a limit; ``sha256_of`` tells one's content from another's.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Optional, Union

from runtime.errors import InputError, LimitError

PARTIAL = ".partial-"
STALE_S = 86400.0  # nothing takes a day to be written
# What a disk says that takes nothing any more, whatever is written
GONE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENXIO, errno.ENODEV}
GONE |= {errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2
_HOST = socket.gethostname().replace("/", "-").replace("@", "-")[:64]


def write_whole(
    file: Path, data: Union[bytes, Iterable[bytes]], scratch: Optional[Path] = None
) -> None:
    """Write a file under another name, then rename it. Its folder is made if it is not there.

    Args:
        data: all of it, or its blocks.
        scratch: a folder of the same file system for what is half written; by default the file's.
    Raises:
        OSError: the disk refuses; the file is then as it was.
    """
    with writing_whole(file, scratch) as out:
        for block in (data,) if isinstance(data, bytes) else data:
            out.write(block)


@contextlib.contextmanager
def writing_whole(file: Path, scratch: Optional[Path] = None) -> Iterator[BinaryIO]:
    """The same for writers that want an open file; what ends with an exception leaves nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = scratch or file.parent
    beside.mkdir(parents=True, exist_ok=True)
    partial = beside / partial_name()
    try:
        with partial.open("xb") as out:
            yield out
        partial.replace(file)
    except OSError as error:  # named after what was to be written
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """A scratch folder in ``root`` that is gone afterwards, whatever happens."""
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    folder = root / partial_name()
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(fresh: Path, target: Path) -> None:
    """Put a finished folder in the place of another, which is removed.

    On Linux both change places in one step: whenever the process is killed, one of them is there.

    Raises:
        OSError: the disk refuses; the old folder is then back in its place.
    """
    with partial_folder(target.parent) as aside:
        older = target.exists()
        if older and _exchanged(fresh, target):
            fresh.rename(aside / "old")
            return
        if older:
            target.rename(aside / "old")
        try:
            fresh.rename(target)
        except OSError:
            if older:
                (aside / "old").rename(target)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Have two folders change places in one step; False if this system or disk cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # not Linux, or an old one
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def check_output_folder(folder: Path) -> None:
    """Refuse, before any work, a folder that could not be made or written to. Leaves nothing there.

    Raises:
        InputError: a file is in its way, or the disk refuses.
    """
    with _named(folder, "folder"):
        place = _nearest(folder)
        if not place.is_dir():
            below = "" if place == folder else f" {place}"
            raise InputError(f"{folder}:{below} is not a folder; name one to write to")
        probe = place / partial_name()
        probe.mkdir()
        probe.rmdir()


def check_output_file(file: Path) -> None:
    """The same for a file.

    Raises:
        InputError: a folder has its name, or its own folder could not be made or written to.
    """
    with _named(file, "file"):
        if _nearest(file) == file and file.is_dir():
            raise InputError(f"{file}: is a folder; name a file to write to")
    check_output_folder(file.parent)


@contextlib.contextmanager
def _named(place: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{place}: cannot be written to ({error.strerror}); name another {kind}"
        ) from error


def _nearest(folder: Path) -> Path:
    """The path itself if something is there, else the nearest above it."""
    try:
        folder.stat()
    except FileNotFoundError:  # nothing, or a link to nothing, which cannot be made a folder
        return folder if folder.is_symlink() else _nearest(folder.parent)
    except NotADirectoryError:  # a file among the folders above
        return _nearest(folder.parent)
    return folder


def partial_name() -> str:
    """A name for what is half written, of a length that does not depend on the final one."""
    return f"{PARTIAL}{_HOST}@{os.getpid()}@{uuid.uuid4().hex[:12]}"


def sweep(folder: Path) -> None:
    """Remove what ended processes of this machine left half written, and what is a day old."""
    for path in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):  # another process was quicker, or may and we may not
            if _abandoned(path):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def read_whole(file: Path, limit_bytes: int) -> bytes:
    """A file's bytes; what it is and how large is looked at before it is read.

    Raises:
        InputError: no such file, it cannot be read, or it is a folder, a device or a pipe, which
            could be read for ever.
        LimitError: it is larger.
    """
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
            raise InputError(f"{file}: {what}, expected a file")
        size = found.st_size
        if size <= limit_bytes:
            with file.open("rb") as opened:
                data = opened.read(limit_bytes + 1)
            size = len(data)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: cannot be read ({reason(error)})") from None
    if size > limit_bytes:
        raise LimitError(f"{file}: {size:,} bytes, limit {limit_bytes:,}")
    return data


def reason(error: Exception) -> str:
    """What the system says of a file, without its name."""
    return str(getattr(error, "strerror", None) or error)


def is_gone(error: BaseException) -> bool:
    """Whether a disk refuses this write and will refuse all others: full, read-only, unplugged."""
    return isinstance(error, OSError) and error.errno in GONE


def ignores_case(folder: Path) -> bool:
    """Whether the disk of a folder takes ``a`` and ``A`` for one name; False if nobody can ask."""
    try:
        place = _nearest(folder)
        probe = place / partial_name()
        probe.mkdir()
    except OSError:
        return False
    try:
        return probe.with_name(probe.name.swapcase()).exists()
    finally:
        probe.rmdir()


def sha256_of(path: Path) -> str:
    """Hash a file without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_running(pid: int) -> bool:
    """Whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _abandoned(path: Path) -> bool:
    parts = path.name[len(PARTIAL) :].split("@")
    if len(parts) != 3 or not parts[1].isdecimal():
        return False  # none of ours
    if parts[0] == _HOST and not is_running(int(parts[1])):
        return True
    return time.time() - path.stat().st_mtime > STALE_S
