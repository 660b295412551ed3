"""Long videos and many photos: windows, journal, kills, results, and frames that are no use."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, picture, times
from PIL import Image
from tiny_scene import make_scene_artifact

from apps import sequence, sequence_job, sequence_loops, sequence_preview, sequence_workers
from apps.scene_models import find_scene_model
from apps.sequence_fill import fill_store
from apps.sequence_job import SequenceJob, export_sequence, run_sequence
from apps.sequence_model import Windows
from apps.sequence_results import Wanted
from apps.sequence_solve import similarity_of, solve
from apps.sequence_source import PhotoSource, SourceFrame, open_source
from apps.sequence_store import WindowMaps, decode_window, encode_window, read_store, sequence_store
from apps.sequence_workers import Workers
from apps.web.app_local import LocalEngine
from benchmarks.kills import marked, ray_actors
from exports import colmap
from exports.video import to_yuv, writing_video
from exports.voxels import VoxelCloud
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import DepthError, InputError, MissingDependency
from runtime.predict.found import Provenance, ScenePrediction
from runtime.scene.blend import blended_camera
from runtime.scene.camera_files import read_cameras
from runtime.scene.cameras import inverse
from runtime.scene.loops import KeyFinder
from runtime.scene.point_fit import corner_points, fit_maps
from runtime.scene.query import SceneQuery
from runtime.scene.views import fit_view

ROOT = Path(__file__).parent.parent
VIEWS = 4


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return make_scene_artifact(tmp_path_factory.mktemp("artifacts"), VIEWS).path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    file = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(file, times(23), 56, 84, sound=True)


def job(output, **more):
    return SequenceJob(output, wanted=Wanted(("npz", "png16")), preview_s=0, **more)


def run(source, artifact, output, **more):
    return run_sequence(open_source(source), find_scene_model(str(artifact)), job(output, **more))


def contents(folder):
    """Every file but what differs from run to run by its nature: times, locks, previews."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or name.startswith("preview/") or file.name == "lock":
            continue
        data = file.read_bytes()
        if file.name == "journal.jsonl":
            rows = [json.loads(row) for row in data.splitlines()]
            data = json.dumps([{**row, "seconds": 0} for row in rows]).encode()
        found[name] = data
    return found


def photos(folder, numbers, size_hw=(56, 84)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(picture(number, *size_hw)).save(folder / f"shot_{number}.png")
    return folder


def test_a_video_becomes_depth_poses_a_cloud_and_a_video(clip, artifact, tmp_path):
    facts = run(clip, artifact, tmp_path)
    assert facts["frames"] == 23 and facts["complete"] and facts["unit"] == "relative"
    assert facts["windows"] == 8 and len(facts["segments"]) == 1 and not facts["bad_frames"]
    depth = sorted(file.name for file in (tmp_path / "depth").glob("*.npz"))
    assert depth == [f"{number:06d}.npz" for number in range(23)]
    with np.load(tmp_path / "depth" / "000022.npz") as arrays:
        assert arrays["depth"].shape == (56, 84) and arrays["sky"].shape == (56, 84)
        meta = json.loads(str(arrays["meta"]))
        assert meta["segment"] == 0 and meta["frame"] == 22 and meta["window"] == 7
    import av

    with av.open(str(tmp_path / "depth.mp4")) as video:
        pts = [frame.pts * frame.time_base for frame in video.decode(video=0)]
        assert len(pts) == 23 and len(video.streams.audio) == 1
    with av.open(str(clip)) as video:
        assert pts == [frame.pts * frame.time_base for frame in video.decode(video=0)]


def test_poses_are_the_same_in_every_format_and_read_back(clip, artifact, tmp_path):
    run(clip, artifact, tmp_path)
    ours = read_cameras(tmp_path / "cameras.json").cameras
    assert len(ours) == 23
    places = ("poses.tum", "poses.kitti", "transforms.json", "colmap")
    for place in places:
        cameras = read_cameras(tmp_path / place).cameras
        assert len(cameras) == 23
        for one, other in zip(ours, cameras):
            assert np.allclose(one.world_to_camera, other.world_to_camera, atol=1e-6)
            if other.intrinsics is not None:
                assert np.allclose(one.intrinsics, other.intrinsics, rtol=1e-6)
    words = (tmp_path / "camera_poses.txt").read_text().splitlines()
    pose = np.array(words[5].split(), float).reshape(4, 4)
    assert np.allclose(np.linalg.inv(pose), ours[5].world_to_camera, atol=1e-6)
    focal = np.array((tmp_path / "intrinsic.txt").read_text().splitlines()[5].split(), float)
    assert np.allclose(focal[:2], np.diag(ours[5].intrinsics)[:2], rtol=1e-6)


def test_clouds_of_all_formats_are_the_same_points(clip, artifact, tmp_path):
    import trimesh

    source, model = open_source(clip), find_scene_model(str(artifact))
    wanted = Wanted((), video=False, points=500)
    facts = run_sequence(source, model, SequenceJob(tmp_path, wanted=wanted, preview_s=0))
    ply = trimesh.load(tmp_path / "cloud.ply")
    (glb,) = trimesh.load(tmp_path / "cloud.glb").geometry.values()
    assert len(ply.vertices) == facts["cloud"]["points"] <= 500
    assert np.allclose(ply.vertices * (1, -1, -1), glb.vertices, atol=1e-6)
    assert not (tmp_path / "depth").exists() and not (tmp_path / "depth.mp4").exists()
    data = (tmp_path / "colmap" / "points3D.bin").read_bytes()
    rows = np.frombuffer(data[8:], colmap.POINT)
    assert len(rows) == int.from_bytes(data[:8], "little") == len(ply.vertices)
    assert np.array_equal(rows["xyz"], ply.vertices) and (rows["length"] == 0).all()
    assert np.array_equal(rows["rgb"], ply.colors[:, :3])
    assert np.array_equal(rows["id"], np.arange(1, len(rows) + 1))


@pytest.mark.parametrize("count", [1, 2, 5, VIEWS, VIEWS + 1])
def test_any_number_of_frames_is_a_sequence(artifact, tmp_path, count):
    folder = photos(tmp_path / "in", range(count))
    facts = run(folder, artifact, tmp_path / "out")
    assert facts["frames"] == count and facts["windows"] == (1 if count <= VIEWS else 2)
    assert len(list((tmp_path / "out" / "depth").glob("*.npz"))) == count


def test_photos_come_in_their_natural_order(tmp_path):
    source = PhotoSource(photos(tmp_path, (10, 9, 1, 2, 11)))
    assert [photo.name for photo in source.photos] == [f"shot_{n}.png" for n in (1, 2, 9, 10, 11)]


def test_bad_frames_keep_their_numbers_and_windows_take_the_next_good_ones(artifact, tmp_path):
    folder = photos(tmp_path / "in", range(1, 13))
    Image.fromarray(np.zeros((56, 84, 3), np.uint8)).save(folder / "shot_3.png")
    for number in (6, 7):
        Image.fromarray(np.zeros((56, 84, 3), np.uint8)).save(folder / f"shot_{number}.png")
    (folder / "shot_9.png").write_bytes(b"no photo")
    (folder / "shot_12.png").write_bytes(b"")
    facts = run(folder, artifact, tmp_path / "out")
    assert [row["frame"] for row in facts["bad_frames"]] == [2, 5, 6, 8, 11]
    assert facts["frames"] == 7 and len(facts["segments"]) == 1
    assert not (tmp_path / "out" / "depth" / "000002.npz").exists()
    rows = json.loads((tmp_path / "out" / "cameras.json").read_text())["photos"]
    assert [row["name"] for row in rows] == [f"shot_{number}.png" for number in range(1, 13)]
    marked = [at for at, row in enumerate(rows) if row.get("interpolated")]
    assert marked == [2, 5, 6, 8, 11]
    assert rows[2]["world_to_camera"] == rows[1]["world_to_camera"]
    lines = read_store(tmp_path / "out").lines
    assert all(len(line["frames"]) == VIEWS for line in lines)


def test_a_black_passage_of_a_video_shows_the_depth_before_it(artifact, tmp_path):
    rate, clip = Fraction(30), tmp_path / "fade.mp4"
    with writing_video(clip, (56, 84), 1 / rate, rate) as writer:
        for number in range(14):
            dark = number in (0, 6, 7, 8, 13)
            rgb = np.zeros((56, 84, 3), np.uint8) if dark else picture(number, 56, 84)
            writer.picture(to_yuv(rgb), number, 1)
    facts = run(clip, artifact, tmp_path / "out")
    assert [row["frame"] for row in facts["bad_frames"]] == [0, 6, 7, 8, 13]
    assert facts["frames"] == 9 and len(facts["segments"]) == 1
    poses = (tmp_path / "out" / "poses.tum").read_text().splitlines()
    assert len(poses) == 13  # nothing is known before the first good frame
    assert poses[5].split()[1:] == poses[4].split()[1:]  # frame 6 as frame 5
    assert float(poses[5].split()[0]) == pytest.approx(6 / 30, abs=1e-6)
    import av

    with av.open(str(tmp_path / "out" / "depth.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 14


def test_a_cut_begins_a_segment_and_no_window_straddles_it(artifact, tmp_path):
    folder = photos(tmp_path / "in", range(6))
    for number in range(6, 11):
        rgb = 255 - np.roll(picture(number, 56, 84), (number, 28), (1, 0))[::-1]
        Image.fromarray(rgb).save(folder / f"shot_{number}.png")
    facts = run(folder, artifact, tmp_path / "out")
    assert facts["cuts"] == [6]
    assert [(row["first"], row["last"]) for row in facts["segments"]] == [(0, 5), (6, 10)]
    assert "share NO scale" in (tmp_path / "out" / "report.txt").read_text()
    assert facts["frames"] == 11
    whole = run(folder, artifact, tmp_path / "whole", cuts=False)
    assert whole["cuts"] == []


def test_windows_that_do_not_agree_become_segments_and_every_frame_is_there_once(
    clip, artifact, tmp_path, monkeypatch
):
    calls, infer = [], Windows.infer

    def turned(self, views, query):
        found = infer(self, views, query)
        calls.append(0)
        if len(calls) == 4:  # one camera of those shared looks elsewhere
            found.extrinsics[0, :, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
        return found

    monkeypatch.setattr(Windows, "infer", turned)
    facts = run(clip, artifact, tmp_path, overlap=2)
    assert facts["frames"] == 23 and len(list((tmp_path / "depth").glob("*.npz"))) == 23
    assert [(row["first"], row["windows"]) for row in facts["segments"]] == [(0, 3), (6, 8)]
    assert facts["links"]["flagged"]["break"] == 1
    rows = json.loads((tmp_path / "cameras.json").read_text())["photos"]
    assert [row["segment"] for row in rows] == [0] * 8 + [1] * 15


def test_a_repeated_frame_and_a_photo_of_another_size_are_frames_as_all_others(artifact, tmp_path):
    folder = photos(tmp_path / "in", range(7))
    Image.fromarray(picture(2, 56, 84)).save(folder / "shot_3.png")
    Image.fromarray(picture(5, 90, 60)).save(folder / "shot_5.png")
    facts = run(folder, artifact, tmp_path / "out")
    assert facts["frames"] == 7 and facts["links"]["count"] == facts["windows"] - 1
    shapes = [np.load(tmp_path / "out" / "depth" / f"00000{n}.npz")["depth"].shape for n in (3, 5)]
    assert shapes == [(56, 84), (90, 60)]
    rows = json.loads((tmp_path / "out" / "cameras.json").read_text())["photos"]
    assert rows[5]["size"] == {"height": 90, "width": 60}
    assert rows[5]["intrinsics"][1][2] == pytest.approx(45)


@pytest.fixture
def standing(tmp_path):
    """Photos of which some are as the one before."""
    folder, still = photos(tmp_path / "in", range(12)), (2, 3, 6, 7, 11)
    for number in range(12):
        shown = max(at for at in range(number + 1) if at not in still)
        rgb = np.roll(picture(0, 56, 84), 9 * shown, 1)
        Image.fromarray(rgb).save(folder / f"shot_{number}.png")
    return folder, still


@pytest.mark.parametrize("keyframes", ["poses", "fill"])
def test_geometry_is_of_key_frames_alone_and_each_frame_has_a_camera(
    standing, artifact, tmp_path, monkeypatch, keyframes
):
    (folder, still), fills = standing, keyframes == "fill"
    facts = run(folder, artifact, tmp_path / "out", keyframes=keyframes, cuts=False)
    taken = [line["frames"] for line in read_store(tmp_path / "out").lines]
    assert taken == [[0, 1, 4, 5], [5, 8, 9, 10]] and facts["frames"] == (12 if fills else 7)
    assert not facts["bad_frames"]
    depth = {int(file.stem) for file in (tmp_path / "out" / "depth").glob("*.npz")}
    assert depth == set(range(12)) - (set() if fills else set(still))
    rows = json.loads((tmp_path / "out" / "cameras.json").read_text())["photos"]
    marked = [at for at, row in enumerate(rows) if row.get("interpolated")]
    assert marked == ([] if fills else list(still)) and len(rows) == 12
    poses = np.array([row["world_to_camera"] for row in rows])[:, :3]
    for number, part in ((2, 1 / 3), (3, 2 / 3)):
        between = blended_camera(poses[1], poses[4], part)
        assert fills or np.allclose(poses[number], between, atol=1e-9)
    assert fills or np.allclose(poses[11], poses[10])  # nothing comes after it
    before, infer = contents(tmp_path / "out"), Windows.infer
    for calls in (1, 3) if fills else (1,):
        left = [calls]

        def stopping(self, views, query, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return infer(self, views, query)

        ended = tmp_path / f"ended_{calls}"
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Windows, "infer", stopping)
            run(folder, artifact, ended, keyframes=keyframes, cuts=False)
        run(folder, artifact, ended, keyframes=keyframes, cuts=False)
        assert contents(ended) == before


def test_frames_between_key_frames_have_depth_in_the_scene(
    standing, artifact, tmp_path, monkeypatch
):
    """Each fill window is linked to that of its key frames, and gives its new frames alone."""
    folder, _ = standing
    run(folder, artifact, tmp_path, keyframes="fill", cuts=False)
    store = read_store(tmp_path)
    fills = fill_store(store)
    assert fills.read() and fills.ended is not None
    lines = list(fills.lines)
    assert [line["frames"] for line in lines] == [[1, 2, 3, 4], [5, 6, 7, 8], [5, 8, 9, 10, 11][1:]]
    assert [line["new"] for line in lines] == [[2, 3], [6, 7], [11]]
    assert [line["onto"] for line in lines] == [0, 1, 1]
    place = solve(store.lines).windows[1].after(similarity_of(lines[1]["link"]))
    pose = place.move_cameras(fills.window(1).extrinsics)[1]
    rows = json.loads((tmp_path / "cameras.json").read_text())["photos"]
    assert np.allclose(rows[6]["world_to_camera"][:3], pose[:3], atol=1e-9)
    calls, infer = [], Windows.infer

    def turned(self, views, query):
        found = infer(self, views, query)
        calls.append(0)
        if len(calls) == 4:  # the second of them: its cameras look elsewhere
            found.extrinsics[0, :, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
        return found

    monkeypatch.setattr(Windows, "infer", turned)
    facts = run(folder, artifact, tmp_path / "turned", keyframes="fill", cuts=False)
    assert [row["frame"] for row in facts["bad_frames"]] == [6, 7] and facts["frames"] == 10
    with pytest.raises(InputError, match="use one of fill, poses"):
        job(tmp_path, keyframes="none")
    words = ["run", str(folder), "--output", str(tmp_path / "o"), "--model", str(artifact)]
    known = ["--known", str(tmp_path / "cameras.json"), "--keyframes", "fill"]
    assert sequence.main([*words, *known]) == 1


def test_fills_of_windows_that_were_done_again_are_not_used(
    standing, artifact, tmp_path, monkeypatch, capsys
):
    """A window lost and done again in another gauge, and a kill before its gaps were filled."""
    folder, still = standing
    model, source = find_scene_model(str(artifact)), open_source(folder)
    wanted = Wanted(("npz",), poses=False, cloud=False)
    made = SequenceJob(
        tmp_path, wanted=wanted, preview_s=0, keyframes="fill", cuts=False, from_start=True
    )
    on = replace(made, from_start=False)

    def told():
        with sequence_store(tmp_path) as store:
            assert store.read()
            facts = export_sequence(source, store, on)
        capsys.readouterr()
        assert sequence.main(["status", str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out)["complete"] == facts["complete"]
        return facts["complete"], facts["frames"]

    assert run_sequence(source, model, made)["complete"]
    before = contents(tmp_path)
    journal = tmp_path / "_sequence" / "fill" / "journal.jsonl"
    rows = journal.read_bytes()
    journal.write_bytes(b"".join(rows.splitlines(True)[:2]))
    assert told() == (False, 9)
    journal.write_bytes(rows)
    (tmp_path / "_sequence" / "windows" / "000001.npz").unlink()
    infer, calls = Windows.infer, []

    def larger(self, views, query):
        calls.append(0)
        if len(calls) > 1:
            raise KeyboardInterrupt
        found = infer(self, views, query)
        found.extrinsics[..., 3] *= 3
        return replace(found, depth=3 * found.depth)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Windows, "infer", larger)
        run_sequence(source, model, on)
    assert told() == (False, 12 - len(still))
    run_sequence(source, model, on)
    assert told() == (True, 12)
    for number in range(12):
        name = f"depth/{number:06d}.npz"
        with np.load(tmp_path / name) as one, np.load(io.BytesIO(before[name])) as other:
            assert np.allclose(one["depth"], other["depth"], rtol=2e-3)
    journal.write_bytes(rows.splitlines(True)[0] + b"[]\n")
    with pytest.raises(InputError, match=r"fill/journal\.jsonl: damaged; --from-start"):
        run_sequence(source, model, on)
    run_sequence(source, model, made)
    assert contents(tmp_path) == before


def test_a_key_frame_differs_or_comes_late():
    keys, frame = KeyFinder(), picture(0, 56, 84)
    assert keys.next(frame, 0.0) and not keys.next(frame, 0.5) and not keys.next(frame, 0.99)
    assert keys.next(frame, 1.0) and not keys.next(frame, 1.9)
    assert keys.next(255 - frame, 1.95) and not keys.next(255 - frame, None)


def test_a_run_that_ends_anywhere_goes_on_to_the_same_bytes(clip, artifact, tmp_path):
    """An error at each window, before its file, and between file and line."""
    run(clip, artifact, tmp_path / "whole")
    model = find_scene_model(str(artifact))

    class Stops(Exception):
        pass

    for calls in range(1, 9):
        left, infer = [calls], Windows.infer

        def stopping(self, views, query, left=left, infer=infer):
            left[0] -= 1
            if not left[0]:
                raise Stops
            return infer(self, views, query)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stops):
            patch.setattr(Windows, "infer", stopping)
            run_sequence(open_source(clip), model, job(tmp_path / "ended"))
        journal = tmp_path / "ended" / "_sequence" / "journal.jsonl"
        if calls % 2:  # a torn line, and a file without one
            with journal.open("ab") as out:
                out.write(b'{"window": 99, "frames"')
            (journal.parent / "windows" / "000099.npz").write_bytes(b"half")
        run_sequence(open_source(clip), model, job(tmp_path / "ended"))
        assert contents(tmp_path / "ended") == contents(tmp_path / "whole")
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(lines[0])  # as a kill before the first window would leave it


class Late:
    """A model of which some windows take longer than others."""

    def __init__(self, model, ran):
        self._windows, self._ran = Windows(model), ran

    def infer(self, views, query):
        time.sleep(0.03 * (int(views[0].rgb[0, 0, 0]) % 3))
        self._ran.append(self)
        return self._windows.infer(views, query)


def test_workers_side_by_side_leave_the_bytes_of_one(clip, artifact, tmp_path, monkeypatch):
    run(clip, artifact, tmp_path / "one")
    ran, workers = [], Workers(str(artifact), ("cpu", "cpu"))
    monkeypatch.setattr(sequence_workers, "Windows", lambda model, describes: Late(model, ran))
    run_sequence(open_source(clip), workers.find(), job(tmp_path / "two"), workers=workers)
    assert len(ran) == 8 and len(set(ran)) == 2
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    words = ["run", str(clip), "--output", str(tmp_path / "three"), "--model", str(artifact)]
    words += ["--formats", "npz,png16", "--preview", "0", "--workers", "2", "--quiet"]
    assert sequence.main(words) == 0
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_the_apps_tab_for_videos_takes_a_model_that_finds_cameras(clip, artifact, tmp_path):
    import av

    said, engine = [], LocalEngine(str(artifact), "cpu", False)
    name = engine.scene_model
    made = engine.video(clip, tmp_path, name, said.append)
    with av.open(str(made)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 23
    assert not (tmp_path / "sequence/_sequence").exists(), "nothing more is kept of it"
    assert "windows: frame 23 of about 23" in said and "results: frame 23 of about 23" in said


def test_which_devices_workers_take():
    assert Workers("m", ("cuda:0", "cuda:1")).each == ("cuda:0", "cuda:1")
    assert Workers("m", ("cuda:0", "cuda:1"), count=3).each == ("cuda:0", "cuda:1", "cuda:0")
    assert Workers("m", ("cuda:0", "cuda:1"), count=3).copies == 2
    assert Workers("m", count=2).each == ("auto", "auto")
    with pytest.raises(InputError, match="use one of local, ray"):
        Workers("m", engine="spark")


def test_a_worker_that_fails_ends_the_run_and_nothing_that_is_done_is_lost(
    clip, artifact, tmp_path, monkeypatch
):
    run(clip, artifact, tmp_path / "whole")
    workers, calls = Workers(str(artifact), count=3), []

    class Fails(Exception):
        pass

    def failing(self, views, query, infer=Windows.infer):
        calls.append(0)
        if len(calls) == 5:
            raise Fails
        return infer(self, views, query)

    with monkeypatch.context() as patch, pytest.raises(Fails):
        patch.setattr(Windows, "infer", failing)
        run_sequence(open_source(clip), workers.find(), job(tmp_path / "out"), workers=workers)
    assert 2 <= len(read_store(tmp_path / "out").lines) <= 6
    run_sequence(open_source(clip), workers.find(), job(tmp_path / "out"), workers=workers)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


KEPT_SLOWLY = """
import sys, time
from apps import sequence
from apps.sequence_store import SequenceStore
append = SequenceStore.append
SequenceStore.append = lambda *given: (append(*given), time.sleep(0.5))[0]
sys.exit(sequence.main(sys.argv[1:]))
"""


def test_ray_gives_a_sequences_bytes_even_if_an_actor_is_killed(clip, artifact, tmp_path):
    """One of two, while windows wait for it."""
    pytest.importorskip("ray", reason="ray is not installed")
    run(clip, artifact, tmp_path / "one")
    words = [sys.executable, "-c", KEPT_SLOWLY, "run", str(clip), "--model", str(artifact)]
    words += ["--output", str(tmp_path / "ray"), "--formats", "npz,png16", "--preview", "0"]
    words += ["--quiet", "--engine", "ray", "--workers", "2"]
    journal, env = tmp_path / "ray" / "_sequence" / "journal.jsonl", marked()
    with subprocess.Popen(words, cwd=ROOT, stdout=-3, stderr=subprocess.PIPE, env=env) as process:
        while process.poll() is None and not (
            journal.exists() and b'"window"' in journal.read_bytes()
        ):
            time.sleep(0.02)
        actors = ray_actors(env, b"ray::SequenceActor")
        for victim in actors[:1]:
            os.kill(victim, signal.SIGKILL)
        windows = journal.read_bytes().count(b'"window"')
        said = process.communicate()[1]
    assert actors and windows < 5 and process.returncode == 0, (actors, windows, said)
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_windows_by_points_are_those_of_upstreams_fit(clip, artifact, tmp_path):
    """And their quality is told as that of others is."""
    run(clip, artifact, tmp_path / "depth")
    run(clip, artifact, tmp_path / "points", align="points")
    ours, theirs = (read_store(tmp_path / name).lines for name in ("depth", "points"))
    for at, (one, other) in enumerate(zip(ours, theirs)):
        assert one["sha256"] == other["sha256"] and (one["link"] is None) == (at == 0)
    store = read_store(tmp_path / "points")
    maps = [store.window(at) for at in range(2)]
    rows = [[line["frames"].index(3) for line in theirs[:2]][at] for at in range(2)]
    points = [
        corner_points(one.depth[[row]], one.intrinsics[[row]], one.extrinsics[[row]])
        for one, row in zip(maps, rows)
    ]
    fitted = fit_maps(*points, *(one.conf[[row]] - 1 for one, row in zip(maps, rows)))
    assert theirs[1]["link"]["scale"] == pytest.approx(fitted.scale, rel=1e-9)
    assert np.allclose(theirs[1]["link"]["rotation"], fitted.rotation)
    with pytest.raises(InputError, match=r"other settings\.align"):
        run(clip, artifact, tmp_path / "depth", align="points")
    with pytest.raises(InputError, match="use one of depth, points"):
        job(tmp_path, align="spline")


SLOW = """
import sys, time
from apps import sequence, sequence_loops
from apps.sequence_model import Windows
infer = Windows.infer
Windows.infer = lambda *given: (time.sleep(0.08), infer(*given))[1]
sys.exit(sequence.main(sys.argv[1:]))
"""


def test_ten_kills_change_no_byte(clip, artifact, tmp_path):
    run(clip, artifact, tmp_path / "whole")
    words = [sys.executable, "-c", SLOW, "run", str(clip), "--output", str(tmp_path / "killed")]
    words += ["--model", str(artifact), "--formats", "npz,png16", "--preview", "0", "--quiet"]
    journal = tmp_path / "killed" / "_sequence" / "journal.jsonl"

    def lines():
        return len(journal.read_bytes().splitlines()) if journal.exists() else 0

    random, killed, seen = np.random.RandomState(0), 0, set()
    while killed < 10:
        before = lines()
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=-3) as process:
            while process.poll() is None and lines() <= before < 10:  # one window more at least
                time.sleep(0.01)
            time.sleep((0.1 if before < 10 else 3.0) * random.rand())  # in the second pass, too
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            journal.write_bytes(b"".join(journal.read_bytes().splitlines(True)[:2]))
            continue
        killed += 1
        seen.add(lines())
    assert len(seen) > 2
    assert subprocess.run(words, cwd=ROOT, stdout=-3, stderr=-3, check=False).returncode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_other_settings_and_another_input_are_refused_by_name(clip, artifact, tmp_path):
    run(clip, artifact, tmp_path / "out")
    with pytest.raises(InputError, match=r"other settings\.overlap; --from-start"):
        run(clip, artifact, tmp_path / "out", overlap=2)
    folder = photos(tmp_path / "in", range(5))
    with pytest.raises(InputError, match=r"input\."):
        run(folder, artifact, tmp_path / "out")
    assert run(folder, artifact, tmp_path / "out", from_start=True)["frames"] == 5


def test_a_damaged_window_is_named_and_a_missing_one_done_again(clip, artifact, tmp_path):
    run(clip, artifact, tmp_path)
    before = contents(tmp_path)
    file = tmp_path / "_sequence" / "windows" / "000002.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"000002\.npz: not what was written"):
        run(clip, artifact, tmp_path)
    file.unlink()
    run(clip, artifact, tmp_path)
    assert contents(tmp_path) == before


def test_known_cameras_come_back_as_they_were_given(clip, artifact, tmp_path, capsys):
    run(clip, artifact, tmp_path / "first")
    words = ["run", str(clip), "--output", str(tmp_path / "known"), "--model", str(artifact)]
    given = tmp_path / "first" / "cameras.json"
    assert sequence.main([*words, "--known", str(given), "--preview", "0"]) == 0
    assert str(tmp_path / "known" / "poses.tum") in capsys.readouterr().out
    ours, theirs = (read_cameras(file).cameras for file in (tmp_path / "known" / given.name, given))
    for one, other in zip(ours, theirs):
        assert np.allclose(one.world_to_camera, other.world_to_camera, atol=1e-9)
        assert np.allclose(one.intrinsics, other.intrinsics, rtol=1e-6)


def test_frames_without_a_known_camera_are_left_out_as_by_da3(clip, artifact, tmp_path):
    run(clip, artifact, tmp_path / "first")
    facts = json.loads((tmp_path / "first" / "cameras.json").read_text())
    facts["photos"] = [row for at, row in enumerate(facts["photos"]) if at not in (0, 5, 22)]
    (tmp_path / "some.json").write_text(json.dumps(facts))
    words = ["run", str(clip), "--output", str(tmp_path / "known"), "--model", str(artifact)]
    known = ["--known", str(tmp_path / "some.json"), "--formats", "npz", "--quiet"]
    assert sequence.main([*words, *known]) == 0
    report = json.loads((tmp_path / "known" / "report.json").read_text())
    assert report["frames"] == 20 and [row["frame"] for row in report["bad_frames"]] == [0, 5, 22]


def test_export_makes_other_results_without_a_network(clip, artifact, tmp_path, capsys):
    run(clip, artifact, tmp_path)
    first = np.load(tmp_path / "depth" / "000007.npz")["depth"]
    words = ["export", str(clip), "--output", str(tmp_path), "--formats", "npz", "--scale", "2.5"]
    assert sequence.main([*words, "--parts", "poses"]) == 0
    assert np.allclose(np.load(tmp_path / "depth" / "000007.npz")["depth"], 2.5 * first)
    assert not (tmp_path / "cloud.ply").exists() and (tmp_path / "poses.tum").exists()
    assert {file.suffix for file in (tmp_path / "depth").iterdir()} == {".npz"}
    capsys.readouterr()
    assert sequence.main(["status", str(tmp_path)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["complete"] and status["frames"] == 23 and status["windows"] == 8


def test_the_preview_is_there_while_the_run_goes_on(clip, artifact, tmp_path, monkeypatch):
    import trimesh

    wanted, pages = Wanted((), poses=False, cloud=False, video=False), []
    model, preview = find_scene_model(str(artifact)), tmp_path / "preview"

    def infer(self, views, query, own=Windows.infer):
        file = preview / "index.html"
        pages.append(file.read_text() if file.exists() else "")
        return own(self, views, query)

    monkeypatch.setattr(Windows, "infer", infer)
    run_sequence(open_source(clip), model, SequenceJob(tmp_path, wanted=wanted, preview_s=1e-6))
    state = json.loads((preview / "state.json").read_text())
    assert state["frames"] == 23 and state["window"] == 7 and state["seconds_left"] == 0
    assert Image.open(preview / "depth.jpg").size == (84, 28)
    assert sorted(file.name for file in preview.glob("last_*")) == [
        f"last_{at}.jpg" for at in range(6)
    ]
    assert (preview / "last_0.jpg").read_bytes() == (preview / "depth.jpg").read_bytes()
    assert "<polyline" in (preview / "path.svg").read_text()
    assert 0 < len(trimesh.load(preview / "cloud.ply").vertices) <= 50_000
    assert pages[-1].count("<figure>") > 1
    assert 'http-equiv="refresh" content="1"' in pages[-1] and "at work" in pages[-1]
    page = (preview / "index.html").read_text()
    assert "refresh" not in page and "Done." in page and "frames of 23" in page
    assert 'href="../report.txt"' in page
    assert not re.search(r"(src|href)=.(https?:|//)|<script", page)


def test_names_of_others_are_text_on_the_page(artifact, tmp_path):
    hostile = "<img src=x onerror=alert(1)>'\"&.png"
    folder = tmp_path / "<b>in"
    folder.mkdir()
    for at in range(5):
        Image.fromarray(picture(at, 56, 84)).save(folder / f"{at}{hostile}")
    made = SequenceJob(tmp_path / "out", wanted=Wanted((), cloud=False), preview_s=1e-6)
    run_sequence(open_source(folder), find_scene_model(str(artifact)), made)
    page = (tmp_path / "out" / "preview" / "index.html").read_text()
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "&lt;b&gt;in" in page


def test_the_page_says_done_if_a_kill_left_results_alone(clip, artifact, tmp_path, monkeypatch):
    made = SequenceJob(tmp_path, wanted=Wanted((), cloud=False, video=False), preview_s=1e-6)
    model, page = find_scene_model(str(artifact)), tmp_path / "preview" / "index.html"

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sequence_job, "export_sequence", killed)
        run_sequence(open_source(clip), model, made)
    before = page.read_text()
    run_sequence(open_source(clip), model, made)
    after = page.read_text()
    assert "Results are being written." in before and "refresh" in before
    assert "Done." in after and "refresh" not in after and "../report.txt" in after
    assert re.findall('data:image/[^"]*', after) == re.findall('data:image/[^"]*', before)
    (tmp_path / "preview" / "state.json").write_text("{")
    run_sequence(open_source(clip), model, made)
    assert page.read_text() == after


def test_without_a_page_there_are_pictures_and_durations_are_for_people(
    clip, artifact, tmp_path, monkeypatch
):
    def lacking(*given, **named):
        raise MissingDependency("Jinja2 not found")

    monkeypatch.setattr(sequence_preview, "render", lacking)
    wanted = Wanted((), poses=False, cloud=False, video=False)
    made = SequenceJob(tmp_path, wanted=wanted, preview_s=1e-6)
    run_sequence(open_source(clip), find_scene_model(str(artifact)), made)
    assert (tmp_path / "preview" / "depth.jpg").exists()
    assert not (tmp_path / "preview" / "index.html").exists()
    said = [sequence_preview.duration(seconds) for seconds in (None, -1, 59.6, 3599, 7205)]
    assert said == ["-", "0:00", "1:00", "59:59", "2:00:05"]


def test_what_cannot_be_a_sequence_is_said(clip, artifact, tmp_path):
    with pytest.raises(InputError, match="finds no cameras"):
        run_sequence(
            open_source(clip), find_scene_model("da3mono-large", seeded=True), job(tmp_path)
        )
    with pytest.raises(InputError, match="compiled for 4"):
        run(clip, artifact, tmp_path, views=8)
    with pytest.raises(DepthError, match="no photo"):
        run(tmp_path, artifact, tmp_path / "out")
    folder = tmp_path / "dark"
    folder.mkdir()
    Image.fromarray(np.zeros((28, 42, 3), np.uint8)).save(folder / "1.png")
    with pytest.raises(InputError, match="not one frame"):
        run(folder, artifact, tmp_path / "out")


def test_windows_are_stored_to_a_ten_thousandth():
    random = np.random.RandomState(0)
    depth = np.exp(random.uniform(-2, 4, (2, 9, 13))).astype(np.float32)
    depth[0, 0, 0], depth[1, 2, 3] = 0, np.nan
    conf = (1 + random.gamma(2, 1, depth.shape)).astype(np.float32)
    sky = random.rand(*depth.shape) < 0.2
    poses, focal = random.normal(size=(2, 3, 4)), random.normal(size=(2, 3, 3))
    data = encode_window(WindowMaps(depth, conf, poses, focal, sky))
    found = decode_window(data)
    there = np.isfinite(depth) & (depth > 0)
    assert np.abs(found.depth[there] / depth[there] - 1).max() < 1e-4
    assert (found.depth[~there] == 0).all() and np.array_equal(found.sky, sky)
    assert np.abs(found.conf / conf - 1).max() < 0.01
    assert np.array_equal(found.extrinsics, poses) and np.array_equal(found.intrinsics, focal)
    assert data == encode_window(WindowMaps(depth, conf, poses, focal, sky))
    with pytest.raises(InputError, match="damaged"):
        decode_window(data[: len(data) // 2])


def test_a_cloud_keeps_the_surest_point_of_each_cube_within_its_budget():
    random = np.random.RandomState(0)
    points, conf = random.rand(20000, 3).astype(np.float32), random.rand(20000)
    colours = random.randint(0, 255, (20000, 3))
    whole = VoxelCloud(1000, 0.02)
    whole.add(points, colours, conf)
    found, _, sure = whole.finish()
    assert len(found) <= 1000 < 2.9 * len(found) and whole.side > 0.02
    assert sure.mean() > 0.9  # of twenty in a cube the best
    again = VoxelCloud(1000, 0.02)
    again.add(points, colours, conf)
    assert np.array_equal(again.finish()[0], found)
    far = VoxelCloud(10, 1e-3)
    far.add(np.array([[0, 0, 0], [1e9, 0, 0]]), np.zeros((2, 3)), np.ones(2))
    assert len(far.finish()[0]) == 1 and far.left_out == 1


def test_da3_does_a_sequence_of_a_video_and_of_photos(clip, artifact, tmp_path, capsys):
    from apps import da3

    words = ["--sequence", "--model-dir", str(artifact), "--quiet"]
    out = ["--export-dir", str(tmp_path / "video"), "--depth-formats", "exr"]
    assert da3.main(["video", str(clip), *words, *out]) == 0
    assert str(tmp_path / "video" / "cloud.glb") in capsys.readouterr().out
    assert len(list((tmp_path / "video" / "depth").glob("*.exr"))) == 23
    folder = photos(tmp_path / "in", range(6))
    (folder / "notes.png.txt").write_text("no photo")
    out = ["--export-dir", str(tmp_path / "photos"), "--export-format", "npz"]
    assert da3.main(["images", str(folder), *words, *out]) == 0
    assert len(list((tmp_path / "photos" / "depth").glob("*.npz"))) == 6
    assert not (tmp_path / "photos" / "cloud.glb").exists()
    assert da3.main(["video", str(clip), *words, "--fps", "10", *out]) == 1  # another input
    assert "other input" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "name its --export-dir"),
        (["--export-dir", "out", "--max-frames", "9"], "--max-frames: not with --sequence"),
        (["--export-dir", "out", "--export-format", "gs_ply"], "gs_ply: a sequence has"),
        (["--export-dir", "out", "--memory-gib", "9"], "--memory-gib: not with"),
        (["--export-dir", "out", "--infer-gs"], "--infer-gs: not with"),
    ],
)
def test_what_a_sequence_has_not_is_refused_by_name(clip, words, said, capsys, tmp_path):
    from apps import da3

    assert da3.main(["video", str(clip), "--sequence", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--loops", "--views", "4"], "--views, --loops: of a sequence alone"),
        (["--engine", "ray", "--align", "points"], "--engine, --align: of a sequence alone"),
        (["--keyframes", "--depth-formats", "npz"], "--keyframes, --depth-formats: of a sequence"),
    ],
)
def test_options_of_a_sequence_are_not_ignored_without_one(clip, words, said, capsys):
    from apps import da3

    assert da3.main(["video", str(clip), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_window_of_which_the_model_says_nothing_ends_a_segment_and_not_the_run(
    clip, artifact, tmp_path, monkeypatch
):
    calls, infer = [], Windows.infer

    def sometimes(self, views, query):
        calls.append(len(views))
        if len(calls) in (3, 4, 5):
            raise InputError("all but 10 pixels are sky")
        return infer(self, views, query)

    monkeypatch.setattr(Windows, "infer", sometimes)
    facts = run(clip, artifact, tmp_path)
    assert {row["why"] for row in facts["bad_frames"]} == {"all but 10 pixels are sky"}
    assert len(facts["segments"]) == 5 and facts["frames"] + len(facts["bad_frames"]) == 23
    assert not (tmp_path / "depth" / f"{facts['bad_frames'][0]['frame']:06d}.npz").exists()
    import av

    with av.open(str(tmp_path / "depth.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 23


class Ring:
    """A model whose windows bend, of frames that go twice round a ring: 30 frames a round."""

    name, finds_cameras, licence, compiled_views = "ring", True, "none", ()

    def __init__(self, bend=0.01):
        random = np.random.RandomState(0)
        self.hears, self._bends = None, random.normal(bend, 0.4 * bend, 200)
        self._places = random.normal(size=(30, 24))
        self._walls = np.repeat(np.repeat(random.uniform(2, 3, (4, 6)), 7, 0), 7, 1)

    def check(self, query):
        pass

    def load(self, sizes_hw):
        pass

    def needed_bytes(self, count, sizes_hw, splats):
        return None

    def free_bytes(self):
        return None

    def provenance(self):
        return Provenance("ring", WeightsSpec("seeded", "0" * 64, "none"))

    def view(self, photo):
        return fit_view(photo, (28, 42))

    def infer(self, views, *rest):
        numbers = [int(view.rgb[0, 0, 0]) for view in views]
        bend = self._bends[numbers[0]] if numbers[-1] - numbers[0] < 20 else 0.0
        at = np.linspace(-0.5, 0.5, len(views))
        angle = 2 * np.pi * np.array(numbers) / 30
        pose = np.stack([np.eye(4)] * len(views))
        pose[:, 0, 0], pose[:, 0, 2] = np.cos(angle), np.sin(angle)
        pose[:, 2, 0], pose[:, 2, 2] = -np.sin(angle), np.cos(angle)
        pose[:, 0, 3], pose[:, 2, 3] = np.sin(angle), np.cos(angle)
        if self.hears is not None:
            tokens = self._places[np.array(numbers) % 30][:, None].repeat(3, 1)
            self.hears(tokens + 0.01 * np.random.RandomState(numbers[0]).normal(size=tokens.shape))
        scale = np.exp(bend * at)[:, None, None].astype(np.float32)
        return ScenePrediction(
            (self._walls[None] * scale).astype(np.float32),
            conf=np.full((len(views), 28, 42), 3, np.float32),
            extrinsics=inverse(pose)[:, :3],
            intrinsics=np.stack([np.diag([40.0, 40, 1])] * len(views)),
        )


class Numbered:
    """Frames that are their numbers."""

    is_video, path, expected = False, Path("numbered"), 60

    def identity(self):
        return {"numbered": self.expected}

    def frames(self, start=0):
        for number in range(start, self.expected):
            rgb = np.full((28, 42, 3), number, np.uint8)
            rgb[20:] += 100
            yield SourceFrame(number, f"{number:06d}.png", rgb)


def ring(tmp_path, bend, model=None, workers=None, **more):
    wanted = Wanted((), cloud=False, video=False)
    made = SequenceJob(tmp_path, views=8, cuts=False, wanted=wanted, preview_s=0, alike=0.9, **more)
    return run_sequence(Numbered(), model or Ring(bend), made, workers=workers)


@pytest.mark.parametrize("bend", [0.01, 0.04])
def test_places_that_are_seen_again_close_the_path(tmp_path, monkeypatch, bend):
    """Depth grows by three quarters of the bend with each window."""
    monkeypatch.setattr(sequence_loops, "APART_FRAMES", 20)
    alone = ring(tmp_path / "alone", bend)
    closed = ring(tmp_path / "closed", bend, loops=True)
    assert alone["loops"] == [] and len(closed["loops"]) >= 1
    assert all(row["accepted"] for row in closed["loops"])
    assert alone["scale"]["drift_by_loops_times"] == 1
    said = "loops say that links drift" in (tmp_path / "closed" / "report.txt").read_text()
    assert said or bend < 0.03

    def off(folder):
        """By how far frames of one place are apart."""
        poses = inverse(np.stack([c.world_to_camera for c in read_cameras(folder).cameras]))
        return np.linalg.norm(poses[:30, :3, 3] - poses[30:, :3, 3], axis=1).mean()

    assert off(tmp_path / "closed" / "cameras.json") < 0.6 * off(
        tmp_path / "alone" / "cameras.json"
    )
    before = contents(tmp_path / "closed")
    monkeypatch.setattr(sequence_loops, "candidates", None)  # not looked for again
    ring(tmp_path / "closed", bend, loops=True)
    assert contents(tmp_path / "closed") == before


class SideBySide:
    """Two models of the ring, of which some windows take longer than others."""

    copies = 1

    def __init__(self):
        self.ran = []

    @contextlib.contextmanager
    def running(self, model, size_hw, describes):
        yield [Late(Ring(), self.ran) for _ in range(2)]


def test_windows_of_two_models_are_kept_in_their_order(tmp_path):
    two = SideBySide()
    ring(tmp_path / "one", 0.01)
    ring(tmp_path / "two", 0.01, workers=two)
    assert len(two.ran) == len(read_store(tmp_path / "two").lines) and len(set(two.ran)) == 2
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


class SeesSky(Ring):
    """Has no answer for one pair of places."""

    refused = 0

    def infer(self, views, *rest):
        numbers = [int(view.rgb[0, 0, 0]) for view in views]
        if numbers[-1] - numbers[0] >= 20 and not self.refused:
            self.refused += 1
            raise InputError("all but 10 pixels are sky")
        return super().infer(views, *rest)


def test_a_loop_that_cannot_be_looked_at_is_rejected_and_the_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(sequence_loops, "APART_FRAMES", 20)
    monkeypatch.setattr(sequence_loops, "TOGETHER", 1)
    candidates, frames, read = sequence_loops.candidates, Numbered.frames, []

    def fewer(self, start=0):
        """The first frame of the second candidate cannot be read any more."""
        read.extend([start] if start else [])
        for frame in frames(self, start):
            gone = len(read) == 2 and frame.number == start
            yield replace(frame, rgb=None, problem="gone") if gone else frame

    monkeypatch.setattr(sequence_loops, "candidates", lambda *given: 3 * candidates(*given))
    monkeypatch.setattr(Numbered, "frames", fewer)
    facts = ring(tmp_path, 0.01, model=SeesSky(0.01), loops=True)
    assert [row["accepted"] for row in facts["loops"]] == [True, False, False]
    sky, gone = (row["problem"] for row in facts["loops"][1:])
    assert sky == "all but 10 pixels are sky" and gone == f"frame {read[1]} cannot be read any more"
    said = (tmp_path / "report.txt").read_text()
    assert f"REJECTED ({sky})" in said and f"REJECTED ({gone})" in said


def test_damaged_loops_are_forgotten_by_a_run_from_the_start(tmp_path):
    (tmp_path / "_sequence").mkdir()
    (tmp_path / "_sequence" / "loops.json").write_text("{")
    with sequence_store(tmp_path) as store, pytest.raises(InputError, match="damaged"):
        sequence_loops.read_loops(store)
    assert ring(tmp_path, 0.01, loops=True, from_start=True)["complete"]


def test_an_encoder_is_heard_in_eager_weights_and_in_artifacts(artifact):
    views, heard = None, []
    for model in (find_scene_model(str(artifact)), find_scene_model("da3-small", seeded=True)):
        model.load([(28, 42)])
        views = [model.view(picture(number, 28, 42)) for number in range(VIEWS)]
        views = [fit_view(view.rgb, (28, 42)) for view in views]
        found = Windows(model, True).infer(views, SceneQuery())
        heard.append(found.aux["descriptors"])
        assert np.allclose(np.linalg.norm(heard[-1].astype(float), axis=1), 1, atol=1e-2)
        assert "descriptors" not in Windows(model).infer(views, SceneQuery()).aux
    assert heard[0].shape == (VIEWS, 4) and heard[1].shape == (VIEWS, 384)
