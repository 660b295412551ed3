"""An artifact for a side of a comparison, or why there is none: a job in, one of both out."""

import logging
from typing import Optional

from compile.job import CompileJob, compile_model
from runtime.artifact.folder import Artifact
from runtime.errors import CompileError, InputError, MissingDependency

log = logging.getLogger(__name__)


def made_or_left_out(job: CompileJob, name: str, left_out: dict[str, str]) -> Optional[Artifact]:
    """Compile a job of one size; if it cannot be, its ``name`` and the reason go to left_out.

    InputError, too: so a precision is refused that this processor does not compute exactly.
    """
    try:
        (artifact,) = compile_model(job)
    except (CompileError, InputError, MissingDependency) as error:
        left_out[name] = str(error)
        log.warning("%s is left out: %s", name, error)
        return None
    return artifact
