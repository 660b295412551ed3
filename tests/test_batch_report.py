"""The page over a batch job: what a user reads, and what no file's name can do to it."""

import base64
import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from runtime.errors import InputError
from runtime.names import name_of_key
from runtime.storage import S3Options, open_storage
from serve.batch.__main__ import main
from serve.batch.items import Item
from serve.batch.job import BatchJob
from serve.batch.job_folder import JOB, JobFolder
from serve.batch.plan import JobPlan, make_plan
from serve.batch.records import DONE, ERROR, Record, RecordWriter
from serve.batch.report import write_report
from serve.batch.totals import PAUSE_S, Totals

HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "\"'><svg onload=alert(1)>.png",
    "</code><script>alert(1)<\\script>.png",
    "javascript:alert(1)&lt;&#60;{0}%s.png",
    "two\nlines \u202egnp.exe.png",
)
TAGS = re.compile(
    "html|head|meta|title|style|body|main|header|section|h[123]|p|code|b|span|div|a|svg|rect|line|"
    "text|table|tr|td|dl|dt|dd|figure|img|figcaption|ul|li"
)


class Page(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes, self.pictures = text, [], set(), []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.shown += data


def run(photos: Path, output: Path, artifact, *more: str) -> None:
    words = ["--input", str(photos), "--output", str(output), "--artifact", str(artifact.path)]
    main(["run", *words, "--max-error-rate", "1", *more])


def report(output: Path, sample: int = 12) -> Page:
    address = write_report(JobFolder(open_storage(str(output))), sample, S3Options())
    assert address == f"{output}/{JOB}/report.html"
    return Page(Path(address).read_text(encoding="utf-8"))


def picture(source: str) -> Image.Image:
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def cards(page: Page) -> "dict[str, str]":
    found = re.findall(r"<div><b[^>]*>([^<]*)</b>(?:<a[^>]*>)?([^<]*)<", page.text)
    return {name: value for value, name in found}


def test_no_name_of_a_file_becomes_part_of_the_page(tmp_path, tiny_artifact, save_photo):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    photos.mkdir()
    for number, name in enumerate(HOSTILE):
        save_photo(photos / name, seed=number)
        (photos / f"{name}.bad.png").write_bytes(b"no photo")
    run(photos, output, tiny_artifact)
    page = report(output)
    assert all(map(TAGS.fullmatch, page.tags))
    assert not {name for name in page.attributes if name.startswith("on")}
    assert len(page.pictures) == 2 * len(HOSTILE)
    for name in map(name_of_key, HOSTILE):
        assert name in page.shown and f"{name}.bad.png" in page.shown


def test_no_model_and_no_error_becomes_part_of_the_page(
    tmp_path, tiny_artifact, save_photo, monkeypatch
):
    text = "\"'></code></p><script>alert(1)</script>{{ 7 * 7 }}"
    photos, output = tmp_path / "photos", tmp_path / "depth"
    save_photo(photos / "a.png")
    (photos / "bad.png").write_bytes(b"no photo")
    run(photos, output, tiny_artifact)
    facts = json.loads((output / "a.png.json").read_text())
    facts["artifact"]["name"] = f"artifact{text}"
    facts["weights"]["file"] = f"weights{text}"
    facts.update(model=f"model{text}", licence=f"licence{text}", warning=f"warning{text}")
    (output / "a.png.json").write_text(json.dumps(facts))
    failed = record("bad.png", ERROR, code="bad_photo", error=f"error{text}")
    monkeypatch.setattr(Totals, "examples", lambda *_: [failed])
    page = report(output)
    assert all(map(TAGS.fullmatch, page.tags))
    assert not {name for name in page.attributes if name.startswith("on")}
    for what in ("artifact", "weights", "model", "licence", "warning", "error"):
        assert f"{what}{text}" in page.shown


def test_the_page_asks_for_nothing_but_itself(tmp_path, tiny_artifact, save_photo):
    save_photo(tmp_path / "photos" / "a.png")
    run(tmp_path / "photos", tmp_path / "depth", tiny_artifact)
    page = report(tmp_path / "depth")
    assert "default-src 'none'" in page.text
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.pictures)
    assert not re.search(r"https?://|url\(|@import", page.text)


def test_the_page_counts_and_names_errors_and_tells_what_made_it(
    tmp_path, tiny_artifact, save_photo, capsys
):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    for number in range(3):
        save_photo(photos / f"{number}.png", seed=number)
    for number in range(22):
        (photos / f"bad{number:02}.png").write_bytes(b"no photo")
    run(photos, output, tiny_artifact)
    capsys.readouterr()
    assert main(["report", "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}/{JOB}/report.html\n"
    page = report(output)
    found = cards(page)
    counts = [found[name] for name in ("planned", "done", "failed", "missing")]
    assert counts == ["25", "3", "22", "0"]
    assert "Finished." in page.shown and "bad_photo: 22, the first 20" in page.shown
    assert "not an image in a known format" in page.shown
    assert "bad19.png" in page.shown and "bad20.png" not in page.shown
    assert page.tags.count("svg") == 4 and page.tags.count("rect") >= 4, (
        "images a second, and the times to read, infer and write"
    )
    manifest = tiny_artifact.manifest
    for fact in (manifest.name, tiny_artifact.digest, "Apache-2.0", manifest.weights.sha256):
        assert fact in page.shown
    assert "Random weights" not in page.shown


def test_an_unfinished_job_says_so(tmp_path, save_photo, tiny_artifact):
    save_photo(tmp_path / "photos" / "a.png")
    job = BatchJob(str(tmp_path / "photos"), str(tmp_path / "depth"))
    items = [Item("a.png", str(tmp_path / "photos/a.png"))]
    make_plan(job.open(), JobPlan(job.input, "options"), items)
    page = report(tmp_path / "depth")
    assert "Not finished" in page.shown and "svg" not in page.tags and not page.pictures
    assert (cards(page)["done"], cards(page)["missing"]) == ("0", "1")


def test_a_report_needs_a_job_and_a_number_of_pictures(tmp_path):
    with pytest.raises(InputError, match="begin it with `run`"):
        report(tmp_path)
    with pytest.raises(InputError, match="give 0 to 1000"):
        report(tmp_path, -1)


@pytest.mark.parametrize("formats", ["png", "npz", "png16", "png16,npz,png"])
def test_photo_and_depth_stand_side_by_side(
    tmp_path, make_artifact, tiny_artifact, save_photo, formats
):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    save_photo(photos / "a.png", 300, 600)
    run(photos, output, tiny_artifact, "--formats", formats)
    photo, depth = map(picture, report(output).pictures)
    assert photo.size == depth.size == (256, 128)
    from_npz = tmp_path / "npz"
    run(photos, from_npz, tiny_artifact, "--formats", "npz")
    other = picture(report(from_npz).pictures[1])
    differences = zip(depth.convert("RGB").tobytes(), other.convert("RGB").tobytes())
    assert sum(abs(a - b) for a, b in differences) / (256 * 128 * 3) < 2


def test_depth_without_a_value_is_as_far_as_the_farthest(tmp_path, make_artifact, save_photo):
    metres = make_artifact(kind="depth_m", factor=20.0, shift=66.0)  # beyond 16 bits of millimetres
    save_photo(tmp_path / "photos" / "a.png", 30, 30)
    run(tmp_path / "photos", tmp_path / "depth", metres, "--formats", "png16")
    photo, depth = map(picture, report(tmp_path / "depth").pictures)
    assert photo.size == depth.size == (30, 30)


def test_what_cannot_be_shown_is_named_with_its_reason(tmp_path, tiny_artifact, save_photo):
    photos, output = tmp_path / "photos", tmp_path / "depth"
    for number, name in enumerate(("changed", "gone", "kept", "no-result", "no-sidecar")):
        save_photo(photos / f"{name}.png", seed=number)
    run(photos, output, tiny_artifact, "--formats", "npz")
    save_photo(photos / "changed.png", seed=99)
    (photos / "gone.png").unlink()
    (output / "no-result.png.npz").write_bytes(b"damaged")
    (output / "no-sidecar.png.json").write_text("[]")
    page = report(output)
    assert len(page.pictures) == 2
    assert "changed.png: the photo has changed since" in page.shown
    assert re.search(r"gone\.png: \S*gone\.png: cannot be read", page.shown)
    assert "no-result.png: " in page.shown and "no-sidecar.png: damaged (" in page.shown


def test_formats_without_a_picture_are_said_to_have_none(tmp_path, tiny_artifact, save_photo):
    save_photo(tmp_path / "photos" / "a.png")
    run(tmp_path / "photos", tmp_path / "depth", tiny_artifact, "--formats", "tiff")
    page = report(tmp_path / "depth")
    assert not page.pictures and "no result that is shown here" in page.shown


def test_random_weights_are_shouted(tmp_path, make_artifact, save_photo):
    save_photo(tmp_path / "photos" / "a.png")
    run(tmp_path / "photos", tmp_path / "depth", make_artifact(seeded=True))
    page = report(tmp_path / "depth", 0)
    assert "Random weights" in page.shown and "the numbers mean nothing" in page.shown
    assert not page.pictures, "of a sample of none, too"


def test_the_sample_of_the_same_photos_is_the_same(tmp_path, tiny_artifact, save_photo):
    for number in range(9):
        save_photo(tmp_path / "photos" / f"{number}.png", seed=number)
    shown = []
    for output in (tmp_path / "one", tmp_path / "two"):
        run(tmp_path / "photos", output, tiny_artifact)
        shown.append(report(output, 3).pictures)
    assert shown[0] == shown[1] and len(shown[0]) == 6


@pytest.fixture
def totals(tmp_path):
    """Adds up records of a plan of 100 names, 0 to 99."""
    folder = JobFolder(open_storage(str(tmp_path)))
    items = [Item(str(n), str(n)) for n in range(100)]
    plan = make_plan(folder, JobPlan("photos", ""), items)

    def add_up(records: "list[Record]") -> Totals:
        writer = RecordWriter(folder)
        for record in records:
            writer.add(record)
        writer.flush()
        time.sleep(0.001)  # the next part has a later name
        return Totals(folder, plan)

    return add_up


def record(name: object, status: str = DONE, **more: object) -> Record:
    return Record(name=str(name), address="", status=status, key="key", **more)


def test_the_last_record_of_a_name_counts_and_strangers_do_not(totals):
    totals([record(1, ERROR, code="bad_photo"), record(2)]).close()
    found = totals([record(1), record(2, ERROR, code="failed"), record("stranger")])
    assert found.counts() == {"done": 1, "error": 1, "missing": 98}
    assert found.errors() == [("failed", 1)]
    assert [one.name for one in found.examples("failed", 9)] == ["2"]


def test_rates_leave_out_the_time_between_two_runs(totals):
    """50 photos at 10 a second, a day, then 50 at 5 a second, of which every other fails."""
    first = [record(n, finished=n / 10, seconds_infer=0.1) for n in range(50)]
    second = [
        record(50 + n, (DONE, ERROR)[n % 2], finished=86400 + n / 5, seconds_infer=0.2)
        for n in range(50)
    ]
    rates = totals(first + second).rates()
    assert rates.seconds == pytest.approx(15) and rates.pauses == 1
    width = rates.seconds / len(rates.done)
    assert sum(rates.done) * width == pytest.approx(75)
    assert sum(rates.failed) * width == pytest.approx(25)
    assert rates.done[2] == pytest.approx(10, rel=0.3) and not any(rates.failed[:8])


def test_a_pause_is_longer_than_any_photo_takes(totals):
    slow = [record(n, finished=n * PAUSE_S, seconds_infer=PAUSE_S) for n in range(3)]
    rates = totals(slow).rates()
    assert rates.pauses == 0 and rates.seconds == pytest.approx(3 * PAUSE_S)


def test_times_are_those_of_photos_that_are_done(totals):
    photos = [record(n, seconds_read=(n + 1) / 100) for n in range(99)]
    times = totals([*photos, record(99, ERROR, seconds_read=500.0)]).times("read")
    assert (times.median_s, times.p95_s, times.largest_s) == (0.50, 0.95, 0.99)
    assert sum(times.bins.values()) == 99 and times.bins[-20] == 1, "0.01 s"


def test_a_job_of_no_time_at_all_has_no_rate(totals):
    found = totals([record(1, finished=1.0)])
    assert found.rates().done == [] and found.rates().seconds == 0
    assert found.times("write").bins == {-40: 1}
