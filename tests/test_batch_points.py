"""Known points in a batch: a column of the manifest, in the row or in a file beside it."""

import json

import numpy as np
import pytest
from PIL import Image

from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor
from runtime.storage import S3Options
from serve.batch.__main__ import main as batch
from serve.batch.job_folder import open_job
from serve.batch.known_points import points_cell, read_known_points
from serve.batch.parquet import to_bytes, to_rows
from serve.batch.plan import PLAN_COLUMNS, read_items, read_plan

ROWS = [[1.0, 2.0, 1.5], [20, 10, 4]]
DISK = S3Options()


@pytest.fixture
def run(tmp_path, tiny_artifact, save_photo, capsys):
    """Run a manifest of one photo; gives what the job says of itself."""
    save_photo(tmp_path / "a.png")

    def go(points, *more):
        manifest = tmp_path / "photos.jsonl"
        manifest.write_text(json.dumps({"path": "a.png", "points": points}))
        words = ["run", "--artifact", str(tiny_artifact.path), "--input", str(manifest)]
        status = batch([*words, "--output", str(tmp_path / "out"), "--formats", "npz", *more])
        said = capsys.readouterr()
        return status, said.out, said.err

    return go


def facts_of(tmp_path):
    return json.loads((tmp_path / "out" / "a.png.json").read_text())


def rows_on(artifact, tmp_path, shift=0.1):
    """Two points that the map of the photo agrees with."""
    depth = Predictor([artifact])(read_photo(tmp_path / "a.png")).depth
    return [[x, y, float(1 / (0.2 * depth[y, x] + shift))] for x, y in ((1, 2), (25, 12))]


def test_a_photo_is_done_again_if_its_points_are_others(run, tiny_artifact, tmp_path):
    first = rows_on(tiny_artifact, tmp_path)
    assert run(first)[0] == 0
    facts = facts_of(tmp_path)
    assert facts["kind"] == "depth_m"
    assert facts["metres_by"]["shift"] == pytest.approx(0.1, rel=1e-4)
    written = (tmp_path / "out" / "a.png.json").stat().st_mtime_ns
    assert run(first)[0] == 0
    assert (tmp_path / "out" / "a.png.json").stat().st_mtime_ns == written
    assert run(rows_on(tiny_artifact, tmp_path, 0.3))[0] == 0
    assert facts_of(tmp_path)["metres_by"]["shift"] == pytest.approx(0.3, rel=1e-4)
    assert run(None)[0] == 0
    assert facts_of(tmp_path)["kind"] == "disparity"


def test_a_file_of_points_that_changes_is_noticed_and_a_png_has_its_scale(
    run, tiny_artifact, tmp_path
):
    rows = rows_on(tiny_artifact, tmp_path)
    sparse = np.zeros((20, 30), np.uint16)
    for x, y, metres in rows:
        sparse[y, x] = round(metres * 1000)
    Image.fromarray(sparse).save(tmp_path / "known.png")
    assert run("known.png")[0] == 0
    with np.load(tmp_path / "out" / "a.png.npz") as stored:
        for x, y, metres in rows:
            assert stored["depth_m"][y, x] == pytest.approx(metres, abs=6e-4)
    scale = facts_of(tmp_path)["metres_by"]["scale"]
    assert run("known.png", "--fit-png-scale", "500")[0] == 0  # twice the metres
    assert facts_of(tmp_path)["metres_by"]["scale"] == pytest.approx(scale / 2)
    Image.fromarray(sparse * 2).save(tmp_path / "known.png")
    assert run("known.png", "--fit-png-scale", "500")[0] == 0
    assert facts_of(tmp_path)["metres_by"]["scale"] == pytest.approx(scale / 4)


@pytest.mark.parametrize("given", [ROWS, json.dumps(ROWS), f"  {json.dumps(ROWS)}"])
def test_a_cell_holds_a_list_or_the_same_as_json(given, tmp_path):
    text = points_cell(given, "list.csv, line 2", tmp_path)
    assert read_known_points(text, DISK, 1000.0).metres.tolist() == [1.5, 4]


def test_a_cell_names_a_file_beside_the_list_or_an_object(tmp_path):
    (tmp_path / "k.csv").write_text("1,2,1.5\n20,10,4\n")
    text = points_cell("k.csv", "", tmp_path)
    assert text == str(tmp_path / "k.csv")
    assert read_known_points(text, DISK, 1000.0).metres.tolist() == [1.5, 4]
    assert points_cell("s3://bucket/k.csv", "", tmp_path) == "s3://bucket/k.csv"
    assert points_cell("", "", tmp_path) is points_cell(None, "", tmp_path) is None


@pytest.mark.parametrize(
    "given", ["[[1,2", "[]", [[1, 2, 3]], {"x": 1}, 5, True, [["1", "2", "3"]]]
)
def test_a_cell_that_is_neither_is_refused_with_its_row(given, tmp_path):
    with pytest.raises(InputError, match=r"list\.csv, line 2: points: "):
        points_cell(given, "list.csv, line 2", tmp_path)


def test_a_plan_that_was_written_before_there_were_points_goes_on(run, tmp_path, save_photo):
    assert run(None)[0] == 0
    folder = open_job(str(tmp_path / "out"), (0, 1), DISK)
    plan = read_plan(folder)
    before = {name: kind for name, kind in PLAN_COLUMNS.items() if name != "points"}
    rows = list(to_rows(folder.read(plan.chunk(0), 1 << 20), "plan", before))
    folder.write(plan.chunk(0), to_bytes(rows, before))
    (item,) = read_items(folder, plan)
    assert item.points is None and item.name == "a.png"
