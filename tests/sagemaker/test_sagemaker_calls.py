"""SageMaker: every call by the services' own models, the traffic of an update, the environment."""

import json
import re

import pytest
from botocore.validate import ParamValidator
from stand_in_sagemaker import ACCOUNT, BUCKET, REGION, words

from runtime.errors import InputError
from serve.http.settings import from_environment
from serve.sagemaker.instances import INSTANCES
from serve.sagemaker.requests import deploy_calls, update_calls


@pytest.mark.parametrize("instance_type", [name for name in INSTANCES if ".inf1." in name])
@pytest.mark.parametrize("traffic", ["canary", "linear"])
def test_inf1_takes_traffic_all_at_once_only(instance_type, traffic, settings):
    with pytest.raises(InputError, match="SageMaker excludes Inf1"):
        settings(instance_type=instance_type, traffic=traffic, min_instances=2, max_instances=2)
    assert settings(instance_type=instance_type).traffic_mode == "all-at-once"


def test_canary_is_the_default_with_two_instances_that_sagemaker_can_guard(settings):
    pair = {"instance_type": "ml.c7i.xlarge", "min_instances": 2, "max_instances": 2}
    assert settings(**pair).traffic_mode == "canary"
    assert settings(**{**pair, "min_instances": 1, "max_instances": 1}).traffic_mode == (
        "all-at-once"
    )
    with pytest.raises(InputError, match="half of the instances"):
        settings(instance_type="ml.c7i.xlarge", traffic="canary")


def update_policy(endpoint):
    (call,) = (c for c in update_calls(endpoint) if c.operation == "update_endpoint")
    return call.parameters["DeploymentConfig"]


def test_a_canary_is_one_instance_and_then_the_rest_watched_for_the_bake(settings):
    config = update_policy(
        settings(instance_type="ml.g5.xlarge", min_instances=2, max_instances=2, bake_s=120)
    )
    assert config["BlueGreenUpdatePolicy"] == {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 120,
            "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
        },
        "TerminationWaitInSeconds": 120,
        "MaximumExecutionTimeoutInSeconds": 2 * 120 + 120 + 600 + 1800,
    }
    assert len(config["AutoRollbackConfiguration"]["Alarms"]) == 2


@pytest.mark.parametrize("count", range(2, 12))
def test_a_linear_step_is_ten_to_fifty_percent(count, settings):
    config = update_policy(
        settings(instance_type="ml.g5.xlarge", min_instances=count, max_instances=count,
                 traffic="linear")
    )  # fmt: skip
    step = config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["LinearStepSize"]
    assert step["Type"] == "CAPACITY_PERCENT"
    assert 10 <= step["Value"] <= 50
    assert step["Value"] * count >= 100  # one instance at least


def test_no_rollback_means_no_alarms_in_the_update(settings):
    endpoint = settings(rollback=False)
    assert "AutoRollbackConfiguration" not in update_policy(endpoint)
    assert not [call for call in update_calls(endpoint) if call.operation == "delete_alarms"]


def problems(shape, value, where):
    """What botocore's ParamValidator does not look at: enums, patterns, greatest lengths."""
    if shape.type_name == "structure":
        for key, inner in value.items():
            yield from problems(shape.members[key], inner, f"{where}.{key}")
    elif shape.type_name == "list":
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{where}: too many"
        for inner in value:
            yield from problems(shape.member, inner, f"{where}[]")
    elif shape.type_name == "map":
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{where}: too many"
        for key, inner in value.items():
            yield from problems(shape.key, key, f"{where} key")
            yield from problems(shape.value, inner, f"{where}.{key}")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of its values"
        pattern = shape.metadata.get("pattern", "")
        # \p and \u are not Python's; S3 addresses have one that AWS itself does not hold to
        known = pattern and not any(part in pattern for part in ("\\p{", "\\u", "([^/])/"))
        if known and not re.fullmatch(pattern, value):
            yield f"{where}: {value!r} is not like {pattern}"
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{where}: {len(value)} characters"
    elif shape.type_name in ("integer", "long") and value > shape.metadata.get("max", value):
        yield f"{where}: {value} is too much"


FORMS = {
    "plain": {},
    "scaled": {"min_instances": 2, "max_instances": 5, "target_invocations": 600.0},
    "async": {
        "async_output": "s3://answers/depth",
        "async_concurrency": 8,
        "min_instances": 1,
        "max_instances": 3,
        "target_invocations": 5.0,
    },
    "all": {
        "name": "d" * 50,
        "capture_percent": 10,
        "tags": (("team", "maps and roads"),),
        "environment": (("DEPTH_S3_BUCKETS", "photos"),),
        "alarm_topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:depth",
        "min_instances": 4,
        "max_instances": 4,
    },
    "linear": {"min_instances": 2, "max_instances": 2, "traffic": "linear"},
    "longest": {"bake_s": 3600, "startup_timeout_s": 3600},
}


@pytest.mark.parametrize("instance_type", INSTANCES)
@pytest.mark.parametrize("form", FORMS)
def test_every_call_fits_the_services_own_model(form, instance_type, settings, models):
    given = {**FORMS[form], "instance_type": instance_type}
    if form == "linear" and ".inf1." in instance_type:
        given["traffic"] = "all-at-once"
    endpoint = settings(**given)
    calls = [*deploy_calls(endpoint), *update_calls(endpoint)]
    for call in {call.step: call for call in calls}.values():
        operation, parameters = call.operation, call.parameters
        if operation == "upload_file":  # boto3's own; its extra arguments are put_object's
            operation = "put_object"
            parameters = {key: call.parameters[key] for key in ("Bucket", "Key")}
            parameters.update(call.parameters["ExtraArgs"])
        name = "".join(part.title() for part in operation.split("_"))
        shape = models(call.service).operation_model(name).input_shape
        report = ParamValidator().validate(parameters, shape)
        assert not report.has_errors(), report.generate_report()
        assert list(problems(shape, parameters, name)) == []


def test_the_check_above_would_notice_a_bad_value(settings, models):
    call = deploy_calls(settings())[2]
    shape = models("sagemaker").operation_model("CreateEndpointConfig").input_shape
    bad = json.loads(json.dumps(call.parameters))
    bad["ProductionVariants"][0]["InstanceType"] = "ml.inf1.huge"
    bad["EndpointConfigName"] = "a_b"
    assert len(list(problems(shape, bad, "x"))) == 2


def test_an_asynchronous_endpoint_scales_by_what_waits(settings):
    endpoint = settings(**FORMS["async"])
    calls = {call.operation: call.parameters for call in deploy_calls(endpoint)}
    assert calls["create_endpoint_config"]["AsyncInferenceConfig"] == {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 8},
        "OutputConfig": {"S3OutputPath": "s3://answers/depth"},
    }
    tracking = calls["put_scaling_policy"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["CustomizedMetricSpecification"]
    assert metric["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert "PredefinedMetricSpecification" not in tracking
    assert float(endpoint.variables["DEPTH_DEADLINE_S"]) > 60


def test_a_real_time_endpoint_scales_by_invocations(settings):
    calls = {call.operation: call.parameters for call in deploy_calls(settings(**FORMS["scaled"]))}
    tracking = calls["put_scaling_policy"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 600.0
    assert tracking["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    }


def test_an_asynchronous_endpoint_is_made_on_moto_too(aws, run, archive):
    _, (names,), _ = run(*words("deploy", archive, "--async-output", f"s3://{BUCKET}/answers"))
    config = aws("sagemaker").describe_endpoint_config(EndpointConfigName=names["config"])
    assert (
        config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == f"s3://{BUCKET}/answers"
    )


def test_nothing_is_captured_unless_asked_for(settings):
    assert "DataCaptureConfig" not in deploy_calls(settings())[2].parameters
    captured = deploy_calls(settings(capture_percent=5))[2].parameters["DataCaptureConfig"]
    assert captured["InitialSamplingPercentage"] == 5
    assert captured["DestinationS3Uri"] == f"s3://{BUCKET}/depth-models/depth/capture"


def test_names_follow_from_the_settings(settings):
    base = settings()
    assert (base.model_name, base.config_name) == (settings().model_name, settings().config_name)
    other_archive = settings(archive_sha256="cd" * 32)
    assert other_archive.model_name != base.model_name
    assert settings(environment=(("DEPTH_LOG_LEVEL", "DEBUG"),)).model_name != base.model_name
    more = settings(min_instances=2, max_instances=2)
    assert more.model_name == base.model_name
    assert more.config_name != base.config_name
    assert settings(startup_timeout_s=900).config_name != base.config_name


def test_an_alarm_rings_somewhere_only_if_told_to(settings):
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:depth"
    for call in deploy_calls(settings(alarm_topic=topic))[-2:]:
        assert call.parameters["AlarmActions"] == [topic]
    for call in deploy_calls(settings())[-2:]:
        assert "AlarmActions" not in call.parameters


@pytest.mark.parametrize("instance_type", INSTANCES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_service_takes_every_environment_of_the_table(instance_type, asynchronous):
    row = INSTANCES[instance_type]
    told = from_environment(row.environment(commercial_only=True, asynchronous=asynchronous))
    assert told.commercial_only
    assert told.workers == (row.cores or 1)
    assert told.engine_threads * told.workers <= max(row.vcpus, told.workers)
    if not asynchronous:
        assert told.deadline_s == 55
        assert told.max_body_mb == told.max_answer_mb == 6


@pytest.mark.parametrize(
    ("instance_type", "cores"),
    [("ml.inf1.xlarge", 4), ("ml.inf1.6xlarge", 16), ("ml.inf1.24xlarge", 64),
     ("ml.inf2.xlarge", 2), ("ml.inf2.24xlarge", 12), ("ml.inf2.48xlarge", 24)],
)  # fmt: skip
def test_one_worker_a_neuron_core(instance_type, cores):
    environment = INSTANCES[instance_type].environment(commercial_only=True)
    assert environment["DEPTH_WORKERS"] == str(cores)


def test_every_instance_type_of_the_table_is_one_of_sagemakers(models):
    model = models("sagemaker")
    assert set(INSTANCES) <= set(model.shape_for("ProductionVariantInstanceType").enum)
    # so the documentation says: no batch transform on Inf1
    transform = model.shape_for("TransformInstanceType").enum
    assert not [name for name in transform if ".inf1." in name]
