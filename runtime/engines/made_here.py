"""Programs that were made of graphs on this machine, kept for the next start.

A graph's facts and what makes a program of it in; a program's file out. To load such a file is to
execute it, so only our own are ever handed out: files of this user that nobody else may write, in a
folder that nobody else may enter, and whose names carry a code that needs this user's secret. What
came with an artifact cannot have that, whatever is in it.
"""

import atexit
import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Optional

from runtime.files import partial_folder, write_whole

log = logging.getLogger(__name__)

FORMAT = 1  # another one makes all programs anew
BESIDE = ".compiled"  # in the artifact's folder
OURS = "depth-anything-inferentia"  # in the user's cache folder
SECRET, SECRET_BYTES = "secret", 32
KEPT, PRIVATE = 0o022, 0o077  # bits that a file, and a folder, must not have
UNUSED_S = 90 * 24 * 3600.0  # after which a program goes: of an older torch, or another GPU

Make = Callable[[Path], None]  # writes the program to this file


def made_here(artifact: Path, facts: Mapping[str, str], suffix: str, make: Make) -> Path:
    """The program for these facts: the one that was made before, or one that is made now.

    It is kept beside the artifact, or in the user's cache folder where that cannot be; where
    neither can be, until this process ends.

    Args:
        artifact: its folder.
        facts: all that the program depends on: the graph's bytes, device, versions.
        suffix: of the file.
        make: called if there is none; what it raises is raised.
    """
    text = json.dumps({**facts, "format": FORMAT}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    mine = _user_folder()
    secret = None if mine is None else _secret(mine)
    if mine is None or secret is None:
        log.warning("no folder for programs made here, nor HOME to have one: made at each start")
        file = _until_the_end() / f"{key}{suffix}"
        make(file)
        return file
    places = [place for place in (_private(artifact / BESIDE), mine) if place is not None]
    for place in places:
        found = _find(place, key, suffix, secret)
        if found is not None:
            return found
    with _alone(places[0] / f".{key}.lock"):
        found = _find(places[0], key, suffix, secret)  # another process was quicker
        return found or _make(places[0], key, suffix, secret, make)


def _user_folder() -> Optional[Path]:
    """This user's own folder for what is made here; None where none can be."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (given if given.is_absolute() else Path("~/.cache").expanduser()) / OURS
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return _private(folder)


def _private(folder: Path) -> Optional[Path]:
    """A folder that only this user may enter, made if it is not there; None if it is not that."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return None
    return None if found.st_mode & PRIVATE or not os.access(folder, os.W_OK) else folder


def _secret(folder: Path) -> Optional[bytes]:
    """What only this user knows; made once."""
    file = folder / SECRET
    try:
        with _alone(folder / f".{SECRET}.lock"):
            if not _is_ours(file) or file.stat().st_size != SECRET_BYTES:
                write_whole(file, secrets.token_bytes(SECRET_BYTES))
                file.chmod(0o600)
        found = file.read_bytes()
    except OSError:
        return None
    return found if len(found) == SECRET_BYTES else None


def _is_ours(file: Path) -> bool:
    """True for a file of this user that nobody else may write."""
    try:
        found = file.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & KEPT


def _find(place: Path, key: str, suffix: str, secret: bytes) -> Optional[Path]:
    for file in sorted(place.glob(f"{key}-*{suffix}")):
        code = file.name[len(key) + 1 : -len(suffix)]
        if _is_ours(file) and hmac.compare_digest(code.encode(), _code(file, key, secret).encode()):
            with contextlib.suppress(OSError):
                os.utime(file)  # in use: see _sweep
            return file
        log.warning("%s: not made here, or changed since; it is not used", file)
    return None


def _make(place: Path, key: str, suffix: str, secret: bytes, make: Make) -> Path:
    with partial_folder(place) as scratch:
        fresh = scratch / f"program{suffix}"
        make(fresh)
        fresh.chmod(0o600)
        file = place / f"{key}-{_code(fresh, key, secret)}{suffix}"
        fresh.replace(file)
    _sweep(place)
    return file


def _sweep(place: Path) -> None:
    """Remove programs that nobody has loaded for long; who holds one has read all of it."""
    oldest = time.time() - UNUSED_S
    for file in place.glob("*-*.*"):
        with contextlib.suppress(OSError):
            if not file.name.startswith(".") and _is_ours(file) and file.stat().st_mtime < oldest:
                file.unlink()


def _code(file: Path, key: str, secret: bytes) -> str:
    """What ties a file's bytes to its key and to this user."""
    code = hmac.new(secret, key.encode(), hashlib.sha256)
    with file.open("rb") as opened:
        for block in iter(lambda: opened.read(1 << 20), b""):
            code.update(block)
    return code.hexdigest()


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While this lasts no other process is here; where a disk has no locks, that is not so."""
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _until_the_end() -> Path:
    """A folder that is gone when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="depth-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
