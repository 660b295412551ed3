"""What became of one photo or video: files, or an error that ends the whole job or only this one.

The one answer to an error in jobs over many sources, wherever their work is done in this thread.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from runtime.command_line import sentence
from runtime.errors import ArtifactError, DeviceError
from runtime.files import is_gone
from runtime.predict.pipeline import note


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: files, or the error that stopped it."""

    photo: Path
    files: list[Path] = field(default_factory=list)
    error: Optional[str] = None


def failure(source: Path, error: Exception) -> Outcome:
    """An error as what became of a source, what nobody foresaw in the log too.

    Raises:
        Exception: that error, if no other source can be done either: the model cannot run, or the
            storage is gone.
    """
    if isinstance(error, (ArtifactError, DeviceError)) or is_gone(error):
        raise error
    note(source, error)
    return Outcome(source, error=sentence(error, str(source)))


def outcome_of(source: Path, work: Callable[[], list[Path]]) -> Outcome:
    """Do a source's work, which gives the files written; errors as for ``failure``."""
    try:
        return Outcome(source, work())
    except Exception as error:
        return failure(source, error)
