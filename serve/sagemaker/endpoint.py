"""An endpoint on SageMaker as one checked value: its settings and the names that follow from them.

No AWS call; ``requests.py`` turns it into calls of boto3.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runtime.errors import InputError
from serve.http.settings import from_environment, unknown
from serve.sagemaker.instances import REALTIME_S, InstanceType, find_instance

OWNER = "depth-endpoint"  # tag on all we create; its value is the endpoint's name
PREFIX = "depth-models"  # where archives go in a bucket
VARIANT = "main"  # the same for ever: SageMaker updates no endpoint to another variant
TRAFFIC = ("all-at-once", "canary", "linear")
NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9])*"
NAME_MAX = 50  # of 63: a dash and the digest follow
DIGEST = 12
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)
_TAG = re.compile(r"[\w\s.:/=+@-]*")
_VARIABLES = 100  # SageMaker's limits: so many, each value so long
_VALUE = 1024


@dataclass(frozen=True)
class Endpoint:
    """All that decides what is created.

    ``target_invocations`` is calls a minute of one instance at which another is added; of an
    asynchronous endpoint, calls that wait. ``bake_s`` is how long an update watches its alarms
    after each shift of traffic, in seconds. ``traffic`` None: canary where SageMaker can, else all
    at once.
    """

    name: str
    role: str
    image: str
    instance_type: str
    archive: Path
    archive_sha256: str
    bucket: str
    prefix: str = PREFIX
    commercial_only: bool = True
    min_instances: int = 1
    max_instances: int = 1
    target_invocations: Optional[float] = None
    environment: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    startup_timeout_s: int = 600
    capture_percent: int = 0
    async_output: Optional[str] = None
    async_concurrency: int = 4
    alarm_latency_ms: float = 5000.0
    alarm_errors: float = 0.05
    alarm_topic: Optional[str] = None
    traffic: Optional[str] = None
    bake_s: int = 300
    rollback: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if not _ROLE.fullmatch(self.role):
            raise InputError(
                f"role {self.role!r}: give the ARN, such as arn:aws:iam::123456789012:role/depth"
            )
        if not re.fullmatch(r"\S{1,255}", self.image):
            raise InputError(f"image {self.image!r}: give an address in ECR, with its tag")
        check_place(self.bucket, self.prefix)
        if not 1 <= self.min_instances <= self.max_instances:
            raise InputError(
                f"instances {self.min_instances} to {self.max_instances}: give 1 or more, and no "
                "fewer at most than at least"
            )
        if self.scaled and not (self.target_invocations and self.target_invocations > 0):
            raise InputError(
                f"{self.min_instances} to {self.max_instances} instances need "
                "--target-invocations: calls a minute of one instance (waiting calls, if "
                "asynchronous) at which another is added; measure one, then take about 70%"
            )
        for name, value, low, high in (
            ("startup timeout", self.startup_timeout_s, 60, 3600),
            ("capture percent", self.capture_percent, 0, 100),
            ("async concurrency", self.async_concurrency, 1, 1000),
            ("bake", self.bake_s, 0, 3600),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} {value}: SageMaker takes {low} to {high}")
        if self.alarm_latency_ms <= 0 or not 0 < self.alarm_errors < 1:
            raise InputError(
                f"alarms at {self.alarm_latency_ms} ms and {self.alarm_errors} of calls: give "
                "milliseconds above 0 and a share between 0 and 1"
            )
        if self.async_output is not None and not re.fullmatch(r"s3://[^/]+/\S+", self.async_output):
            raise InputError(f"async output {self.async_output!r}: give s3://bucket/folder")
        self._check_traffic()
        self._check_tags()
        self._check_environment()

    @property
    def instance(self) -> InstanceType:
        """The row of the table of instance types."""
        return find_instance(self.instance_type)

    @property
    def scaled(self) -> bool:
        """Whether the number of instances changes by itself."""
        return self.max_instances > self.min_instances

    @property
    def variables(self) -> dict[str, str]:
        """The container's environment: the instance's, then what was given."""
        chosen = self.instance.environment(self.commercial_only, self.async_output is not None)
        return {**chosen, **dict(self.environment)}

    @property
    def all_tags(self) -> dict[str, str]:
        """Those given and ours, by which undeploy knows what was made here."""
        return {OWNER: self.name, **dict(self.tags)}

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The same as SageMaker and CloudWatch take them."""
        return [{"Key": key, "Value": value} for key, value in self.all_tags.items()]

    @property
    def traffic_mode(self) -> str:
        """``traffic``, or what suits the instances."""
        suits = "canary" if self.instance.guarded and self.min_instances > 1 else "all-at-once"
        return self.traffic or suits

    @property
    def folder(self) -> str:
        """Where in the bucket this endpoint's archives lie."""
        return folder_of(self.prefix, self.name)

    @property
    def archive_key(self) -> str:
        """The archive's key; equal archives have the same."""
        return f"{self.folder}model-{self.archive_sha256[:DIGEST]}.tar.gz"

    @property
    def model_name(self) -> str:
        """Follows from archive, image, role and environment: the same settings, the same name."""
        return self._named(self.archive_key, self.bucket, self.image, self.role, self.variables)

    @property
    def config_name(self) -> str:
        """Follows from the model and everything else that its endpoint configuration holds."""
        return self._named(
            self.model_name,
            self.instance_type,
            self.min_instances,
            self.startup_timeout_s,
            self.capture_percent,
            self.async_output,
            self.async_concurrency if self.async_output else None,
        )

    def _named(self, *facts: object) -> str:
        text = json.dumps(facts, sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:DIGEST]}"

    def _check_traffic(self) -> None:
        if self.traffic is None or self.traffic == "all-at-once":
            return
        if self.traffic not in TRAFFIC:
            raise InputError(f"traffic {self.traffic!r}: use one of {', '.join(TRAFFIC)}")
        if not self.instance.guarded:
            raise InputError(
                f"traffic {self.traffic} on {self.instance_type}: SageMaker excludes Inf1 from "
                "canary and linear shifting; use --traffic all-at-once"
            )
        if self.min_instances < 2:
            raise InputError(
                f"traffic {self.traffic} with {self.min_instances} instance: a first step may take "
                "half of the instances at most; use --min-instances 2 or --traffic all-at-once"
            )

    def _check_tags(self) -> None:
        for key, value in self.tags:
            if key == OWNER or key.lower().startswith("aws:"):
                raise InputError(f"tag {key!r}: reserved, choose another key")
            fits = 0 < len(key) <= 128 and len(value) <= 256
            if not (fits and _TAG.fullmatch(key) and _TAG.fullmatch(value)):
                raise InputError(
                    f"tag {key!r}={value!r}: letters, digits, spaces and . : / = + - @ _, at most "
                    "128 and 256 of them"
                )
        keys = [key for key, _ in self.tags]
        if len(set(keys)) < len(keys) or len(keys) > 9:  # S3 takes 10 tags, one is ours
            raise InputError(f"tags {keys}: at most 9, each key once")

    def _check_environment(self) -> None:
        given = dict(self.environment)
        if "DEPTH_TOKEN" in given:
            raise InputError(
                "DEPTH_TOKEN: SageMaker hands no Authorization header on, so every call would be "
                "refused; who may call is decided by IAM's sagemaker:InvokeEndpoint"
            )
        if "COMMERCIAL_ONLY" in given:
            raise InputError("COMMERCIAL_ONLY: follows from --accept-licence, do not set it")
        variables = self.variables
        long = [name for name, value in variables.items() if len(value) > _VALUE]
        if long or len(variables) > _VARIABLES:
            raise InputError(
                f"environment: {len(variables)} variables, too long: {long}; SageMaker takes "
                f"{_VARIABLES} of {_VALUE} characters"
            )
        slips = unknown(variables)
        if slips:
            raise InputError(
                f"{', '.join(slips)}: unknown; `python -m serve --help` lists all settings"
            )
        settings = from_environment(variables)  # what the container would refuse at its start
        if self.async_output is None and settings.deadline_s >= REALTIME_S:
            raise InputError(
                f"DEPTH_DEADLINE_S={settings.deadline_s:g}: SageMaker gives up after "
                f"{REALTIME_S:g} s, so answer earlier, or use --async-output"
            )


def check_name(name: str) -> None:
    """Raise InputError unless it can name an endpoint and what belongs to it."""
    if not re.fullmatch(NAME, name) or len(name) > NAME_MAX:
        raise InputError(
            f"endpoint {name!r}: use letters, digits and inner dashes, {NAME_MAX} at most"
        )


def check_place(bucket: str, prefix: str) -> None:
    """Raise InputError unless they can be a bucket's name and a folder in it."""
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"bucket {bucket!r}: give its name alone, without s3://")
    if not _FOLDER.fullmatch(prefix):
        raise InputError(f"prefix {prefix!r}: give folders such as depth/models, no outer slashes")


def folder_of(prefix: str, name: str) -> str:
    """The folder of an endpoint's archives under a prefix, with its last slash."""
    return f"{prefix}/{name}/"


def is_ours(name: str, resource: str) -> bool:
    """Whether a model's or configuration's name is one that the endpoint ``name`` gives."""
    return bool(re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{{DIGEST}}}", resource))
