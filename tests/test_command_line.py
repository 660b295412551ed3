"""What an error becomes on the command line: one sentence and an exit status."""

import argparse
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.command_line import (
    UsageError,
    above_zero,
    positive,
    run_command,
    size_hw,
    some_of,
)
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent


def parser():
    made = argparse.ArgumentParser(prog="tool")
    made.add_argument("--count", type=positive, default=1)
    return made


def raising(error):
    def work(args):
        raise error

    return work


def test_the_status_is_what_the_work_returns_and_zero_if_it_returns_nothing():
    assert run_command(parser(), lambda args: None, []) == 0
    assert run_command(parser(), lambda args: args.count, ["--count", "3"]) == 3


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("photo: too small"), 1, "error: photo: too small\n"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x/y"), 1, "error: x/y: No"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "README.md"), 1, "error: README.md:"),
        (OSError("the disk is full"), 1, "error: the disk is full\n"),
        (UsageError("--a and --b do not go together"), 2, "tool: error: --a and --b"),
        (KeyboardInterrupt(), 130, "stopped; results stay\n"),
    ],
    ids=["ours", "missing", "no-folder", "no-number", "usage", "ctrl-c"],
)
def test_an_error_becomes_one_sentence_and_a_status(error, status, said, capsys):
    assert run_command(parser(), raising(error), [], "stopped; results stay") == status
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err and not printed.out


def test_what_nobody_expected_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(parser(), lambda args: 1 / 0, [])


def test_bad_usage_ends_with_two():
    with pytest.raises(SystemExit) as ended:
        run_command(parser(), lambda args: 0, ["--count", "0"])
    assert ended.value.code == 2


PROGRAM = """
import argparse, os, signal, sys, time
from runtime.command_line import run_command
def work(args):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        print("cleaned up")
sys.exit(run_command(argparse.ArgumentParser(), work, []))
"""


def test_sigterm_unwinds():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (143, "cleaned up\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


CHATTY = """
import argparse, sys
from runtime.command_line import run_command
def work(args):
    for _ in range(99999):
        print("x" * 99)
sys.exit(run_command(argparse.ArgumentParser(), work, []))
"""


def test_a_reader_that_leaves_is_no_error(tmp_path):
    (tmp_path / "chatty.py").write_text(CHATTY)
    ended = subprocess.run(
        f"{sys.executable} {tmp_path}/chatty.py | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.stdout == "x" * 99 + "\n"
    assert ended.stderr == ""


NAMING = """
import argparse, sys
from runtime.command_line import run_command
sys.exit(run_command(argparse.ArgumentParser(), lambda args: print("a\\udcfc.png"), []))
"""


def test_names_that_are_no_text_are_printed_as_the_bytes_they_are():
    ended = subprocess.run([sys.executable, "-c", NAMING], capture_output=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (0, b"a\xfc.png\n"), ended.stderr


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_positive_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-5", "nan", "inf", "x"])
def test_above_zero_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        above_zero(text)


def test_sizes_and_lists():
    assert size_hw("518x686") == (518, 686)
    with pytest.raises(argparse.ArgumentTypeError, match="HEIGHTxWIDTH"):
        size_hw("518")
    assert some_of(("a", "b"))("b, a,b") == ("b", "a")
    with pytest.raises(argparse.ArgumentTypeError, match="some of a,b"):
        some_of(("a", "b"))("c")
