"""Settings: every variable is read, checked and shown; what is unknown is refused."""

import dataclasses
import os
import subprocess
import sys

import pytest

from runtime.errors import ArtifactError, InputError
from runtime.predict.choose import check_licence
from serve.http.server import engine_threads
from serve.http.settings import Settings, from_environment, table


def test_nothing_set_gives_the_defaults():
    assert from_environment({"PATH": "/bin"}) == Settings()


def test_every_setting_is_read_from_its_variable():
    texts = {bool: "1", int: "5", float: "2.5", str: "x"}
    special = {"device": "cpu", "log_level": "ERROR", "safe_ports": "1-9", "port": "5"}
    special |= {"streams": "one", "front": "none", "trusted_proxies": "10.0.0.0/8,::1"}
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
        ({"DEPTH_WORKERS": "two"}, "DEPTH_WORKERS='two': give a number"),
        ({"DEPTH_WORKERS": "-1"}, "DEPTH_WORKERS=-1: give 0 to 64"),
        ({"DEPTH_QUEUE_S": "0"}, "DEPTH_QUEUE_S=0: give a number above 0"),
        ({"DEPTH_QUEUE_S": "nan"}, "DEPTH_QUEUE_S=nan: give a number of 0 or more"),
        ({"DEPTH_DEADLINE_S": "inf"}, "DEPTH_DEADLINE_S=inf"),
        ({"DEPTH_FRONT": "apache"}, "DEPTH_FRONT='apache': use one of auto, nginx, none"),
        ({"DEPTH_TRUSTED_PROXIES": "balancer"}, "give addresses or networks, as 10.0.0.0/8"),
        ({"DEPTH_CONNECTIONS": "0"}, "DEPTH_CONNECTIONS=0: give 1 to 65,000"),
        ({"DEPTH_STREAMS": "two"}, "DEPTH_STREAMS='two': use one of auto, one"),
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
        ({"MODEL_DIR": "docs"}, "error: no artifact can be used"),
        ({"DEPTH_QUEUE_S": "no"}, "error: DEPTH_QUEUE_S='no': give a number"),
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


def service_variables(name: str, port: int = 80) -> "dict[str, str]":
    """What Kubernetes puts into every container for a Service of this name."""
    name = name.upper().replace("-", "_")
    address = f"tcp://10.0.0.1:{port}"
    return {
        f"{name}_SERVICE_HOST": "10.0.0.1",
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_HTTP": str(port),
        f"{name}_PORT": address,
        f"{name}_PORT_{port}_TCP": address,
        f"{name}_PORT_{port}_TCP_PROTO": "tcp",
        f"{name}_PORT_{port}_TCP_PORT": str(port),
        f"{name}_PORT_{port}_TCP_ADDR": "10.0.0.1",
    }


@pytest.mark.parametrize("name", ["depth", "depth-serve", "depth-max-views"])
def test_what_kubernetes_makes_of_a_service_is_no_setting(name):
    assert from_environment({**service_variables(name), "DEPTH_WORKERS": "2"}) == Settings(
        workers=2
    )
    done = run("--print-settings", **service_variables(name))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_service_whose_variable_has_a_settings_name_does_not_set_it(caplog):
    settings = from_environment(service_variables("sagemaker-bind-to"))
    assert settings == Settings()
    (record,) = caplog.records
    assert record.getMessage() == (
        "SAGEMAKER_BIND_TO_PORT=tcp://10.0.0.1:80 is left out: Kubernetes made it of a Service"
    )


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("DEPTH_WORKRES", "DEPTH_WORKERS"),
        ("DEPTH_HOTS", "DEPTH_HOST"),
        ("DEPTH_QUEUE", "DEPTH_QUEUE_S"),
        ("DEPTH_MAXPIXELS", "DEPTH_MAX_PIXELS"),
        ("DEPTH_PORT", "SAGEMAKER_BIND_TO_PORT"),
        ("DEPTH_TIMEOUT", "DEPTH_READ_TIMEOUT_S"),
        ("DEPTH_MODEL_DIR", "MODEL_DIR"),
        ("depth_token", "DEPTH_TOKEN"),
        ("COMERCIAL_ONLY", "COMMERCIAL_ONLY"),
        ("SAGEMAKER_BIND_TO_PORTS", "SAGEMAKER_BIND_TO_PORT"),
    ],
)
def test_a_slip_is_warned_about_with_the_name_that_is_meant(slip, meant, caplog):
    assert from_environment({**service_variables("depth-serve"), slip: "2"}) == Settings()
    (record,) = caplog.records
    assert record.getMessage() == f"{slip} is no setting: did you mean {meant}?"


def test_other_names_that_begin_like_ours_are_somebody_elses(caplog):
    others = {"DEPTH_API_URL": "http://elsewhere", "DEPTH_SENSOR_ID": "7", "DEPTH_X": "1"}
    others.update(dict.fromkeys(("SAGEMAKER_REGION", "SAGEMAKER_PROGRAM", "MODEL_NAME"), "1"))
    others.update({"DEPTH_SERVICE_PORT": "tcp://10.0.0.1:80", "DEPTH_CHECKPOINT_DIR": "/a"})
    assert from_environment(others) == Settings()
    assert not caplog.records


def test_several_workers_share_the_cores():
    assert engine_threads(Settings(), 1) is None
    assert engine_threads(Settings(), 2) == max(1, (os.cpu_count() or 1) // 2)
    assert engine_threads(Settings(engine_threads=7), 2) == 7
