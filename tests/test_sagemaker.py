"""SageMaker, against moto's server over HTTP: a stand-in for AWS, not AWS.

What moto 5.1 cannot do is said where it matters: it has no UpdateEndpoint (botocore's Stubber takes
that one call), knows no ml.inf2, ml.g5 and ml.c7i, and creates and deletes in no time.
"""

import argparse
import dataclasses
import json
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from botocore.validate import ParamValidator
from moto.sagemaker.models import sagemaker_backends
from stand_in_aws import empty_aws

from runtime.artifact.archive import inspect, pack
from runtime.artifact.folder import commit, describe_files
from runtime.artifact.manifest import TARGETS
from runtime.errors import InputError
from runtime.files import partial_folder
from serve.http.settings import from_environment
from serve.sagemaker import cleanup, rollout
from serve.sagemaker.__main__ import main
from serve.sagemaker.admission import admit
from serve.sagemaker.aws import Aws
from serve.sagemaker.endpoint import OWNER, Endpoint
from serve.sagemaker.instances import INSTANCES
from serve.sagemaker.options import build_parser
from serve.sagemaker.requests import deploy_calls, update_calls

REGION, ACCOUNT = "us-west-2", "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/depth"
IMAGE = "depth:1"
BUCKET = "depth-bucket"
NOBODY = "http://127.0.0.1:9"  # a port where nothing listens


@pytest.fixture(scope="module")
def server():
    """Address of a stand-in for AWS, on a free port of this machine."""
    with empty_aws() as address:
        yield address


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """Made-up ones, and no way to find others."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture()
def aws(server):
    """An account with an empty bucket and nothing else: service name to client."""
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST"))

    def client(service):
        return boto3.client(service, endpoint_url=server)

    client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return client


@pytest.fixture(scope="module")
def make_archive(make_artifact, tmp_path_factory):
    """An archive of one artifact that claims a target; nothing here runs its graph."""

    def build(target="neuron", factor=2.0, licence="Apache-2.0", source="checkpoint", **more):
        artifact = make_artifact(factor=factor)
        root = tmp_path_factory.mktemp("archive")
        weights = dataclasses.replace(artifact.manifest.weights, licence=licence, source=source)
        with partial_folder(root) as folder:
            (folder / "graph.pt").write_bytes((artifact.path / "graph.pt").read_bytes())
            manifest = dataclasses.replace(
                artifact.manifest,
                target=target,
                weights=weights,
                files=describe_files(folder),
                **more,
            )
            return pack([commit(folder, manifest, root)], root / "model.tar.gz")

    return build


@pytest.fixture(scope="module")
def archive(make_archive):
    return make_archive()


@pytest.fixture()
def settings(archive):
    """Endpoint(...) with everything that has to be given."""

    def build(**more):
        given = {
            "name": "depth",
            "role": ROLE,
            "image": IMAGE,
            "instance_type": "ml.inf1.xlarge",
            "archive": archive,
            "archive_sha256": "ab" * 32,
            "bucket": BUCKET,
        }
        return Endpoint(**{**given, **more})

    return build


@pytest.fixture()
def run(server, capfd, caplog):
    """Run the command line against the stand-in: exit status, JSON lines, stderr.

    pytest takes the log for itself, so what would be on stderr is put together again.
    """
    caplog.set_level("INFO")

    def call(*words, url=server):
        caplog.clear()
        status = main([*map(str, words), "--endpoint-url", url])
        out, err = capfd.readouterr()
        said = "".join(f"{r.getMessage()}\n" for r in caplog.records if r.name != "werkzeug")
        return status, [json.loads(line) for line in out.splitlines()], said + err

    return call


def words(command, archive, *more, instance_type="ml.inf1.xlarge"):
    given = {
        "--endpoint": "depth",
        "--archive": archive,
        "--bucket": BUCKET,
        "--role": ROLE,
        "--image": IMAGE,
        "--instance-type": instance_type,
        "--poll": "0.01",
    }
    return [command, *(word for pair in given.items() for word in pair), *more]


SCALED = ("--min-instances", "2", "--max-instances", "6", "--target-invocations", "600")


def inventory(aws):
    """Everything there is in the account."""
    sagemaker, scaling = aws("sagemaker"), aws("application-autoscaling")
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    objects = aws("s3").list_objects_v2(Bucket=BUCKET)
    return {
        "endpoints": [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]],
        "configs": sorted(
            c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ),
        "models": sorted(m["ModelName"] for m in sagemaker.list_models()["Models"]),
        "policies": [p["PolicyName"] for p in policies["ScalingPolicies"]],
        "targets": [t["ResourceId"] for t in targets["ScalableTargets"]],
        "alarms": sorted(
            a["AlarmName"] for a in aws("cloudwatch").describe_alarms()["MetricAlarms"]
        ),
        "objects": sorted(o["Key"] for o in objects.get("Contents", [])),
    }


NOTHING = {
    kind: []
    for kind in ("endpoints", "configs", "models", "policies", "targets", "alarms", "objects")
}


def backend():
    """moto's own memory of SageMaker, to do what it has no call for."""
    return sagemaker_backends[ACCOUNT][REGION]


@pytest.fixture()
def updates(monkeypatch):
    """UpdateEndpoint, which moto 5.1 lacks: a Stubber checks the one call against the service's
    model, then moto's memory is changed as SageMaker would (or not, if it rolls back)."""
    sent = []
    outcome = {"rolled_back": False}
    real = Aws.client

    class WithUpdates:
        def __init__(self, client):
            self._client = client

        def __getattr__(self, name):
            return getattr(self._client, name)

        def update_endpoint(self, **parameters):
            stubbed = boto3.client("sagemaker")
            with Stubber(stubbed) as stub:
                arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/depth"
                stub.add_response("update_endpoint", {"EndpointArn": arn}, parameters)
                stubbed.update_endpoint(**parameters)
            sent.append(parameters)
            if not outcome["rolled_back"]:
                endpoint = backend().endpoints[parameters["EndpointName"]]
                endpoint.endpoint_config_name = parameters["EndpointConfigName"]

    def client(self, service):
        found = real(self, service)
        return WithUpdates(found) if service == "sagemaker" else found

    monkeypatch.setattr(Aws, "client", client)
    monkeypatch.setattr(rollout, "GRACE_S", -1.0)
    sent_and_outcome = sent, outcome
    return sent_and_outcome


# --- from nothing to nothing ---


def test_package_writes_an_archive_and_prints_its_path(tiny_artifact, tmp_path, capfd):
    file = tmp_path / "model.tar.gz"
    assert main(["package", "--artifact", str(tiny_artifact.path), "--output", str(file)]) == 0
    assert capfd.readouterr().out == f"{file}\n"
    assert [one.name for one in inspect(file)] == [tiny_artifact.manifest.name]
    assert main(["package", "--artifact", str(tmp_path / "none"), "--output", str(file)]) == 1
    assert "no artifact there" in capfd.readouterr().err


def test_deploy_makes_what_it_says_and_undeploy_leaves_nothing(aws, run, archive):
    status, (names,), err = run(*words("deploy", archive, *SCALED, "--tag", "team=maps"))
    assert status == 0
    assert "depth is InService" in err
    assert inventory(aws) == {
        "endpoints": ["depth"],
        "configs": [names["config"]],
        "models": [names["model"]],
        "policies": ["depth-depth"],
        "targets": ["endpoint/depth/variant/main"],
        "alarms": ["depth/depth/errors", "depth/depth/latency"],
        "objects": [names["archive"][len(f"s3://{BUCKET}/") :]],
    }
    model = aws("sagemaker").describe_model(ModelName=names["model"])
    assert model["ExecutionRoleArn"] == ROLE
    assert model["PrimaryContainer"]["Image"] == IMAGE
    assert model["PrimaryContainer"]["ModelDataUrl"] == names["archive"]
    assert model["PrimaryContainer"]["Environment"]["DEPTH_WORKERS"] == "4"
    config = aws("sagemaker").describe_endpoint_config(EndpointConfigName=names["config"])
    (variant,) = config["ProductionVariants"]
    assert variant["InstanceType"] == "ml.inf1.xlarge"
    assert variant["InitialInstanceCount"] == 2
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 600
    (target,) = aws("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker"
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
    key = inventory(aws)["objects"][0]
    stored = aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert stored == archive.read_bytes()

    status, deleted, _ = run("undeploy", "--endpoint", "depth", "--poll", "0.01")
    assert status == 0
    assert [line["operation"] for line in deleted] == [
        "delete_alarms",
        "delete_scaling_policy",
        "deregister_scalable_target",
        "delete_endpoint",
        "delete_endpoint_config",
        "delete_model",
        "delete_object",
    ]
    assert inventory(aws) == NOTHING


def test_everything_is_tagged_with_the_endpoint_and_with_what_was_given(aws, run, archive):
    _, (names,), _ = run(*words("deploy", archive, *SCALED, "--tag", "team=maps and roads: 1"))
    expected = {OWNER: "depth", "team": "maps and roads: 1"}
    sagemaker = aws("sagemaker")
    arns = [
        sagemaker.describe_endpoint(EndpointName="depth")["EndpointArn"],
        sagemaker.describe_endpoint_config(EndpointConfigName=names["config"])["EndpointConfigArn"],
        sagemaker.describe_model(ModelName=names["model"])["ModelArn"],
    ]
    for arn in arns:
        tags = sagemaker.list_tags(ResourceArn=arn)["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == expected
    cloudwatch = aws("cloudwatch")
    for alarm in cloudwatch.describe_alarms()["MetricAlarms"]:
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == expected
    key = inventory(aws)["objects"][0]
    tags = aws("s3").get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == expected


def test_undeploy_twice_is_fine(aws, run, archive):
    run(*words("deploy", archive))
    assert run("undeploy", "--endpoint", "depth", "--bucket", BUCKET)[0] == 0
    status, deleted, err = run("undeploy", "--endpoint", "depth", "--bucket", BUCKET)
    assert (status, deleted) == (0, [])
    assert "nothing left of depth" in err
    assert run("undeploy", "--endpoint", "depth", "--bucket", "gone-bucket")[0] == 0


def test_undeploy_waits_until_a_change_has_ended_and_its_end_is_bounded(
    aws, run, archive, monkeypatch
):
    run(*words("deploy", archive))
    backend().endpoints["depth"].endpoint_status = "Updating"
    status, deleted, err = run("undeploy", "--endpoint", "depth", "--wait", "0")
    assert status == 1
    assert "still Updating" in err
    assert [line["operation"] for line in deleted] == ["delete_alarms"]
    assert inventory(aws)["endpoints"] == ["depth"]

    def ends(_):
        backend().endpoints["depth"].endpoint_status = "InService"

    monkeypatch.setattr(cleanup.time, "sleep", ends)
    assert run("undeploy", "--endpoint", "depth")[0] == 0
    assert inventory(aws) == NOTHING


def test_undeploy_of_what_is_being_deleted_waits_and_deletes_the_rest(
    aws, run, archive, monkeypatch
):
    run(*words("deploy", archive))
    backend().endpoints["depth"].endpoint_status = "Deleting"
    monkeypatch.setattr(cleanup.time, "sleep", lambda _: backend().endpoints.pop("depth"))
    assert run("undeploy", "--endpoint", "depth")[0] == 0
    assert inventory(aws) == NOTHING


def test_undeploy_leaves_alone_what_is_not_the_endpoints(aws, run, archive):
    run(*words("deploy", archive))
    s3, sagemaker = aws("s3"), aws("sagemaker")
    kept = ["depth-models/depth/capture/main/1.jsonl", "depth-models/depth/model-mine.tar.gz",
            "depth-models/depth-2/model-0123456789ab.tar.gz"]  # fmt: skip
    for key in kept:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    model = {"PrimaryContainer": {"Image": IMAGE}, "ExecutionRoleArn": ROLE}
    mine = [{"Key": OWNER, "Value": "depth"}]
    sagemaker.create_model(ModelName="depth-0123456789ab", **model)  # our name, not our tag
    sagemaker.create_model(ModelName="depth-of-mine", Tags=mine, **model)  # our tag, not our name
    variant = {"VariantName": "main", "ModelName": "depth-of-mine", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="depth-0123456789ab",  # our name, not our tag
        ProductionVariants=[{**variant, "InstanceType": "ml.c5.large"}],
    )
    aws("cloudwatch").put_metric_alarm(
        AlarmName="depth/depth-2/latency", MetricName="m", Namespace="n", Period=60, Threshold=1.0,
        EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold", Statistic="Average",
    )  # fmt: skip
    assert run("undeploy", "--endpoint", "depth", "--bucket", BUCKET)[0] == 0
    left = inventory(aws)
    assert left["objects"] == sorted(kept)
    assert left["models"] == ["depth-0123456789ab", "depth-of-mine"]
    assert left["alarms"] == ["depth/depth-2/latency"]
    assert left["configs"] == ["depth-0123456789ab"]
    assert left["endpoints"] == []


def test_an_endpoint_that_somebody_else_made_is_neither_taken_nor_deleted(aws, run, archive):
    sagemaker = aws("sagemaker")
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.c5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="depth", EndpointConfigName="c")
    before = inventory(aws)
    for line in (
        words("deploy", archive),
        words("update", archive),
        ["undeploy", "--endpoint", "depth"],
    ):
        status, out, err = run(*line)
        assert (status, out) == (1, [])
        assert "was not made by this command" in err
    assert inventory(aws) == before


# --- again, and in the middle ---


def test_deploy_run_again_changes_nothing(aws, run, archive):
    _, first, _ = run(*words("deploy", archive, *SCALED))
    before = inventory(aws)
    status, second, err = run(*words("deploy", archive, *SCALED))
    assert (status, second) == (0, first)
    assert err.count("is there already") == 3
    assert inventory(aws) == before


def test_deploy_over_other_settings_asks_for_update(aws, run, archive):
    run(*words("deploy", archive))
    before = inventory(aws)
    status, _, err = run(*words("deploy", archive, "--min-instances", "3"))
    assert status == 1
    assert "change it with update" in err
    assert inventory(aws) == before


def test_a_step_that_fails_is_named_with_what_there_is_and_how_it_goes_away(aws, run, make_archive):
    # moto knows no ml.inf2, so the third step fails, as it would where a type is not offered
    line = words("deploy", make_archive("neuronx"), instance_type="ml.inf2.xlarge")
    status, out, err = run(*line)
    assert (status, out) == (1, [])
    assert re.search(r"error: create endpoint configuration depth-\w+ failed: Validation", err)
    done = re.search(r"done so far: upload s3://\S+; create model (depth-\w+)\n", err)
    assert inventory(aws) == {
        **NOTHING,
        "models": [done[1]],
        "objects": inventory(aws)["objects"],
    }
    assert len(inventory(aws)["objects"]) == 1
    hint = re.search(r"to remove all of it: python -m serve.sagemaker (.*)", err)[1]
    assert main(hint.split()) == 0
    assert inventory(aws) == NOTHING


def test_an_archive_without_a_model_is_found_in_the_bucket_that_is_named(aws, run, archive):
    aws("s3").put_object(
        Bucket=BUCKET, Key="depth-models/depth/model-0123456789ab.tar.gz", Body=b"x"
    )
    assert run("undeploy", "--endpoint", "depth")[1] == []
    (deleted,) = run("undeploy", "--endpoint", "depth", "--bucket", BUCKET)[1]
    assert deleted["operation"] == "delete_object"
    assert inventory(aws) == NOTHING


def test_what_was_created_a_moment_ago_and_is_not_found_yet_is_tried_again(
    aws, run, archive, monkeypatch
):
    real, failures = Aws.send, []

    def send(self, call):
        if call.operation == "create_endpoint" and len(failures) < 2:
            failures.append(call)
            raise rollout.AwsError("ValidationException: Could not find endpoint configuration")
        return real(self, call)

    monkeypatch.setattr(Aws, "send", send)
    assert run(*words("deploy", archive))[0] == 0
    assert len(failures) == 2


def as_status(monkeypatch, *statuses, reason=None):
    """Let moto's next endpoints report these, one a look; the last stays."""
    real, left = Aws.send, list(statuses)

    def send(self, call):
        answer = real(self, call)
        if call.operation == "describe_endpoint":
            answer["EndpointStatus"] = left.pop(0) if len(left) > 1 else left[0]
            answer["FailureReason"] = reason
        return answer

    monkeypatch.setattr(Aws, "send", send)


def test_deploy_waits_and_reports_each_change(aws, run, archive, monkeypatch):
    as_status(monkeypatch, "Creating", "Creating", "InService")
    status, _, err = run(*words("deploy", archive))
    assert status == 0
    assert err.count("depth is Creating") == err.count("depth is InService") == 1


def test_an_endpoint_that_fails_says_why(aws, run, archive, monkeypatch):
    as_status(monkeypatch, "Creating", "Failed", reason="the container did not pass /ping")
    status, out, err = run(*words("deploy", archive))
    assert (status, out) == (1, [])
    assert "error: depth is Failed: the container did not pass /ping" in err
    assert "create endpoint depth\n" in err  # the last of what was done


def test_the_wait_has_an_end(aws, run, archive, monkeypatch):
    as_status(monkeypatch, "Creating")
    status, _, err = run(*words("deploy", archive, "--wait", "0.05"))
    assert status == 1
    assert "still Creating after 0 s" in err


def test_a_signal_in_the_middle_still_says_what_there_is(aws, run, archive, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "wait_for", interrupted)
    status, _, err = run(*words("deploy", archive))
    assert status == 130
    assert "undeploy --endpoint depth" in err
    assert "create endpoint depth" in err


# --- update ---


def test_update_brings_new_settings_and_undeploy_finds_the_older_ones_too(
    aws, run, archive, make_archive, updates
):
    sent, _ = updates
    _, (first,), _ = run(*words("deploy", archive, *SCALED))
    newer = make_archive(factor=3.0)
    more = ("--min-instances", "3", "--max-instances", "9", "--target-invocations", "700")
    status, (second,), _ = run(*words("update", newer, *more))
    assert status == 0
    for name in ("config", "model", "archive"):
        assert first[name] != second[name]
    after = inventory(aws)
    assert len(after["configs"]) == len(after["models"]) == len(after["objects"]) == 2
    assert after["alarms"] == ["depth/depth/errors", "depth/depth/latency"]
    (target,) = aws("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker"
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 9)
    described = aws("sagemaker").describe_endpoint(EndpointName="depth")
    assert described["EndpointConfigName"] == second["config"]

    (call,) = sent
    policy = call["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == {
        "Type": "ALL_AT_ONCE",
        "WaitIntervalInSeconds": 0,
    }
    assert call["RetainAllVariantProperties"] is True
    watched = [
        alarm["AlarmName"]
        for alarm in call["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    ]
    digest = second["config"][-12:]
    assert watched == [
        f"depth/depth/rollback-{digest}-latency",
        f"depth/depth/rollback-{digest}-errors",
    ]
    run("undeploy", "--endpoint", "depth", "--poll", "0.01")
    assert inventory(aws) == NOTHING


def test_rollback_alarms_watch_the_new_instances_while_the_update_runs(
    aws, run, archive, make_archive, updates, monkeypatch
):
    run(*words("deploy", archive))
    real, seen = rollout.wait_for, []

    def looking(*args):
        seen.extend(aws("cloudwatch").describe_alarms()["MetricAlarms"])
        return real(*args)

    monkeypatch.setattr(rollout, "wait_for", looking)
    _, (names,), _ = run(*words("update", make_archive(factor=3.0)))
    rollbacks = [alarm for alarm in seen if "rollback" in alarm["AlarmName"]]
    assert {alarm["MetricName"] for alarm in rollbacks} == {"ModelLatency", "Invocation5XXErrors"}
    for alarm in rollbacks:
        assert {"Name": "EndpointConfigName", "Value": names["config"]} in alarm["Dimensions"]


def test_a_rolled_back_update_is_a_failure_and_leaves_no_alarm_of_its_own(
    aws, run, archive, make_archive, updates
):
    updates[1]["rolled_back"] = True
    _, (first,), _ = run(*words("deploy", archive, *SCALED))
    before = inventory(aws)
    status, out, err = run(*words("update", make_archive(factor=3.0), *SCALED))
    assert (status, out) == (1, [])
    assert f"depth was rolled back to {first['config']}" in err
    after = inventory(aws)
    for kind in ("alarms", "targets", "policies", "endpoints"):
        assert after[kind] == before[kind]


def test_a_change_of_instance_type_takes_scaling_off_and_puts_it_back(
    aws, run, archive, updates, monkeypatch
):
    # Application Auto Scaling fails an update that changes the type of what it scales
    run(*words("deploy", archive, *SCALED))
    real, targets = rollout.wait_for, []

    def looking(*args):
        targets.append(inventory(aws)["targets"])
        return real(*args)

    monkeypatch.setattr(rollout, "wait_for", looking)
    assert run(*words("update", archive, *SCALED, instance_type="ml.inf1.2xlarge"))[0] == 0
    assert targets == [[]]
    assert inventory(aws)["targets"] == ["endpoint/depth/variant/main"]
    assert inventory(aws)["policies"] == ["depth-depth"]


def test_an_update_without_a_most_ends_the_scaling(aws, run, archive, make_archive, updates):
    run(*words("deploy", archive, *SCALED))
    assert run(*words("update", make_archive(factor=3.0)))[0] == 0
    assert inventory(aws)["targets"] == inventory(aws)["policies"] == []


def test_updates_refused_by_sagemaker_put_the_scaling_back(aws, run, archive, updates, monkeypatch):
    run(*words("deploy", archive, *SCALED))
    real = Aws.send

    def send(self, call):
        if call.operation == "update_endpoint":
            raise rollout.AwsError(f"{call.step} failed: ThrottlingException")
        return real(self, call)

    monkeypatch.setattr(Aws, "send", send)
    status, _, err = run(*words("update", archive, *SCALED, instance_type="ml.inf1.2xlarge"))
    assert status == 1
    assert "ThrottlingException" in err
    assert inventory(aws)["policies"] == ["depth-depth"]
    assert inventory(aws)["alarms"] == ["depth/depth/errors", "depth/depth/latency"]


def test_tags_go_to_a_new_scalable_target_only(aws, run, archive, updates, monkeypatch):
    real, sent = Aws.send, []
    monkeypatch.setattr(Aws, "send", lambda self, call: sent.append(call) or real(self, call))
    for command in ("deploy", "update"):
        run(*words(command, archive, *SCALED))
    first, second = (c.parameters for c in sent if c.operation == "register_scalable_target")
    assert first.pop("Tags") == {OWNER: "depth"}
    assert second == first


def test_update_to_what_runs_already_only_sets_scaling_and_alarms(aws, run, archive, updates):
    run(*words("deploy", archive))
    assert run(*words("update", archive, "--alarm-latency-ms", "200"))[0] == 0
    assert updates[0] == []
    (latency,) = (
        alarm
        for alarm in aws("cloudwatch").describe_alarms()["MetricAlarms"]
        if alarm["MetricName"] == "ModelLatency"
    )
    assert latency["Threshold"] == 200_000  # microseconds


def test_update_needs_an_endpoint_in_service(aws, run, archive, monkeypatch):
    status, _, err = run(*words("update", archive))
    assert status == 1
    assert "create it with deploy" in err
    run(*words("deploy", archive))
    as_status(monkeypatch, "Updating")
    status, _, err = run(*words("update", archive, "--min-instances", "2"))
    assert status == 1
    assert "is Updating, not InService" in err
    assert len(inventory(aws)["configs"]) == 1


def test_a_canary_away_from_inf1_is_refused_before_anything_is_created(
    aws, run, archive, make_archive, updates
):
    run(*words("deploy", archive))
    before = inventory(aws)
    status, _, err = run(
        *words("update", make_archive("onnx"), "--min-instances", "2", "--traffic", "canary",
               instance_type="ml.c7i.xlarge")
    )  # fmt: skip
    assert status == 1
    assert "runs on ml.inf1.xlarge: SageMaker excludes Inf1" in err
    assert inventory(aws) == before


# --- dry run ---


@pytest.mark.parametrize("command", ["deploy", "update"])
def test_dry_run_prints_calls_and_makes_none(command, run, archive, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(Aws, "client", lambda *_: pytest.fail("it asked for a client"))
    status, lines, _ = run(*words(command, archive, *SCALED, "--dry-run"), url=NOBODY)
    assert status == 0
    operations = [(line["service"], line["operation"]) for line in lines]
    begin = [
        ("s3", "upload_file"),
        ("sagemaker", "create_model"),
        ("sagemaker", "create_endpoint_config"),
    ]
    alarms = [("cloudwatch", "put_metric_alarm")] * 2
    scaling = [
        ("application-autoscaling", "register_scalable_target"),
        ("application-autoscaling", "put_scaling_policy"),
    ]
    if command == "deploy":
        assert operations == [*begin, ("sagemaker", "create_endpoint"), *scaling, *alarms]
    else:
        unscale = [
            ("application-autoscaling", "delete_scaling_policy"),
            ("application-autoscaling", "deregister_scalable_target"),
        ]
        assert operations == [
            *begin, *alarms, *unscale, ("sagemaker", "update_endpoint"),
            ("cloudwatch", "delete_alarms"), *scaling, *alarms,
        ]  # fmt: skip
        assert [bool(line.get("only_if")) for line in lines] == [
            call in unscale for call in operations
        ]


def test_deploy_makes_the_very_calls_that_its_dry_run_prints(aws, run, archive, monkeypatch):
    _, printed, _ = run(*words("deploy", archive, *SCALED, "--dry-run"), url=NOBODY)
    real, made = Aws.send, []

    def send(self, call):
        if not call.operation.startswith(("describe", "list")):
            made.append(json.loads(call.as_json()))
        return real(self, call)

    monkeypatch.setattr(Aws, "send", send)
    run(*words("deploy", archive, *SCALED))
    assert made == printed


def test_dry_run_of_undeploy_looks_and_deletes_nothing(aws, run, archive):
    run(*words("deploy", archive, *SCALED))
    before = inventory(aws)
    _, printed, _ = run("undeploy", "--endpoint", "depth", "--dry-run")
    assert inventory(aws) == before
    _, deleted, _ = run("undeploy", "--endpoint", "depth", "--poll", "0.01")
    assert deleted == printed != []


# --- refusals ---


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("instance_type", INSTANCES)
def test_an_artifact_goes_only_where_it_runs(target, instance_type, tiny_artifact):
    fits = {
        "neuron": ("inf1",),
        "neuronx": ("inf2",),
        "torchscript": ("g5", "c7i"),
        "onnx": ("c7i",),
        "openvino": ("c7i",),
    }
    manifest = dataclasses.replace(tiny_artifact.manifest, target=target)
    instance = INSTANCES[instance_type]
    if instance.family in fits[target]:
        assert admit([manifest], instance) == []
    else:
        with pytest.raises(InputError, match=target):
            admit([manifest], instance)


def test_a_cpu_artifact_on_a_gpu_instance_says_that_the_gpu_would_idle(tiny_artifact):
    manifest = dataclasses.replace(tiny_artifact.manifest, target="openvino")
    with pytest.raises(InputError, match="leave its GPU idle"):
        admit([manifest], INSTANCES["ml.g5.xlarge"])


@pytest.mark.parametrize(
    ("made", "more", "match"),
    [
        ({"target": "onnx"}, (), "does not run on ml.inf1.xlarge"),
        ({"source": "seeded"}, (), "pass --allow-seeded"),
        ({"licence": "CC-BY-NC-4.0"}, (), "--accept-licence 'CC-BY-NC-4.0'"),
        ({"licence": "untagged upstream"}, (), "--accept-licence 'untagged upstream'"),
        ({"licence": "CC-BY-NC-4.0"}, ("--accept-licence", "CC-BY-NC-3.0"), "accepted: CC-BY-NC-3"),
        ({}, ("--env", "DEPTH_WORKER=4"), "DEPTH_WORKER: unknown"),
        ({}, ("--env", "DEPTH_TOKEN=secret"), "hands no Authorization header on"),
        ({}, ("--env", "DEPTH_DEADLINE_S=60"), "gives up after 60 s"),
        ({}, ("--env", "COMMERCIAL_ONLY=0"), "follows from --accept-licence"),
        ({}, ("--tag", "depth-endpoint=other"), "reserved"),
        ({}, ("--max-instances", "4"), "need --target-invocations"),
        ({}, ("--min-instances", "0"), "give 1 or more"),
        ({}, ("--bucket", "s3://x"), "without s3://"),
        ({}, ("--prefix", "/models/"), "no outer slashes"),
        ({}, ("--role", "depth"), "give the ARN"),
        ({}, ("--endpoint", "a" * 51), "50 at most"),
        ({}, ("--async-output", "answers/"), "s3://bucket/folder"),
        ({}, ("--startup-timeout", "4000"), "SageMaker takes 60 to 3600"),
    ],
)
def test_refused_before_anything_is_asked_or_created(
    made, more, match, run, make_archive, monkeypatch
):
    monkeypatch.setattr(Aws, "client", lambda *_: pytest.fail("it asked for a client"))
    status, out, err = run(*words("deploy", make_archive(**made), *more), url=NOBODY)
    assert (status, out) == (1, [])
    assert match in err


def test_a_secret_is_not_repeated_in_the_refusal(run, archive):
    _, _, err = run(*words("deploy", archive, "--env", "DEPTH_TOKEN=hunter2"), url=NOBODY)
    assert "hunter2" not in err


def test_what_was_accepted_is_said_and_lets_the_container_start(run, make_archive):
    file = make_archive(licence="CC-BY-NC-4.0", source="seeded")
    more = ("--accept-licence", "CC-BY-NC-4.0", "--allow-seeded", "--dry-run")
    status, lines, err = run(*words("deploy", file, *more), url=NOBODY)
    assert status == 0
    assert "no commercial use" in err
    assert "its depth means nothing" in err
    assert lines[1]["parameters"]["PrimaryContainer"]["Environment"]["COMMERCIAL_ONLY"] == "0"
    _, lines, _ = run(*words("deploy", make_archive(), "--dry-run"), url=NOBODY)
    assert lines[1]["parameters"]["PrimaryContainer"]["Environment"]["COMMERCIAL_ONLY"] == "1"


def test_unproven_parity_is_said(tiny_artifact):
    pending = dataclasses.replace(tiny_artifact.manifest.parity, status="pending device")
    manifest = dataclasses.replace(tiny_artifact.manifest, target="neuron", parity=pending)
    (warning,) = admit([manifest], INSTANCES["ml.inf1.xlarge"])
    assert "compile verify" in warning


def test_two_models_in_one_archive_are_refused(tiny_artifact):
    other = dataclasses.replace(tiny_artifact.manifest, model="vitb")
    with pytest.raises(InputError, match="pack them apart"):
        admit([tiny_artifact.manifest, other], INSTANCES["ml.c7i.large"])


def test_a_broken_archive_is_refused(run, tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(b"not one")
    status, _, err = run(*words("deploy", tmp_path / "model.tar.gz"), url=NOBODY)
    assert status == 1
    assert "cannot be read as model.tar.gz" in err


def test_no_answer_and_no_region_are_errors_not_tracebacks(run, archive, monkeypatch):
    status, _, err = run("invoke", "--endpoint", "depth", "--input", "s3://b/a.jpg",
                         "--attempts", "1", url=NOBODY)  # fmt: skip
    assert status == 1
    assert "Could not connect" in err
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    status, _, err = run(*words("deploy", archive))
    assert status == 1
    assert "see --region" in err


@pytest.mark.parametrize("argv", [[], ["deploy"], ["deploy", "--instance-type", "ml.x"], ["fly"]])
def test_bad_usage_exits_with_2(argv):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2


@pytest.mark.parametrize("command", ["", "package", "deploy", "update", "invoke", "undeploy"])
def test_every_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    assert "examples:\n  python -m serve.sagemaker" in capsys.readouterr().out


# --- traffic ---


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


# --- the calls themselves ---


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


@pytest.fixture(scope="module")
def models():
    """botocore's description of a service, read once."""
    session, read = botocore.session.get_session(), {}

    def model(service):
        if service not in read:
            read[service] = session.get_service_model(service)
        return read[service]

    return model


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


# --- what the container is told ---


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


# --- invoke ---


class Container(BaseHTTPRequestHandler):
    """Answers POST as a service of ours would: moto 5.1 takes no body that is not text."""

    statuses: ClassVar[list] = []
    seen: ClassVar[list] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status = self.statuses.pop(0) if self.statuses else 200
        answer = b"\x93NUMPY" if status == 200 else b'{"message": "no photo of ours"}'
        answer = b"{}" if status == 406 else answer
        self.send_response(status)
        self.send_header("Content-Type", "application/x-npy")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "kind=disparity")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture()
def container():
    """Its address, the requests it saw, and the statuses it shall answer with."""
    Container.seen, Container.statuses = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Container) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", Container
        running.shutdown()


def test_invoke_sends_the_photo_as_it_is_and_writes_the_answer(
    container, run, save_photo, tmp_path
):
    url, seen = container
    photo, output = save_photo(tmp_path / "a.jpg"), tmp_path / "out" / "a.npy"
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--photo", photo, "--output", output,
        "--accept", "application/x-npy", "--attributes", "size=model;png=color", url=url,
    )  # fmt: skip
    assert status == 0
    ((path, headers, body),) = seen.seen
    assert path == "/endpoints/depth/invocations"
    assert body == photo.read_bytes()
    assert headers["content-type"] == "image/jpeg"
    assert headers["accept"] == "application/x-npy"
    assert headers["x-amzn-sagemaker-custom-attributes"] == "size=model;png=color"
    assert output.read_bytes() == b"\x93NUMPY"
    assert facts == {
        "file": str(output),
        "bytes": 6,
        "content_type": "application/x-npy",
        "custom_attributes": "kind=disparity",
        "variant": None,
    }


def test_invoke_tries_again_what_may_pass_and_not_what_will_not(
    container, run, save_photo, tmp_path
):
    url, seen = container
    photo, output = save_photo(tmp_path / "a.jpg"), tmp_path / "a.npy"
    line = ("invoke", "--endpoint", "depth", "--photo", photo, "--output", output)
    seen.statuses[:] = [503]
    assert run(*line, url=url)[0] == 0
    assert len(seen.seen) == 2
    output.unlink()
    seen.statuses[:] = [400]
    status, out, err = run(*line, url=url)
    assert (status, out) == (1, [])
    assert "no photo of ours" in err
    assert len(seen.seen) == 3
    assert not output.exists()
    seen.statuses[:] = [406]  # and one that gives no reason
    assert "HTTP 406" in run(*line, url=url)[2]


def test_invoke_reaches_an_endpoint_of_moto(aws, run, tmp_path):
    request = tmp_path / "a.json"
    request.write_text("{}")
    output = tmp_path / "a.bin"
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--photo", request, "--output", output
    )
    assert status == 0
    assert output.read_bytes() == b"body"  # what moto always answers
    assert facts["custom_attributes"] == "custom_attributes"
    assert facts["variant"] == "invoked_production_variant"


def test_invoke_queues_a_photo_in_s3(aws, run):
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--input", f"s3://{BUCKET}/a.jpg", "--accept", "image/png"
    )
    assert status == 0
    assert facts["OutputLocation"].startswith("s3://")
    assert facts["FailureLocation"].startswith("s3://")
    assert facts["InferenceId"]


@pytest.mark.parametrize(
    ("name", "size", "more", "match"),
    [
        ("a.jpg", (6 << 20) + 1, (), "takes 1 to 6,291,456"),
        ("a.jpg", 0, (), "takes 1 to"),
        ("a.raw", 10, (), "give --content-type"),
        ("a.jpg", 10, ("--attributes", "grün=1"), "plain ASCII"),
        ("a.jpg", 10, ("--attributes", "x" * 1025), "at most 1024"),
        ("none.jpg", None, (), "No such file"),
    ],
)
def test_what_sagemaker_would_refuse_is_not_sent(name, size, more, match, run, tmp_path):
    if size is not None:
        (tmp_path / name).write_bytes(bytes(size))
    status, out, err = run("invoke", "--endpoint", "depth", "--photo", tmp_path / name,
                           "--output", tmp_path / "out", *more, url=NOBODY)  # fmt: skip
    assert (status, out) == (1, [])
    assert match in err


def test_the_largest_photo_that_sagemaker_takes_is_sent(run, tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(6 << 20))
    status, (line,), _ = run("invoke", "--endpoint", "depth", "--photo", tmp_path / "a.jpg",
                             "--output", tmp_path / "out", "--dry-run", url=NOBODY)  # fmt: skip
    assert status == 0
    assert line["parameters"]["Body"] == "(6291456 bytes)"


def test_invoke_without_a_place_for_the_answer_is_refused(run, tmp_path):
    status, _, err = run("invoke", "--endpoint", "depth", "--photo", tmp_path / "a.jpg", url=NOBODY)
    assert status == 2
    assert "--photo needs --output" in err


# --- the documentation ---


DOCS = Path(__file__).parent.parent / "docs" / "sagemaker.md"
PERMISSION = {  # where it is not the operation's own name
    "s3:UploadFile": "s3:PutObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sagemaker-runtime:InvokeEndpoint": "sagemaker:InvokeEndpoint",
    "sagemaker-runtime:InvokeEndpointAsync": "sagemaker:InvokeEndpointAsync",
}


def test_the_documented_policy_allows_every_call_from_deploy_to_undeploy(
    aws, run, archive, make_archive, updates, monkeypatch, tmp_path
):
    made = set()
    send, every = Aws.send, Aws.every

    def note(service, operation):
        name = "".join(part.title() for part in operation.split("_"))
        made.add(PERMISSION.get(f"{service}:{name}", f"{service}:{name}"))

    def noted_send(self, call):
        note(call.service, call.operation)
        return send(self, call)

    def noted_every(self, service, operation, key, **parameters):
        note(service, operation)
        return every(self, service, operation, key, **parameters)

    monkeypatch.setattr(Aws, "send", noted_send)
    monkeypatch.setattr(Aws, "every", noted_every)
    (tmp_path / "a.json").write_text("{}")
    for line in (
        words("deploy", archive, *SCALED),
        words("update", make_archive(factor=3.0), *SCALED, instance_type="ml.inf1.2xlarge"),
        [
            "invoke",
            "--endpoint",
            "depth",
            "--photo",
            tmp_path / "a.json",
            "--output",
            tmp_path / "a",
        ],
        ["invoke", "--endpoint", "depth", "--input", f"s3://{BUCKET}/a.jpg"],
        ["undeploy", "--endpoint", "depth", "--bucket", BUCKET],
    ):
        assert run(*line)[0] == 0
    policies = [
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
        if "sagemaker:CreateEndpoint" in block
    ]
    allowed = {
        action
        for policy in policies
        for statement in policy["Statement"]
        for action in statement["Action"]
    }
    assert made <= allowed, sorted(made - allowed)
    beside = {  # what AWS asks for beside the operations themselves
        "iam:PassRole", "iam:CreateServiceLinkedRole", "s3:PutObjectTagging",
        "sagemaker:AddTags", "cloudwatch:TagResource", "application-autoscaling:TagResource",
        "s3:AbortMultipartUpload",
    }  # fmt: skip
    assert allowed == made | beside


def test_every_option_in_the_documentation_is_one():
    text = DOCS.read_text()
    known = set()
    for command in ("package", "deploy", "update", "invoke", "undeploy"):
        for line in re.findall(rf"serve\.sagemaker {command}((?:\\\n|[^`\n])*)", text):
            options = re.findall(r"(--[a-z-]+)", line)
            assert set(options) <= options_of(command), (command, options)
            known.add(command)
    assert known == {"package", "deploy", "update", "invoke", "undeploy"}
    anywhere = set().union(*(options_of(command) for command in known))
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in anywhere | {"--target", "--build-arg"}, option


def options_of(command):
    """The options that a command has."""
    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {word for a in commands.choices[command]._actions for word in a.option_strings}
