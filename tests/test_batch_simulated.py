"""Simulated jobs: the host's work is real, the device is waited for, every result says so."""

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from runtime.predict.found import SIMULATED
from runtime.storage import S3Options, open_storage
from serve.batch import simulated
from serve.batch.__main__ import main
from serve.batch.job_folder import JOB, JobFolder
from serve.batch.records import read_records
from serve.batch.report import write_report


@pytest.fixture
def photos(tmp_path, save_photo):
    """Twelve photos of one size."""
    for number in range(12):
        save_photo(tmp_path / "photos" / f"{number:02}.png", 40, 60, number)
    return tmp_path / "photos"


@pytest.fixture
def run(photos, tiny_artifact):
    """Run a job on them; returns the exit status."""

    def start(output, *more, artifact=tiny_artifact.path):
        where = ["--input", photos, "--output", output, "--artifact", artifact]
        return main(["run", *map(str, [*where, *more])])

    return start


WAIT = ("--engine", "simulated", "--service-ms", "2")


def test_all_is_real_but_the_graph(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "runtime.predict.predictor.load_engine", lambda *_: pytest.fail("a graph is loaded")
    )
    output = tmp_path / "depth"
    assert run(output, *WAIT, "--workers", "4", "--formats", "npz,png16,png") == 0
    assert main(["verify", "--output", str(output)]) == 0
    records = list(read_records(JobFolder(open_storage(str(output)))))
    assert len(records) == 12
    assert all(one.seconds_infer >= 0.002 and len(one.outputs) == 4 for one in records)
    with np.load(output / "00.png.npz") as first, np.load(output / "11.png.npz") as other:
        depth = first["disparity"]
        assert depth.shape == (40, 60)
        assert (np.abs(depth - np.linspace(1, 2, 60)) <= simulated.GRAIN + 1e-6).all()
        assert (depth == other["disparity"]).all(), "whatever the photo"


def test_every_file_says_that_it_is_simulated(run, tmp_path, make_artifact, capsys, caplog):
    output = tmp_path / "depth"
    run(output, *WAIT, "--formats", "npz,png16,png", artifact=make_artifact(seeded=True).path)
    assert "SIMULATED: no graph runs, each call waits 2 ms" in caplog.text
    capsys.readouterr()
    with np.load(output / "00.png.npz") as arrays:
        described = [json.loads(str(arrays["meta"]))]
    for suffix in (".depth16.png", ".color.png"):
        with Image.open(output / f"00.png{suffix}") as image:
            described.append(json.loads(image.text["Description"]))
    described.append(json.loads((output / "00.png.json").read_text()))
    assert [facts["warning"] for facts in described] == [SIMULATED] * 4
    main(["status", "--output", str(output)])
    assert json.loads(capsys.readouterr().out)["simulated"] == SIMULATED
    for name in ("plan.json", "_SUCCESS"):
        assert json.loads((output / JOB / name).read_text())["service_ms"] == 2
    page = write_report(JobFolder(open_storage(str(output))), 1, S3Options())
    assert "Simulated: no graph ran; each call waited 2 ms" in Path(page).read_text()


def test_as_many_calls_at_once_as_there_are_workers_and_no_more(run, tmp_path, monkeypatch):
    together, running, most = threading.Barrier(3), set(), []

    def sleep(seconds):
        running.add(threading.get_ident())
        most.append(len(running))
        together.wait(30)  # breaks unless three calls wait side by side
        running.discard(threading.get_ident())

    # this module's alone: threads of other tests may still sleep
    monkeypatch.setattr(simulated, "time", SimpleNamespace(sleep=sleep))
    assert run(tmp_path / "depth", *WAIT, "--workers", "3") == 0
    assert max(most) == 3


def test_a_graph_that_cannot_run_here_can_be_simulated(run, tmp_path, tiny_artifact):
    chip = tmp_path / "chip"
    shutil.copytree(tiny_artifact.path, chip)
    facts = json.loads((chip / "manifest.json").read_text())
    (chip / "manifest.json").write_text(json.dumps({**facts, "target": "neuron"}))
    assert run(tmp_path / "real", artifact=chip) == 1
    assert run(tmp_path / "depth", *WAIT, artifact=chip) == 0


@pytest.mark.parametrize("shard", [(), ("--shard", "0/2")])
def test_simulated_results_never_come_beside_real_ones(run, tmp_path, shard, capsys):
    real, trial = tmp_path / "real", tmp_path / "trial"
    assert run(real) == 0 and run(trial, *WAIT) == 0
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.npz")}
    assert run(real, *WAIT, *shard) == 1
    assert "is not empty; give a simulated job its own output" in capsys.readouterr().err
    assert run(trial, *shard) == 1
    assert "holds simulated results" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*.npz")}


def test_another_service_time_is_another_job(run, tmp_path, capsys):
    for words, kept in ((WAIT, 0), (WAIT, 12), ((*WAIT[:-1], "1"), 0)):
        assert run(tmp_path / "depth", *words) == 0
        assert json.loads(capsys.readouterr().out)["kept"] == kept


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--engine", "simulated"], "needs the milliseconds of a call"),
        (["--service-ms", "5"], "no other takes them"),
        (["--engine", "simulated", "--service-ms", "-1"], "give milliseconds, 0 or more"),
        (["--engine", "simulated", "--service-ms", "nan"], "give milliseconds, 0 or more"),
    ],
)
def test_a_service_time_goes_with_the_simulated_engine(run, tmp_path, more, message, capsys):
    assert run(tmp_path / "depth", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "depth").exists()
