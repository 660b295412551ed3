"""The files of deploy/: what is checked is their form, against Ray's and AWS's own schemas.

None of them has run on AWS.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from runtime.engines.inferentia import INF1
from runtime.storage import open_storage
from serve.batch.__main__ import build_parser
from serve.batch.job_folder import JOB, JobFolder
from serve.batch.on_ray import actor_resources
from serve.batch.records import read_records

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CORES = {instance.name: instance.cores for instance in INF1}
NEURON_ACTOR = actor_resources("neuron", "auto", 1, None)


def test_the_ray_cluster_is_one_by_rays_own_schema():
    spec = find_spec("ray")
    if spec is None:
        pytest.skip("ray is not installed")
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = yaml.safe_load((DEPLOY / "ray-ec2.yaml").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "worker_image": "no such word"}, schema)
    kinds = cluster["available_node_types"]
    inf1 = kinds["inf1"]
    assert inf1["resources"]["neuron_cores"] == CORES[inf1["node_config"]["InstanceType"]]
    for kind in ("inf1", "inf2"):
        offered = kinds[kind]["resources"]
        actors = min(
            offered["CPU"] // NEURON_ACTOR["num_cpus"],
            offered["neuron_cores"] // NEURON_ACTOR["resources"]["neuron_cores"],
        )
        assert actors == offered["neuron_cores"], "each core gets an actor"
    assert kinds[cluster["head_node_type"]]["resources"]["CPU"] == 0


def test_the_kubernetes_workers_offer_what_the_actors_ask_for():
    job = yaml.safe_load((DEPLOY / "ray-kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check_words(job["spec"]["entrypoint"].split())
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    offered = json.loads(json.loads(group["rayStartParams"]["resources"]))
    machine = group["template"]["spec"]["nodeSelector"]["node.kubernetes.io/instance-type"]
    assert offered == {"neuron_cores": CORES[machine]}
    assert set(offered) == set(NEURON_ACTOR["resources"])
    assert limits["aws.amazon.com/neuroncore"] == str(CORES[machine])
    assert (
        limits["cpu"] == group["rayStartParams"]["num-cpus"] >= limits["aws.amazon.com/neuroncore"]
    )


@pytest.mark.parametrize(
    ("file", "service", "operation"),
    [
        ("aws-batch.json", "batch", "RegisterJobDefinition"),
        ("sagemaker-processing.json", "sagemaker", "CreateProcessingJob"),
    ],
)
def test_aws_requests_are_such_by_awss_own_models(file, service, operation):
    request = json.loads((DEPLOY / file).read_text())
    shape = get_session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert ParamValidator().validate({**request, "no_such_word": 1}, shape).has_errors()


def test_the_words_of_the_aws_jobs_are_the_commands_own():
    batch = json.loads((DEPLOY / "aws-batch.json").read_text())
    script, cores, *words = batch["containerProperties"]["command"]
    assert (ROOT / script).is_file() and int(cores) == CORES["inf1.2xlarge"]
    assert {word[5:] for word in words if word.startswith("Ref::")} == set(batch["parameters"])
    check_words(["python", "-m", "serve.batch", "run", *words])
    application = json.loads((DEPLOY / "sagemaker-processing.json").read_text())["AppSpecification"]
    check_words([*application["ContainerEntrypoint"], *application["ContainerArguments"]])


def test_sagemaker_has_no_processing_and_no_transform_on_inf1():
    """docs/scale.md says so; new SDKs would tell if that changed."""
    model = get_session().get_service_model("sagemaker")
    kinds = {
        name: {value.split(".")[1] for value in model.shape_for(name).enum}
        for name in ("ProcessingInstanceType", "TransformInstanceType")
    }
    assert not kinds["ProcessingInstanceType"] & {"inf1", "inf2"}
    assert "inf2" in kinds["TransformInstanceType"] and "inf1" not in kinds["TransformInstanceType"]


def test_hadolint_has_nothing_to_say_about_the_image():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DEPLOY / "Dockerfile"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_shards_take_a_core_each_and_do_everything_once(tmp_path, save_photo, tiny_artifact):
    for number in range(24):
        save_photo(tmp_path / "photos" / f"{number:02}.png", seed=number)
    words = ["--input", tmp_path / "photos", "--output", tmp_path / "depth"]
    words += ["--artifact", tiny_artifact.path, "--engine", "simulated", "--service-ms", "0"]
    for machine in (0, 1):
        assert shards(2, *words, MACHINES=2, MACHINE=machine).wait(120) == 0
    storage = open_storage(str(tmp_path / "depth"))
    names = [
        record.name
        for index in range(4)
        for record in read_records(JobFolder(storage, f"{JOB}/shard-{index}-of-4"))
    ]
    assert sorted(names) == [f"{number:02}.png" for number in range(24)]


@pytest.mark.parametrize(("statuses", "worst"), [("0 0", 0), ("0 3", 3), ("3 1", 1), ("1 3", 1)])
def test_shards_end_as_the_worst_of_them(tmp_path, statuses, worst):
    python = stand_in(tmp_path, f'statuses=({statuses}); exit "${{statuses[$core]}}"')
    process = shards(2, "--input", "a b", PYTHON=python, AWS_BATCH_JOB_ARRAY_INDEX=3, MACHINES=5)
    assert process.wait(30) == worst
    seen = sorted((tmp_path / "seen").read_text().splitlines())
    assert seen == [
        "0: -m serve.batch run --input a b --shard 6/10",
        "1: -m serve.batch run --input a b --shard 7/10",
    ]


def test_shards_hand_on_sigterm_and_wait(tmp_path):
    python = stand_in(tmp_path, "trap 'sleep 1; exit 1' TERM; touch $seen.$core; sleep 60 & wait")
    process = shards(2, PYTHON=python)
    while len(list(tmp_path.glob("seen.*"))) < 2:
        assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 1


def shards(cores: int, *words: object, **variables: object) -> "subprocess.Popen[bytes]":
    """The script, started."""
    variables = {"PYTHON": sys.executable, **variables}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [DEPLOY / "shards.sh", str(cores), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def stand_in(folder: Path, then: str) -> Path:
    """A program that writes down its core and its words, and then does something."""
    file = folder / "python"
    lines = ["#!/usr/bin/env bash", f"seen={folder}/seen; core=$NEURON_RT_VISIBLE_CORES"]
    file.write_text("\n".join([*lines, 'echo "$core: $*" >> "$seen"', then]) + "\n")
    file.chmod(0o755)
    return file


def check_words(command: "list[str]") -> None:
    """A command that the parser takes."""
    assert command[:4] == ["python", "-m", "serve.batch", "run"]
    build_parser().parse_args(command[3:])
