"""SageMaker: from nothing to an endpoint and back, again, and with failures in the middle."""

import re

from stand_in_sagemaker import (
    BUCKET,
    IMAGE,
    NOTHING,
    ROLE,
    SCALED,
    as_status,
    backend,
    inventory,
    words,
)

from runtime.artifact.archive import inspect
from serve.sagemaker import cleanup, rollout
from serve.sagemaker.__main__ import main
from serve.sagemaker.aws import Aws
from serve.sagemaker.endpoint import OWNER


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
