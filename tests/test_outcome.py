"""What an error becomes in jobs over many sources: this source's alone, or the end of all."""

import errno
import os
from pathlib import Path

import pytest

from apps import points, run_v2
from apps.outcome import failure, outcome_of
from runtime.errors import ArtifactError, DeviceError, InputError

PHOTO = Path("a.png")


@pytest.mark.parametrize(
    "error", [InputError("no photo"), OSError(errno.ENOENT, "gone", "a.png"), KeyError("x")]
)
def test_what_one_source_raises_is_its_own(error):
    def work():
        raise error

    outcome = outcome_of(PHOTO, work)
    assert outcome.photo == PHOTO and outcome.error and "\n" not in outcome.error
    assert outcome_of(PHOTO, lambda: [PHOTO]).files == [PHOTO]


@pytest.mark.parametrize(
    "error",
    [
        ArtifactError("no"),
        DeviceError("no"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EROFS, ""),
    ],
)
def test_what_all_sources_would_raise_ends_the_job(error):
    with pytest.raises(type(error)):
        failure(PHOTO, error)


@pytest.mark.parametrize("door", [run_v2, points])
def test_a_full_disk_ends_a_job_at_its_first_photo(
    door, make_artifact, save_photo, tmp_path, monkeypatch, capsys
):
    photos = [save_photo(tmp_path / "in" / f"{name}.png") for name in "abc"]
    artifact = make_artifact(kind="depth_m")
    tried = []

    def refuse(file, *given):
        tried.append(file)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(door, "write_whole", refuse)
    words = ["--artifact", str(artifact.path), "--img-path", *map(str, photos)]
    if door is run_v2:
        found = run_v2.run_photos(
            {photo: tmp_path / "out" / photo.stem for photo in photos},
            points.artifact_estimator([artifact.path], "cpu"),
            run_v2.Look(),
        )
        with pytest.raises(OSError, match="No space left"):
            list(found)
    else:
        assert points.main([*words, "--outdir", str(tmp_path / "out")]) == 1
        assert "No space left on device" in capsys.readouterr().err
    assert len(tried) == 1
