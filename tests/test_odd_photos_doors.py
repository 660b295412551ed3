"""Odd photos through the doors: each is depth or one sentence, and costs nobody else anything."""

import io
import json

import numpy as np
import pytest
from odd_photos import odd_photos
from served import post, serving

from apps import inference
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor
from runtime.storage import Folder
from serve.batch.__main__ import main as batch
from serve.batch.job_folder import JobFolder
from serve.batch.records import DONE, read_records
from serve.batch.run import SOME_FAILED
from serve.http.problems import MEDIA_TYPE

FEW, ALL = "few", "all"
HEADERS = {"Content-Type": "application/octet-stream", "Accept": "application/x-npy"}


@pytest.fixture(params=[FEW, ALL])
def photos(request):
    """Odd photos by their names; few of them, or all."""
    step = 25 if request.param == FEW else 1
    found = odd_photos()
    return {photo.name: photo.data for photo in list(found)[::step]}


def depths(photos, artifact):
    """What each is by the predictor: depth, or None if it is refused."""
    predictor, found = Predictor([artifact]), {}
    for name, data in photos.items():
        try:
            found[name] = predictor(read_photo(data)).depth
        except InputError:
            found[name] = None
    assert any(one is None for one in found.values())
    assert sum(one is not None for one in found.values()) > len(found) / 3
    return found


def write(photos, folder):
    folder.mkdir()
    for name, data in photos.items():
        (folder / name).write_bytes(data)
    return folder


def stored(file):
    with np.load(file) as found:
        return found["disparity"] if "disparity" in found else found[found.files[0]]


def test_the_service_answers_each_and_is_as_it_was(photos, tiny_artifact):
    expected = depths(photos, tiny_artifact)
    wrong = []
    with serving(tiny_artifact.path) as served:
        before = served.workers
        for name, data in photos.items():
            status, headers, body = post(served.base, data, HEADERS)
            if expected[name] is not None:
                right = status == 200 and np.array_equal(np.load(io.BytesIO(body)), expected[name])
            else:
                right = 400 <= status < 500 and headers["Content-Type"] == MEDIA_TYPE
                right = right and len(json.loads(body)["detail"]) > 10
            if not right:
                wrong.append((name, status, body[:200]))
        assert served.workers == before
    assert wrong == []
    assert "Traceback" not in served.log


def test_a_batch_job_has_one_result_or_one_reason_for_each(photos, tiny_artifact, tmp_path, capsys):
    expected = depths(photos, tiny_artifact)
    source, output = write(photos, tmp_path / "in"), tmp_path / "out"
    words = ["--input", source, "--output", output, "--artifact", tiny_artifact.path]
    more = ["--max-error-rate", "1", "--formats", "npz"]
    assert batch(["run", *map(str, words), *more]) == SOME_FAILED
    assert "Traceback" not in capsys.readouterr().err
    records = {one.name: one for one in read_records(JobFolder(Folder(output)))}
    assert set(records) == set(photos)
    for name, depth in expected.items():
        assert (records[name].status == DONE) == (depth is not None), records[name]
        if depth is not None:
            np.testing.assert_array_equal(stored(output / f"{name}.npz"), depth)


def test_the_main_job_names_each_that_failed(photos, tiny_artifact, tmp_path, capsys):
    expected = depths(photos, tiny_artifact)
    source, output = write(photos, tmp_path / "in"), tmp_path / "out"
    words = ["--input", source, "--output", output, "--artifact", tiny_artifact.path]
    assert inference.main([*map(str, words), "--formats", "npz"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for name, depth in expected.items():
        if depth is None:
            assert f"failed: {source / name}: " in said
        else:
            np.testing.assert_array_equal(stored(output / f"{name}.npz"), depth)
