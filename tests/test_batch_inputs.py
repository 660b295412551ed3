"""What a batch job takes for its inputs: folders, prefixes, patterns, lists and manifests."""

import json
import os
from pathlib import Path

import boto3
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from benchmarks.stand_in_aws import CREDENTIALS, empty_aws
from runtime.errors import InputError
from runtime.names import check_plain, name_of_path
from runtime.storage import S3Options
from serve.batch import listing
from serve.batch.__main__ import main
from serve.batch.items import FILE, path_of
from serve.batch.job import BatchJob
from serve.batch.listing import list_inputs
from serve.batch.records import read_records

BOM = b"\xef\xbb\xbf"
LATIN = os.fsdecode("grün.png".encode("latin-1"))


def listed(source: object, output: object = "nowhere", **more: object) -> "list[str]":
    return [item.name for item in list_inputs(BatchJob(str(source), str(output), **more))]


@pytest.fixture
def folder(tmp_path, save_photo, monkeypatch) -> Path:
    """Has ``pin`` with a photo and, below ``out``, a result; it is the current one."""
    save_photo(tmp_path / "pin" / "a.png")
    save_photo(tmp_path / "pin" / "out" / "a.png.color.png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alias").symlink_to("pin")
    return tmp_path


SPELLINGS = ["pin/out", "./pin/out", "pin//out/", "pin/../pin/out", "alias/out", "{here}/pin/out"]


@pytest.mark.parametrize("output", SPELLINGS)
@pytest.mark.parametrize(
    "source", ["pin", "./pin/", "alias", "{here}/pin", "pin/**/*.png", "{here}/al*/**/*.png"]
)
def test_an_output_inside_the_input_is_left_out_however_it_is_spelt(folder, source, output):
    found = listed(source.format(here=folder), output.format(here=folder))
    assert [Path(name).name for name in found] == ["a.png"]


def test_a_result_reached_through_a_link_is_left_out(folder):
    (folder / "pin" / "shortcut").symlink_to("out")
    (folder / "pin" / "linked.png").symlink_to("out/a.png.color.png")
    assert listed("pin", "pin/out") == ["a.png"]


def test_a_job_into_its_own_input_finds_the_same_photos_each_time(folder, tiny_artifact):
    for output in ("./pin/depth", "pin/depth", str(folder / "pin/depth")):
        words = ["--input", "pin", "--output", output, "--artifact", str(tiny_artifact.path)]
        assert main(["run", *words, "--formats", "png"]) == 0
    records = read_records(BatchJob("pin", "pin/depth").open())
    assert {record.name for record in records} == {"a.png", "out/a.png.color.png"}


@pytest.mark.parametrize("source", ["pin", "pin/*.png", "pin/o*/../*.png"])
def test_one_folder_for_input_and_output_is_refused(folder, source):
    for output in ("pin", "./alias/", str(folder / "pin")):
        with pytest.raises(InputError, match="is both input and output"):
            listed(source, output)


def test_an_input_inside_the_output_is_read(folder):
    assert listed("pin/out", "pin") == ["a.png.color.png"]
    assert listed("pin/out/*.png", "pin") == ["a.png.color.png"]
    with pytest.raises(InputError, match="absent: no such file, folder or pattern"):
        listed("absent", ".")


def test_hidden_files_and_endless_links_are_left_out(folder, save_photo):
    save_photo(folder / "pin" / ".b.png")
    save_photo(folder / "pin" / ".thumbs" / "c.png")
    save_photo(folder / "pin" / "_job" / "kept by its owner.png")
    (folder / "pin" / "out" / "up").symlink_to("..")
    assert listed("pin") == ["%5Fjob/kept by its owner.png", "a.png", "out/a.png.color.png"]


def test_the_rule_is_the_same_for_buckets(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with empty_aws() as address:
        s3, options = boto3.client("s3", endpoint_url=address), S3Options(address, path_style=True)
        s3.create_bucket(Bucket="photos")
        keys = ["a.png", "b/c.jpg", ".hidden.png", ".thumbs/d.png", "notes.txt"]
        keys += ["out/a.png.color.png", "double//a.png.color.png", "outside.png"]
        for key in keys:
            s3.put_object(Bucket="photos", Key=f"in/{key}", Body=b"")

        def found(output: str, source: str = "s3://photos/in") -> "list[str]":
            return listed(source, output, s3=options)

        everything = ["a.png", "b/c.jpg", "double/%2F/a.png.color.png", "out/a.png.color.png"]
        everything.append("outside.png")
        assert (
            found("elsewhere") == found("s3://other/in/out") == found("s3://photos") == everything
        )
        for output in ("s3://photos/in/out", "s3://photos/in/out/", "s3://photos/in/out//"):
            for source in ("s3://photos/in", "s3://photos/in/", "s3://photos/in//"):
                assert found(output, source) == [one for one in everything if "out/" not in one]
        for output in ("s3://photos/in/double", "s3://photos/in/double//"):
            assert found(output) == [one for one in everything if "double" not in one]
        assert len(found("s3://photos/in/out", "s3://photos")) == 4
        for output in ("s3://photos/in", "s3://photos/in/", "s3://photos/in//"):
            with pytest.raises(InputError, match="is both input and output"):
                found(output)


def test_keys_that_climb_get_names_that_do_not(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with empty_aws() as address:
        s3 = boto3.client("s3", endpoint_url=address)
        s3.create_bucket(Bucket="photos")
        keys = ["in/../up.png", "in//root/a.png", "in/./b.png"]
        for key in keys:
            s3.put_object(Bucket="photos", Key=key, Body=b"")
        job = BatchJob("s3://photos/in", "out", s3=S3Options(address, path_style=True))
        items = list(list_inputs(job))
    assert [item.name for item in items] == ["%2E%2E/up.png", "%2E/b.png", "%2F/root/a.png"]
    assert sorted(item.address for item in items) == sorted(f"s3://photos/{key}" for key in keys)


def run(source: object, output: Path, artifact, *more: str) -> "tuple[int, dict]":
    """The exit status, and the records by name."""
    words = ["--input", str(source), "--output", str(output), "--artifact", str(artifact.path)]
    status = main(["run", *words, "--max-error-rate", "1", "--formats", "npz", *more])
    found = read_records(BatchJob("x", str(output)).open())
    return status, {record.name: record for record in found}


@pytest.mark.parametrize("source", ["photos", "photos/*", "list.txt", "list.csv", "list.jsonl"])
def test_a_file_whose_name_is_no_text_is_reached(
    source, tmp_path, save_photo, tiny_artifact, monkeypatch
):
    photo = save_photo(tmp_path / "photos" / "a.png")
    photo.rename(photo.with_name(LATIN))
    name = os.fsencode(f"photos/{LATIN}")
    (tmp_path / "list.txt").write_bytes(name + b"\n")
    (tmp_path / "list.csv").write_bytes(b"path\n" + name + b"\n")
    (tmp_path / "list.jsonl").write_bytes(b'{"path": "' + name + b'"}\n')
    monkeypatch.chdir(tmp_path)
    status, records = run(source, tmp_path / "depth", tiny_artifact)
    (record,) = records.values()
    assert status == 0 and record.status == "done", record.error
    assert record.name.endswith("gr%FCn.png") and record.address.startswith(FILE)
    assert path_of(record.address) == str(tmp_path / "photos" / LATIN)
    assert (tmp_path / "depth" / f"{record.name}.npz").is_file()
    assert main(["verify", "--output", str(tmp_path / "depth")]) == 0
    (tmp_path / "photos" / LATIN).write_bytes(b"no photo")
    status, records = run(source, tmp_path / "depth", tiny_artifact)
    assert status == 3 and [one.status for one in records.values()] == ["error"]


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.jsonl"])
def test_a_list_in_another_code_is_named_with_its_line(name, tmp_path, save_photo):
    save_photo(tmp_path / "blau.png")
    latin = "grün.png".encode("latin-1")
    lines = {
        "list.txt": b"a.png\n" + latin,
        "list.csv": b"path\n" + latin,
        "list.jsonl": b'{"path": "a.png"}\n{"path": "' + latin + b'"}',
    }
    (tmp_path / name).write_bytes(lines[name])
    with pytest.raises(InputError, match=rf"{name}, line 2: .*not UTF-8.*save the list as UTF-8"):
        listed(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bom.csv", BOM + b"path,note\r\na.png,\r\nb.png,x\r\n"),
        ("bom.jsonl", BOM + b'{"path": "a.png"}\r\n{"path": "b.png"}\r\n'),
        ("bom.txt", BOM + b"a.png\r\nb.png\r\n"),
        ("semicolon.csv", BOM + b"note;path\r\n1,5;a.png\r\n;b.png\r\n"),
        ("tab.csv", b"note\tpath\n\ta.png\nx\tb.png\n"),
        ("little.csv", "path,note\r\na.png,\r\nb.png,\r\n".encode("utf-16")),
        ("big.txt", "\ufeffa.png\r\nb.png\r\n".encode("utf-16-be")),
        ("note.csv", "path,note\na.png,grün\nb.png,\n".encode("latin-1")),
        ("quoted.csv", b'"path","a ""note"" of\ntwo lines"\n"a.png","x\ny"\nb.png,\n'),
        ("no-mark-little.csv", "path,note\r\na.png,\r\nb.png,\r\n".encode("utf-16-le")),
        ("no-mark-big.txt", "a.png\r\nb.png\r\n".encode("utf-16-be")),
        ("no-mark.jsonl", '{"path": "a.png"}\n{"path": "b.png"}\n'.encode("utf-16-le")),
        ("utf32.csv", "path\na.png\nb.png\n".encode("utf-32")),
        ("old-mac.txt", b"a.png\rb.png\r"),
        ("old-mac.csv", b"path,note\ra.png,x\rb.png,\r"),
        ("blank.txt", b"\n\r\n a.png \n\n\tb.png\n\n\n \n"),
        ("blank.csv", b"\n\npath;note\n\na.png;x\n;\n\nb.png;\n;\n;\n"),
        ("sep.csv", BOM + b"sep=;\r\nnote;path\r\n1,5;a.png\r\n;b.png\r\n"),
        ("sep-tab.csv", b'"sep=\t"\nnote\tpath\nx\ta.png\n\tb.png\n'),
        ("header.csv", b"Path , Note\na.png,x\n b.png ,\n"),
        ("headless.csv", b"a.png\r\nb.png\r\n"),
        ("tabs.tsv", b"path\tnote\na.png\tx\nb.png\t\n"),
        ("array.jsonl", b'[{"path": "a.png"}, {"path": "b.png"}]'),
        ("array.json", b'[\n  "a.png",\n  {"image": "b.png"}\n]\n'),
        ("spread.json", b'{\n  "path": "a.png"\n}\n{\n  "path": "b.png"\n}\n'),
        ("commas.jsonl", b'[{"path": "a.png"}\n,\n{"path": "b.png"}]'),
        ("texts.ndjson", b'"a.png"\n"b.png"\n'),
        ("mark.json", BOM + b'["a.png", "b.png"]'),
    ],
)
def test_lists_are_read_as_spreadsheets_save_them(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    assert listed(tmp_path / name) == ["a.png", "b.png"]


CALLED = {  # how a list may write the name of a file that is there
    "photos/grün.png": [
        "photos\\grün.png",
        '"photos/grün.png"',
        "'photos\\grün.png'",
        "photos/gru\u0308n.png",
        os.fsdecode("photos/grün.png".encode("latin-1")),
        os.fsdecode("photos\\grün.png".encode("cp1252")),
    ],
    "photos/gru\u0308n.png": ["photos/grün.png"],
    "photos/“a”.png": [os.fsdecode("photos/“a”.png".encode("cp1252"))],
    'photos/"a\\b".png': ['photos/"a\\b".png'],
}


@pytest.mark.parametrize(
    ("file", "written"), [(file, form) for file, forms in CALLED.items() for form in forms]
)
@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_a_path_that_another_program_wrote_leads_to_its_file(
    kind, file, written, tmp_path, save_photo
):
    save_photo(tmp_path / file)
    line = os.fsencode(written)
    if kind == "csv":
        line = b'path\n"' + line.replace(b'"', b'""') + b'"'
    (tmp_path / f"l.{kind}").write_bytes(line + b"\n")
    (item,) = list_inputs(BatchJob(str(tmp_path / f"l.{kind}"), "nowhere"))
    assert item.address == str(tmp_path / file)
    assert item.name == name_of_path(file)


@pytest.mark.parametrize("line", ["C:\\photos\\a.png", "\\\\host\\photos\\a.png", '"absent.png"'])
def test_a_path_of_another_machine_is_an_error_record(line, tmp_path, save_photo, tiny_artifact):
    save_photo(tmp_path / "b.png")
    (tmp_path / "l.txt").write_text(f"{line}\nb.png\n")
    status, records = run(tmp_path / "l.txt", tmp_path / "depth", tiny_artifact)
    assert status == 3 and sorted(one.status for one in records.values()) == ["done", "error"]
    (bad,) = (one for one in records.values() if one.status == "error")
    assert "\\" not in bad.name and "No such file" in bad.error


def test_half_of_europe_has_commas_in_numbers(tmp_path):
    (tmp_path / "l.csv").write_text("path;focal_px\na.png;900,5\nb.png; \nc.png;1200\n")
    items = list(list_inputs(BatchJob(str(tmp_path / "l.csv"), "out")))
    assert [item.focal_px for item in items] == [900.5, None, 1200]


def test_names_that_a_disk_takes_for_one_are_refused(tmp_path, save_photo, monkeypatch):
    for name in ("A.png", "a.png"):
        save_photo(tmp_path / "in" / name)
    assert listed(tmp_path / "in", tmp_path / "out") == ["A.png", "a.png"]
    monkeypatch.setattr(listing, "ignores_case", lambda folder: True)
    with pytest.raises(InputError, match=r"a\.png and .*A\.png would have results of one name"):
        listed(tmp_path / "in", tmp_path / "out")
    assert listed(tmp_path / "in", "s3://bucket/out") == ["A.png", "a.png"]


def test_a_name_column_cannot_reach_into_the_jobs_own_folder(tmp_path, save_photo, tiny_artifact):
    save_photo(tmp_path / "a.png")
    names = ["_job/plan", "../_job/records/x", ".partial/x", "/etc/x", "C:\\x", "a/../../x"]
    rows = [json.dumps({"path": f"{'./' * n}a.png", "name": name}) for n, name in enumerate(names)]
    (tmp_path / "l.jsonl").write_text("\n".join(rows))
    status, records = run(tmp_path / "l.jsonl", tmp_path / "depth", tiny_artifact)
    assert status == 0
    assert sorted(records) == [
        "%2Epartial/x",
        "%5Fjob/plan",
        "%5Fjob/records/x",
        "C%3A%5Cx",
        "a/x",
        "etc/x",
    ]
    assert main(["verify", "--output", str(tmp_path / "depth")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "l.jsonl", "depth"}


def test_what_is_no_photo_is_counted_and_kept_in_the_plan(
    tmp_path, save_photo, tiny_artifact, caplog
):
    caplog.set_level("INFO")
    for name in ("a.png", "b.jfif", ".hidden.png"):
        save_photo(tmp_path / "in" / "x.jpg").rename(tmp_path / "in" / name)
    for name in ("1.txt", "2.txt", "3.mov", "deeper/4.TXT"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    status, records = run(tmp_path / "in", tmp_path / "depth", tiny_artifact)
    assert status == 0 and set(records) == {"a.png", "b.jfif"}
    counts = {".txt": 3, "hidden": 1, ".mov": 1}
    assert json.loads((tmp_path / "depth/_job/_SUCCESS").read_text())["left_out"] == counts
    said = "left out 5 files: 3 .txt, 1 hidden, 1 .mov"
    assert said in caplog.text
    assert main(["report", "--output", str(tmp_path / "depth")]) == 0
    assert said in (tmp_path / "depth/_job/report.html").read_text()


def test_a_folder_that_cannot_be_read_makes_the_exit_status_3(
    tmp_path, save_photo, tiny_artifact, monkeypatch, capsys
):
    save_photo(tmp_path / "in" / "a.png")
    save_photo(tmp_path / "in" / "lost+found" / "b.png")
    scandir = os.scandir

    def scan(path):
        if os.fspath(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    for _ in range(2):
        status, records = run(tmp_path / "in", tmp_path / "depth", tiny_artifact)
        assert status == 3 and list(records) == ["a.png"]
    capsys.readouterr()
    assert main(["status", "--output", str(tmp_path / "depth")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exit_status"] == 3 and told["left_out"] == {"unreadable": 1}
    monkeypatch.undo()
    status, records = run(tmp_path / "in", tmp_path / "depth", tiny_artifact)
    assert status == 0 and set(records) == {"a.png", "lost+found/b.png"}


def test_pipes_in_a_list_are_error_records_and_nobody_waits_for_them(
    tmp_path, save_photo, tiny_artifact
):
    save_photo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "list.txt").write_text("a.png\npipe.png\n/dev/zero\n")
    status, records = run(tmp_path / "list.txt", tmp_path / "depth", tiny_artifact)
    assert status == 3 and records["a.png"].status == "done"
    assert {"a device or a pipe" in records[name].error for name in ("pipe.png", "dev/zero")} == {
        True
    }


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["path", "uri;path", "a.png", '"', "'", "{", "[", "]", '{"path": "a.png"}']
        ),
        st.sampled_from(
            ["sep=;", ",", ";;", "\\", "\0", "\r", "s3://b/k", "file:///x%00", "\ud800"]
        ),
        st.text(max_size=20),
    ),
    max_size=8,
).map("\n".join)
CODES = st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]
)


@pytest.mark.fuzz
def test_whatever_a_list_holds_its_rows_are_plain_or_one_sentence(fuzz, tmp_path):
    def check(suffix: str, text: str, code: str, tail: bytes) -> None:
        file = tmp_path / f"list{suffix}"
        file.write_bytes(text.encode(code, "replace") + tail)
        try:
            for item in list_inputs(BatchJob(str(file), "nowhere")):
                check_plain(item.name)
                assert item.name.split("/")[0] != "_job"
        except InputError as error:
            assert str(file) in str(error) or "would have results of one name" in str(error)

    suffixes = st.sampled_from([".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet"])
    fuzz(check, suffixes, LINES, CODES, st.binary(max_size=3))


def test_uris_of_files_are_addresses(tmp_path, save_photo, tiny_artifact):
    photo = save_photo(tmp_path / "a b.png")
    (tmp_path / "list.jsonl").write_text(f'{{"uri": "{photo.as_uri()}", "name": "x.png"}}\n')
    assert "%20" in photo.as_uri()
    status, records = run(tmp_path / "list.jsonl", tmp_path / "depth", tiny_artifact)
    assert status == 0 and list(records) == ["x.png"]
    assert records["x.png"].address == str(photo)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("l.parquet", b"PAR1, but no more", "damaged, or no Parquet file"),
        ("l.parquet", b"", "damaged, or no Parquet file"),
        ("l.csv", b"", "line 1: no photo named; give one of the columns path, uri, image"),
        ("l.csv", b"file,focal_px\na.png,\n", "line 1: no photo named"),
        ("l.csv", b"path\na.png\n,x\n,", "line 3: no photo named"),
        ("l.csv", b"path\na.png\n\0\n", "not CSV"),
        ("l.csv", b'path\n"' + b"a" * 200_000 + b'"\n', "not CSV"),
        ("l.csv", "path\na.png".encode("utf-16")[:-1], "damaged"),
        ("l.jsonl", b"\n{}\n", "line 2: no photo named"),
        ("l.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("l.jsonl", b'{"path": "\\ud800.png"}', "line 1: .*no file can have this name"),
        ("l.jsonl", b'{"path": "a.png", "focal_px": -5}', "line 1: focal_px=-5.0: .*above 0"),
        ("l.jsonl", b'{"path": "a.png", "focal_px": 0}', "line 1: focal_px=0.0: .*above 0"),
        ("l.jsonl", b'{"path": "a.png", "focal_px": NaN}', "line 1: focal_px=nan: .*above 0"),
        ("l.jsonl", b'{"path": "a.png", "focal_px": true}', "line 1: focal_px"),
        ("l.jsonl", b'{"path": "a.png", "focal_px": [9]}', r"line 1: focal_px \[9\] is no number"),
    ],
)
def test_a_damaged_list_is_one_sentence(name, data, message, tmp_path, tiny_artifact, capsys):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        listed(tmp_path / name)
    words = ["--input", str(tmp_path / name), "--output", str(tmp_path / "depth")]
    assert main(["run", *words, "--artifact", str(tiny_artifact.path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"error: {tmp_path / name}")


def test_a_parquet_manifest_names_its_rows(tmp_path):
    table = {"path": ["a.png", "b.png", ""], "focal_px": [None, 9.5, None]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "l.parquet")
    items = list_inputs(BatchJob(str(tmp_path / "l.parquet"), "out"))
    assert [next(items).focal_px, next(items).focal_px] == [None, 9.5]
    with pytest.raises(InputError, match=r"l\.parquet, row 3: no photo named"):
        next(items)


def test_a_folder_called_as_a_list_is_a_folder(tmp_path, save_photo):
    save_photo(tmp_path / "photos.csv" / "a.png")
    assert listed(tmp_path / "photos.csv") == ["a.png"]


def test_paths_that_the_system_refuses_are_error_records(tmp_path, save_photo, tiny_artifact):
    save_photo(tmp_path / "a.png")
    (tmp_path / "self.png").symlink_to("self.png")
    names = ["a.png", "n" * 300 + ".png", "x\0y.png", "self.png", "absent.png"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    for _ in range(2):
        status, records = run(tmp_path / "list.txt", tmp_path / "depth", tiny_artifact)
        assert status == 3 and len(records) == 5
        assert [one.name for one in records.values() if one.status == "done"] == ["a.png"]
