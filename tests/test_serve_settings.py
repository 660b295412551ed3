"""Settings: every variable is read, checked and shown; what is unknown is refused."""

import dataclasses
import os
import subprocess
import sys

import pytest

from runtime.errors import ArtifactError, InputError
from runtime.predict.choose import check_licence, usable_artifacts
from serve.http.server import Server, engine_threads, worker_count
from serve.http.settings import Settings, from_environment, table


def test_nothing_set_gives_the_defaults():
    assert from_environment({"PATH": "/bin"}) == Settings()


def test_every_setting_is_read_from_its_variable():
    texts = {bool: "1", int: "5", float: "2.5", str: "x"}
    special = {"device": "cpu", "log_level": "ERROR", "safe_ports": "1-9", "port": "5"}
    for one in dataclasses.fields(Settings):
        default = one.default
        text = special.get(one.name) or texts.get(type(default), "a,b")
        if one.name == "safe_ports":
            continue
        settings = from_environment({one.metadata["name"]: text})
        assert getattr(settings, one.name) != default, one.name


def test_a_list_is_separated_by_commas():
    assert from_environment({"DEPTH_S3_BUCKETS": "a, b,"}).s3_buckets == ("a", "b")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DEPTH_WORKRES": "2"}, "DEPTH_WORKRES: unknown; the service knows .*DEPTH_WORKERS"),
        ({"DEPTH_WORKERS": "two"}, "DEPTH_WORKERS='two': give a number"),
        ({"DEPTH_WORKERS": "-1"}, "DEPTH_WORKERS=-1: give 0 to 64"),
        ({"DEPTH_QUEUE_S": "0"}, "DEPTH_QUEUE_S=0: give a number above 0"),
        ({"DEPTH_QUEUE_S": "nan"}, "DEPTH_QUEUE_S=nan: give a number of 0 or more"),
        ({"DEPTH_DEADLINE_S": "inf"}, "DEPTH_DEADLINE_S=inf"),
        ({"DEPTH_DEVICE": "tpu"}, "DEPTH_DEVICE='tpu': use one of auto, cpu, cuda"),
        ({"COMMERCIAL_ONLY": "yes"}, "COMMERCIAL_ONLY='yes': give 1 or 0"),
        ({"DEPTH_LOG_LEVEL": "LOUD"}, "use one of DEBUG"),
        ({"SAGEMAKER_SAFE_PORT_RANGE": "9"}, "give FIRST-LAST"),
        (
            {"SAGEMAKER_SAFE_PORT_RANGE": "21000-21999", "SAGEMAKER_BIND_TO_PORT": "8080"},
            "8080 is outside SAGEMAKER_SAFE_PORT_RANGE=21000-21999",
        ),
    ],
)
def test_a_wrong_setting_says_what_is_right(variables, message):
    with pytest.raises(InputError, match=message):
        from_environment(variables)


def test_settings_are_printed_without_the_token():
    text = from_environment({"DEPTH_TOKEN": "secret", "DEPTH_WORKERS": "3"}).as_text()
    assert "secret" not in text and "DEPTH_TOKEN=(set)" in text and "DEPTH_WORKERS=3" in text


def test_what_is_printed_is_what_is_read():
    lines = Settings().as_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert from_environment(variables) == Settings()


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )


def test_help_lists_every_variable():
    done = run("--help")
    assert done.returncode == 0
    for one in dataclasses.fields(Settings):
        assert one.metadata["name"] in done.stdout
    assert table() in done.stdout and "examples:" in done.stdout


def test_print_settings_starts_nothing():
    done = run("serve", "--print-settings", DEPTH_THREADS="9")
    assert done.returncode == 0 and "DEPTH_THREADS=9" in done.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MODEL_DIR": "nowhere"}, "error: nowhere: no such folder; mount artifacts there"),
        ({"MODEL_DIR": "docs"}, "error: docs: no artifact there"),
        ({"DEPTH_X": "1"}, "error: DEPTH_X: unknown"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_exits_with_1(variables, message):
    done = run(**variables)
    assert done.returncode == 1
    assert done.stderr.startswith(message) and len(done.stderr.splitlines()) == 1


def test_commercial_only_refuses_other_weights(make_artifact):
    artifact = make_artifact()
    check_licence([artifact])
    for licence in ("CC-BY-NC-4.0", "untagged upstream"):
        weights = dataclasses.replace(artifact.manifest.weights, licence=licence)
        other = dataclasses.replace(
            artifact, manifest=dataclasses.replace(artifact.manifest, weights=weights)
        )
        with pytest.raises(ArtifactError, match=f"licence is '{licence}', and COMMERCIAL_ONLY=1"):
            check_licence([other])


def test_of_a_folder_of_two_models_one_is_named(make_artifact, tmp_path):
    for model in ("vits", "vitb"):
        make_artifact(model=model, root=tmp_path)
    with pytest.raises(ArtifactError, match="holds vitb, vits; one is run: name it"):
        usable_artifacts(tmp_path)
    (found,) = usable_artifacts(tmp_path, "vitb")
    assert found.manifest.model == "vitb"
    with pytest.raises(ArtifactError, match="holds vitb, vits, not vitl"):
        usable_artifacts(tmp_path, "vitl")


def test_a_folder_of_several_precisions_is_used_in_one(make_artifact, tmp_path):
    make_artifact(root=tmp_path, precision="bf16")
    make_artifact(root=tmp_path, precision="bf16", size_hw=(28, 42))
    assert {one.manifest.precision for one in usable_artifacts(tmp_path)} == {"bf16"}
    make_artifact(root=tmp_path)
    (found,) = usable_artifacts(tmp_path)
    assert found.manifest.precision == "f32", "the wider one would be answered in another"


def test_there_is_a_worker_for_each_neuroncore(tmp_path):
    for name in ("neuron0", "neuron1", "neuron_core", "null"):
        (tmp_path / name).touch()
    settings = Settings()
    assert worker_count(settings, "neuron", tmp_path) == 8
    assert worker_count(settings, "neuronx", tmp_path) == 4
    assert worker_count(settings, "openvino", tmp_path) == 1
    assert worker_count(Settings(workers=3), "neuron", tmp_path) == 3


@pytest.mark.parametrize(("target", "expected"), [("neuron", "1"), ("openvino", "4")])
def test_a_worker_on_inferentia_takes_one_core(target, expected, monkeypatch):
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "4")
    server = Server.__new__(Server)
    server.target = target
    server._forked(None, None)
    assert os.environ["NEURON_RT_NUM_CORES"] == expected


def test_several_workers_share_the_cores():
    assert engine_threads(Settings(), 1) is None
    assert engine_threads(Settings(), 2) == max(1, (os.cpu_count() or 1) // 2)
    assert engine_threads(Settings(engine_threads=7), 2) == 7
