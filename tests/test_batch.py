"""Batch jobs: one result or one reason for each input, whatever dies on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
import torch

from benchmarks.faulty_s3 import FAULTS, faulty_s3
from benchmarks.kills import marked, ray_actors
from benchmarks.stand_in_aws import CREDENTIALS, empty_aws
from runtime.errors import InputError
from runtime.files import PARTIAL, partial_name
from runtime.storage import SCRATCH, S3Options, open_storage
from serve.batch import local
from serve.batch.__main__ import main
from serve.batch.job import BatchJob
from serve.batch.job_folder import JOB, JobFolder
from serve.batch.listing import list_inputs
from serve.batch.records import read_records
from serve.batch.run import SOME_FAILED, run_job
from serve.batch.verify import verify_job

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def photos(tmp_path, save_photo) -> Path:
    """Twelve photos in two folders, and two files that are none."""
    folder = tmp_path / "photos"
    for number in range(12):
        save_photo(folder / ("a" if number % 2 else "b") / f"{number:02}.png", 20, 30, number)
    (folder / "a" / "bad.jpg").write_bytes(b"no photo")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no photo by its name")
    return folder


def words(photos, output, artifact, *more: object) -> "list[str]":
    found = ["--input", photos, "--output", output, "--artifact", artifact.path]
    return [str(word) for word in (*found, "--max-error-rate", "0.5", *more)]


def records(output) -> "dict[str, object]":
    return {one.name: one for one in read_records(job_folder(output))}


def job_folder(output, folder: str = JOB) -> JobFolder:
    return JobFolder(open_storage(str(output)), folder)


def contents(output: Path) -> "dict[str, bytes]":
    """Results by name, without what the job knows of itself."""
    return {
        file.relative_to(output).as_posix(): file.read_bytes()
        for file in sorted(output.rglob("*"))
        if file.is_file() and JOB not in file.parts and SCRATCH not in file.parts
    }


def test_every_input_gets_a_result_or_a_reason(photos, tiny_artifact, tmp_path, capsys):
    output = tmp_path / "depth"
    assert main(["run", *words(photos, output, tiny_artifact)]) == SOME_FAILED
    summary = json.loads(capsys.readouterr().out)
    assert (summary["planned"], summary["done"], summary["failed"]) == (14, 12, 2)
    found = records(output)
    assert len(found) == 14
    assert {found["a/bad.jpg"].code, found["empty.png"].code} == {"bad_photo"}
    assert "empty, 0 bytes" in found["empty.png"].error
    one = found["b/00.png"]
    assert (one.status, one.height, one.width) == ("done", 20, 30)
    assert one.outputs == [f"b/00.png{suffix}" for suffix in (".npz", ".json")]
    assert sorted(contents(output)) == sorted(
        name for record in found.values() for name in record.outputs
    )
    success = json.loads((output / JOB / "_SUCCESS").read_text())
    assert (success["inputs"], success["done"], success["error"]) == (14, 12, 2)
    assert main(["verify", "--output", str(output)]) == 0
    status = main(["status", "--output", str(output)])
    assert status == 0 and json.loads(capsys.readouterr().out)["finished"] is True


def test_a_file_whose_name_is_no_text_fails_alone(photos, tiny_artifact, tmp_path, capsys):
    Path(os.fsdecode(os.fsencode(photos) + b"/\xff.png")).touch()
    assert main(["run", *words(photos, tmp_path / "depth", tiny_artifact)]) == SOME_FAILED
    assert json.loads(capsys.readouterr().out)["done"] == 12
    assert records(tmp_path / "depth")["%FF.png"].code == "bad_photo"


def test_a_rerun_does_what_changed_and_no_more(photos, tiny_artifact, tmp_path, capsys, save_photo):
    output = tmp_path / "depth"
    command = ["run", *words(photos, output, tiny_artifact)]
    main(command)
    first = contents(output)
    capsys.readouterr()
    assert main(command) == SOME_FAILED
    assert json.loads(capsys.readouterr().out)["kept"] == 12
    save_photo(photos / "b" / "00.png", 25, 30, 99)
    save_photo(photos / "new.png")
    main(command)
    summary = json.loads(capsys.readouterr().out)
    assert (summary["planned"], summary["done"], summary["kept"]) == (15, 2, 11)
    second = contents(output)
    changed = {name for name in first if first[name] != second[name]}
    assert {name.partition(".png")[0] for name in changed} == {"b/00"}
    main([*command, "--overwrite", "always"])
    assert json.loads(capsys.readouterr().out)["kept"] == 0
    assert contents(output) == second, "the same photos and options give the same bytes"


def test_other_options_or_another_artifact_make_results_anew(
    photos, tiny_artifact, make_artifact, tmp_path, capsys
):
    output = tmp_path / "depth"
    main(["run", *words(photos, output, tiny_artifact)])
    for artifact, more in (
        (tiny_artifact, ["--formats", "npz,png16"]),
        (make_artifact(factor=3.0), ["--formats", "npz,png16"]),
    ):
        capsys.readouterr()
        main(["run", *words(photos, output, artifact, *more)])
        assert json.loads(capsys.readouterr().out)["done"] == 12
    never = ["run", *words(photos, output, tiny_artifact, "--overwrite", "never")]
    capsys.readouterr()
    assert main(never) == SOME_FAILED
    assert json.loads(capsys.readouterr().out)["kept"] == 12


def test_photos_decoded_smaller_are_made_anew_and_keep_their_size(
    tiny_artifact, tmp_path, save_photo, capsys
):
    save_photo(tmp_path / "photos" / "large.jpg", 230, 150)
    output = tmp_path / "depth"
    command = ["run", *words(tmp_path / "photos", output, tiny_artifact)]
    assert main(command) == 0
    whole = contents(output)
    assert main([*command, "--decode", "reduced"]) == 0
    assert (records(output)["large.jpg"].height, records(output)["large.jpg"].width) == (230, 150)
    facts = json.loads((output / "large.jpg.json").read_text())
    assert facts["size"] == {"height": 230, "width": 150}
    assert facts["preprocessing"]["decoded_size"] == {"height": 58, "width": 38}
    assert main([*command, "--decode", "full"]) == 0
    assert contents(output) == whole


def test_failed_inputs_are_tried_again_when_asked(
    photos, tiny_artifact, tmp_path, capsys, save_photo
):
    output = tmp_path / "depth"
    main(["run", *words(photos, output, tiny_artifact)])
    save_photo(photos / "empty.png")
    capsys.readouterr()
    assert main(["retry-failed", *words(photos, output, tiny_artifact)]) == SOME_FAILED
    summary = json.loads(capsys.readouterr().out)
    assert (summary["done"], summary["failed"], summary["kept"]) == (1, 1, 12)
    assert records(output)["empty.png"].status == "done"


def test_too_many_failures_end_the_job(photos, tiny_artifact, tmp_path, capsys):
    for number in range(30):
        (photos / f"z{number}.jpg").write_bytes(b"no photo")
    output = tmp_path / "depth"
    command = words(photos, output, tiny_artifact)
    command[command.index("0.5")] = "0.1"
    assert main(["run", *command]) == 1
    assert json.loads(capsys.readouterr().out)["given_up"] is True
    assert not (output / JOB / "_SUCCESS").exists()


def test_shards_are_jobs_of_their_own_and_cover_everything(photos, tiny_artifact, tmp_path):
    output = tmp_path / "depth"
    for index in range(3):
        main(["run", *words(photos, output, tiny_artifact, "--shard", f"{index}/3")])
    folders = [job_folder(output, f"{JOB}/shard-{index}-of-3") for index in range(3)]
    names = [one.name for folder in folders for one in read_records(folder)]
    assert len(names) == len(set(names)) == 14
    for folder in folders:
        assert list(verify_job(folder)) == []


def test_a_shard_without_photos_is_done_at_once(photos, tiny_artifact, tmp_path):
    command = words(photos / "b/00.png", tmp_path / "depth", tiny_artifact)
    ended = [main(["run", *command, "--shard", f"{index}/3"]) for index in range(3)]
    assert ended == [0, 0, 0]
    folders = [f"{JOB}/shard-{index}-of-3" for index in range(3)]
    counts = [json.loads((tmp_path / "depth" / one / "_SUCCESS").read_text()) for one in folders]
    assert sorted(count["inputs"] for count in counts) == [0, 0, 1]
    for index in range(3):
        where = ["--output", str(tmp_path / "depth"), "--shard", f"{index}/3"]
        for command in ("status", "verify", "report"):
            assert main([command, *where]) == 0


@pytest.mark.parametrize("workers, threads", [(1, None), (4, 2), (16, 1)])
def test_each_of_several_engines_has_its_share_of_the_processor(monkeypatch, workers, threads):
    given = []
    monkeypatch.setattr(local, "Predictor", lambda *all_of: given.append(all_of[2]))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    local.engines(BatchJob("photos", "depth", workers=workers), [])
    assert given == [threads] * workers


@pytest.mark.parametrize(
    "gpu, device, count", [(True, "auto", 2), (True, "cpu", 1), (False, "auto", 1)]
)
def test_a_gpu_has_two_engines_unless_told_otherwise(
    gpu, device, count, tiny_artifact, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = local.engines(BatchJob("photos", "depth", device=device), [tiny_artifact])
    assert len(found) == count


@pytest.mark.parametrize("shard", [(), ("--shard", "1/2")])
def test_an_input_without_photos_is_an_error(tiny_artifact, tmp_path, shard, capsys):
    (tmp_path / "photos").mkdir()
    assert main(["run", *words(tmp_path / "photos", tmp_path / "d", tiny_artifact, *shard)]) == 1
    assert "no photo there" in capsys.readouterr().err


def test_verify_finds_what_is_missing_cut_or_unfinished(photos, tiny_artifact, tmp_path, capsys):
    output = tmp_path / "depth"
    main(["run", *words(photos, output, tiny_artifact, "--formats", "npz,png16")])
    (output / "b/00.png.npz").unlink()
    cut = output / "b/02.png.depth16.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    capsys.readouterr()
    assert main(["verify", "--output", str(output)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["b/00.png", "b/02.png"]


def start(photos, output, artifact, *more: object, env=None) -> "subprocess.Popen[str]":
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "serve.batch", "run", *words(photos, output, artifact, *more)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )


def test_overwriting_everything_can_be_stopped_and_gone_on_with(photos, tiny_artifact, tmp_path):
    job = BatchJob(str(photos), str(tmp_path / "depth"), (tiny_artifact.path,), max_error_rate=1)
    again = replace(job, overwrite="always")
    stop = threading.Event()
    run_job(job, [tiny_artifact], stop, lambda *_: None)
    first = run_job(again, [tiny_artifact], stop, lambda summary, _: stop.set())
    assert first.stopped and first.done + first.failed < 14
    second = run_job(again, [tiny_artifact], threading.Event(), lambda *_: None)
    assert second.finished and (second.done + second.kept, second.failed) == (12, 2)
    assert second.kept == first.done, "what was made since the job began stays"


def test_what_a_killed_job_left_half_written_is_swept_away(photos, tiny_artifact, tmp_path):
    output = tmp_path / "depth"
    partial = output / ".partial"
    partial.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = partial_name()
    dead = mine.replace(f"@{os.getpid()}@", f"@{ended.pid}@")
    elsewhere = f"{PARTIAL}elsewhere@{ended.pid}@3"
    old = f"{PARTIAL}elsewhere@1@4"
    for name in (mine, dead, elsewhere, old):
        (partial / name).touch()
    two_days_ago = time.time() - 2 * 86400
    os.utime(partial / old, (two_days_ago, two_days_ago))
    main(["run", *words(photos, output, tiny_artifact)])
    left = {file.name for file in partial.iterdir()}
    assert left == {mine, elsewhere}, "a live process's stay, and another machine's of today"


def some_results(output: Path, at_least: int, process) -> None:
    deadline = time.monotonic() + 400  # ray alone takes minutes to start on a busy machine
    while len(list(output.rglob("*.json"))) < at_least + 1 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    tmp_path, make_artifact, save_photo
):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    for number in range(60):
        save_photo(photos / f"{number:03}.png", 20, 30, number)
    for number in range(3):
        (photos / f"bad{number}.jpg").write_bytes(b"no photo")
    artifact = make_artifact(work=12)
    chance = random.Random(7)
    for turn in range(3):
        process = start(photos, output, artifact)
        some_results(output, 10 * turn + chance.randint(1, 8), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / JOB / "_SUCCESS").exists()
    process = start(photos, output, artifact)
    assert process.wait(120) == SOME_FAILED
    assert len(records(output)) == 63
    assert list(verify_job(job_folder(output))) == []
    undisturbed = tmp_path / "undisturbed"
    assert start(photos, undisturbed, artifact).wait(120) == SOME_FAILED
    assert contents(output) == contents(undisturbed)


def test_sigterm_stops_soon_and_the_job_goes_on_where_it_was(tmp_path, make_artifact, save_photo):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    for number in range(100):
        save_photo(photos / f"{number:03}.png", 20, 30, number)
    artifact = make_artifact(work=12)
    process = start(photos, output, artifact)
    some_results(output, 5, process)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and time.monotonic() - begun < 10
    summary = json.loads(text)
    assert summary["stopped"] is True and 0 < summary["done"] < 100
    assert len(records(output)) == summary["done"], "what was done is recorded"
    save_photo(photos / "later.png")
    process = start(photos, output, artifact)
    text, _ = process.communicate(timeout=120)
    second = json.loads(text)
    assert process.returncode == 0
    assert (second["kept"], second["planned"]) == (summary["done"], 100), "the plan was fixed"


def test_several_engines_give_what_one_gives(photos, tiny_artifact, tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    main(["run", *words(photos, one, tiny_artifact)])
    main(["run", *words(photos, three, tiny_artifact, "--workers", "3", "--threads", "4")])
    assert contents(one) == contents(three)


def test_ray_gives_what_one_machine_gives_even_if_an_actor_is_killed(
    tmp_path, make_artifact, save_photo
):
    pytest.importorskip("ray", reason="ray is not installed")
    photos, alone, fleet = (tmp_path / name for name in ("photos", "alone", "fleet"))
    for number in range(50):
        save_photo(photos / f"{number:03}.png", 20, 30, number)
    (photos / "bad.jpg").write_bytes(b"no photo")
    artifact = make_artifact(work=12)
    main(["run", *words(photos, alone, artifact)])
    environment = marked()
    process = start(photos, fleet, artifact, "--engine", "ray", env=environment)
    some_results(fleet, 5, process)
    victims = ray_actors(environment)
    assert victims and process.poll() is None
    os.kill(victims[0], signal.SIGKILL)
    assert process.wait(240) == SOME_FAILED
    assert contents(fleet) == contents(alone)
    assert len(records(fleet)) == 51
    assert list(verify_job(job_folder(fleet))) == []


def listed(text: str, **changes: object) -> "list[str]":
    return [item.name for item in list_inputs(BatchJob(text, "nowhere", **changes))]


def test_inputs_are_found_in_every_form(photos, tmp_path):
    everything = [f"a/{n:02}.png" for n in range(1, 12, 2)] + ["a/bad.jpg"]
    everything += [f"b/{n:02}.png" for n in range(0, 12, 2)] + ["empty.png"]
    assert listed(str(photos)) == everything
    assert listed(str(photos), limit=3) == everything[:3]
    assert listed(str(photos / "a" / "01.png")) == ["01.png"]
    assert listed(str(photos / "*" / "0*.png")) == [n for n in everything if "/0" in n]
    lists = {
        "list.txt": "a/01.png\nb/00.png\n",
        "list.csv": "path,focal_px\na/01.png,90\nb/00.png,\n",
        "list.jsonl": '{"image": "a/01.png", "focal_px": 90}\n{"uri": "b/00.png"}\n',
    }
    for name, text in lists.items():
        (photos / name).write_text(text)
        items = list(list_inputs(BatchJob(str(photos / name), "nowhere")))
        assert [item.name for item in items] == ["a/01.png", "b/00.png"], name
        assert all(Path(item.address).is_file() for item in items)
        if name != "list.txt":
            assert [item.focal_px for item in items] == [90, None]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("l.txt", "a.png\na.png\n", "results of one name, a.png"),
        ("l.jsonl", "nonsense\n", "line 1: not JSON"),
        ("l.jsonl", "[1]\n", "item 1: no JSON object"),
        ("l.jsonl", '{"name": "a"}\n', "no photo named; give one of path, uri, image"),
        ("l.jsonl", '{"path": ".."}\n', "names no photo"),
        ("l.csv", "path,focal_px\na.png,wide\n", "focal_px 'wide' is no number"),
        ("l.jsonl", '{"path": "s3://"}\n', "give s3://bucket/key"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(file, text, message, tmp_path):
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        listed(str(tmp_path / file))


def test_names_never_climb_out_of_the_output(tmp_path):
    (tmp_path / "l.txt").write_text("../../up.png\n/root/down.png\n")
    assert listed(str(tmp_path / "l.txt")) == ["up.png", "root/down.png"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "4/4"], "give i/n with i from 0 to n - 1"),
        (["--formats", "gif"], "give some of png"),
        (["--workers", "0"], "give a whole number of at least 1"),
        (["--threads", "-1"], "give 0 or more"),
        (["--limit", "0"], "give a whole number of at least 1"),
        (["--max-error-rate", "2"], "give a share, 0 to 1"),
        (["--max-pixels", "0"], "give a whole number of at least 1"),
        (["--focal-px", "-5"], "give a number above 0"),
        (["--focal-px", "nan"], "give a number above 0"),
        (["--output", "s3://"], "give s3://bucket/prefix"),
    ],
)
def test_bad_usage_is_told_apart_from_work_that_failed(
    more, message, photos, tiny_artifact, tmp_path, capsys
):
    assert status(["run", *words(photos, tmp_path / "depth", tiny_artifact, *more)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "depth").exists()


def status(command: "list[str]") -> int:
    """What the command ends with; the parser ends the process itself."""
    try:
        return main(command)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"focal_px": -5}, "above 0"),
        ({"formats": ("gif",)}, "give some of png"),
        ({"formats": ()}, "give some of png"),
        ({"colormap": "grey"}, "use one of Spectral_r"),
        ({"shard": (4, 4)}, "give i/n"),
        ({"engine": "spark"}, "use one of local, ray, simulated"),
        ({"max_pixels": 0}, "give 1 or more"),
    ],
)
def test_a_job_that_cannot_be_is_refused_where_it_is_made(more, message):
    with pytest.raises(InputError, match=message):
        BatchJob("photos", "depth", **more)


def test_a_dry_run_counts_and_writes_nothing(photos, tiny_artifact, tmp_path, capsys):
    assert main(["run", *words(photos, tmp_path / "depth", tiny_artifact, "--dry-run")]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == 14
    assert not (tmp_path / "depth").exists()


def buckets(address: str, photos: Path):
    """A client of a service that has the photos in one bucket, below ``in/``, and another one."""
    s3 = boto3.client("s3", endpoint_url=address)
    for bucket in ("photos", "depth"):
        s3.create_bucket(Bucket=bucket)
    for file in photos.rglob("*"):
        if file.is_file():
            key = f"in/{file.relative_to(photos).as_posix()}"
            s3.put_object(Bucket="photos", Key=key, Body=file.read_bytes())
    return s3


def bucket_contents(s3) -> "dict[str, bytes]":
    """As ``contents``, of what lies below ``out/``."""
    return {
        one["Key"][4:]: s3.get_object(Bucket="depth", Key=one["Key"])["Body"].read()
        for one in s3.list_objects_v2(Bucket="depth", Prefix="out/")["Contents"]
        if JOB not in one["Key"]
    }


def test_from_bucket_to_bucket_is_the_same_job(
    photos, tiny_artifact, tmp_path, monkeypatch, capsys
):
    local = tmp_path / "local"
    main(["run", *words(photos, local, tiny_artifact, "--formats", "npz,png16")])
    with empty_aws() as address:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        s3 = buckets(address, photos)
        command = ["--endpoint-url", address, "--path-style", "--artifact", tiny_artifact.path]
        command += ["--input", "s3://photos/in", "--output", "s3://depth/out"]
        command += ["--max-error-rate", "0.5", "--formats", "npz,png16"]
        assert main(["run", *map(str, command)]) == SOME_FAILED
        capsys.readouterr()
        assert main(["run", *map(str, command)]) == SOME_FAILED
        assert json.loads(capsys.readouterr().out)["kept"] == 12, "ETags tell of no change"
        where = ["--endpoint-url", address, "--path-style", "--output", "s3://depth/out"]
        assert main(["verify", *where]) == 0
        assert bucket_contents(s3) == contents(local)
        listing = s3.list_objects_v2(Bucket="depth", Prefix="out/")["Contents"]
        kinds = {s3.head_object(Bucket="depth", Key=one["Key"])["ContentType"] for one in listing}
        assert kinds >= {"application/x-npz", "image/png", "application/json"}
    assert os.environ["AWS_ACCESS_KEY_ID"] == "nobody"


def test_a_storage_that_fails_now_and_then_loses_nothing(
    photos, tiny_artifact, tmp_path, monkeypatch, capsys
):
    local = tmp_path / "local"
    main(["run", *words(photos, local, tiny_artifact)])
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with empty_aws() as sound, faulty_s3(sound, share=0.2) as (address, faulty):
        s3 = buckets(sound, photos)
        command = ["--endpoint-url", address, "--path-style", "--artifact", tiny_artifact.path]
        command += ["--input", "s3://photos/in", "--output", "s3://depth/out"]
        capsys.readouterr()
        assert main(["run", *map(str, command), "--max-error-rate", "0.5"]) == SOME_FAILED
        summary = json.loads(capsys.readouterr().out)
        assert (summary["done"], summary["failed"]) == (12, 2), "only those that are no photos"
        assert all(faulty.seen[fault] for fault in FAULTS), faulty.seen
        assert bucket_contents(s3) == contents(local)
        output = open_storage("s3://depth/out", S3Options(address, path_style=True))
        assert list(verify_job(JobFolder(output))) == []
