"""Undeploy: find everything that was made for an endpoint, and delete it.

Found by tag, by name and by place, so that what a failed deploy or an older update left is found
too. What a bucket holds beside our archives (answers, captured data) is not ours and stays.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Optional

from serve.sagemaker.aws import Aws, AwsError
from serve.sagemaker.call import Call
from serve.sagemaker.endpoint import DIGEST, folder_of, is_ours
from serve.sagemaker.rollout import BUSY, Patience, StillBusy, find_endpoint, is_tagged
from serve.sagemaker.watch import DIMENSION, alarm_prefix, delete_alarms, resource_id, unscale

log = logging.getLogger(__name__)

ALARMS_A_CALL = 100
_ARCHIVE = re.compile(rf"model-[0-9a-f]{{{DIGEST}}}\.tar\.gz")
_PLACE = re.compile(r"s3://([^/]+)/(.+/)[^/]+")


def find_all(aws: Aws, name: str, bucket: Optional[str], prefix: str) -> list[Call]:
    """The calls that delete everything there is of an endpoint, in an order that works.

    Args:
        bucket: to look for archives in, beside the buckets that the models name.
    Raises:
        InputError: we did not make the endpoint of that name.
        AwsError: something could not be listed.
    """
    current = find_endpoint(aws, name)
    models = list(_models(aws, name))
    places = {(bucket, folder_of(prefix, name))} if bucket else set()
    places |= {place for model in models for place in _places(aws, model, name)}
    calls = [*_watching(aws, name), *_scaling(aws, name)]
    if current:
        calls.append(_deletion(f"endpoint {name}", "delete_endpoint", EndpointName=name))
    for config in _configs(aws, name):
        what = f"endpoint configuration {config}"
        calls.append(_deletion(what, "delete_endpoint_config", EndpointConfigName=config))
    for model in models:
        calls.append(_deletion(f"model {model}", "delete_model", ModelName=model))
    for place in sorted(places):
        calls += _archives(aws, *place)
    return calls


def _deletion(what: str, operation: str, **parameters: str) -> Call:
    return Call(
        step=f"delete {what}", service="sagemaker", operation=operation, parameters=parameters
    )


def undeploy(aws: Aws, calls: list[Call], name: str, patience: Patience) -> Iterator[Call]:
    """Make these calls, and yield each when it is done.

    Raises:
        AwsError: one failed; a second run goes on from there.
    """
    for call in calls:
        log.info("%s", call.step)
        if call.operation == "delete_endpoint":
            if _settled(aws, name, patience):
                aws.send(call)
                _gone(aws, name, patience)
        else:
            aws.send(call)
        yield call


def _watching(aws: Aws, name: str) -> list[Call]:
    found = aws.every(
        "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=alarm_prefix(name)
    )
    names = sorted(alarm["AlarmName"] for alarm in found)
    return [
        delete_alarms(names[start : start + ALARMS_A_CALL])
        for start in range(0, len(names), ALARMS_A_CALL)
    ]


def _scaling(aws: Aws, name: str) -> list[Call]:
    shared = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
    policies = aws.every(
        "application-autoscaling",
        "describe_scaling_policies",
        "ScalingPolicies",
        ResourceId=resource_id(name),
        **shared,
    )
    targets = aws.every(
        "application-autoscaling",
        "describe_scalable_targets",
        "ScalableTargets",
        ResourceIds=[resource_id(name)],
        **shared,
    )
    return unscale(name, [one["PolicyName"] for one in policies], target=bool(targets))


def _models(aws: Aws, name: str) -> Iterator[str]:
    for found in aws.every("sagemaker", "list_models", "Models", NameContains=name):
        if is_ours(name, found["ModelName"]) and is_tagged(aws, found["ModelArn"], name):
            yield found["ModelName"]


def _configs(aws: Aws, name: str) -> Iterator[str]:
    listed = aws.every("sagemaker", "list_endpoint_configs", "EndpointConfigs", NameContains=name)
    for found in listed:
        config = found["EndpointConfigName"]
        if is_ours(name, config) and is_tagged(aws, found["EndpointConfigArn"], name):
            yield config


def _places(aws: Aws, model: str, name: str) -> Iterator[tuple[str, str]]:
    facts = aws.ask("sagemaker", "describe_model", ModelName=model)
    match = _PLACE.fullmatch(facts.get("PrimaryContainer", {}).get("ModelDataUrl", ""))
    if match and match[2].endswith(f"/{name}/"):
        yield match[1], match[2]


def _archives(aws: Aws, bucket: str, folder: str) -> Iterator[Call]:
    try:
        found = aws.every("s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=folder)
    except AwsError as error:
        if error.code != "NoSuchBucket":
            raise
        return
    for key in (one["Key"] for one in found):
        if _ARCHIVE.fullmatch(key[len(folder) :]):
            parameters = {"Bucket": bucket, "Key": key}
            yield Call(
                step=f"delete s3://{bucket}/{key}",
                service="s3",
                operation="delete_object",
                parameters=parameters,
            )


def _settled(aws: Aws, name: str, patience: Patience) -> bool:
    """Wait until nothing happens to an endpoint, as SageMaker deletes none before; True if it is
    still there."""
    return _poll(aws, name, patience, until=lambda status: status not in BUSY) is not None


def _gone(aws: Aws, name: str, patience: Patience) -> None:
    """Wait until it is deleted: its configuration must outlive it."""
    _poll(aws, name, patience, until=lambda status: status is None)


def _poll(
    aws: Aws, name: str, patience: Patience, until: Callable[[Optional[str]], bool]
) -> Optional[str]:
    end = time.monotonic() + patience.most_s
    said: Optional[str] = ""
    while True:
        listed = aws.every("sagemaker", "list_endpoints", "Endpoints", NameContains=name)
        status = next((e["EndpointStatus"] for e in listed if e["EndpointName"] == name), None)
        if until(status):
            return status
        if status != said:
            log.info("%s is %s", name, status)
            said = status
        if time.monotonic() >= end:
            raise StillBusy(
                f"{name} is still {status} after {patience.most_s:.0f} s; run undeploy again later"
            )
        time.sleep(patience.poll_s)
