"""The front door of every command: what is logged, what an error becomes, and the exit status.

A parser and a function of its arguments in; an exit status out: 0 done, 1 failed, 2 bad usage, 130
stopped by Ctrl-C, 143 by SIGTERM. Results go to stdout, all else to stderr. Standard library only.
"""

import argparse
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Optional, Union

from runtime.errors import DepthError, first_line
from runtime.optional import missing

LOG_LEVEL = "DEPTH_LOG_LEVEL"  # DEBUG: tracebacks too
DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

log = logging.getLogger(__name__)


class UsageError(DepthError):
    """Options that do not go together: the command is shown how it is called, and ends with 2."""


def run_command(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], Union[int, None]],
    argv: Optional[Sequence[str]] = None,
    stopped: str = "stopped",
) -> int:
    """Parse the command line and do the work; the only place where an error ends a command.

    Args:
        work: gets the parsed arguments; returns the exit status, None for done. If they hold a
            ``parser``, a sub-command's own, that one's usage is shown.
        argv: without the program's name; None takes this process's.
        stopped: what is said after Ctrl-C: what stays of the work.
    Returns:
        the exit status; DepthError, OSError and an extra that is not installed become one
        sentence on stderr.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(level=_log_level(), format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are bytes, of any encoding
        sys.stdout.reconfigure(errors="surrogateescape")
    before = _unwind_on_sigterm()
    try:
        return work(args) or DONE
    except UsageError as error:
        asked = getattr(args, "parser", parser)
        asked.print_usage(sys.stderr)
        print(f"{asked.prog}: error: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `command | head`: nobody reads any more
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 Python flushes it at its end
        return FAILED
    except ModuleNotFoundError as error:
        told = missing(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return FAILED
    except (DepthError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        log.debug("the error's way", exc_info=True)
        return FAILED
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def sentence(error: BaseException, about: str = "") -> str:
    """An error as one line: what the system says of a file comes with the file's name.

    What nobody foresaw comes with its kind: a MemoryError alone says nothing.

    Args:
        about: a name that the line must have.
    """
    if isinstance(error, (DepthError, OSError)):
        said, names = first_line(error), []
        if not isinstance(error, DepthError) and error.strerror:
            names = [str(name) for name in (error.filename, error.filename2) if name is not None]
            said = ": ".join((*names[:1], error.strerror))
    else:
        said = f"{type(error).__name__}: {first_line(error)} ({LOG_LEVEL}=DEBUG shows where)"
    return said if about in said else f"{about}: {said}"


def _log_level() -> int:
    """What the environment asks for, as of the service; INFO if it is none that there is."""
    level = logging.getLevelName(os.environ.get(LOG_LEVEL, "INFO"))
    return level if isinstance(level, int) else logging.INFO


def _unwind_on_sigterm() -> Optional[Callable[..., object]]:
    """Have SIGTERM end the work as an exception does, so that nothing half made stays."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    except ValueError:  # not the main thread: somebody else's process
        return None
    return signal.SIG_DFL  # type: ignore[return-value]


def positive(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


def above_zero(text: str) -> float:
    """Argument type: a finite number above 0, as of pixels or seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return number


def size_hw(text: str) -> tuple[int, int]:
    """Argument type: ``HxW``, height first."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r}: give HEIGHTxWIDTH, as 518x686")
    return int(height), int(width)


def some_of(choices: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Argument type: a comma-separated list of these words, each kept once, in the order given."""

    def words(text: str) -> tuple[str, ...]:
        wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if not wanted or any(word not in choices for word in wanted):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give some of {','.join(choices)}, separated by commas"
            )
        return wanted

    return words
