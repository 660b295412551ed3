"""Example scenes of the app: found once, before the start, and there at a click."""

import numpy as np
import pytest
from stand_in_scene import wall

from apps.da3 import main
from apps.web.app_engine import HIGH, LOW, FoundScene
from apps.web.app_examples import Examples
from apps.web.app_kept import FACTS, read_found, write_found
from apps.web.app_sessions import Sessions, ViewAsked
from exports.scene import ScenePhoto
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.predict.found import ArtifactName, Provenance
from runtime.scene.gaussians import PARTS


class Engine:
    """Finds walls, and notes what it was asked."""

    about, no_splats = "a stand-in", ""

    def __init__(self):
        self.asked = []

    def check(self, photos, asked):
        if photos[0].parent.name == "bad":
            raise InputError("too many")

    def scene(self, photos, asked, told):
        told("infers")
        self.asked.append((photos[0].parent.name, asked.method, asked.splats))
        found = wall(np.stack([read_photo(photo) for photo in photos]), asked.splats)
        weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0", "w")
        found.provenance = Provenance("da3-giant", weights, ArtifactName("a", "1" * 64))
        sizes = [found.depth.shape[1:]] * 2
        return FoundScene(found, tuple(ScenePhoto(photo.name, *sizes) for photo in photos))


@pytest.fixture
def root(tmp_path, save_photo):
    for name in ("bad", "room", "room_dl3dv"):
        for number in range(2):
            save_photo(tmp_path / "scenes" / name / f"{number}.png", 28, 42, seed=number)
    (tmp_path / "scenes/empty").mkdir()
    (tmp_path / "scenes/torn").mkdir()
    (tmp_path / "scenes/torn/0.png").write_bytes(b"no photo")
    return tmp_path / "scenes"


def test_each_is_found_once_as_its_name_asks_and_one_that_fails_is_left_out(
    root, tmp_path, caplog, save_photo
):
    engine = Engine()
    examples = Examples(root, tmp_path / "work", engine)
    assert [folder.name for folder in examples.folders] == ["bad", "room", "room_dl3dv"]
    assert "torn: left out" in caplog.text
    assert [name for _, name in examples.thumbnails][1] == "room: 2 photos"
    assert examples.found(root / "room") is None
    examples.find_all("DL3DV")
    asked = [("room", LOW, False), ("room_dl3dv", HIGH, True)]
    assert engine.asked == asked and "bad: left out (too many)" in caplog.text
    Examples(root, tmp_path / "work", engine).find_all("DL3DV")
    assert engine.asked == asked, "a second start finds nothing anew"
    found, films = examples.found(root / "room_dl3dv")
    assert found.scene.gaussians is not None and [film.suffix for film in films] == [".mp4"]
    save_photo(root / "room" / "2.png", 28, 42, seed=2)
    assert examples.found(root / "room") is None, "it is of other photos"
    examples.find_all("DL3DV")
    assert engine.asked == [*asked, ("room", LOW, False)]
    assert len(examples.found(root / "room")[0].photos) == 3
    engine.about = "another model"
    assert examples.found(root / "room") is None, "it is by another model"


def test_a_session_takes_an_example_over_and_makes_views_of_it(root, tmp_path):
    engine = Engine()
    examples = Examples(root, tmp_path / "work", engine)
    examples.find_all("dl3dv")
    sessions = Sessions(tmp_path / "work", 3600)
    session = sessions.find(sessions.new())
    session.take_over(*examples.found(root / "room_dl3dv"))
    assert session.view(ViewAsked(show_cameras=False)).stat().st_size > 1000
    assert "splats.ply" in [file.name for file in session.downloads(ViewAsked())]
    assert list((session.folder / "films").rglob("*.mp4"))


def test_all_who_look_at_an_example_share_one_scene_that_nobody_changes(root, tmp_path, save_photo):
    examples = Examples(root, tmp_path / "work", Engine())
    examples.find_all()
    one, other = (examples.found(root / "room")[0] for _ in range(2))
    assert one is other
    with pytest.raises(ValueError, match="read-only"):
        one.scene.depth[:] = 0
    save_photo(root / "room" / "2.png", 28, 42, seed=2)
    examples.find_all()
    assert len(examples.found(root / "room")[0].photos) == 3, "found anew, and not the old one"
    sessions = Sessions(tmp_path / "work", 3600)
    key = sessions.new()
    folder = sessions.find(key).folder
    sessions.forget(key)
    assert not folder.exists() and not sessions._sessions


def test_a_scene_comes_back_from_the_disk_as_it_was(root, tmp_path):
    photos = sorted((root / "room").iterdir())
    own = Engine().scene(photos, type("Asked", (), {"method": LOW, "splats": True}), print)
    own.scene.scale_factor, own.scene.kind, own.scene.groups = 2.0, "depth_m", ((0, 1),)
    (tmp_path / "kept").mkdir()
    write_found(own, tmp_path / "kept")
    found = read_found(tmp_path / "kept")
    assert found.photos == own.photos
    for name in ("kind", "scale_factor", "groups", "provenance"):
        assert getattr(found.scene, name) == getattr(own.scene, name)
    for name in ("depth", "conf", "extrinsics", "intrinsics", "processed_images"):
        np.testing.assert_array_equal(getattr(found.scene, name), getattr(own.scene, name))
    for name in PARTS:
        one, other = (getattr(scene.gaussians, name) for scene in (found.scene, own.scene))
        np.testing.assert_array_equal(one, other)
    (tmp_path / "kept" / FACTS).write_text("{")
    assert read_found(tmp_path / "kept") is None and read_found(tmp_path) is None


def test_a_folder_of_examples_that_is_none_is_a_wrong_command(tmp_path, monkeypatch):
    monkeypatch.setattr("apps.web.gradio_door.check_python", lambda: None)
    assert main(["gradio", "--examples-dir", str(tmp_path / "none")]) == 2
    assert not list(tmp_path.iterdir())
