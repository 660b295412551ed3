"""SageMaker: an endpoint to new settings, its alarms, its scaling, and what is rolled back."""

from stand_in_sagemaker import NOTHING, SCALED, as_status, inventory, words

from serve.sagemaker import rollout
from serve.sagemaker.aws import Aws
from serve.sagemaker.endpoint import OWNER


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
