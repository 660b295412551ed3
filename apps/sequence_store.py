"""What the first pass of a sequence leaves on disk: a file a window, and a line a window.

Maps in their window's own gauge in; the same maps out, as they were stored: depth in 16 bits of its
logarithm, confidence in 8. A line is written after its file is in place, so that a killed run loses
the window it was at, and no more. The folder belongs to one run at a time.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import zipfile
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Optional

import numpy as np

from apps.sequence_lines import JournalLines, parsed, whole_rows
from exports.npz import encode_npz
from runtime.errors import InputError
from runtime.files import read_whole, sweep, write_whole

FOLDER, JOURNAL, WINDOWS, LOCK = "_sequence", "journal.jsonl", "windows", "lock"
FORMAT = 1
DEPTH_STEPS, CONF_STEPS = 65534, 255  # 0 stands for no depth
WINDOW_BYTES = 1 << 32


@dataclass(frozen=True, eq=False)
class WindowMaps:
    """A window in its own gauge.

    Args:
        depth, conf: float32 (n, H, W); 0 where there is no depth.
        extrinsics: float64 (n, 3, 4), world-to-camera; intrinsics: float64 (n, 3, 3), of the views.
        sky: bool (n, H, W), if the model tells it.
        descriptors: float16 (n, C), if the encoder was heard.
    """

    depth: np.ndarray
    conf: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    sky: Optional[np.ndarray] = None
    descriptors: Optional[np.ndarray] = None


def encode_window(maps: WindowMaps) -> bytes:
    """The bytes of a window's file."""
    depth, conf = np.asarray(maps.depth, np.float64), np.asarray(maps.conf, np.float64)
    there = np.isfinite(depth) & (depth > 0)
    logs = np.log(np.where(there, depth, 1.0))
    low, high = _limits(logs[there])
    codes = 1 + np.round((logs - low) / (high - low) * DEPTH_STEPS)
    excess = np.log(np.maximum(np.nan_to_num(conf, nan=1.0, posinf=1e30), 1.0))
    most = max(float(excess.max()), 1e-6)
    arrays = {
        "depth": np.where(there, codes, 0).astype(np.uint16),
        "conf": np.round(excess / most * CONF_STEPS).astype(np.uint8),
        "ranges": np.array([low, high, most]),
        "extrinsics": np.asarray(maps.extrinsics, np.float64)[:, :3],
        "intrinsics": np.asarray(maps.intrinsics, np.float64),
    }
    if maps.sky is not None:
        arrays["sky"] = np.packbits(maps.sky, axis=-1)
    if maps.descriptors is not None:
        arrays["descriptors"] = np.asarray(maps.descriptors, np.float16)
    return encode_npz(arrays, {"format": FORMAT})


def decode_window(data: bytes, about: str = "window") -> WindowMaps:
    """The maps of a window's file.

    Raises:
        InputError: it is none.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        low, high, most = found["ranges"]
        codes = found["depth"]
        steps = (codes.astype(np.float64) - 1) / DEPTH_STEPS
        depth = np.where(codes > 0, np.exp(low + steps * (high - low)), 0.0)
        conf = np.exp(found["conf"].astype(np.float64) / CONF_STEPS * most)
        sky = found.get("sky")
        if sky is not None:
            sky = np.unpackbits(sky, axis=-1, count=codes.shape[-1]).astype(bool)
        return WindowMaps(
            depth.astype(np.float32),
            conf.astype(np.float32),
            found["extrinsics"],
            found["intrinsics"],
            sky,
            found.get("descriptors"),
        )
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{about}: damaged ({error}); remove it and run again") from None


def _limits(logs: np.ndarray) -> tuple[float, float]:
    low, high = (float(logs.min()), float(logs.max())) if logs.size else (0.0, 1.0)
    return low, high if high > low else low + 1e-6


class SequenceStore:
    """A sequence's folder; made by ``sequence_store``.

    Attributes:
        header: the journal's first line; lines: of windows, in their order, read when they are
        asked for; ended: the last line, if there is no more to come.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: dict[str, Any] = {}
        self.lines = JournalLines(folder / JOURNAL, array("Q", [0]))
        self.ended: Optional[dict[str, Any]] = None
        self._out: Optional[BinaryIO] = None

    def read(self) -> bool:
        """Read the journal: whether there is one. A torn last line does not count.

        Raises:
            InputError: it is damaged, or of another version.
        """
        file = self.folder / JOURNAL
        if not file.exists():
            return False
        rows = whole_rows(file)
        first = next(rows, None)
        if first is None:
            return False
        self.header = parsed(first, file)
        version = self.header.get("format")
        if version != FORMAT:
            raise InputError(f"{file}: format {version}, this program has {FORMAT}; --from-start")
        self._begins_at(len(first))
        for row in rows:
            facts = parsed(row, file)
            if self.ended is not None or not facts.keys() & {"window", "end"}:
                raise InputError(f"{file}: damaged; --from-start begins anew")
            if "window" in facts:
                self.lines.appended(len(row))
            else:
                self.ended = facts
        return True

    def begin(self, header: Mapping[str, Any], from_start: bool) -> None:
        """Go on with what is there, if it was the same job; else begin.

        Raises:
            InputError: what is there is of another input or of other settings; says which.
            OSError: the disk refuses.
        """
        file = self.folder / JOURNAL
        wanted = json.loads(json.dumps({"format": FORMAT, **header}))
        if not from_start and self.read():
            different = _differences(self.header, wanted)
            if different:
                raise InputError(
                    f"{self.folder}: begun with other {', '.join(different)}; --from-start begins "
                    "anew, or name another folder"
                )
            whole = self._whole()
            if whole < len(self.lines):
                self.lines, self.ended = self.lines.only(whole), None
            if self.ended is None:  # what a kill has torn goes
                os.truncate(file, self.lines.end)
        else:
            self.header, row = wanted, json.dumps(wanted).encode() + b"\n"
            write_whole(file, row)
            self._begins_at(len(row))
        (self.folder / WINDOWS).mkdir(parents=True, exist_ok=True)
        sweep(self.folder / WINDOWS)
        for window in (self.folder / WINDOWS).glob("*.npz"):
            number = int(window.stem) if window.stem.isdecimal() else -1
            if not 0 <= number < len(self.lines) or window.name != f"{number:06d}.npz":
                window.unlink()
        self._out = file.open("ab")

    def _begins_at(self, start: int) -> None:
        self.lines, self.ended = JournalLines(self.folder / JOURNAL, array("Q", [start])), None

    def _whole(self) -> int:
        """Windows from the first on whose files are there."""
        for at, line in enumerate(self.lines):
            file = self.folder / line["file"]
            if not file.is_file() or file.stat().st_size != line["bytes"]:
                return at
        return len(self.lines)

    def append(self, maps: bytes, line: Mapping[str, Any]) -> None:
        """Keep a window: its file, then its line.

        Raises:
            OSError: the disk refuses.
        """
        name = f"{WINDOWS}/{len(self.lines):06d}.npz"
        write_whole(self.folder / name, maps)
        facts = {"file": name, "bytes": len(maps), "sha256": hashlib.sha256(maps).hexdigest()}
        row = {"window": len(self.lines), **line, **facts}
        self.lines.appended(self._write(row))

    def end(self, line: Mapping[str, Any]) -> None:
        """Note that there is no more window."""
        self.ended = {"end": len(self.lines), **line}
        self._write(self.ended)

    def _write(self, row: Mapping[str, Any]) -> int:
        """A line to the disk; how many bytes it has."""
        assert self._out is not None
        data = json.dumps(row).encode() + b"\n"
        self._out.write(data)
        self._out.flush()
        os.fsync(self._out.fileno())
        return len(data)

    def window(self, number: int) -> WindowMaps:
        """A window's maps.

        Raises:
            InputError: its file is not what was written.
        """
        return self.maps_of(self.lines[number])

    def maps_of(self, line: Mapping[str, Any]) -> WindowMaps:
        """The same, by a window's line."""
        file = self.folder / line["file"]
        data = read_whole(file, WINDOW_BYTES)
        if hashlib.sha256(data).hexdigest() != line["sha256"]:
            raise InputError(f"{file}: not what was written; remove it and run again")
        return decode_window(data, str(file))

    def close(self) -> None:
        """Close the journal."""
        if self._out is not None:
            self._out.close()


@contextlib.contextmanager
def sequence_store(output: Path) -> Iterator[SequenceStore]:
    """The store below an output's folder, held by this run.

    Raises:
        InputError: another run has it.
    """
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{output}: another run works on it; wait, or name another") from None
        store = SequenceStore(folder)
        try:
            yield store
        finally:
            store.close()


def read_store(output: Path) -> SequenceStore:
    """What there is of a sequence, to be looked at.

    Raises:
        InputError: nothing.
    """
    store = SequenceStore(output / FOLDER)
    if not store.read():
        raise InputError(f"{output}: no sequence there; begin it with `run`")
    return store


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of what differs, of parts by their own."""
    names = []
    for name in sorted({*there, *wanted}):
        one, other = there.get(name), wanted.get(name)
        if one == other or (one != one and other != other):
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            names += [f"{name}.{inner}" for inner in _differences(one, other)]
        else:
            names.append(name)
    return names


def finite(value: float) -> float:
    """A number as JSON has it: one that is none becomes 0."""
    return float(value) if math.isfinite(value) else 0.0
