"""SageMaker: what is refused before it costs anything, and what a dry run prints."""

import dataclasses
import json

import pytest
from stand_in_sagemaker import (
    NOBODY,
    SCALED,
    inventory,
    words,
)

from runtime.artifact.manifest import TARGETS
from runtime.errors import InputError
from serve.sagemaker.__main__ import main
from serve.sagemaker.admission import admit
from serve.sagemaker.aws import Aws
from serve.sagemaker.instances import INSTANCES


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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("instance_type", INSTANCES)
def test_an_artifact_goes_only_where_it_runs(target, instance_type, tiny_artifact):
    fits = {
        "neuron": ("inf1",),
        "neuronx": ("inf2",),
        "torchscript": ("g5",),  # the image for CPUs has no torch
        "pt2": ("g5",),
        "tensorrt": (),  # which no image of ours has
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
