"""What the service is told: environment variables in, one frozen, checked ``Settings`` out.

Nothing else in the service reads the environment, but for the variables of other programs
(Neuron's, OpenTelemetry's, Prometheus's) in the modules that are about them.
"""

import dataclasses
import difflib
import ipaddress
import logging
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from runtime.engines import DEVICES
from runtime.errors import InputError
from runtime.predict.streams import AUTO, STREAMS
from serve.http.kubernetes import is_of_a_service

log = logging.getLogger(__name__)

PREFIX = "DEPTH_"
# Variables with our prefix that other parts of the project read
ELSEWHERE = ("DEPTH_CHECKPOINT_DIR", "DEPTH_GOLDEN_DIR")
# How alike a name must be to a setting's to be a slip of it, by difflib's ratio: behind our prefix,
# and as a whole
NEAR, VERY_NEAR = 0.75, 0.9
ABOVE_ZERO = (
    "queue_s",
    "deadline_s",
    "read_timeout_s",
    "send_timeout_s",
    "max_body_mb",
    "max_answer_mb",
)
FRONTS = ("auto", "nginx", "none")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MIB = 1 << 20
JSON_MB = 6  # an answer in JSON is for small maps: a list takes twelve bytes a pixel


def _setting(name: str, default: Any, text: str) -> Any:
    return field(default=default, metadata={"name": name, "help": text})


@dataclass(frozen=True)
class Settings:
    """All settings. ``python -m serve --help`` prints this table, with each variable's name."""

    model_dir: Path = _setting(
        "MODEL_DIR", Path("/opt/ml/model"), "folder of artifacts, or a model.tar.gz; only read"
    )
    model: str = _setting("DEPTH_MODEL", "", "which model, if the folder holds several")
    commercial_only: bool = _setting(
        "COMMERCIAL_ONLY", False, "1: do not start with weights that forbid commercial use"
    )
    host: str = _setting("DEPTH_HOST", "0.0.0.0", "address to listen on; :: for IPv6, too")
    port: int = _setting("SAGEMAKER_BIND_TO_PORT", 8080, "port to listen on")
    safe_ports: str = _setting(
        "SAGEMAKER_SAFE_PORT_RANGE", "", "ports that may be used, as FIRST-LAST"
    )
    device: str = _setting("DEPTH_DEVICE", "auto", "auto, cpu or cuda")
    workers: int = _setting(
        "DEPTH_WORKERS",
        0,
        "processes, each with the model; 0: one, or as many as there are NeuronCores for",
    )
    threads: int = _setting(
        "DEPTH_THREADS", 64, "requests that a worker holds at once, waiting ones among them"
    )
    engine_threads: int = _setting(
        "DEPTH_ENGINE_THREADS", 0, "CPU threads of each worker's engine; 0: its share of the cores"
    )
    streams: str = _setting(
        "DEPTH_STREAMS",
        AUTO,
        "auto: calls of a small network run two at once, a thread each, if a second's "
        "measurement at the start says that this does more; one: never",
    )
    batch_window_ms: float = _setting(
        "DEPTH_BATCH_WINDOW_MS", 5.0, "how long a batch that is not full waits for more"
    )
    queue_s: float = _setting(
        "DEPTH_QUEUE_S", 10.0, "estimated seconds of work that a worker accepts; more is a 429"
    )
    deadline_s: float = _setting(
        "DEPTH_DEADLINE_S", 55.0, "when a request is given up; X-Request-Timeout may ask for less"
    )
    front: str = _setting(
        "DEPTH_FRONT", "auto", "nginx before the service; auto: if it is installed; none"
    )
    read_timeout_s: float = _setting(
        "DEPTH_READ_TIMEOUT_S", 10.0, "for a request's head to arrive, and for its body to go on"
    )
    send_timeout_s: float = _setting(
        "DEPTH_SEND_TIMEOUT_S", 30.0, "for a client to go on taking its answer"
    )
    keep_alive_s: float = _setting(
        "DEPTH_KEEP_ALIVE_S",
        75.0,
        "for a connection at rest; balancers keep theirs for 60",
    )
    connections: int = _setting(
        "DEPTH_CONNECTIONS", 1024, "requests for depth that come, wait or leave at once; then 429"
    )
    client_connections: int = _setting(
        "DEPTH_CLIENT_CONNECTIONS", 512, "of these, those of one client's address"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "DEPTH_TRUSTED_PROXIES",
        (),
        "addresses or networks whose X-Forwarded-For says who the client is, separated by commas",
    )
    drain_s: float = _setting("DEPTH_DRAIN_S", 25.0, "to finish what was accepted, after SIGTERM")
    max_body_mb: float = _setting("DEPTH_MAX_BODY_MB", 25.0, "MiB of a request")
    max_answer_mb: float = _setting(
        "DEPTH_MAX_ANSWER_MB", 64.0, f"MiB of an answer; one in JSON is held to {JSON_MB} as well"
    )
    max_pixels: int = _setting("DEPTH_MAX_PIXELS", 50_000_000, "of a photo, read from its header")
    max_views: int = _setting("DEPTH_MAX_VIEWS", 16, "photos in a request")
    s3_buckets: tuple[str, ...] = _setting(
        "DEPTH_S3_BUCKETS", (), "buckets that s3:// photos may come from, separated by commas"
    )
    token: str = _setting("DEPTH_TOKEN", "", "if set, requests need Authorization: Bearer TOKEN")
    log_level: str = _setting("DEPTH_LOG_LEVEL", "INFO", ", ".join(LEVELS))
    otel: bool = _setting(
        "DEPTH_OTEL", False, "1: OpenTelemetry spans, exported as its OTEL_* variables say"
    )

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not 0 <= value < math.inf:
                raise InputError(f"{one.metadata['name']}={value}: give a number of 0 or more")
        for name, low, high in (
            ("port", 0, 65535),
            ("workers", 0, 64),
            ("threads", 4, 1024),
            ("engine_threads", 0, 1024),
            ("connections", 1, 65_000),
            ("client_connections", 1, 65_000),
            ("max_pixels", 1, 10**9),
            ("max_views", 1, 1024),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{_name_of(name)}={getattr(self, name)}: give {low} to {high:,}")
        for name in ABOVE_ZERO:
            if getattr(self, name) == 0:
                raise InputError(f"{_name_of(name)}=0: give a number above 0")
        if self.device not in DEVICES:
            raise InputError(f"DEPTH_DEVICE={self.device!r}: use one of {', '.join(DEVICES)}")
        if self.streams not in STREAMS:
            raise InputError(f"DEPTH_STREAMS={self.streams!r}: use one of {', '.join(STREAMS)}")
        if self.front not in FRONTS:
            raise InputError(f"DEPTH_FRONT={self.front!r}: use one of {', '.join(FRONTS)}")
        for text in self.trusted_proxies:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise InputError(
                    f"DEPTH_TRUSTED_PROXIES={text!r}: give addresses or networks, as 10.0.0.0/8"
                ) from None
        if self.log_level not in LEVELS:
            raise InputError(f"DEPTH_LOG_LEVEL={self.log_level!r}: use one of {', '.join(LEVELS)}")
        if self.safe_ports:
            first, dash, last = self.safe_ports.partition("-")
            if not (dash and first.isdecimal() and last.isdecimal()):
                raise InputError(f"SAGEMAKER_SAFE_PORT_RANGE={self.safe_ports!r}: give FIRST-LAST")
            if not int(first) <= self.port <= int(last):
                raise InputError(
                    f"SAGEMAKER_BIND_TO_PORT={self.port} is outside SAGEMAKER_SAFE_PORT_RANGE="
                    f"{self.safe_ports}"
                )

    @property
    def in_flight(self) -> int:
        """Requests that a worker accepts at once; its other threads answer probes and refuse."""
        return self.threads - self.spare

    @property
    def spare(self) -> int:
        """Threads of a worker that answer probes and refuse."""
        return max(2, self.threads // 4)

    def as_text(self) -> str:
        """One line a variable, as it would be set; the token is not shown."""
        lines = []
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name == "token" and value:
                value = "(set)"
            elif isinstance(value, bool):
                value = int(value)
            elif isinstance(value, tuple):
                value = ",".join(value)
            lines.append(f"{one.metadata['name']}={value}")
        return "\n".join(lines)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the variables that are set; an empty one counts as not set.

    Only the names in ``Settings`` are ours: others that begin with ``DEPTH_`` may be anybody's, as
    of a Kubernetes Service called depth. One that is nearly a setting is warned about. What
    Kubernetes makes of its Services is left out, with a warning if it has the name of a setting.

    Raises:
        InputError: a value that does not fit.
    """
    fields = {one.metadata["name"]: one for one in dataclasses.fields(Settings)}
    given: dict[str, str] = {}
    for name, value in environment.items():
        if not is_of_a_service(name, value):
            given[name] = value
        elif name in fields:
            log.warning("%s=%s is left out: Kubernetes made it of a Service", name, value)
    for name, nearest in near_misses(given).items():
        log.warning("%s is no setting: did you mean %s?", name, nearest)
    hints = typing.get_type_hints(Settings)
    values = {
        one.name: _parsed(name, given[name], hints[one.name])
        for name, one in fields.items()
        if given.get(name)
    }
    return Settings(**values)


def unknown(names: Iterable[str]) -> list[str]:
    """Of these names those that begin like ours and are none, for whoever writes them himself."""
    known = {one.metadata["name"] for one in dataclasses.fields(Settings)} | set(ELSEWHERE)
    return sorted(name for name in names if name.startswith(PREFIX) and name not in known)


def near_misses(names: Iterable[str]) -> dict[str, str]:
    """Of these names those that are nearly a setting's, and that setting's name."""
    known = [one.metadata["name"] for one in dataclasses.fields(Settings)]
    others = sorted(name for name in names if name not in (*known, *ELSEWHERE))
    found = {name: _nearest(name.upper(), known) for name in others}
    return {name: nearest for name, nearest in found.items() if nearest is not None}


def _nearest(name: str, known: Sequence[str]) -> Optional[str]:
    """The setting that a name was meant for: one that is alike, or has all of its words."""
    if not name.startswith(PREFIX):
        return next(iter(difflib.get_close_matches(name, known, 1, VERY_NEAR)), None)
    ours = {one[len(PREFIX) :]: one for one in known if one.startswith(PREFIX)}
    near = difflib.get_close_matches(name[len(PREFIX) :], ours, 1, NEAR)
    words = set(name[len(PREFIX) :].split("_"))
    holding = [one for one in known if words <= set(one.split("_"))]
    return ours[near[0]] if near else next(iter(holding), None)


def table() -> str:
    """The settings for ``--help``: variable, default, meaning."""
    lines = []
    for one in dataclasses.fields(Settings):
        default = one.default
        if default in ("", ()):
            default = "-"
        elif isinstance(default, bool):
            default = int(default)
        lines.append(f"  {one.metadata['name']:26} {default!s:14} {one.metadata['help']}")
    return "\n".join(lines)


def _name_of(attribute: str) -> str:
    return str(Settings.__dataclass_fields__[attribute].metadata["name"])


def _parsed(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in ("0", "1"):
            raise InputError(f"{name}={text!r}: give 1 or 0")
        return text == "1"
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name}={text!r}: give a number") from None
