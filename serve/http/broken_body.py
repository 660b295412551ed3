"""After a broken body nobody knows where the next request begins: its connection is closed.

gunicorn goes on reading there, and would take what is left of the body for a request. It names each
request to its hook ``pre_request``, in the thread that answers it.
"""

import threading
from typing import Any

_now = threading.local()


def begin(worker: Any, request: Any) -> None:
    """gunicorn's hook: this thread answers that request next."""
    _now.request = request


def close_after_answer() -> None:
    """The request that this thread answers is the last one on its connection."""
    request = getattr(_now, "request", None)
    if request is not None:
        request.force_close()
