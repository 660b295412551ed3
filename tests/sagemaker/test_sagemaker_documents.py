"""SageMaker: docs/sagemaker.md allows every call that is made, and names options that exist."""

import argparse
import json
import re

from stand_in_sagemaker import (
    BUCKET,
    DOCS,
    SCALED,
    words,
)

from serve.sagemaker.aws import Aws
from serve.sagemaker.options import build_parser

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
