"""Deploy and update: the calls in order, with what exists already left as it is.

An endpoint and a door to AWS in; an endpoint in service out, or an error that says which step
failed. What there is by then, and how it is removed, goes to the log.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from runtime.errors import InputError
from serve.sagemaker.aws import Aws, AwsError
from serve.sagemaker.call import Call
from serve.sagemaker.endpoint import OWNER, VARIANT, Endpoint
from serve.sagemaker.instances import INSTANCES
from serve.sagemaker.requests import after_update, before_update, deploy_calls, drop_rollback
from serve.sagemaker.watch import DIMENSION, resource_id, scaling

log = logging.getLogger(__name__)

BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
GRACE_S = 60.0  # within which a status may be older than our call: SageMaker's reads lag behind
EVERY_S = 60.0  # a line of progress
LAG_TRIES = 4  # for what was created a moment ago and is not found yet


class StillBusy(AwsError):
    """We stopped waiting; SageMaker did not stop working."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for an endpoint, and how often to look, in seconds."""

    most_s: float = 3600.0
    poll_s: float = 15.0

    def __post_init__(self) -> None:
        if self.most_s < 0 or self.poll_s <= 0:
            raise InputError(f"wait {self.most_s} s, look every {self.poll_s} s: give more than 0")


def deploy(endpoint: Endpoint, aws: Aws, patience: Patience, cleanup: str) -> dict[str, Any]:
    """Create what is missing and wait until it serves; returns names.

    A second run goes on where the first one stopped.

    Args:
        cleanup: the command that removes everything, for messages.
    Raises:
        InputError: an endpoint of that name is not ours, failed, or has other settings.
        AwsError: a step failed.
    """
    current = find_endpoint(aws, endpoint.name)
    if current:
        _check_same(current, endpoint)
    with _telling(cleanup) as done:
        for call in deploy_calls(endpoint):
            _send_missing(aws, call, endpoint, bool(current), patience, done)
            if call.operation == "create_endpoint":
                wait_for(aws, endpoint.name, endpoint.config_name, patience)
    return names_of(endpoint)


def update(endpoint: Endpoint, aws: Aws, patience: Patience, cleanup: str) -> dict[str, Any]:
    """Bring a running endpoint to these settings; the old instances stay until the new ones serve.

    Raises:
        InputError: there is no such endpoint of ours in service, or it runs on Inf1 and its
            traffic was to be shifted in steps.
        AwsError: a step failed, or SageMaker rolled the update back.
    """
    current = find_endpoint(aws, endpoint.name)
    if not current:
        raise InputError(f"{endpoint.name}: no such endpoint; create it with deploy")
    if current["EndpointStatus"] != "InService":
        raise InputError(
            f"{endpoint.name} is {current['EndpointStatus']}, not InService: update it once it "
            "is, or remove it with undeploy"
        )
    with _telling(cleanup) as done:
        if current["EndpointConfigName"] == endpoint.config_name:
            log.info("%s has these settings; scaling and alarms are set anew", endpoint.name)
        else:
            _shift(endpoint, aws, patience, current, done)
        _send_all(aws, after_update(endpoint), endpoint.name, done)
    return names_of(endpoint)


def _shift(
    endpoint: Endpoint, aws: Aws, patience: Patience, current: dict[str, Any], done: list[str]
) -> None:
    """The update itself. If it fails, the endpoint scales as before and no alarm of it stays."""
    running = _instance_type(aws, current["EndpointConfigName"])
    row = INSTANCES.get(running)
    if endpoint.traffic_mode != "all-at-once" and row and not row.guarded:
        raise InputError(
            f"{endpoint.name} runs on {running}: SageMaker excludes Inf1 from canary and linear "
            "shifting; use --traffic all-at-once"
        )
    changes = running != endpoint.instance_type or not endpoint.scaled
    conditional = changes and _scales(aws, endpoint.name)
    undo = drop_rollback(endpoint) + (scaling(endpoint) if conditional else [])
    try:
        for call in before_update(endpoint):
            if call.only_if and not conditional:
                continue
            _send_missing(aws, call, endpoint, False, patience, done)
        wait_for(aws, endpoint.name, endpoint.config_name, patience)
    except StillBusy:
        raise  # SageMaker still watches those alarms
    except AwsError:
        try:
            _send_all(aws, undo, endpoint.name, [])
        except AwsError as error:
            log.warning("%s; check its alarms and scaling", error)
        if conditional and not endpoint.scaled:
            log.warning("%s does not scale by itself any more", endpoint.name)
        raise


def find_endpoint(aws: Aws, name: str) -> dict[str, Any]:
    """What SageMaker says of an endpoint of ours; empty if there is none of that name.

    Raises:
        InputError: there is one, made by somebody else.
        AwsError: SageMaker could not be asked.
    """
    for found in aws.every("sagemaker", "list_endpoints", "Endpoints", NameContains=name):
        if found["EndpointName"] == name:
            if not is_tagged(aws, found["EndpointArn"], name):
                raise InputError(
                    f"endpoint {name} exists and has no tag {OWNER}={name}, so it was not made "
                    "by this command; choose another name"
                )
            return aws.ask("sagemaker", "describe_endpoint", EndpointName=name)
    return {}


def is_tagged(aws: Aws, arn: str, name: str) -> bool:
    """Whether something in SageMaker was made for the endpoint of this name."""
    tags = aws.every("sagemaker", "list_tags", "Tags", ResourceArn=arn)
    return {"Key": OWNER, "Value": name} in tags


def wait_for(aws: Aws, name: str, config: str, patience: Patience) -> None:
    """Wait until an endpoint serves with a configuration.

    Raises:
        StillBusy: it takes longer than we wait.
        AwsError: it failed, or was rolled back to another configuration.
    """
    start = said = time.monotonic()
    before, was_busy = "", False
    while True:
        facts = aws.ask("sagemaker", "describe_endpoint", EndpointName=name)
        status, now = facts["EndpointStatus"], time.monotonic()
        waited_s = now - start
        if status != before or now - said >= EVERY_S:
            log.info("%s is %s, %.0f s", name, status, waited_s)
            before, said = status, now
        because = f": {facts['FailureReason']}" if facts.get("FailureReason") else ""
        was_busy = was_busy or status in BUSY
        if status == "InService":
            if facts["EndpointConfigName"] == config:
                return
            if was_busy or waited_s > GRACE_S:
                raise AwsError(
                    f"{name} was rolled back to {facts['EndpointConfigName']}{because}; its log "
                    f"is in CloudWatch, /aws/sagemaker/Endpoints/{name}"
                )
        elif status not in BUSY:
            raise AwsError(
                f"{name} is {status}{because}; its log is in CloudWatch, "
                f"/aws/sagemaker/Endpoints/{name}"
            )
        if waited_s >= patience.most_s:
            raise StillBusy(
                f"{name} is still {status} after {waited_s:.0f} s; SageMaker goes on without us: "
                "run the same command again later"
            )
        time.sleep(patience.poll_s)


def names_of(endpoint: Endpoint) -> dict[str, Any]:
    """What a caller may want to know of what now runs."""
    return {
        "endpoint": endpoint.name,
        "config": endpoint.config_name,
        "model": endpoint.model_name,
        "archive": f"s3://{endpoint.bucket}/{endpoint.archive_key}",
        "instance_type": endpoint.instance_type,
    }


def _check_same(current: dict[str, Any], endpoint: Endpoint) -> None:
    status = current["EndpointStatus"]
    if status not in ("Creating", "InService"):
        raise InputError(f"{endpoint.name} is {status}; remove it with undeploy first")
    if current["EndpointConfigName"] != endpoint.config_name:
        raise InputError(
            f"{endpoint.name} exists with other settings ({current['EndpointConfigName']}); "
            "change it with update"
        )


def _instance_type(aws: Aws, config: str) -> str:
    facts = aws.ask("sagemaker", "describe_endpoint_config", EndpointConfigName=config)
    for variant in facts["ProductionVariants"]:
        if variant["VariantName"] == VARIANT:
            return str(variant["InstanceType"])
    raise InputError(f"{config}: no variant {VARIANT!r} in it; remove the endpoint with undeploy")


def _scales(aws: Aws, name: str) -> bool:
    return bool(
        aws.every(
            "application-autoscaling",
            "describe_scalable_targets",
            "ScalableTargets",
            ServiceNamespace="sagemaker",
            ResourceIds=[resource_id(name)],
            ScalableDimension=DIMENSION,
        )
    )


def _exists(aws: Aws, call: Call, endpoint: Endpoint) -> bool:
    """Whether a model or configuration is there: its name says all that is in it."""
    contains = {"NameContains": endpoint.name}
    if call.operation == "create_model":
        found = aws.every("sagemaker", "list_models", "Models", **contains)
        return endpoint.model_name in (one["ModelName"] for one in found)
    if call.operation == "create_endpoint_config":
        found = aws.every("sagemaker", "list_endpoint_configs", "EndpointConfigs", **contains)
        return endpoint.config_name in (one["EndpointConfigName"] for one in found)
    return False


def _send_missing(
    aws: Aws, call: Call, endpoint: Endpoint, running: bool, patience: Patience, done: list[str]
) -> None:
    """Make a call, unless what it creates is there."""
    if (call.operation == "create_endpoint" and running) or _exists(aws, call, endpoint):
        log.info("is there already: %s", call.step)
        return
    log.info("%s", call.step)
    for left in reversed(range(LAG_TRIES)):
        try:
            aws.send(_fitting(aws, call, endpoint.name))
            break
        except AwsError as error:
            if "Could not find" not in str(error) or not left:
                raise
            time.sleep(patience.poll_s)
    done.append(call.step)


def _send_all(aws: Aws, calls: Iterable[Call], name: str, done: list[str]) -> None:
    for call in calls:
        log.info("%s", call.step)
        aws.send(_fitting(aws, call, name))
        done.append(call.step)


def _fitting(aws: Aws, call: Call, name: str) -> Call:
    """The call as it may be made now: only a new scalable target takes tags."""
    if call.operation != "register_scalable_target" or not _scales(aws, name):
        return call
    return replace(call, parameters={k: v for k, v in call.parameters.items() if k != "Tags"})


@contextlib.contextmanager
def _telling(cleanup: str) -> Iterator[list[str]]:
    """If it ends early, even by a signal: say what there is and how to be rid of it."""
    done: list[str] = []
    try:
        yield done
    except BaseException:
        log.warning("done so far: %s", "; ".join(done) if done else "nothing")
        log.warning("to remove all of it: %s", cleanup)
        raise
