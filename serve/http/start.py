"""The service from its start to its end: nginx and gunicorn, or gunicorn alone.

Settings, artifacts and what a door adds in; an exit status out.
"""

import logging
from pathlib import Path
from typing import Optional

from runtime.errors import InputError
from runtime.predict.choose import Choice
from runtime.predict.found import provenance_of
from serve.http.extension import Door
from serve.http.front import Front
from serve.http.nginx import find_nginx
from serve.http.server import Server
from serve.http.settings import Settings

log = logging.getLogger(__name__)

WITHOUT = (
    "clients that are slow, idle or too many hold the workers, and a request that comes in while "
    "the service stops may be lost; let only well-behaved clients reach it"
)


def run_service(
    settings: Settings, choice: Choice, scratch: Path, door: Optional[Door] = None
) -> int:
    """Serve until told to stop; returns the exit status.

    Args:
        choice: artifacts; none if the door brings a model.
        scratch: a folder of this service alone.
    Raises:
        InputError: nginx is asked for and cannot be used, or as ``Server``.
    """
    warning = provenance_of(choice.artifacts[0]).warning if choice.artifacts else None
    if warning is not None:
        log.warning("%s: %s", choice.model, warning)
    nginx, why_not = find_nginx(settings, scratch)
    if nginx:
        return Front(settings, choice, scratch, nginx, door).run()
    if settings.front == "nginx":
        raise InputError(f"DEPTH_FRONT=nginx: {why_not}")
    log.warning("no nginx in front (%s): %s", why_not, WITHOUT)
    try:
        Server(settings, choice, scratch, door=door).run()
    except SystemExit as stopped:  # gunicorn's way to return
        return int(stopped.code or 0)
    return 0
