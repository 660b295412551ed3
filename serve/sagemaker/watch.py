"""An endpoint's scaling and alarms, as calls. Pure: nothing is sent."""

from collections.abc import Sequence
from typing import Any

from serve.sagemaker.call import Call
from serve.sagemaker.endpoint import DIGEST, VARIANT, Endpoint

ALARMS = "depth"  # alarms are depth/<endpoint>/...
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
SCALE_OUT_S, SCALE_IN_S = 60, 300


def resource_id(name: str) -> str:
    """How Application Auto Scaling calls an endpoint's instances."""
    return f"endpoint/{name}/variant/{VARIANT}"


def policy_name(name: str) -> str:
    """The one scaling policy of an endpoint."""
    return f"{ALARMS}-{name}"


def scaling(endpoint: Endpoint) -> list[Call]:
    """Target tracking between least and most instances; nothing if these are equal."""
    if not endpoint.scaled:
        return []
    if endpoint.async_output:  # asynchronous endpoints publish no InvocationsPerInstance
        metric: dict[str, Any] = {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": endpoint.name}],
                "Statistic": "Average",
            }
        }
    else:
        metric = {
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            }
        }
    return [
        Call(
            step=f"let {endpoint.name} have {endpoint.min_instances} to {endpoint.max_instances} "
            "instances",
            service="application-autoscaling",
            operation="register_scalable_target",
            parameters={
                **_scalable(endpoint.name),
                "MinCapacity": endpoint.min_instances,
                "MaxCapacity": endpoint.max_instances,
                "Tags": endpoint.all_tags,
            },
        ),
        Call(
            step=f"scale {endpoint.name} by its load",
            service="application-autoscaling",
            operation="put_scaling_policy",
            parameters={
                **_scalable(endpoint.name),
                "PolicyName": policy_name(endpoint.name),
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": endpoint.target_invocations,
                    **metric,
                    "ScaleOutCooldown": SCALE_OUT_S,
                    "ScaleInCooldown": SCALE_IN_S,
                },
            },
        ),
    ]


def unscale(
    name: str, policies: Sequence[str], only_if: str = "", target: bool = True
) -> list[Call]:
    """Remove scaling policies and then, if there is one, what they scale."""
    removal = [
        Call(
            step=f"delete scaling policy {policy}",
            service="application-autoscaling",
            operation="delete_scaling_policy",
            parameters={**_scalable(name), "PolicyName": policy},
            only_if=only_if,
        )
        for policy in policies
    ]
    if target:
        removal.append(
            Call(
                step=f"let {name} scale no more",
                service="application-autoscaling",
                operation="deregister_scalable_target",
                parameters=_scalable(name),
                only_if=only_if,
            )
        )
    return removal


def alarm_prefix(name: str) -> str:
    """What the names of an endpoint's alarms begin with."""
    return f"{ALARMS}/{name}/"


def alarms(endpoint: Endpoint) -> list[Call]:
    """Slow answers and failing ones, as long as the endpoint lives."""
    return _alarm_pair(endpoint, "", new=False)


def rollback_alarms(endpoint: Endpoint) -> list[Call]:
    """The same for the new instances alone, as long as an update runs; none without rollback.

    Of their own, because an alarm that watches both fleets would undo the update that repairs it.
    """
    if not endpoint.rollback:
        return []
    return _alarm_pair(endpoint, f"rollback-{endpoint.config_name[-DIGEST:]}-", new=True)


def delete_alarms(names: Sequence[str]) -> Call:
    """Alarms of these names; one that is not there is no error."""
    return Call(
        step=f"delete alarms {', '.join(names)}",
        service="cloudwatch",
        operation="delete_alarms",
        parameters={"AlarmNames": list(names)},
    )


def _alarm_pair(endpoint: Endpoint, kind: str, new: bool) -> list[Call]:
    dimensions = [
        {"Name": "EndpointName", "Value": endpoint.name},
        {"Name": "VariantName", "Value": VARIANT},
    ]
    if new:
        dimensions.append({"Name": "EndpointConfigName", "Value": endpoint.config_name})
    minutes, bad = (2, 1) if new else (3, 2)  # an update waits for one bad minute, not for two
    common: dict[str, Any] = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": dimensions,
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": minutes,
        "DatapointsToAlarm": bad,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": endpoint.tag_list,
    }
    if endpoint.alarm_topic and not new:
        common["AlarmActions"] = [endpoint.alarm_topic]
    latency = {
        "AlarmName": f"{alarm_prefix(endpoint.name)}{kind}latency",
        "AlarmDescription": f"{endpoint.name} answers slower than {endpoint.alarm_latency_ms:g} ms",
        "MetricName": "ModelLatency",
        "Threshold": endpoint.alarm_latency_ms * 1000.0,  # the metric is in microseconds
    }
    errors = {
        "AlarmName": f"{alarm_prefix(endpoint.name)}{kind}errors",
        "AlarmDescription": f"{endpoint.name} fails more than {endpoint.alarm_errors:.1%} of calls",
        "MetricName": "Invocation5XXErrors",
        "Threshold": endpoint.alarm_errors,  # its average is the share of calls that failed
    }
    return [
        Call(
            step=f"watch {alarm['MetricName']} ({alarm['AlarmName']})",
            service="cloudwatch",
            operation="put_metric_alarm",
            parameters={**alarm, **common},
        )
        for alarm in (latency, errors)
    ]


def _scalable(name: str) -> dict[str, Any]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource_id(name),
        "ScalableDimension": DIMENSION,
    }
