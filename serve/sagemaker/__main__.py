"""python -m serve.sagemaker: artifacts to an endpoint on AWS SageMaker, and back to nothing."""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from typing import Optional

from runtime.artifact.archive import inspect, pack
from runtime.artifact.folder import find_artifacts, read_artifact
from runtime.command_line import UsageError, run_command
from runtime.errors import ArtifactError
from runtime.files import check_output_file, sha256_of, write_whole
from runtime.predict.choose import needs_consent
from serve.sagemaker.admission import admit
from serve.sagemaker.aws import Aws
from serve.sagemaker.cleanup import find_all, undeploy
from serve.sagemaker.endpoint import Endpoint, check_name, check_place
from serve.sagemaker.instances import find_instance
from serve.sagemaker.invoke import facts_of, invoke_async_call, invoke_call, without_body
from serve.sagemaker.options import build_parser
from serve.sagemaker.requests import deploy_calls, update_calls
from serve.sagemaker.rollout import Patience, deploy, update


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    for noisy in ("botocore", "boto3", "s3transfer", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return run_command(build_parser(), lambda args: COMMANDS[args.command](args), argv)


def _package(args: argparse.Namespace) -> None:
    check_output_file(args.output)  # before gigabytes are hashed and packed
    folders = []
    for root in args.artifact:
        found = find_artifacts(root)
        if not found:
            raise ArtifactError(f"{root}: no artifact there; make one with `make compile`")
        folders += found
    artifacts = [read_artifact(folder) for folder in folders]
    print(pack(artifacts, args.output))


def _deploy(args: argparse.Namespace) -> None:
    instance = find_instance(args.instance_type)
    manifests = inspect(args.archive)
    for warning in admit(manifests, instance, args.allow_seeded, args.accept_licence):
        logging.warning("warning: %s", warning)
    endpoint = Endpoint(
        name=args.endpoint,
        role=args.role,
        image=args.image,
        instance_type=args.instance_type,
        archive=args.archive,
        archive_sha256=sha256_of(args.archive),
        bucket=args.bucket,
        prefix=args.prefix,
        commercial_only=not any(needs_consent(one.weights.licence) for one in manifests),
        min_instances=args.min_instances,
        max_instances=args.min_instances if args.max_instances is None else args.max_instances,
        target_invocations=args.target_invocations,
        environment=tuple(args.env),
        tags=tuple(args.tag),
        startup_timeout_s=args.startup_timeout,
        capture_percent=args.capture_percent,
        async_output=args.async_output,
        async_concurrency=args.async_concurrency,
        alarm_latency_ms=args.alarm_latency_ms,
        alarm_errors=args.alarm_errors,
        alarm_topic=args.alarm_topic,
        traffic=args.traffic,
        bake_s=args.bake,
        rollback=not args.no_rollback,
    )
    if args.dry_run:
        for call in (deploy_calls if args.command == "deploy" else update_calls)(endpoint):
            print(call.as_json())
        return
    aws, patience = Aws(args.region, args.endpoint_url), Patience(args.wait, args.poll)
    run = deploy if args.command == "deploy" else update
    print(json.dumps(run(endpoint, aws, patience, _cleanup(args))))


def _cleanup(args: argparse.Namespace) -> str:
    words = ["python", "-m", "serve.sagemaker", "undeploy", "--endpoint", args.endpoint]
    words += ["--bucket", args.bucket, "--prefix", args.prefix]
    words += ["--region", args.region] if args.region else []
    words += ["--endpoint-url", args.endpoint_url] if args.endpoint_url else []
    return shlex.join(words)


def _invoke(args: argparse.Namespace) -> None:
    options = (args.content_type, args.accept, args.attributes)
    if args.photo and not args.output:
        raise UsageError("--photo needs --output, the file that the answer is written to")
    if args.input and args.output:
        raise UsageError("--output: an asynchronous answer is written to S3; leave it out")
    if args.output:
        check_output_file(args.output)  # before a call that costs money
    if args.photo:
        call = invoke_call(args.endpoint, args.photo, *options)
    else:
        call = invoke_async_call(args.endpoint, args.input, *options)
    if args.dry_run:
        print(without_body(call).as_json())
        return
    answer = Aws(args.region, args.endpoint_url, args.attempts).send(call)
    if args.photo:
        write_whole(args.output, answer["Body"])
        print(json.dumps(facts_of(answer, args.output)))
    else:
        locations = ("InferenceId", "OutputLocation", "FailureLocation")
        print(json.dumps({key: answer.get(key) for key in locations}))


def _undeploy(args: argparse.Namespace) -> None:
    check_name(args.endpoint)
    if args.bucket:
        check_place(args.bucket, args.prefix)
    aws = Aws(args.region, args.endpoint_url)
    calls = find_all(aws, args.endpoint, args.bucket, args.prefix)
    if not calls:
        logging.info("nothing left of %s", args.endpoint)
    if args.dry_run:
        for call in calls:
            print(call.as_json())
        return
    for call in undeploy(aws, calls, args.endpoint, Patience(args.wait, args.poll)):
        print(call.as_json(), flush=True)


COMMANDS = {
    "package": _package,
    "deploy": _deploy,
    "update": _deploy,
    "invoke": _invoke,
    "undeploy": _undeploy,
}

if __name__ == "__main__":
    sys.exit(main())
