"""Fixtures of the SageMaker tests: an empty account of moto's, archives, the command line."""

import dataclasses
import json
import urllib.request

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from stand_in_sagemaker import (
    ACCOUNT,
    BUCKET,
    IMAGE,
    REGION,
    ROLE,
    backend,
)

from benchmarks.stand_in_aws import empty_aws
from runtime.artifact.archive import pack
from runtime.artifact.folder import commit, describe_files
from runtime.files import partial_folder
from serve.sagemaker import rollout
from serve.sagemaker.__main__ import main
from serve.sagemaker.aws import Aws
from serve.sagemaker.endpoint import Endpoint


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


@pytest.fixture(scope="module")
def models():
    """botocore's description of a service, read once."""
    session, read = botocore.session.get_session(), {}

    def model(service):
        if service not in read:
            read[service] = session.get_service_model(service)
        return read[service]

    return model
