"""A sequence's journal: its lines one at a time, torn ends, and memory that does not grow."""

import json
import subprocess
import sys
import tracemalloc
from array import array
from pathlib import Path

import numpy as np
import pytest

from apps.sequence_lines import JournalLines, whole_rows
from apps.sequence_store import WindowMaps, encode_window, sequence_store
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent


def journal(file, count, width=1):
    """A file of so many lines, and its lines."""
    starts = array("Q", [0])
    with file.open("wb") as out:
        for number in range(count):
            row = json.dumps({"window": number, "more": list(range(width))}).encode() + b"\n"
            out.write(row)
            starts.append(starts[-1] + len(row))
    return JournalLines(file, starts)


def test_lines_are_a_sequence_that_grows(tmp_path):
    lines = journal(tmp_path / "journal", 5)
    assert len(lines) == 5 and lines[-1]["window"] == 4 and lines[1]["window"] == 1
    assert [line["window"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["window"] for line in lines[1:4]] == [1, 2, 3] and lines[2:][0]["window"] == 2
    assert [line["window"] for line in reversed(lines[1:4])] == [3, 2, 1]
    assert len(lines.only(2)) == 2 and len(lines[4:2]) == 0 and not lines.only(0)
    with pytest.raises(IndexError):
        lines[5]
    row = b'{"window": 5}\n'
    with (tmp_path / "journal").open("ab") as out:
        out.write(row)
    lines.appended(len(row))
    assert len(lines) == 6 and lines[5] == {"window": 5}


def test_lines_that_are_looked_through_are_not_held(tmp_path):
    lines = journal(tmp_path / "journal", 400, 500)
    tracemalloc.start()
    try:
        assert sum(line["window"] for line in lines) == 79800
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "journal").stat().st_size > 8e5 and most < 1e5


def test_a_torn_end_is_no_line_and_goes_when_the_run_goes_on(tmp_path):
    maps = WindowMaps(*np.ones((2, 1, 4, 6), np.float32), np.eye(4)[None, :3], np.eye(3)[None])
    data = encode_window(maps)
    with sequence_store(tmp_path) as store:
        store.begin({"input": {}}, False)
        for _ in range(3):
            store.append(data, {"frames": [0], "problem": ""})
    file = tmp_path / "_sequence" / "journal.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"window": 3, "fra')
    assert len(list(whole_rows(file))) == 4
    with sequence_store(tmp_path) as store:
        store.begin({"input": {}}, False)
        assert len(store.lines) == 3 and file.read_bytes() == whole
    (tmp_path / "_sequence" / "windows" / "000001.npz").unlink()
    with sequence_store(tmp_path) as store:
        store.begin({"input": {}}, False)
        assert len(store.lines) == 1
        assert file.read_bytes() == b"".join(whole.splitlines(True)[:2])
        names = [file.name for file in (tmp_path / "_sequence" / "windows").iterdir()]
        assert names == ["000000.npz"]


@pytest.mark.parametrize("row", [b"[1]\n", b"nothing\n", b"{}\n", b'{"end": 1}\n{"window": 1}\n'])
def test_a_damaged_journal_is_said(tmp_path, row):
    with sequence_store(tmp_path) as store:
        store.begin({"input": {}}, False)
    file = tmp_path / "_sequence" / "journal.jsonl"
    file.write_bytes(file.read_bytes() + row)
    with sequence_store(tmp_path) as store, pytest.raises(InputError, match="damaged"):
        store.begin({"input": {}}, False)


def test_memory_of_200_and_of_2000_frames_is_the_same_within_5_percent():
    """A process each; simulated maps."""
    words = "import benchmarks.sequence as s, sys; s.case(int(sys.argv[1]))"
    mib = []
    for length in (200, 2000):
        run = [sys.executable, "-c", words, str(length)]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, check=True)
        mib.append(json.loads(done.stdout.splitlines()[-1])["mib"])
    assert max(mib) < 1.05 * min(mib)
