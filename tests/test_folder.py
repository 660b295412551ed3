"""The folder job: one outcome a photo, whatever the photos are."""

import errno
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import apps.folder
from apps.folder import FolderJob, run_folder
from runtime.errors import ArtifactError, InputError
from runtime.photo.decode import read_at_least, read_photo
from runtime.predict.pipeline import READ_AHEAD, WRITE_BEHIND
from runtime.predict.predictor import Predictor

BUCKETS = ((28, 28), (28, 42), (42, 28))


@pytest.fixture(scope="module")
def predictor(make_artifact) -> Predictor:
    return Predictor([make_artifact(size_hw=size_hw) for size_hw in BUCKETS])


@pytest.fixture(scope="module")
def batch_predictor(make_artifact) -> Predictor:
    return Predictor([make_artifact(size_hw=size_hw, batch=3) for size_hw in BUCKETS])


@pytest.fixture
def job(tmp_path) -> FolderJob:
    (tmp_path / "in").mkdir()
    return FolderJob(tmp_path / "in", tmp_path / "out", formats=("npz",))


def below(folder: Path) -> list[str]:
    """Files below a folder, by relative path."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_good_and_bad_photos_each_get_their_outcome(job, predictor, save_photo):
    save_photo(job.source / "good.png")
    save_photo(job.source / "été au lac.jpg", 40, 20)
    whole = save_photo(job.source / "whole.jpg").read_bytes()
    (job.source / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (job.source / "empty.png").touch()
    (job.source / "text.jpg").write_text("dear diary")
    (job.source / "folder.jpg").mkdir()
    (job.source / "notes.txt").write_text("not a photo, by its name")
    outcomes = {outcome.photo.name: outcome for outcome in run_folder(job, predictor)}
    assert set(outcomes) == {
        "good.png",
        "whole.jpg",
        "été au lac.jpg",
        "truncated.jpg",
        "empty.png",
        "text.jpg",
    }
    for name in ("good.png", "whole.jpg", "été au lac.jpg"):
        assert outcomes[name].error is None
        assert outcomes[name].files == [job.output / f"{name}.npz", job.output / f"{name}.json"]
        assert all(file.is_file() for file in outcomes[name].files)
    assert "truncated.jpg: damaged or incomplete" in outcomes["truncated.jpg"].error
    assert "empty.png: empty, 0 bytes" in outcomes["empty.png"].error
    assert "text.jpg: not an image in a known format" in outcomes["text.jpg"].error
    assert len(below(job.output)) == 6


def test_each_map_is_that_of_its_own_photo(job, batch_predictor, save_photo):
    shapes = [(20, 30), (30, 20), (25, 25)]
    for seed in range(9):
        save_photo(job.source / f"{seed}.png", *shapes[seed % 3], seed)
    assert all(outcome.error is None for outcome in run_folder(job, batch_predictor))
    for seed in range(9):
        expected = batch_predictor(read_photo(job.source / f"{seed}.png"))
        with np.load(job.output / f"{seed}.png.npz") as arrays:
            np.testing.assert_array_equal(arrays["disparity"], expected.depth)
        sidecar = json.loads((job.output / f"{seed}.png.json").read_text())
        assert sidecar["photo"] == f"{seed}.png"
        assert set(sidecar["seconds"]) == {"decode", "preprocess", "inference", "postprocess"}


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(["wide", "tall", "square", "bad"]), min_size=1, max_size=12))
def test_batches_over_mixed_shapes_give_every_photo_one_outcome(
    kinds, batch_predictor, save_photo, tmp_path_factory
):
    root = tmp_path_factory.mktemp("mixed")
    sizes_hw = {"wide": (20, 30), "tall": (30, 20), "square": (20, 20)}
    (root / "in").mkdir()
    for number, kind in enumerate(kinds):
        photo = root / "in" / f"{number}-{kind}.png"
        if kind == "bad":
            photo.write_bytes(b"not a photo")
        else:
            save_photo(photo, *sizes_hw[kind], seed=number)
    job = FolderJob(root / "in", root / "out", formats=("pfm",))
    outcomes = list(run_folder(job, batch_predictor))
    assert sorted(outcome.photo for outcome in outcomes) == job.photos()
    for outcome in outcomes:
        assert (outcome.error is not None) == outcome.photo.name.endswith("-bad.png")
        assert len(outcome.files) == (0 if outcome.error else 2)


def test_photos_that_differ_only_in_their_suffix_do_not_overwrite_each_other(
    job, predictor, save_photo
):
    names = ["a.jpg", "a.jpeg", "a.png", "a.PNG", "a.bmp", "a.tif"]
    for seed, name in enumerate(names):
        save_photo(job.source / name, seed=seed)
    files = [file for outcome in run_folder(job, predictor) for file in outcome.files]
    assert len(files) == len(set(files)) == 2 * len(names)


def test_photos_in_folders_keep_their_relative_path(job, predictor, save_photo):
    save_photo(job.source / "a.png")
    save_photo(job.source / "day 1" / "a.png", 30, 20)
    save_photo(job.source / "day 1" / "morning" / "b.png")
    outcomes = list(run_folder(replace(job, recursive=True), predictor))
    assert all(outcome.error is None for outcome in outcomes)
    assert below(job.output) == [
        "a.png.json",
        "a.png.npz",
        "day 1/a.png.json",
        "day 1/a.png.npz",
        "day 1/morning/b.png.json",
        "day 1/morning/b.png.npz",
    ]


def test_folders_in_folders_are_left_alone_unless_asked_for(job, save_photo):
    save_photo(job.source / "a.png")
    save_photo(job.source / "deeper" / "b.png")
    assert job.photos() == [job.source / "a.png"]


def test_photos_are_found_in_the_order_of_their_names(job, save_photo):
    for name in ("c.png", "a.png", "b.png"):
        save_photo(job.source / name)
    assert [photo.name for photo in job.photos()] == ["a.png", "b.png", "c.png"]


def test_hidden_files_are_left_alone(job, save_photo):
    save_photo(job.source / "a.png")
    (job.source / "._a.jpg").write_bytes(b"what a Mac leaves behind")
    assert job.photos() == [job.source / "a.png"]


def test_an_output_inside_the_input_is_not_read_again(job, predictor, save_photo):
    job = replace(job, output=job.source / "depth", recursive=True, formats=("png", "png16"))
    save_photo(job.source / "a.png")
    for _ in range(2):
        assert [outcome.photo.name for outcome in run_folder(job, predictor)] == ["a.png"]
    assert len(below(job.output)) == 3


def test_an_input_inside_the_output_is_read(job, predictor, save_photo):
    save_photo(job.source / "a.png")
    job = replace(job, output=job.source.parent)
    (outcome,) = run_folder(job, predictor)
    assert outcome.files[0] == job.output / "a.png.npz"


@pytest.mark.parametrize("spelling", ["", "..", "link"])
def test_one_folder_for_input_and_output_is_refused(spelling, job, save_photo):
    save_photo(job.source / "a.png")
    (job.source.parent / "link").symlink_to(job.source)
    output = {
        "": job.source,
        "..": job.source / ".." / "in",
        "link": job.source.parent / "link",
    }[spelling]
    with pytest.raises(InputError, match="is both input and output; name another folder"):
        replace(job, output=output).photos()


def test_a_folder_without_photos_is_refused(job):
    (job.source / "notes.txt").touch()
    with pytest.raises(InputError, match=r"in: no photo there \(\.jpg, \.jpeg, \.png"):
        job.photos()


def test_a_source_that_is_not_there_is_refused(job, predictor):
    job = replace(job, source=job.source / "absent")
    with pytest.raises(InputError, match="absent: no such file, folder or pattern"):
        job.photos()
    with pytest.raises(InputError, match="absent: no such file, folder or pattern"):
        list(run_folder(job, predictor))


def test_a_single_file_is_a_job_of_one_photo_whatever_its_suffix(job, predictor, save_photo):
    save_photo(job.source / "other.png")
    photo = save_photo(job.source / "one.png").rename(job.source / "one.picture")
    job = replace(job, source=photo)
    (outcome,) = run_folder(job, predictor)
    assert outcome.files == [job.output / "one.picture.npz", job.output / "one.picture.json"]
    assert job.base(photo) == job.output / "one.picture"


def test_a_second_run_replaces_the_files_of_the_first(job, predictor, save_photo):
    save_photo(job.source / "a.png", 20, 30)
    list(run_folder(job, predictor))
    save_photo(job.source / "a.png", 30, 20)
    (outcome,) = run_folder(job, predictor)
    assert outcome.error is None and below(job.output) == ["a.png.json", "a.png.npz"]
    with np.load(job.output / "a.png.npz") as arrays:
        assert arrays["disparity"].shape == (30, 20)


def test_a_file_that_cannot_be_written_is_an_outcome_and_the_rest_goes_on(
    job, predictor, save_photo
):
    for name in ("a.png", "b.png", "c.png"):
        save_photo(job.source / name)
    (job.output / "b.png.npz").mkdir(parents=True)  # in the way
    outcomes = {outcome.photo.name: outcome for outcome in run_folder(job, predictor)}
    assert [outcomes[name].error is None for name in ("a.png", "b.png", "c.png")] == [1, 0, 1]
    assert "b.png.npz: Is a directory" in outcomes["b.png"].error and outcomes["b.png"].files == []
    assert below(job.output) == ["a.png.json", "a.png.npz", "c.png.json", "c.png.npz"]


def test_an_output_folder_that_is_a_file_is_an_outcome(job, predictor, save_photo):
    save_photo(job.source / "a.png")
    job.output.touch()
    (outcome,) = run_folder(job, predictor)
    assert "a.png: " in outcome.error and outcome.files == []


def test_a_name_that_is_not_utf_8_does_not_stop_the_job(job, predictor, save_photo):
    photo = save_photo(job.source / "a.png")
    try:
        photo.rename(job.source / os.fsdecode(b"caf\xe9.png"))
    except (OSError, UnicodeError):
        pytest.skip("this disk holds UTF-8 names only")
    save_photo(job.source / "b.png")
    outcomes = list(run_folder(job, predictor))
    assert len(outcomes) == 2
    assert all(outcome.error is None for outcome in outcomes)


def test_a_format_this_opencv_cannot_write_does_not_stop_the_job(
    job, predictor, save_photo, monkeypatch
):
    import cv2

    def no_encoder(*_):
        raise cv2.error("could not find encoder for the specified extension")

    monkeypatch.setattr(cv2, "imencode", no_encoder)
    save_photo(job.source / "a.png")
    save_photo(job.source / "b.png")
    outcomes = list(run_folder(replace(job, formats=("pfm",)), predictor))
    assert len(outcomes) == 2
    assert all(".pfm" in outcome.error for outcome in outcomes)


def test_a_photo_decoded_smaller_gets_depth_on_its_own_pixels_and_says_so(
    job, predictor, save_photo
):
    save_photo(job.source / "large.jpg", 230, 150)
    save_photo(job.source / "small.jpg", 50, 40)
    for decode, decoded in (("full", None), ("reduced", {"height": 58, "width": 38})):
        assert all(o.error is None for o in run_folder(replace(job, decode=decode), predictor))
        for name, size_hw, expected in (("large", (230, 150), decoded), ("small", (50, 40), None)):
            facts = json.loads((job.output / f"{name}.jpg.json").read_text())
            assert facts["preprocessing"].get("decoded_size") == expected
            with np.load(job.output / f"{name}.jpg.npz") as arrays:
                assert arrays["disparity"].shape == size_hw
    (whole, _), (reduced, whole_hw) = (
        read_at_least(job.source / "large.jpg", size_for) for size_for in (None, predictor.input_hw)
    )
    prepared = predictor.prepare(reduced, photo_hw=whole_hw)
    ((depth, seconds),) = predictor.infer([prepared])
    prediction, _ = predictor.finish(prepared, depth, seconds)
    difference = np.abs(prediction.depth - predictor(whole).depth).mean()
    assert 0 < difference < 0.05 * np.ptp(predictor(whole).depth)
    with np.load(job.output / "large.jpg.npz") as arrays:
        np.testing.assert_array_equal(arrays["disparity"], prediction.depth)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"decode": "half"}, "use one of full, reduced"),
        ({"decode": "reduced", "side_by_side": True}, "decode it in full"),
    ],
)
def test_a_way_to_decode_that_cannot_be_is_refused(more, message, job):
    with pytest.raises(InputError, match=message):
        replace(job, **more)


def test_a_photo_over_the_limit_is_an_outcome(job, predictor, save_photo):
    save_photo(job.source / "large.png", 20, 30)
    save_photo(job.source / "small.png", 10, 10)
    outcomes = list(run_folder(replace(job, max_pixels=599), predictor))
    assert {outcome.photo.name: outcome.error is None for outcome in outcomes} == {
        "large.png": False,
        "small.png": True,
    }
    assert any("limit 599" in (outcome.error or "") for outcome in outcomes)


def test_a_broken_graph_stops_the_job(job, make_artifact, save_photo):
    save_photo(job.source / "a.png")
    with pytest.raises(ArtifactError, match="not finite"):
        list(run_folder(job, Predictor([make_artifact(shift=float("nan"))])))


def test_what_is_in_flight_is_bounded(job, batch_predictor, save_photo, monkeypatch):
    for number in range(40):
        save_photo(job.source / f"{number:02}.png", 8, 8)
    read = []

    def counted(photo, *limits):
        read.append(photo)
        return read_at_least(photo, *limits)

    monkeypatch.setattr(apps.folder, "read_at_least", counted)
    batch = batch_predictor.batch
    for yielded, _ in enumerate(run_folder(job, batch_predictor)):
        assert len(read) - yielded <= READ_AHEAD + WRITE_BEHIND + 8 * batch
    assert len(read) == 40


def test_a_job_given_up_leaves_only_whole_files(job, predictor, save_photo):
    for number in range(12):
        save_photo(job.source / f"{number:02}.png")
    outcomes = run_folder(job, predictor)
    next(outcomes)
    outcomes.close()
    files = below(job.output)
    assert 0 < len(files) < 24
    assert all(file.endswith((".npz", ".json")) and not file.startswith(".") for file in files)
    for file in files:
        if file.endswith(".npz"):
            np.load(job.output / file).close()


FATAL = [MemoryError(), RecursionError("too deep"), OverflowError("large"), struct.error("short")]
FATAL += [
    ZeroDivisionError("by 0"),
    AssertionError(),
    KeyError("size"),
    OSError(24, "Too many files"),
]


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["load", "infer", "write"])
def test_whatever_a_photo_raises_is_its_outcome_and_is_logged(
    where, error, job, make_artifact, save_photo, monkeypatch, caplog
):
    caplog.set_level("DEBUG")
    one = Predictor([make_artifact()])
    for name in ("a.png", "b.png", "c.png"):
        save_photo(job.source / name)
    kind, name = {"load": (one, "prepare"), "infer": (one, "infer"), "write": (one, "finish")}[
        where
    ]
    real, calls = getattr(kind, name), []

    def raises_once(*given, **more):
        calls.append(given)
        if len(calls) == 2:
            raise error
        return real(*given, **more)

    monkeypatch.setattr(kind, name, raises_once)
    outcomes = list(run_folder(job, one))
    (bad,) = [outcome for outcome in outcomes if outcome.error]
    assert len(outcomes) == 3 and str(bad.photo) in bad.error and "\n" not in bad.error
    foreseen = isinstance(error, OSError)
    assert (type(error).__name__ in bad.error) != foreseen
    assert ("raises_once" in caplog.text) != foreseen  # the traceback
    assert not [one for one in caplog.records if one.levelname != "DEBUG"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ESTALE])
def test_a_disk_that_is_full_or_gone_ends_the_job(code, job, predictor, save_photo, monkeypatch):
    for number in range(30):
        save_photo(job.source / f"{number:02}.png")
    tried = []

    def refuse(*given):
        tried.append(given)
        raise OSError(code, os.strerror(code), "x")

    monkeypatch.setattr(apps.folder, "write_prediction", refuse)
    with pytest.raises(OSError, match=os.strerror(code)):
        list(run_folder(job, predictor))
    assert len(tried) < 15


def test_a_photo_that_vanishes_between_listing_and_reading_is_an_outcome(
    job, predictor, save_photo
):
    photos = [save_photo(job.source / name) for name in ("a.png", "b.png")]
    listed = job.photos()
    photos[0].unlink()
    outcomes = list(run_folder(job, predictor, listed))
    assert ["No such file" in (one.error or "") for one in outcomes] == [True, False]


def test_a_name_too_long_for_its_results_is_an_outcome(job, predictor, save_photo):
    save_photo(job.source / "a.png")
    save_photo(job.source / "b.png").rename(job.source / ("n" * 251 + ".png"))
    errors = [one.error for one in run_folder(job, predictor)]
    assert errors[0] is None and "over 255 bytes" in errors[1]


def test_names_that_lead_elsewhere_on_other_disks_are_written_as_in_urls(
    job, predictor, save_photo
):
    for name in ("a\\..\\up.png", "two\nlines.png", "C:x.png", os.fsdecode(b"caf\xe9.png")):
        save_photo(job.source / "x.png").rename(job.source / name)
    assert all(outcome.error is None for outcome in run_folder(job, predictor))
    assert [name for name in below(job.output) if name.endswith(".npz")] == [
        "C%3Ax.png.npz",
        "a%5C..%5Cup.png.npz",
        "caf%E9.png.npz",
        "two%0Alines.png.npz",
    ]


def test_photos_whose_names_the_disk_takes_for_one_are_refused(job, save_photo, monkeypatch):
    save_photo(job.source / "A.png")
    save_photo(job.source / "a.png")
    assert len(job.photos()) == 2
    monkeypatch.setattr(apps.folder, "ignores_case", lambda folder: True)
    with pytest.raises(InputError, match=r"A\.png and .*a\.png: the disk of .* for one"):
        job.photos()
