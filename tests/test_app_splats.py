"""Splats in the app: kept, read back from a server, shown, flown through; the network runs once."""

from datetime import datetime

import numpy as np
import pytest
from backend_process import backend
from scene_recipe import gaussians
from scene_recipe import scene as recipe
from served import ROOT
from stand_in_scene import wall

from apps.scene_models import find_scene_model
from apps.web.app_cloud import lay_out_viewer
from apps.web.app_engine import FoundScene, SceneAsked, Stopped, why_no_splats
from apps.web.app_remote import RemoteEngine
from apps.web.app_sessions import Sessions, ViewAsked, save_to_gallery
from apps.web.app_splats import FILMS, TRAJECTORIES, FilmAsked, films_in, make_film, splats_frame
from apps.web.gallery import scenes_in
from exports.read_splats import FILE, WHOLE, read_splats
from exports.scene import ScenePhoto, scene_of
from exports.scene_files import asked_formats
from exports.scene_splat_video import GsVideoOptions, pages
from exports.trajectories import MODES
from exports.write import write_scene
from runtime.errors import InputError
from runtime.scene.gaussians import PARTS

HW = (28, 42)


def with_splats(kind="depth", factor=None):
    found = recipe(2, *HW)
    found.gaussians = gaussians(2 * HW[0] * HW[1], 2000)
    found.kind, found.scale_factor = kind, factor
    return found


def photos(count=2):
    return tuple(ScenePhoto(f"{n}.png", HW, HW) for n in range(count))


@pytest.fixture
def session(tmp_path):
    sessions = Sessions(tmp_path / "work", keep_s=3600)
    found = sessions.find(sessions.new())
    found.keep(FoundScene(with_splats(), photos()))
    return found


@pytest.mark.parametrize("case", [("depth", None), ("depth_m", 2.5)])
def test_splats_of_a_server_are_those_that_it_found(case, tmp_path):
    found = with_splats(*case)
    found.depth[0, 3, 5] = np.nan
    write_scene(scene_of(found), tmp_path, asked_formats("gs_ply", {"gs_ply": WHOLE}))
    back = read_splats(tmp_path / FILE, found)
    lost = 3 * HW[1] + 5
    assert back.opacities[0, lost] == 0, "a pixel without depth has a splat that nobody sees"
    there = np.arange(2 * HW[0] * HW[1]) != lost
    for name in PARTS:
        own, other = (getattr(one, name)[0][there] for one in (found.gaussians, back))
        np.testing.assert_allclose(other, own, rtol=2e-5, atol=2e-6, err_msg=name)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path):
    found = with_splats()
    write_scene(scene_of(found), tmp_path, asked_formats("gs_ply", {"gs_ply": WHOLE}))
    whole = (tmp_path / FILE).read_bytes()
    for data, said in (
        (b"ply\nformat ascii 1.0\nend_header\n", "no PLY"),
        (whole[:-4], "cut off"),
        (whole + b"0000", "cut off"),
        (whole.replace(b"element vertex 2352", b"element vertex 9999999999"), "cut off"),
        (whole.replace(b"property float rot_3\n", b""), "not the properties"),
        (whole.replace(b"property float x", b"property uchar x"), "not the properties"),
    ):
        (tmp_path / "bad.ply").write_bytes(data)
        with pytest.raises(InputError, match=said):
            read_splats(tmp_path / "bad.ply", found)
    other = recipe(3, *HW)
    with pytest.raises(InputError, match="2352 splats for 3528 pixels"):
        read_splats(tmp_path / FILE, other)


def test_a_sessions_splats_are_on_the_disk_and_the_same(session):
    kept, found = session.found.scene.gaussians, with_splats().gaussians
    for name in PARTS:
        part = getattr(kept, name)
        assert isinstance(part, np.memmap)
        np.testing.assert_array_equal(part, getattr(found, name))
    make_film(session.scene(), session.folder, FilmAsked("original"), lambda what: None)
    session.keep(FoundScene(recipe(2, *HW), photos()))
    assert "gaussians" not in session.scene().gives and not films_in(session.folder)
    with pytest.raises(InputError, match="Infer 3D Gaussian"):
        make_film(session.scene(), session.folder, FilmAsked(), lambda what: None)


def test_a_film_is_the_flight_that_was_asked_for(session):
    av = pytest.importorskip("av", reason="PyAV is not installed: no video is made")
    words = []
    asked = FilmAsked("original", "high", small=False, depth=False)
    file = make_film(session.scene(), session.folder, asked, words.append)
    with av.open(str(file)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    options = GsVideoOptions(trj_mode="original", vis_depth=None)
    drawn = list(pages(scene_of(with_splats()), options))
    assert [frame.shape for frame in frames] == [page.shape for page in drawn]
    for frame, page in zip(frames, drawn):
        lost, other = (abs(frame.astype(int) - one).mean() for one in (page, page[::-1]))
        assert lost < 8 < 2 * lost + 8 < other, "but for what the codec loses of colours"
    assert any("draws frame 2 of 2" in word for word in words)
    assert any("encodes frame 2 of 2" in word for word in words)
    half = make_film(session.scene(), session.folder, FilmAsked("original"), words.append)
    with av.open(str(half)) as video:
        stream = video.streams.video[0]
        assert (stream.height, stream.width) == (HW[0] // 2, 2 * (HW[1] // 2) + 8)


def test_a_film_that_is_not_wanted_any_more_leaves_nothing(session):
    pytest.importorskip("av", reason="PyAV is not installed: no video is made")

    def told(what):
        if "frame 3" in what:
            raise Stopped

    with pytest.raises(Stopped):
        make_film(session.scene(), session.folder, FilmAsked("dolly_zoom"), told)
    assert not [file for file in (session.folder / FILMS).rglob("*") if file.is_file()]


def test_every_path_can_be_chosen_and_upstreams_come_first():
    assert {mode for _, mode in TRAJECTORIES} == set(MODES)
    assert TRAJECTORIES[:2] == [("smooth", "interpolate_smooth"), ("extend", "extend")]
    for _, mode in TRAJECTORIES:
        asked_formats("gs_video", {"gs_video": FilmAsked(mode).options()})


def test_splats_are_among_the_downloads_and_in_the_gallery_with_their_films(session, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed: no video is made")
    make_film(session.scene(), session.folder, FilmAsked("original"), lambda what: None)
    files = {file.name: file for file in session.downloads(ViewAsked())}
    write_scene(session.scene(), tmp_path / "own", asked_formats("gs_ply", {}))
    assert files["splats.ply"].read_bytes() == (tmp_path / "own" / FILE).read_bytes()
    save_to_gallery(session, tmp_path / "gallery", "room", ViewAsked(), datetime(2026, 1, 2))
    (scene,) = scenes_in(tmp_path / "gallery", "room")
    assert len(scene.splats) == 1 and len(scene.videos) == 1


def test_splats_follow_a_length_that_was_set(session, tmp_path):
    session.scale = 3.0
    write_scene(session.scene(), tmp_path, asked_formats("gs_ply", {"gs_ply": WHOLE}))
    back = read_splats(tmp_path / FILE, session.scene().found)
    np.testing.assert_allclose(back.means, with_splats().gaussians.means, rtol=1e-5, atol=1e-6)
    own = list(pages(scene_of(with_splats()), GsVideoOptions(trj_mode="original")))
    scaled = list(pages(session.scene(), GsVideoOptions(trj_mode="original")))
    assert all(abs(a.astype(int) - b).max() <= 3 for a, b in zip(own, scaled)), "the same look"


def test_the_frame_loads_nothing_before_it_is_seen(session):
    viewer = session.folder.parents[1] / "viewer/splats.js"
    viewer.parent.mkdir()
    viewer.write_text("of an earlier version")
    lay_out_viewer(session.folder.parents[1])
    assert viewer.read_bytes() == (ROOT / "serve/http/viewers/splats.js").read_bytes()
    page = splats_frame(session.folder.parents[1], session.folder, session.scene())
    assert "IntersectionObserver" in page and "<script src" not in page.replace("&lt;", "<")
    assert (session.folder / "splats_shown" / FILE).is_file()


def test_models_say_whether_they_find_splats():
    for name, finds in (("da3-small", False), ("da3-giant", True), ("da3nested-giant-large", True)):
        assert find_scene_model(name, "cpu", seeded=True).finds_splats is finds
    assert "da3-giant and da3nested-giant-large" in why_no_splats("da3-small")
    assert "weights" in why_no_splats("da3-giant", compiled=True)


def test_a_client_of_a_backend_has_its_splats_too(tmp_path, save_photo):
    photos = [save_photo(tmp_path / f"{n}.png", 40, 60, seed=n) for n in range(3)]
    program = (str(ROOT / "tests/stand_in_scene.py"),)
    with backend("da3-giant", tmp_path, program=program, DEPTH_FRONT="none") as running:
        engine = RemoteEngine(running.base)
        assert engine.no_splats == "" and engine.scene_model == "da3-giant"
        found = engine.scene(photos, SceneAsked(splats=True), lambda what: None).scene
        assert engine.scene(photos, SceneAsked(), lambda what: None).scene.gaussians is None
    own = wall(found.processed_images, splats=True).gaussians
    for name in PARTS:
        one, other = getattr(found.gaussians, name), getattr(own, name)
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6, err_msg=name)
