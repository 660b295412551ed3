"""In small what tests of tests/slow_tests.txt show at length: the demo model, a killed job, Ray.

Each is named there as the small test of a slow one.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.estimators import eager_estimator
from compile.fetch import local_checkpoint
from compile.registry import DEMO, MODELS
from metric_depth.datasets import DatasetName, open_dataset
from metric_depth.judge import judge_all, summarise
from runtime.artifact.archive import pack
from runtime.storage import SCRATCH
from serve.batch.__main__ import main
from serve.batch.job_folder import JOB
from serve.http.server import model_folder
from serve.http.settings import from_environment

ROOT = Path(__file__).resolve().parents[1]


def results(output: Path) -> "dict[str, bytes]":
    """A batch job's results by name, without what it knows of itself."""
    return {
        file.name: file.read_bytes()
        for file in output.rglob("*")
        if file.is_file() and not {JOB, SCRATCH} & set(file.parts)
    }


@pytest.fixture
def job(tmp_path, save_photo, make_artifact):
    """Words of a batch job of six photos, without its output."""
    for number in range(6):
        save_photo(tmp_path / "photos" / f"{number}.png", 20, 30, number)
    artifact = make_artifact(work=4)
    return ["run", "--input", str(tmp_path / "photos"), "--artifact", str(artifact.path)]


def test_demo_orders_the_depth_of_one_scene():
    estimator = eager_estimator(MODELS[DEMO], local_checkpoint(MODELS[DEMO]), False, 252, "cpu")
    dataset = open_dataset(DatasetName("generated"), 1)
    scores = summarise(list(judge_all(estimator, dataset)))["scores"]
    assert scores["delta1"] > 0.9 and scores["ordinal_accuracy"] > 0.9
    assert scores["ordinal_accuracy"] > scores["lower_is_nearer"] + 0.1  # what no model scores


def test_a_job_that_is_killed_goes_on_where_it_was(job, tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    command = [sys.executable, "-m", "serve.batch", *job, "--output", str(killed)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(killed.glob("*.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / JOB / "_SUCCESS").exists()
    assert main([*job, "--output", str(killed)]) == 0
    assert main([*job, "--output", str(undisturbed)]) == 0
    assert results(killed) == results(undisturbed)


def test_ray_gives_what_one_machine_gives_for_a_few_photos(job, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    fleet, alone = tmp_path / "fleet", tmp_path / "alone"
    command = [sys.executable, "-m", "serve.batch", *job, "--output", str(fleet)]
    done = subprocess.run([*command, "--engine", "ray"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("[")]  # Ray's core's
    assert all(json.loads(line)["event"] == "progress" for line in told), done.stderr
    assert main([*job, "--output", str(alone)]) == 0
    assert results(fleet) == results(alone)


def test_a_service_of_an_archive_opens_what_is_in_it(tmp_path, tiny_artifact):
    pack([tiny_artifact], tmp_path / "model.tar.gz")
    for given in (tmp_path, tmp_path / "model.tar.gz"):
        scratch = tmp_path / f"scratch-{given.name}"
        opened = model_folder(from_environment({"MODEL_DIR": str(given)}), scratch)
        graph = opened / tiny_artifact.path.name / "graph.pt"
        assert graph.read_bytes() == (tiny_artifact.path / "graph.pt").read_bytes()
