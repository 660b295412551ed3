"""What a door adds to the service: a model that it brings itself, and routes of its own.

The service asks a ``Door`` in each worker; it knows neither its model nor its routes. A service
without one answers requests for depth from artifacts, and that is all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Protocol

from flask import Blueprint

from serve.http.handlers import Handler
from serve.http.request_body import DepthRequest
from serve.http.settings import Settings

if TYPE_CHECKING:
    from serve.http.service import Service

EAGER = "eager"  # the target of a model that was not compiled


class Served(Protocol):
    """The model of a worker: what it is, and who works on a request."""

    name: str
    target: str  # of its artifacts, or EAGER

    @property
    def licence(self) -> str:
        """Of its weights."""

    @property
    def warning(self) -> Optional[str]:
        """Why its numbers mean nothing; None if they do."""

    @property
    def streams(self) -> Mapping[str, Any]:
        """``at_once``: how many calls run at once; ``why``."""

    def warm_up(self) -> None:
        """Load all, run it, and time it."""

    def handler_of(self, asked: DepthRequest) -> Handler:
        """Who works on a request.

        Raises:
            InputError: this model cannot do that.
        """


@dataclass(frozen=True)
class Extension:
    """Routes of a door.

    Args:
        blueprint: them.
        open: paths that no token is asked for: pages without data, and what they are made of.
        paths: what the OpenAPI document says of them.
        title: of a link on the service's own page, to the first of ``open``.
    """

    blueprint: Blueprint
    open: tuple[str, ...] = ()
    paths: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


class Door(Protocol):
    """What stands before the service; made before its workers, and asked in each of them."""

    def extend(self, service: "Service") -> Sequence[Extension]:
        """Its routes, before the model is loaded."""

    def load(self, settings: Settings, threads: Optional[int]) -> Served:
        """The model; called at a worker's start, and by ``Service.reload``."""
