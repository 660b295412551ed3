"""The evaluation as a whole: a tiny DA-2K folder, artifacts and a model, to JSON and a page."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.estimators import Estimator
from metric_depth import evaluate
from metric_depth.datasets import Dataset
from metric_depth.judge import SHOWN, judge_all, summarise
from metric_depth.pictures import PANEL, RIGHT, UNKNOWN, WRONG, strip
from metric_depth.report import COLUMNS, page, plain_name, read_runs, table
from metric_depth.samples import Entry, Sample, with_depth
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError
from runtime.predict.found import Prediction, Provenance

ATTRIBUTES = {"lang", "charset", "name", "content", "http-equiv", "class", "id", "href", "title"}
ATTRIBUTES |= {"src", "alt", "loading"}
HOSTILE = '<img src=x onerror="alert(1)">.png'


@pytest.fixture
def da2k(tmp_path):
    """Two photos, brighter below; in each a pair that follows the rule and one that contradicts.

    The fixture's graph is the mean over the channels, so brighter means nearer: the first pair of
    each photo comes out right, the second wrong.
    """
    folder = tmp_path / "DA-2K"
    (folder / "images").mkdir(parents=True)
    ramp = np.tile(np.linspace(20, 230, 40).astype(np.uint8)[:, None, None], (1, 40, 3))
    pairs = [
        {"point1": [35, 20], "point2": [5, 20], "closer_point": "point1"},
        {"point1": [35, 10], "point2": [5, 10], "closer_point": "point2"},
    ]
    for name in ("a.png", HOSTILE):
        Image.fromarray(ramp).save(folder / "images" / name)
    annotations = {f"images/{name}": pairs for name in ("a.png", HOSTILE)}
    (folder / "annotations.json").write_text(json.dumps(annotations))
    return folder


def run(artifact, tmp_path, *more):
    output = tmp_path / "evaluation"
    arguments = ["--artifact", str(artifact.path), "--output", str(output), *map(str, more)]
    return evaluate.main(arguments), output


def estimator(predict=lambda rgb: rgb[..., 0].astype(np.float32), kind="disparity"):
    weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0")

    def found(rgb, focal_px=None):
        return Prediction(
            depth=predict(rgb),
            output=OutputSpec(kind),
            provenance=Provenance("vits", weights),
            input=InputSpec((14, 14)),
            photo_hw=rgb.shape[:2],
        )

    return Estimator("vits", "vits", kind, weights, found, {"how": "by hand"})


def ramp_sample(name="ramp"):
    """A photo whose brightness is its disparity."""
    disparity = np.tile(np.linspace(0.1, 1.0, 60)[:, None], (1, 40))
    rgb = np.repeat((250 * disparity).astype(np.uint8)[..., None], 3, axis=2)
    return with_depth(name, rgb, (1 / disparity).astype(np.float32), 20.0, ...)


class Tags(html.parser.HTMLParser):
    """Every element with its attributes, and whether they close in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.shown = [], [], ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.shown += data


def test_an_artifact_on_a_da2k_folder_writes_json_page_and_pictures(
    tiny_artifact, da2k, tmp_path, capsys
):
    status, output = run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}")
    assert status == 0
    found = json.loads((output / "vits-torchscript-da2k-DA-2K.json").read_text(encoding="utf-8"))
    assert found["pairs"] == {
        "total": 4,
        "right": 2,
        "following": 2,
        "following_right": 2,
        "contradicting": 2,
        "contradicting_right": 0,
    }
    assert found["scores"]["ordinal_accuracy"] == 0.5
    assert found["scores"]["contradicting_accuracy"] == 0.0
    assert found["scores"]["lower_is_nearer"] == 0.5
    assert found["weights"]["sha256"] == "0" * 64
    assert {"cpu", "versions", "date"} <= found["machine"].keys()
    assert found["command"].startswith("python -m metric_depth.evaluate --artifact")
    pictures = [output / item["picture"] for item in found["samples"]]
    assert [Image.open(picture).format for picture in pictures] == ["JPEG", "JPEG"]
    printed = capsys.readouterr().out
    assert "contradicting" in printed and "da2k-DA-2K" in printed
    assert printed.splitlines()[-1] == str(output / "index.html")


def test_the_page_escapes_names_and_asks_nothing_of_the_network(tiny_artifact, da2k, tmp_path):
    _, output = run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}")
    text = (output / "index.html").read_text(encoding="utf-8")
    assert HOSTILE not in text and "&lt;img src=x onerror=" in text
    found = Tags(text).found
    images = [attributes for tag, attributes in found if tag == "img"]
    assert len(images) == 2
    assert all((output / attributes["src"]).is_file() for attributes in images)
    assert not any("onerror" in attributes for _, attributes in found)
    assert {tag for tag, _ in found}.isdisjoint({"script", "link", "iframe"})
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", text)


def test_whatever_a_run_says_is_shown_as_text(tiny_artifact, da2k, tmp_path):
    _, output = run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}")
    (found,) = read_runs(output)
    text = "\"'></code></p><script>alert(1)</script>{{ 7 * 7 }}"
    named = ("label", "dataset", "about", "command", "date", "output_kind", "machine")
    found.update({name: f"{name}{text}" for name in named})
    found["weights"] = {"source": "seeded", "sha256": f"sha{text}", "licence": f"licence{text}"}
    found["estimator"] = {"how": f"how{text}"}
    found["failed"] = [{"name": f"photo{text}", "error": f"error{text}"}]
    found["samples"][0].update(name=f"sample{text}", picture=f"pictures/{text}.jpg")
    shown = Tags(page([found]))
    assert {tag for tag, _ in shown.found}.isdisjoint({"script", "link", "iframe"})
    for _, attributes in shown.found:
        assert attributes.keys() <= ATTRIBUTES, attributes
    told = ("sha", "licence", "how", "photo", "error", "sample", *named[:-1])
    assert all(f"{name}{text}" in shown.shown for name in told)
    assert json.dumps(found["machine"]) in shown.shown
    alts = [attributes["alt"] for tag, attributes in shown.found if tag == "img"]
    assert f"sample{text}" in alts[0]


def test_a_bad_photo_is_reported_counted_and_not_fatal(tiny_artifact, da2k, tmp_path, capsys):
    (da2k / "images" / "a.png").write_bytes(b"no picture")
    status, output = run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}")
    assert status == 1
    assert "failed: images/a.png: " in capsys.readouterr().err
    (found,) = read_runs(output)
    assert found["photos"] == 1 and found["pairs"]["total"] == 2
    assert "not an image" in found["failed"][0]["error"]
    assert "not an image" in (output / "index.html").read_text(encoding="utf-8")


def test_a_dataset_of_bad_photos_only_still_gets_a_report(tiny_artifact, da2k, tmp_path):
    for photo in (da2k / "images").iterdir():
        photo.unlink()
    status, output = run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}")
    assert status == 1
    assert read_runs(output)[0]["scores"]["ordinal_accuracy"] is None


def test_the_page_covers_earlier_runs_in_the_folder_too(
    tiny_artifact, make_artifact, da2k, tmp_path
):
    other = tmp_path / "Other & more"
    shutil.copytree(da2k, other)
    run(tiny_artifact, tmp_path, "--dataset", f"da2k:{da2k}", f"da2k:{other}")
    metric = make_artifact(kind="depth_m", model="vits-indoor", seeded=True)
    _, output = run(metric, tmp_path, "--dataset", f"da2k:{da2k}")
    (output / "foreign.json").write_text("{}")
    (output / "broken.json").write_text("{")
    names = [(found["label"], found["dataset"]) for found in read_runs(output)]
    assert names == [
        ("vits-indoor-torchscript-seeded", "da2k-DA-2K"),
        ("vits-torchscript", "da2k-DA-2K"),
        ("vits-torchscript", "da2k-Other_more"),
    ]
    text = (output / "index.html").read_text(encoding="utf-8")
    assert "Other_more" in text and "random weights" in text


def test_metric_depth_is_turned_so_that_near_is_near(make_artifact, da2k, tmp_path):
    metric = make_artifact(kind="depth_m", model="vits-indoor")
    _, output = run(metric, tmp_path, "--dataset", f"da2k:{da2k}")
    (found,) = read_runs(output)  # brighter is farther now: the other pair of each photo is right
    assert found["pairs"]["contradicting_right"] == 2 and found["pairs"]["following_right"] == 0


def test_a_model_of_the_registry_runs_eagerly_and_random_weights_are_named(
    da2k, tmp_path, capsys, caplog
):
    output = tmp_path / "evaluation"
    arguments = ["--model", "vits", "--seeded-weights", "--size", "28", "--device", "cpu"]
    arguments += ["--dataset", f"da2k:{da2k}", "--count", "1", "--output", str(output)]
    assert evaluate.main(arguments) == 0
    assert "RANDOM WEIGHTS" in caplog.text
    found = json.loads((output / "vits-seeded-da2k-DA-2K.json").read_text(encoding="utf-8"))
    assert found["weights"]["source"] == "seeded"
    assert found["estimator"] == {"how": "eager float32 on cpu", "short_side": 28}
    assert found["photos"] == 1


def test_without_weights_the_error_says_what_to_do(da2k, tmp_path, capsys):
    arguments = ["--model", "vitg", "--dataset", f"da2k:{da2k}", "--output", str(tmp_path / "out")]
    assert evaluate.main(arguments) == 1
    assert "no weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--dataset", "imagenet"], "unknown; choose one of"),
        (["--dataset", "nyu"], "give nyu:FOLDER"),
        (["--dataset", "generated", "generated"], "would write the same files"),
        (["--artifact", "x", "--size", "28"], "do not go with --artifact"),
        (["--checkpoint", "x", "--seeded-weights"], "not allowed with"),
        (["--count", "0"], "at least 1"),
        (["--model", "resnet"], "invalid choice"),
    ],
)
def test_bad_usage_exits_with_2(arguments, says, capsys):
    try:
        status = evaluate.main(arguments)
    except SystemExit as stopped:  # argparse ends the process itself
        status = stopped.code
    assert status == 2
    said = capsys.readouterr().err
    assert says in said and "usage: python -m metric_depth.evaluate" in said


def test_errors_are_one_line_and_no_traceback(tiny_artifact, da2k, tmp_path, capsys):
    gone = ["--artifact", str(tmp_path / "gone"), "--dataset", f"da2k:{da2k}"]
    assert evaluate.main([*gone, "--output", str(tmp_path / "out")]) == 1
    assert "error: " in capsys.readouterr().err
    assert run(tiny_artifact, tmp_path, "--dataset", f"kitti:{tmp_path / 'gone'}")[0] == 1
    assert "no such folder" in capsys.readouterr().err
    assert run(tiny_artifact, tmp_path, "--model", "vitb", "--dataset", f"da2k:{da2k}")[0] == 1
    assert "is of vits, not of vitb" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    file = ["--output", str(tmp_path / "file"), "--dataset", f"da2k:{da2k}"]
    assert evaluate.main(["--artifact", str(tiny_artifact.path), *file]) == 1
    assert "error: " in capsys.readouterr().err


def test_help_has_examples_and_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; from metric_depth.evaluate import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=Path(evaluate.__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "da2k:FOLDER" in done.stdout and "examples:" in done.stdout


def test_every_photo_is_judged_and_some_get_a_picture():
    entries = [Entry(str(index), ramp_sample) for index in range(3 * SHOWN)]
    entries[1] = Entry("bad", lambda: (_ for _ in ()).throw(InputError("two\nlines")))
    outcomes = list(judge_all(estimator(), Dataset("x", "", entries)))
    assert [outcome.name for outcome in outcomes] == [entry.name for entry in entries]
    assert sum(outcome.picture is not None for outcome in outcomes) == SHOWN
    assert outcomes[1].error == "two"
    told = summarise(outcomes)
    assert told["photos"] == 3 * SHOWN - 1 and len(told["failed"]) == 1
    assert told["scores"]["delta1"] == 1.0 and told["scores"]["pearson"] > 0.999


def test_metres_of_a_metric_model_are_scored_without_a_fit_too():
    def predict(rgb):
        return 2 * ramp_sample().depth_m  # right but for the scale

    metric = estimator(predict, "depth_m")
    (outcome,) = judge_all(metric, Dataset("x", "", [Entry("a", ramp_sample)]))
    assert outcome.scores["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert outcome.unaligned["abs_rel"] == pytest.approx(1, rel=1e-5)


def test_a_prediction_that_is_not_finite_fails_its_photo_only():
    broken = estimator(lambda rgb: np.full(rgb.shape[:2], np.nan, np.float32))
    (outcome,) = judge_all(broken, Dataset("x", "", [Entry("a", ramp_sample)]))
    assert "not finite" in outcome.error


def test_a_strip_shows_photo_truth_and_prediction_in_one_scale():
    sample = ramp_sample()
    pixels = strip(sample, sample.rgb[..., 0].astype(np.float32) * 3 + 7)
    width = round(PANEL * 40 / 60)
    assert pixels.shape == (PANEL, 3 * width + 8, 3)
    truth, predicted = pixels[:, width + 4 : 2 * width + 4], pixels[:, 2 * width + 8 :]
    assert np.abs(truth.astype(int) - predicted).mean() < 6
    (near, far) = (tuple(predicted[row, 5]) for row in (-1, 0))
    assert near[0] > near[2] and far[2] > far[0]  # red is near, violet far


def test_unknown_truth_is_grey_and_sky_is_far():
    sample = ramp_sample()
    sample.depth_m[:20], sample.depth_m[20:30] = np.nan, np.inf
    sample.scored[:30] = False
    pixels = strip(sample, sample.rgb[..., 0].astype(np.float32))
    truth = pixels[:, pixels.shape[1] // 2]
    assert tuple(truth[5]) == UNKNOWN
    assert truth[PANEL * 25 // 60][2] > truth[PANEL * 25 // 60][0]


def test_right_and_wrong_pairs_are_drawn_in_their_colours():
    pairs = np.array([[[50, 5], [10, 5]], [[10, 35], [50, 35]]])
    sample = Sample(np.full((60, 40, 3), 128, np.uint8), pairs=pairs)
    pixels = strip(sample, np.tile(np.arange(60.0)[:, None], (1, 40)))
    for (row, column), color in zip(pairs[:, 0], (RIGHT, WRONG)):
        assert tuple(pixels[row * PANEL // 60, column * PANEL // 60]) == color


def test_names_for_files_are_plain():
    assert plain_name("../My Folder/ü") == "My_Folder"
    assert plain_name("..") == "unnamed"


def test_the_table_has_every_score_and_dashes_where_there_is_none():
    facts = {"label": "vits", "dataset": "x", "photos": 3, "pairs": {"total": 4}}
    lines = table([{**facts, "scores": {"abs_rel": 0.12345}}]).splitlines()
    assert all(heading in lines[0] for heading, _, _ in COLUMNS.values())
    assert lines[1].split() == ["vits", "x", "3", "4", "0.123", *["-"] * (len(COLUMNS) - 1)]


def test_an_empty_page_is_a_page():
    Tags(page([]))
