"""Pages of a file that an engine has mapped, given back while it makes its own copy of them.

OpenVINO maps a graph's weights and packs them anew for the processor; nothing reads the mapping
after that. Its pages are clean and the system would take them back when it needs memory, but until
then they stand in this process's account. Linux only; elsewhere nothing is done.
"""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

EVERY_S = 0.01  # often enough that little of a file is held at once
MADV_DONTNEED = 4
MAPS = Path("/proc/self/maps")

Area = tuple[int, int]  # address, bytes
Read = TypeVar("Read")


_mapping = threading.Lock()


def mapping_of(file: Path, read: Callable[[], Read]) -> tuple[Read, list[Area]]:
    """What ``read`` returns, and where it has mapped a file; others may have mapped it, too."""
    with _mapping:
        before = set(mapped_areas(file))
        found = read()
        return found, [area for area in mapped_areas(file) if area not in before]


@contextlib.contextmanager
def given_back(areas: Sequence[Area]) -> Iterator[None]:
    """Within the block and at its end, take the pages of a mapped file out of this process.

    They come back from the file when they are read again.

    Args:
        areas: of ``mapping_of``; what mapped them is held by the caller.
    """
    done = threading.Event()
    sweeper = threading.Thread(target=_sweep, args=(areas, done), name="mapped", daemon=True)
    if areas:
        sweeper.start()
    try:
        yield
    finally:
        if areas:
            done.set()
            sweeper.join()


def mapped_areas(file: Path, maps: Path = MAPS) -> list[Area]:
    """Where a file is mapped to be read and not written: whatever is there is in the file, too."""
    try:
        lines = maps.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    name, areas = str(file.resolve()), []
    for line in lines:
        addresses, rights, _, _, _, *path = line.split(maxsplit=5)
        if path == [name] and rights.startswith("r--"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            areas.append((start, end - start))
    return areas


def _sweep(areas: Sequence[Area], done: threading.Event) -> None:
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    last = False
    while not last:
        last = done.wait(EVERY_S)
        for start, length in areas:
            madvise(start, length, MADV_DONTNEED)
