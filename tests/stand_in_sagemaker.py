"""An account of SageMaker that is not AWS's: moto's server over HTTP, and what is asked of it.

What moto 5.1 cannot do is said where it matters: it has no UpdateEndpoint (botocore's Stubber takes
that one call), knows no ml.inf2, ml.g5 and ml.c7i, and creates and deletes in no time.
"""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

from moto.sagemaker.models import sagemaker_backends

from serve.sagemaker.aws import Aws

REGION, ACCOUNT = "us-west-2", "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/depth"
IMAGE = "depth:1"
BUCKET = "depth-bucket"
NOBODY = "http://127.0.0.1:9"  # a port where nothing listens
DOCS = Path(__file__).parent.parent / "docs" / "sagemaker.md"


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
