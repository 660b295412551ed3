"""An endpoint to the exact calls that make, change and watch it. Pure: nothing is sent.

Each is an operation of boto3 and its parameters. ``upload_file`` alone is not one of AWS's own:
boto3 cuts a large file into parts.
"""

from typing import Any
from urllib.parse import urlencode

from serve.sagemaker.call import Call
from serve.sagemaker.endpoint import VARIANT, Endpoint
from serve.sagemaker.watch import (
    alarms,
    delete_alarms,
    policy_name,
    rollback_alarms,
    scaling,
    unscale,
)

UPDATE_MARGIN_S = 1800  # to find instances, beside starting and baking
UPDATE_S = (600, 28800)  # SageMaker's bounds


def deploy_calls(endpoint: Endpoint) -> list[Call]:
    """Everything from the archive to a watched endpoint, in order."""
    return [
        upload(endpoint),
        create_model(endpoint),
        create_config(endpoint),
        create_endpoint(endpoint),
        *scaling(endpoint),
        *alarms(endpoint),
    ]


def update_calls(endpoint: Endpoint) -> list[Call]:
    """The new model beside the old one, then the traffic, then scaling and alarms anew."""
    return [*before_update(endpoint), *after_update(endpoint)]


def before_update(endpoint: Endpoint) -> list[Call]:
    """Up to the update itself, which then takes minutes."""
    return [
        upload(endpoint),
        create_model(endpoint),
        create_config(endpoint),
        *rollback_alarms(endpoint),
        *unscale(
            endpoint.name,
            [policy_name(endpoint.name)],
            only_if="it scales, and the instance type changes or it shall not scale any more",
        ),
        update_endpoint(endpoint),
    ]


def after_update(endpoint: Endpoint) -> list[Call]:
    """Once it has ended."""
    return [*drop_rollback(endpoint), *scaling(endpoint), *alarms(endpoint)]


def drop_rollback(endpoint: Endpoint) -> list[Call]:
    """The alarms of one update, which nothing needs once it has ended."""
    names = [call.parameters["AlarmName"] for call in rollback_alarms(endpoint)]
    return [delete_alarms(names)] if names else []


def upload(endpoint: Endpoint) -> Call:
    """The archive to the bucket, tagged."""
    return Call(
        step=f"upload s3://{endpoint.bucket}/{endpoint.archive_key}",
        service="s3",
        operation="upload_file",
        parameters={
            "Filename": str(endpoint.archive),
            "Bucket": endpoint.bucket,
            "Key": endpoint.archive_key,
            "ExtraArgs": {"Tagging": urlencode(endpoint.all_tags)},
        },
    )


def create_model(endpoint: Endpoint) -> Call:
    """Image, archive, environment and role."""
    return Call(
        step=f"create model {endpoint.model_name}",
        service="sagemaker",
        operation="create_model",
        parameters={
            "ModelName": endpoint.model_name,
            "PrimaryContainer": {
                "Image": endpoint.image,
                "ModelDataUrl": f"s3://{endpoint.bucket}/{endpoint.archive_key}",
                "Environment": endpoint.variables,
            },
            "ExecutionRoleArn": endpoint.role,
            "Tags": endpoint.tag_list,
        },
    )


def create_config(endpoint: Endpoint) -> Call:
    """Which model on how many of which instance; asynchronous and captured, if asked for."""
    parameters: dict[str, Any] = {
        "EndpointConfigName": endpoint.config_name,
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": endpoint.model_name,
                "InstanceType": endpoint.instance_type,
                "InitialInstanceCount": endpoint.min_instances,
                "InitialVariantWeight": 1.0,
                "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_timeout_s,
                "ModelDataDownloadTimeoutInSeconds": endpoint.startup_timeout_s,
            }
        ],
        "Tags": endpoint.tag_list,
    }
    if endpoint.capture_percent:
        parameters["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": f"s3://{endpoint.bucket}/{endpoint.folder}capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
    if endpoint.async_output:
        parameters["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": endpoint.async_concurrency},
            "OutputConfig": {"S3OutputPath": endpoint.async_output},
        }
    return Call(
        step=f"create endpoint configuration {endpoint.config_name}",
        service="sagemaker",
        operation="create_endpoint_config",
        parameters=parameters,
    )


def create_endpoint(endpoint: Endpoint) -> Call:
    """From here on it costs money."""
    return Call(
        step=f"create endpoint {endpoint.name}",
        service="sagemaker",
        operation="create_endpoint",
        parameters={
            "EndpointName": endpoint.name,
            "EndpointConfigName": endpoint.config_name,
            "Tags": endpoint.tag_list,
        },
    )


def update_endpoint(endpoint: Endpoint) -> Call:
    """Blue and green: new instances beside the old, then the traffic as ``traffic_mode`` says."""
    mode = endpoint.traffic_mode
    # Of an update all at once, the time until the old instances end is the one that is watched.
    wait_s = 0 if mode == "all-at-once" else endpoint.bake_s
    routing: dict[str, Any] = {
        "Type": mode.replace("-", "_").upper(),
        "WaitIntervalInSeconds": wait_s,
    }
    steps = 1
    if mode == "canary":
        routing["CanarySize"] = {"Type": "INSTANCE_COUNT", "Value": 1}
        steps = 2
    elif mode == "linear":
        percent = 50 if endpoint.min_instances < 4 else 25
        routing["LinearStepSize"] = {"Type": "CAPACITY_PERCENT", "Value": percent}
        steps = 100 // percent
    final_s = endpoint.bake_s if endpoint.instance.guarded else 0
    longest_s = steps * wait_s + final_s + endpoint.startup_timeout_s + UPDATE_MARGIN_S
    deployment: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": final_s,
            "MaximumExecutionTimeoutInSeconds": min(max(longest_s, UPDATE_S[0]), UPDATE_S[1]),
        }
    }
    watch = rollback_alarms(endpoint)
    if watch:
        names = [{"AlarmName": call.parameters["AlarmName"]} for call in watch]
        deployment["AutoRollbackConfiguration"] = {"Alarms": names}
    return Call(
        step=f"update endpoint {endpoint.name} to {endpoint.config_name}",
        service="sagemaker",
        operation="update_endpoint",
        parameters={
            "EndpointName": endpoint.name,
            "EndpointConfigName": endpoint.config_name,
            # A fleet that has grown under load must not shrink to its least in the middle of it.
            "RetainAllVariantProperties": endpoint.scaled,
            "DeploymentConfig": deployment,
        },
    )
