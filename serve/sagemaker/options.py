"""The command line of ``python -m serve.sagemaker``: words to a namespace, no more."""

import argparse
from pathlib import Path

from serve.sagemaker.endpoint import PREFIX, TRAFFIC
from serve.sagemaker.instances import INSTANCES

RAW = argparse.RawDescriptionHelpFormatter
FAMILIES = "instance types:\n" + "".join(
    f"  {row.name:17} {row.cores or row.vcpus:3} {'NeuronCores' if row.cores else 'vCPUs':11}  "
    f"{', '.join(row.targets)}\n"
    for row in INSTANCES.values()
)
DEPLOY_EXAMPLES = """examples:
  python -m serve.sagemaker deploy --endpoint depth --archive model.tar.gz --bucket BUCKET \\
    --role ROLE_ARN --image IMAGE --instance-type ml.inf1.xlarge
  the same with --dry-run                                            print the calls, make none
  the same with --min-instances 2 --max-instances 8 --target-invocations 600
  the same with --async-output s3://BUCKET/answers                   asynchronous
"""
UPDATE_EXAMPLES = """examples:
  python -m serve.sagemaker update --endpoint depth --archive new.tar.gz --bucket BUCKET \\
    --role ROLE_ARN --image IMAGE --instance-type ml.inf1.xlarge
  the same with --instance-type ml.c7i.2xlarge --min-instances 2 --traffic canary --bake 600
  the same with --no-rollback          when the running one is what sets off the alarms
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serve.sagemaker",
        description="Compiled artifacts to an endpoint on AWS SageMaker, and back to nothing. "
        "Credentials come from where boto3 finds them. Each command has its own --help; "
        "docs/sagemaker.md goes through all of them.",
        epilog="examples:\n"
        "  python -m serve.sagemaker package --artifact artifacts/vits-518x518-b1-neuron\n"
        "  python -m serve.sagemaker deploy --help\n"
        "  python -m serve.sagemaker undeploy --endpoint depth\n",
        formatter_class=RAW,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_package(commands)
    _add_deploy(commands, "deploy", "upload, create the endpoint, watch it", DEPLOY_EXAMPLES)
    _add_deploy(commands, "update", "bring a running endpoint to new settings", UPDATE_EXAMPLES)
    _add_invoke(commands)
    _add_undeploy(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)  # whose usage is shown if options do not go together
    return parser


def _add_package(commands: "argparse._SubParsersAction") -> None:
    parser = commands.add_parser(
        "package",
        help="artifacts to model.tar.gz",
        description="Verify artifacts and write them into one archive, as SageMaker unpacks it. "
        "The same artifacts make the same bytes. Prints the archive's path. Calls no AWS.",
        epilog="examples:\n"
        "  python -m serve.sagemaker package --artifact artifacts/vits-518x518-b1-neuron\n"
        "  python -m serve.sagemaker package --artifact artifacts/vits-* --output vits.tar.gz\n",
        formatter_class=RAW,
    )
    parser.add_argument(
        "--artifact",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders of artifacts, or one that holds them; all of one model",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("model.tar.gz"), help="default model.tar.gz"
    )


def _add_deploy(
    commands: "argparse._SubParsersAction", command: str, text: str, examples: str
) -> None:
    parser = commands.add_parser(
        command,
        help=text,
        description=f"{text.capitalize()}. Refuses before anything is created: artifacts for other "
        "hardware, random weights, licences that were not accepted. Run again, it goes on where it "
        "stopped. Prints the names as JSON.",
        epilog=f"{examples}\n{FAMILIES}",
        formatter_class=RAW,
    )
    _add_aws(parser)
    parser.add_argument("--endpoint", required=True, help="its name")
    parser.add_argument("--archive", type=Path, required=True, metavar="FILE", help="from package")
    parser.add_argument("--bucket", required=True, help="for the archive, without s3://")
    parser.add_argument("--prefix", default=PREFIX, help=f"folder there; default {PREFIX}")
    parser.add_argument("--role", required=True, metavar="ARN", help="that the endpoint runs as")
    parser.add_argument("--image", required=True, help="container, in ECR")
    parser.add_argument(
        "--instance-type", required=True, choices=list(INSTANCES), metavar="TYPE", help="see below"
    )
    parser.add_argument("--allow-seeded", action="store_true", help="random weights, for a trial")
    parser.add_argument(
        "--accept-licence",
        action="append",
        default=[],
        metavar="NAME",
        help="of weights that may not be used commercially, such as CC-BY-NC-4.0",
    )
    parser.add_argument(
        "--env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="setting"
    )
    parser.add_argument("--tag", type=_pair, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--startup-timeout", type=int, default=600, metavar="S", help="for /ping; default 600"
    )
    parser.add_argument(
        "--capture-percent", type=int, default=0, metavar="N", help="calls kept in S3; default 0"
    )
    parser.add_argument(
        "--wait", type=float, default=3600, metavar="S", help="for the endpoint; default 3600"
    )
    parser.add_argument("--poll", type=float, default=15, metavar="S", help="default 15")
    parser.add_argument("--dry-run", action="store_true", help="print the calls, make none")
    group = parser.add_argument_group("number of instances")
    group.add_argument("--min-instances", type=int, default=1, metavar="N", help="default 1")
    group.add_argument(
        "--max-instances", type=int, metavar="N", help="default: the least, so no scaling"
    )
    group.add_argument(
        "--target-invocations",
        type=float,
        metavar="N",
        help="calls a minute of one instance (waiting calls, if asynchronous) to aim at",
    )
    group = parser.add_argument_group("asynchronous endpoint")
    group.add_argument("--async-output", metavar="S3", help="s3:// folder for the answers")
    group.add_argument(
        "--async-concurrency", type=int, default=4, metavar="N", help="of an instance; default 4"
    )
    group = parser.add_argument_group("alarms")
    group.add_argument(
        "--alarm-latency-ms", type=float, default=5000, metavar="MS", help="default 5000"
    )
    group.add_argument(
        "--alarm-errors", type=float, default=0.05, metavar="SHARE", help="default 0.05"
    )
    group.add_argument("--alarm-topic", metavar="ARN", help="SNS topic that is told")
    if command == "update":
        group = parser.add_argument_group("traffic")
        group.add_argument(
            "--traffic",
            choices=TRAFFIC,
            help="default: canary with 2 instances or more, not on Inf1; else all-at-once",
        )
        group.add_argument(
            "--bake", type=int, default=300, metavar="S", help="watched a step; default 300"
        )
        group.add_argument("--no-rollback", action="store_true", help="whatever the alarms say")
    parser.set_defaults(traffic=None, bake=300, no_rollback=False)


def _add_invoke(commands: "argparse._SubParsersAction") -> None:
    parser = commands.add_parser(
        "invoke",
        help="send a photo",
        description="Send a photo and write the answer to a file, or queue one that lies in S3 on "
        "an asynchronous endpoint. Prints what came back as JSON.",
        epilog="examples:\n"
        "  python -m serve.sagemaker invoke --endpoint depth --photo a.jpg --output a.npz\n"
        "  python -m serve.sagemaker invoke --endpoint depth --photo a.jpg --output a.png \\\n"
        "    --accept image/png --attributes 'png=color;size=model'\n"
        "  python -m serve.sagemaker invoke --endpoint depth --input s3://BUCKET/a.jpg\n"
        "  the first with --endpoint-url http://127.0.0.1:8080     a service of one's own\n",
        formatter_class=RAW,
    )
    _add_aws(parser)
    parser.add_argument("--endpoint", required=True, help="its name")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photo", type=Path, metavar="FILE", help="to send")
    source.add_argument("--input", metavar="S3", help="s3:// photo to queue: asynchronous")
    parser.add_argument("--output", type=Path, metavar="FILE", help="for the answer to --photo")
    parser.add_argument("--content-type", metavar="TYPE", help="default: by the file's suffix")
    parser.add_argument(
        "--accept", metavar="TYPE", help="such as image/png; default: what the service prefers"
    )
    parser.add_argument("--attributes", metavar="TEXT", help="such as 'size=model;png=color'")
    parser.add_argument("--attempts", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument("--dry-run", action="store_true", help="print the call, do not make it")


def _add_undeploy(commands: "argparse._SubParsersAction") -> None:
    parser = commands.add_parser(
        "undeploy",
        help="delete all of it",
        description="Find everything that deploy and update made for an endpoint, and delete it: "
        "alarms, scaling, endpoint, configurations, models, archives. Prints each as JSON. Answers "
        "and captured data in S3 stay. Run twice, the second finds nothing.",
        epilog="examples:\n"
        "  python -m serve.sagemaker undeploy --endpoint depth --bucket BUCKET\n"
        "  python -m serve.sagemaker undeploy --endpoint depth --bucket BUCKET --dry-run\n",
        formatter_class=RAW,
    )
    _add_aws(parser)
    parser.add_argument("--endpoint", required=True, help="its name")
    parser.add_argument(
        "--bucket", help="look for archives there too; default: only where its models point"
    )
    parser.add_argument("--prefix", default=PREFIX, help=f"folder there; default {PREFIX}")
    parser.add_argument("--wait", type=float, default=3600, metavar="S", help="default 3600")
    parser.add_argument("--poll", type=float, default=15, metavar="S", help="default 15")
    parser.add_argument(
        "--dry-run", action="store_true", help="look, print what would be deleted, delete nothing"
    )


def _add_aws(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--region", help="default: boto3's own")
    parser.add_argument("--endpoint-url", metavar="URL", help="of a stand-in for AWS")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=VALUE")
    return key, value
