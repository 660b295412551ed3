"""What a batch job knows of itself: its plan, what stands, what it ends with, what made it."""

import errno
import json
import logging
import os
import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import storage
from runtime.artifact.folder import MANIFEST, Artifact, read_artifact
from runtime.artifact.manifest import OutputSpec, to_json
from runtime.errors import InputError
from runtime.predict.found import SEEDED, SIMULATED
from runtime.predict.predictor import Predictor
from serve.batch import plan as plans
from serve.batch.__main__ import main
from serve.batch.items import Item, place_of
from serve.batch.job import BatchJob
from serve.batch.job_folder import JOB, SUCCESS
from serve.batch.neuron_cores import check_cores, owned_cores
from serve.batch.plan import JobPlan, make_plan, read_items, read_plan
from serve.batch.records import read_records
from serve.batch.run import run_job
from serve.batch.verify import verify_job

COMMANDS = ("run", "retry-failed", "status", "verify", "report")
OPTIONS = ("--formats", "npz", "--max-error-rate", "1")


@pytest.fixture
def photos(tmp_path, save_photo) -> Path:
    """Five photos."""
    for number in range(5):
        save_photo(tmp_path / "photos" / f"{number}.png", seed=number)
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path, photos, tiny_artifact, capsys):
    """Call the command on them; returns its exit status and what it prints, as JSON."""

    def call(command="run", *more, source=photos, artifact=tiny_artifact.path):
        words = [command, "--output", tmp_path / "depth"]
        if command in ("run", "retry-failed"):
            words += ["--input", source, "--artifact", artifact, *OPTIONS]
        capsys.readouterr()
        status = main([str(word) for word in (*words, *more)])
        out, call.errors = capsys.readouterr()
        return status, json.loads(out) if out.startswith("{") else out.splitlines()

    return call


def refused(job, file: Path) -> "set[str]":
    """What every command says of a file of the job: one sentence, which names it."""
    found = set()
    for command in COMMANDS:
        assert job(command)[0] == 1
        (sentence,) = job.errors.splitlines()
        assert sentence.startswith(f"error: {file}: ")
        found.add(sentence)
    return found


def folder(tmp_path):
    return BatchJob("photos", str(tmp_path / "depth")).open()


def last(tmp_path) -> "dict[str, object]":
    return {record.name: record for record in read_records(folder(tmp_path))}


def edited(artifact: Artifact, root: Path, **changes: object) -> Artifact:
    """A copy whose manifest says something else."""
    manifest = replace(artifact.manifest, **changes)
    path = root / manifest.name
    shutil.copytree(artifact.path, path)
    (path / MANIFEST).write_text(to_json(manifest))
    return read_artifact(path)


# Which artifacts are used


def test_of_two_batch_sizes_one_is_used_and_the_other_is_named(
    make_artifact, tmp_path, job, caplog
):
    caplog.set_level(logging.INFO)
    graphs = tmp_path / "graphs"
    one, four = (make_artifact(batch=batch, root=graphs) for batch in (1, 4))
    status, summary = job(artifact=graphs)
    assert (status, summary["done"]) == (0, 5)
    assert [each["name"] for each in summary["artifacts"]] == [one.manifest.name]
    assert f"left out: {four.path}: batch 4: one of 1 is there" in caplog.text


def test_artifacts_for_scenes_are_left_out(make_artifact, tmp_path, job, caplog):
    caplog.set_level(logging.INFO)
    graphs = tmp_path / "graphs"
    single = make_artifact(model="da3-small", kind="depth", root=graphs)
    several = [edited(single, graphs, views=views) for views in (2, 4)]
    status, summary = job("run", "--model", "da3-small", artifact=graphs)
    assert (status, summary["done"]) == (0, 5)
    assert [each["name"] for each in summary["artifacts"]] == [single.manifest.name]
    for artifact in several:
        assert f"{artifact.path}: takes {artifact.manifest.views} photos of one" in caplog.text


@pytest.mark.parametrize("text", ['{"schema_version": 2}', "no JSON"])
def test_artifacts_that_cannot_be_read_are_left_out(text, make_artifact, tmp_path, job, caplog):
    graphs = tmp_path / "graphs"
    make_artifact(root=graphs)
    (graphs / "old").mkdir()
    (graphs / "old" / MANIFEST).write_text(text)
    status, summary = job(artifact=graphs)
    assert (status, summary["done"]) == (0, 5)
    (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said.startswith(f"left out: {graphs / 'old'}: ")


# What ends a job, and what only a photo


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), OverflowError("large")])
@pytest.mark.parametrize("where", ["prepare", "infer", "finish"])
def test_whatever_a_photo_raises_is_its_record(where, error, tmp_path, job, monkeypatch):
    real, calls = getattr(Predictor, where), []

    def raises_once(self, *given, **more):
        calls.append(where)
        if len(calls) == 3:
            raise error
        return real(self, *given, **more)

    monkeypatch.setattr(Predictor, where, raises_once)
    status, summary = job("run")
    kind = type(error).__name__
    assert status == 3 and summary["done"] == 4 and summary["codes"] == {kind: 1}
    (bad,) = [record for record in last(tmp_path).values() if record.status == "error"]
    assert bad.error.startswith(f"{kind}: ")
    assert job("run")[0] == 3  # and so it stands
    assert job("retry-failed")[0] == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_an_output_that_is_full_or_read_only_ends_the_job_and_it_goes_on(
    code, tmp_path, job, monkeypatch
):
    real, written = storage.write_whole, []

    def full(file, data, scratch=None):
        if file.suffix == ".npz":
            written.append(file)
        if len(written) > 2:
            raise OSError(code, os.strerror(code), str(file))
        real(file, data, scratch)

    monkeypatch.setattr(storage, "write_whole", full)
    status, _ = job("run")
    assert status == 1
    (sentence,) = [line for line in job.errors.splitlines() if line.startswith("error: ")]
    assert os.strerror(code) in sentence and "Traceback" not in job.errors
    monkeypatch.undo()
    status, summary = job("run")
    assert status == 0 and summary["done"] + summary["kept"] == 5  # no error record stayed


def test_a_folder_for_temporary_files_that_is_full_is_one_sentence(job, monkeypatch):
    real = sqlite3.connect

    def small(file):
        rows = real(file)
        rows.execute("PRAGMA max_page_count = 1")
        return rows

    monkeypatch.setattr(sqlite3, "connect", small)
    assert job("run")[0] == 1
    assert "cannot hold a job's rows (database or disk is full)" in job.errors
    assert "TMPDIR" in job.errors and "Traceback" not in job.errors


def test_a_placed_job_has_no_relative_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    placed = BatchJob("in/*.png", "../out", (Path("artifacts"), Path("/a"))).placed()
    assert placed.input == f"{tmp_path}/in/*.png" and placed.output == f"{tmp_path}/../out"
    assert placed.artifacts == (tmp_path / "artifacts", Path("/a"))
    s3 = BatchJob("s3://a/b", "s3://c/d").placed()
    assert (s3.input, s3.output) == ("s3://a/b", "s3://c/d")


# The focal length, and all else that decides a result


@pytest.fixture(scope="module")
def metric(make_artifact, tmp_path_factory) -> Artifact:
    """Its depth is in metres at 300 pixels."""
    artifact = make_artifact(kind="depth", model="da3metric-large")
    output = OutputSpec("depth", metric_focal_px=300.0)
    return edited(artifact, tmp_path_factory.mktemp("metric"), output=output)


@pytest.fixture
def manifest(tmp_path, photos):
    """Write a manifest of the photos with these focal lengths."""

    def write(*focal_px) -> Path:
        rows = [
            {"path": f"photos/{number}.png", "name": f"{number}.png", "focal_px": focal}
            for number, focal in enumerate(focal_px)
        ]
        file = tmp_path / "list.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write


def focal_px(tmp_path, number: int):
    facts = json.loads((tmp_path / "depth" / f"{number}.png.json").read_text())
    return facts["focal_px"], facts["unit"]


def test_a_new_focal_length_in_a_row_is_noticed(tmp_path, job, manifest, metric):
    assert job(source=manifest(300, 300, None), artifact=metric.path)[1]["done"] == 3
    with np.load(tmp_path / "depth" / "1.png.npz") as arrays:
        before = arrays["depth_m"]
    _, summary = job(source=manifest(300, 600, None), artifact=metric.path)
    assert (summary["done"], summary["kept"]) == (1, 2)
    with np.load(tmp_path / "depth" / "1.png.npz") as arrays:
        np.testing.assert_allclose(arrays["depth_m"], 2 * before, rtol=1e-6)
    _, summary = job(source=manifest(300, 600, 900), artifact=metric.path)
    assert (summary["done"], summary["kept"]) == (1, 2)
    assert [focal_px(tmp_path, number)[0] for number in range(3)] == [300, 600, 900]


def test_a_rows_focal_length_comes_before_the_jobs(tmp_path, job, manifest, metric):
    source = manifest(600, None)
    assert job(source=source, artifact=metric.path)[0] == 0
    assert [focal_px(tmp_path, n) for n in (0, 1)] == [(600, "metre"), (None, "relative")]
    _, summary = job("run", "--focal-px", "450", source=source, artifact=metric.path)
    assert [focal_px(tmp_path, n) for n in (0, 1)] == [(600, "metre"), (450, "metre")]
    assert (summary["done"], summary["kept"]) == (1, 1), "the row's own did not change"


def test_a_focal_length_that_changes_nothing_is_refused_before_any_work(tmp_path, job, manifest):
    status, _ = job("run", "--focal-px", "500", source=manifest(None, None))
    assert status == 1 and not (tmp_path / "depth").exists()
    assert "focal_px: the depth of vits does not depend on it; leave it out" in job.errors
    assert job("run", "--dry-run", "--focal-px", "500", source=tmp_path / "list.jsonl")[0] == 1


def test_a_column_of_focal_lengths_that_do_nothing_is_said_once(tmp_path, job, manifest, caplog):
    source = manifest(None, 500, 700)
    status, summary = job("run", source=source)
    assert status == 0 and summary["done"] == 3
    said = [one.getMessage() for one in caplog.records if "focal_px" in one.getMessage()]
    assert said == [
        f"{source}: focal_px of 2 rows does nothing, the depth of vits does not depend on it"
    ]
    assert focal_px(tmp_path, 1) == (None, "relative")
    assert json.loads((tmp_path / "depth/_job/_SUCCESS").read_text())["unused_focal"] == 2
    manifest(None, None, 800)  # nothing that a result depends on
    _, summary = job("run", source=source)
    assert (summary["done"], summary["kept"]) == (0, 3)


CHANGES = {
    "formats": ("npz", "png16"),
    "colormap": "gray",
    "decode": "reduced",
    "max_pixels": 1000,
}


@pytest.mark.parametrize("name", CHANGES)
def test_options_that_change_a_result_are_in_its_key(name, tiny_artifact):
    one = BatchJob("photos", "depth")
    changed = replace(one, **{name: CHANGES[name]})
    assert one.options([tiny_artifact]) != changed.options([tiny_artifact])


def test_artifacts_and_their_weights_are_in_the_key(make_artifact, tiny_artifact, tmp_path):
    one = BatchJob("photos", "depth")
    others = [
        [make_artifact(weights_sha256="1" * 64)],
        [make_artifact(factor=3.0)],
        [tiny_artifact, make_artifact(size_hw=(28, 42))],
    ]
    assert len({one.options(artifacts) for artifacts in ([tiny_artifact], *others)}) == 4


# The plan


@pytest.mark.parametrize("killed", [False, True])
def test_a_trial_does_not_fix_the_plan_of_the_whole_job(killed, tmp_path, job):
    status, summary = job("run", "--limit", "2")
    assert (status, summary["planned"], summary["done"]) == (0, 2, 2)
    assert job("status")[1]["limit"] == 2
    assert json.loads((tmp_path / "depth" / JOB / SUCCESS).read_text())["limit"] == 2
    if killed:
        (tmp_path / "depth" / JOB / SUCCESS).unlink()
    _, summary = job("run", "--limit", "3")
    assert (summary["planned"], summary["done"], summary["kept"]) == (3, 1, 2)
    if killed:
        (tmp_path / "depth" / JOB / SUCCESS).unlink()
    status, summary = job()
    assert (status, summary["planned"], summary["done"], summary["kept"]) == (0, 5, 2, 3)
    assert "limit" not in job("status")[1]


def test_a_trial_that_was_killed_is_gone_on_with_as_a_trial(tmp_path, job, save_photo, photos):
    job("run", "--limit", "2")
    (tmp_path / "depth" / JOB / SUCCESS).unlink()
    save_photo(photos / "-first.png")
    assert job("run", "--limit", "2")[1]["kept"] == 2, "the plan was fixed"


def test_a_list_that_is_edited_is_read_again_and_a_folder_is_not(tmp_path, job, save_photo, photos):
    file = tmp_path / "list.txt"
    for source in (file, photos):
        file.write_text("photos/0.png\nphotos/1.png\n")
        planned = job(source=source)[1]["planned"]
        (tmp_path / "depth" / JOB / SUCCESS).unlink()
        file.write_text("photos/0.png\nphotos/1.png\nphotos/2.png\n")
        save_photo(photos / "later.png")
        assert job(source=source)[1]["planned"] == planned + (source == file)


def test_an_input_is_the_same_however_it_is_spelt(tmp_path, job, photos, monkeypatch):
    job(source=photos)
    (tmp_path / "depth" / JOB / SUCCESS).unlink()
    monkeypatch.chdir(tmp_path)
    for source in ("photos", "./photos/", "depth/../photos"):
        assert job(source=source)[1]["kept"] == 5
        (tmp_path / "depth" / JOB / SUCCESS).unlink()
    (tmp_path / "other").mkdir()
    assert job(source="other")[0] == 1
    assert f"holds a job on {photos}, not {tmp_path / 'other'}" in job.errors
    assert len({place_of(f"s3://bucket/photos{slashes}") for slashes in ("", "/", "//")}) == 1


@pytest.mark.parametrize("error", [InputError("line 4"), KeyboardInterrupt()])
def test_planning_that_does_not_end_changes_nothing(error, tmp_path, job, monkeypatch):
    assert job()[0] == 0
    before = {file: file.read_bytes() for file in (tmp_path / "depth" / JOB).rglob("*.*")}
    monkeypatch.setattr(plans, "CHUNK", 2)

    def items():
        for number in range(3):
            yield Item(f"{number}.png", "")
        raise error

    with pytest.raises(type(error)):
        make_plan(folder(tmp_path), JobPlan("photos", ""), items())
    assert folder(tmp_path).finished
    assert before == {f: f.read_bytes() for f in (tmp_path / "depth" / JOB).rglob("*.*")}


def test_a_new_plan_removes_the_old_ones_chunks(tmp_path, job, monkeypatch):
    monkeypatch.setattr(plans, "CHUNK", 2)
    for _ in range(2):
        assert job()[0] == 0
        assert len(list(folder(tmp_path).below("plan/"))) == 3
    plan = read_plan(folder(tmp_path))
    assert [item.name for item in read_items(folder(tmp_path), plan)] == [
        f"{number}.png" for number in range(5)
    ]


def test_a_plan_of_version_1_is_shown_and_is_made_anew_if_it_is_unfinished(tmp_path, job):
    job()
    page = tmp_path / "depth" / JOB / "plan.json"
    facts = json.loads(page.read_text())
    (tmp_path / "depth" / JOB / f"plan/{facts['id']}-000000.parquet").rename(
        tmp_path / "depth" / JOB / "plan" / "000000.parquet"
    )
    for name in ("schema_version", "limit", "provenance", "input_tag", "id"):
        del facts[name]
    page.write_text(json.dumps(facts))
    assert job("status")[1]["done"] == 5 and job("verify")[0] == 0
    (tmp_path / "depth" / JOB / SUCCESS).unlink()
    assert job()[1]["kept"] == 5
    assert json.loads(page.read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: "", "damaged (no JSON object"),
        (lambda facts: json.dumps(facts)[:-9], "damaged (no JSON object"),
        (lambda facts: "[1]", "damaged (no JSON object"),
        (lambda facts: "\udcff", "damaged (no JSON object"),
        (lambda facts: "[" * 90_000, "damaged (no JSON object"),
        (lambda facts: json.dumps({**facts, "count": "many"}), "damaged (count is 'many')"),
        (lambda facts: json.dumps({"schema_version": 2}), "damaged (input is None)"),
        (lambda facts: json.dumps({}), "damaged (input is None)"),
        (lambda facts: json.dumps({**facts, "schema_version": 3}), "schema_version 3, this"),
        (lambda facts: json.dumps({**facts, "schema_version": "x"}), "schema_version 'x', this"),
    ],
)
def test_a_plan_that_cannot_be_read_is_one_sentence(change, message, tmp_path, job):
    job()
    page = tmp_path / "depth" / JOB / "plan.json"
    text = change(json.loads(page.read_text()))
    page.write_text(text, errors="surrogateescape")
    (tmp_path / "depth" / JOB / SUCCESS).unlink()
    assert all(message in sentence for sentence in refused(job, page))
    page.unlink()
    assert job()[1]["kept"] == 5, "as the sentence says"


@pytest.mark.parametrize("what", ["plan", "records"])
@pytest.mark.parametrize("damage", ["cut", "empty", "other columns"])
def test_damaged_lists_and_records_are_one_sentence(what, damage, tmp_path, job):
    job()
    (tmp_path / "depth" / JOB / SUCCESS).unlink()
    (file,) = (tmp_path / "depth" / JOB / what).iterdir()
    (other,) = (tmp_path / "depth" / JOB / ("plan" if what == "records" else "records")).iterdir()
    data = {"cut": file.read_bytes()[:-30], "empty": b"", "other columns": other.read_bytes()}
    file.write_bytes(data[damage])
    assert all("run the job again" in sentence for sentence in refused(job, file))
    (file if what == "records" else tmp_path / "depth" / JOB / "plan.json").unlink()
    status, summary = job()
    assert (status, summary["done"], summary["kept"]) == (
        (0, 5, 0) if what == "records" else (0, 0, 5)
    )


# What stands, and the exit status


def spoil(photos: Path, *numbers: int) -> None:
    for number in numbers:
        (photos / f"{number}.png").write_bytes(b"no photo")


def counts(summary: "dict[str, object]") -> "tuple[object, ...]":
    return summary["done"], summary["failed"], summary["kept"]


def test_a_finished_job_with_errors_ends_the_same_each_time(tmp_path, job, photos, caplog):
    spoil(photos, 1, 3)
    for found in ((3, 2, 0), (0, 2, 3), (0, 2, 3)):
        caplog.clear()
        status, summary = job()
        assert status == 3 and counts(summary) == found
        assert summary["codes"] == {"bad_photo": 2}
        assert "2 of 5 inputs have an error record" in caplog.text
        shown = job("status")[1]
        assert (shown["done"], shown["error"], shown["missing"]) == (3, 2, 0)
        assert (shown["finished"], shown["exit_status"]) == (True, 3)
        success = json.loads((tmp_path / "depth" / JOB / SUCCESS).read_text())
        assert (success["inputs"], success["done"], success["error"]) == (5, 3, 2)
    status, summary = job("retry-failed")
    assert status == 3 and counts(summary) == (0, 2, 3)
    caplog.set_level(logging.INFO)
    assert job("verify")[0] == 0
    assert "3 results, 2 error records, 0 inputs without either; faults found: 0" in caplog.text


def test_a_job_whose_errors_are_mended_ends_with_0(job, photos, save_photo):
    spoil(photos, 1, 3)
    job()
    save_photo(photos / "1.png", seed=1)
    status, summary = job("retry-failed")
    assert status == 3 and counts(summary) == (1, 1, 3)
    save_photo(photos / "3.png", seed=3)
    for found in ((1, 0, 4), (0, 0, 5)):  # the first was mended already
        status, summary = job()
        assert status == 0 and counts(summary) == found and summary["codes"] == {}
    assert job("status")[1]["exit_status"] == 0


@pytest.fixture
def many(tmp_path, save_photo) -> Path:
    """60 files of which the first 20 are no photos."""
    (tmp_path / "many").mkdir()
    for number in range(60):
        file = tmp_path / "many" / f"{number:02}.png"
        if number < 20:
            file.write_bytes(b"no photo")
        else:
            save_photo(file, 8, 8, number)
    return tmp_path / "many"


def test_a_job_that_gave_up_gives_up_again_until_something_changes(
    job, many, caplog, save_photo, tmp_path
):
    rate = ("--max-error-rate", "0.1")
    status, summary = job("run", *rate, source=many)
    assert status == 1 and summary["given_up"] and summary["failed"] > 6
    assert job("status")[1]["exit_status"] == 1
    failed = summary["failed"]
    status, summary = job("run", *rate, source=many)
    assert status == 1 and summary["given_up"] and counts(summary)[:2] == (0, failed)
    assert "`retry-failed` tries these again, a higher rate goes on" in caplog.text
    caplog.clear()
    for number in range(20):
        save_photo(many / f"{number:02}.png", 8, 8, number)
    status, summary = job("retry-failed", *rate, source=many)
    assert status == 1 and (summary["done"], summary["failed"]) == (failed, 0)
    assert not summary["given_up"] and "inputs are left; `run` goes on" in caplog.text
    status, summary = job("run", *rate, source=many)
    assert status == 0 and summary["done"] + summary["kept"] == 60


def test_a_higher_rate_goes_on_and_a_lower_one_ends_no_finished_job(job, many):
    assert job("run", "--max-error-rate", "0.1", source=many)[0] == 1
    assert job("run", source=many)[0] == 3
    status, summary = job("run", "--max-error-rate", "0.1", source=many)
    assert status == 3 and counts(summary) == (0, 20, 40) and not summary["given_up"]
    assert job("status")[1]["finished"] is True


def test_results_that_are_never_made_again_are_kept_and_errors_are_not(job, photos):
    spoil(photos, 1)
    job()
    status, summary = job("run", "--overwrite", "never", "--formats", "png16")
    assert status == 3 and counts(summary) == (0, 1, 4)


def test_a_job_that_is_stopped_says_what_is_left(tmp_path, photos, tiny_artifact):
    job, stop = BatchJob(str(photos), str(tmp_path / "depth")), threading.Event()
    stop.set()
    summary = run_job(job, [tiny_artifact], stop, lambda *_: None)
    assert (summary.stopped, summary.finished, summary.left) == (True, False, 5)
    assert not job.open().finished
    summary = run_job(job, [tiny_artifact], threading.Event(), lambda _, __: stop.set())
    assert (summary.stopped, summary.finished, summary.left) == (False, True, 0)


def test_a_retry_that_is_stopped_leaves_the_job_unfinished(tmp_path, photos, tiny_artifact, job):
    spoil(photos, 1)
    assert job()[0] == 3
    stop = threading.Event()
    stop.set()
    where = BatchJob(str(photos), str(tmp_path / "depth"), formats=("npz",))
    assert not run_job(where, [tiny_artifact], stop, lambda *_: None, only_failed=True).finished
    shown = job("status")[1]
    assert (shown["finished"], shown["exit_status"]) == (False, 1)
    status, summary = job()
    assert status == 3 and counts(summary) == (0, 1, 4)


# What made the results


def told(tmp_path) -> "list[dict]":
    own = tmp_path / "depth" / JOB
    return [json.loads((own / SUCCESS).read_text()), json.loads((own / "plan.json").read_text())]


@pytest.mark.parametrize("kind", ["real", "random", "simulated"])
def test_every_door_says_what_made_the_results(kind, tmp_path, job, make_artifact, caplog):
    graphs = tmp_path / "graphs"
    sizes = ((28, 28), (28, 42))
    made = [make_artifact(size_hw=size, seeded=kind == "random", root=graphs) for size in sizes]
    more = ("--engine", "simulated", "--service-ms", "0") if kind == "simulated" else ()
    _, summary = job("run", *more, artifact=graphs)
    success, plan = told(tmp_path)
    warning = {"real": None, "random": SEEDED, "simulated": SIMULATED}[kind]
    for facts in (summary, job("status")[1], success, plan["provenance"]):
        assert facts.get("warning") == warning
        assert facts["model"] == "vits" and facts["licence"] == "Apache-2.0"
        assert facts["weights"]["sha256"] == "0" * 64
        assert sorted(each["digest"] for each in facts["artifacts"]) == sorted(
            artifact.digest for artifact in made
        )
    for record in last(tmp_path).values():
        assert "weights" not in json.dumps(vars(record)), "records stay small"
    assert ("RANDOM WEIGHTS" in caplog.text) == (kind == "random")


def test_failed_inputs_are_not_tried_again_with_other_artifacts(
    tmp_path, job, photos, make_artifact, save_photo
):
    spoil(photos, 1)
    job()
    save_photo(photos / "1.png")
    assert job("retry-failed", artifact=make_artifact(seeded=True).path)[0] == 1
    assert last(tmp_path)["1.png"].status == "error"
    assert job("retry-failed", "--max-pixels", "9999999")[0] == 0


def test_verify_and_the_rest_need_a_job(tmp_path, job):
    for command in ("status", "verify", "report", "retry-failed"):
        assert job(command)[0] == 1
    with pytest.raises(InputError, match="no job there; begin it with `run`"):
        list(verify_job(folder(tmp_path)))


def test_an_output_that_is_a_file_is_one_sentence(tmp_path, photos, tiny_artifact, capsys):
    (tmp_path / "README.md").write_text("mine")
    words = ["--input", photos, "--output", tmp_path / "README.md"]
    words += ["--artifact", tiny_artifact.path]
    assert main(["run", *map(str, words)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Not a directory" in said and len(said.splitlines()) == 1
    assert (tmp_path / "README.md").read_text() == "mine"


# NeuronCores


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, 1),
        ({"NEURON_RT_NUM_CORES": "4"}, 4),
        ({"NEURON_RT_VISIBLE_CORES": "2"}, 1),
        ({"NEURON_RT_VISIBLE_CORES": "0-3"}, 4),
        ({"NEURON_RT_VISIBLE_CORES": "0,2-3", "NEURON_RT_NUM_CORES": "1"}, 3),
    ],
)
def test_a_process_owns_the_cores_that_it_is_told(environment, cores):
    assert owned_cores(environment, 1) == cores


def test_a_list_of_cores_that_is_none_is_refused():
    with pytest.raises(InputError, match="give cores as 2, 0-3 or 0,2"):
        owned_cores({"NEURON_RT_VISIBLE_CORES": "all of them"}, 1)


@pytest.mark.parametrize(
    ("workers", "pipeline", "environment", "allowed"),
    [
        (1, "1", {}, True),
        (4, "1", {}, False),
        (4, "1", {"NEURON_RT_VISIBLE_CORES": "0"}, False),
        (4, "1", {"NEURON_RT_VISIBLE_CORES": "0-3"}, True),
        (4, "1", {"NEURON_RT_NUM_CORES": "4"}, True),
        (2, "4", {"NEURON_RT_NUM_CORES": "4"}, False),
        (1, "4", {}, True),
    ],
)
@pytest.mark.parametrize("key", ["pipeline_cores", "encoder_global: pipeline_cores"])
def test_engines_that_would_share_a_core_are_refused(
    workers, pipeline, environment, allowed, key, tiny_artifact
):
    manifest = replace(tiny_artifact.manifest, target="neuron", compiler={key: pipeline})
    chip = replace(tiny_artifact, manifest=manifest)
    job = BatchJob("photos", "depth", workers=workers)
    if allowed:
        check_cores(job, [chip], environment)
    else:
        with pytest.raises(InputError, match=rf"start {workers} processes.*--shard I/{workers}"):
            check_cores(job, [chip], environment)
    check_cores(job, [tiny_artifact], environment)
    check_cores(replace(job, engine="ray"), [chip], environment)
    check_cores(replace(job, engine="simulated", service_ms=1), [chip], environment)


def test_the_command_asks_before_any_work(tmp_path, job, tiny_artifact, monkeypatch):
    chip = edited(tiny_artifact, tmp_path, target="neuron")
    monkeypatch.setattr("serve.batch.__main__.available", lambda target: True)
    for name in ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"):
        monkeypatch.delitem(os.environ, name, raising=False)
    assert job("run", "--workers", "4", artifact=chip.path)[0] == 1
    assert not (tmp_path / "depth").exists()
