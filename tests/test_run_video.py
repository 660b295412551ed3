"""``run_video.py``: every frame in is a frame out, at its time, with the sound; what is broken."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from clips import make_clip, packets, shown, times
from test_video_export import upstreams

import apps.video as video
import apps.video_render as video_render
from apps import run_video
from apps.video import FRAME, VideoJob
from apps.video_render import Look
from apps.video_sources import Source, find_sources
from compile.registry import DEMO
from exports.video import to_yuv
from runtime.errors import ArtifactError, InputError
from runtime.photo.frames import VideoFrames
from runtime.predict.found import SEEDED
from runtime.predict.predictor import Predictor

ROOT = Path(__file__).parent.parent
SMALL = ("--model", DEMO, "--input-size", "28", "--engine", "eager")


@pytest.fixture(scope="module")
def model(tiny_artifact):
    """Depth is 2 x the mean of the channels, normalised, + 10; on 28 x 28."""
    return Predictor([tiny_artifact])


class Counting:
    """A model that counts, and fails after so many frames."""

    batch = 1

    def __init__(self, model, fails_after=10**9):
        self._model, self._left, self.seen = model, fails_after, 0
        self.prepare, self.finish = model.prepare, model.finish

    def infer(self, group):
        if self.seen >= self._left:
            raise ArtifactError("the model is gone")
        self.seen += 1
        return self._model.infer(group)


def make(clip, out, model, **options):
    """Make one video; its outcome and its description."""
    source = Source(clip, out / clip.stem)
    outcome = run_video.run_one(source, model, "tiny", VideoJob(**options))
    return outcome, json.loads((out / f"{clip.stem}.json").read_text())


@pytest.fixture
def painted(monkeypatch):
    """The pictures before the codec, by the order of painting."""
    kept = []

    def keep(rgb):
        kept.append(rgb.copy())
        return to_yuv(rgb)

    monkeypatch.setattr(video_render, "to_yuv", keep)
    monkeypatch.setattr(video_render, "PAINTERS", 1)
    return kept


def test_odd_turned_uneven_and_with_sound_all_of_it_comes_out(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(25, uneven=True), 50, 64, sound=True, turn=90)
    outcome, facts = make(clip, tmp_path / "out", model)
    assert outcome.error is None
    stamps, frames, sound = shown(tmp_path / "out" / "a.mp4")
    assert stamps == shown(clip)[0] and len(frames) == 25
    assert sound == packets(clip) and len(sound) > 40
    assert frames[0].shape == (64, 2 * 50 + 50, 3)
    assert facts["frames"] == 25 and facts["times"]["how"] == "each frame's own"
    assert facts["sound"] == [
        {"codec": "aac", "how": "copied packet by packet", "packets": len(sound)}
    ]
    assert (facts["kind"], facts["unit"], facts["licence"]) == (
        "disparity",
        "relative",
        "Apache-2.0",
    )
    assert facts["model"] == "vits" and facts["artifact"]["digest"] and facts["complete"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.mp4"]


def test_odd_sides_are_repeated_and_said(tmp_path, model, save_photo):
    for number in range(3):
        save_photo(tmp_path / "take" / f"{number}.png", 21, 33, seed=number)
    _, facts = make(tmp_path / "take", tmp_path, model, fps=Fraction(24), look=Look(pred_only=True))
    assert facts["picture"]["size"] == {"height": 22, "width": 34}
    assert facts["picture"]["repeated_at_the_end"] == {"rows": 1, "columns": 1}
    stamps, frames, _ = shown(tmp_path / "take.mp4")
    assert stamps == [0, Fraction(1, 24), Fraction(2, 24)] and frames[0].shape == (22, 34, 3)


@pytest.mark.parametrize("grayscale", [False, True])
def test_range_frame_gives_upstreams_frames_before_the_codec(tmp_path, model, painted, grayscale):
    clip = make_clip(tmp_path / "a.mp4", times(5))
    look = Look(grayscale=grayscale)
    _, facts = make(clip, tmp_path / "out", model, range=FRAME, look=look)
    assert facts["range"]["of"] == "frame"
    with VideoFrames(clip) as frames:
        for frame, got in zip(frames, painted):
            depth = model(frame.rgb).depth
            np.testing.assert_array_equal(got, upstreams(depth, frame.rgb, grayscale))
    assert len(painted) == 5


def test_one_range_holds_for_the_whole_video_and_is_that_of_all_values(tmp_path, model, painted):
    clip = make_clip(tmp_path / "a.mp4", times(8))
    _, facts = make(clip, tmp_path / "out", model, look=Look(pred_only=True, grayscale=True))
    with VideoFrames(clip) as frames:
        maps = [model(frame.rgb).depth for frame in frames]
    low, high = facts["range"]["values"]
    assert facts["range"]["how"].startswith("two passes")
    np.testing.assert_allclose(
        (low, high), np.quantile(maps, (0.02, 0.98)), atol=0.03 * np.ptp(maps)
    )
    for depth, got in zip(maps, painted):
        wanted = np.clip((depth - low) / (high - low), 0, 1) * 255
        assert np.abs(got[..., 0] - wanted).max() <= 1.001


def test_a_fixed_range_is_the_one_that_was_given(tmp_path, model, painted):
    clip = make_clip(tmp_path / "a.mp4", times(2))
    look = Look(pred_only=True, grayscale=True)
    _, facts = make(clip, tmp_path / "out", model, range="fixed", fixed=(9.0, 11.0), look=look)
    assert facts["range"] == {"of": "fixed", "how": "as given", "values": [9.0, 11.0]}
    with VideoFrames(clip) as frames:
        depth = model(next(iter(frames)).rgb).depth
    wanted = np.clip((depth - 9) / 2, 0, 1) * 255
    assert np.abs(painted[0][..., 0] - wanted).max() <= 1.001


def test_a_pipe_gets_a_running_range_and_says_so(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(10), sound=True)
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(clip.read_bytes()))
    feeder.start()
    outcome, facts = make(tmp_path / "pipe", tmp_path / "out", model)
    feeder.join()
    assert outcome.error is None and facts["frames"] == 10
    assert facts["range"]["how"].startswith("one pass") and len(facts["range"]["first"]) == 2
    assert packets(tmp_path / "out" / "pipe.mp4") == packets(clip)


def test_frames_come_as_files_that_hold_the_networks_numbers(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(4))
    look = Look(formats=("png16", "npz", "exr", "png"))
    _, facts = make(clip, tmp_path / "out", model, look=look, steady=0.5)
    folder = tmp_path / "out" / "a"
    assert facts["files"]["png16"] == "a/000000.png" and len(list(folder.iterdir())) == 16
    least, greatest = facts["min"], facts["max"]
    with VideoFrames(clip) as frames:
        for frame in frames:
            depth = model(frame.rgb).depth
            exact = np.load(folder / f"{frame.index:06d}.npz")
            np.testing.assert_array_equal(exact["disparity"], depth)
            assert json.loads(str(exact["meta"]))["unit"] == "relative"
            stored = cv2.imread(str(folder / f"{frame.index:06d}.png"), cv2.IMREAD_UNCHANGED)
            read = least + stored * ((greatest - least) / 65535)
            np.testing.assert_allclose(read, depth, atol=(greatest - least) / 65535)
            assert (folder / f"{frame.index:06d}.exr").stat().st_size > 0
            assert cv2.imread(str(folder / f"{frame.index:06d}.color.png")).shape == (48, 64, 3)


def test_frames_of_a_longer_earlier_result_do_not_stay(tmp_path, model):
    look = Look(formats=("npz",))
    clip = tmp_path / "a.mp4"
    make_clip(clip, times(6))
    make(clip, tmp_path / "out", model, look=look)
    (tmp_path / "out" / "a" / "000007.npz").write_bytes(b"not ours")
    make_clip(clip, times(4))
    make(clip, tmp_path / "out", model, look=look)
    left = sorted(path.name for path in (tmp_path / "out" / "a").iterdir())
    assert left == ["000000.npz", "000001.npz", "000002.npz", "000003.npz", "000007.npz"]


def test_steadying_is_off_unless_asked_for_and_its_fit_is_told(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(5))
    assert make(clip, tmp_path / "out", model)[1]["steady"] is None
    told = make(clip, tmp_path / "out", model, steady=0.5)[1]["steady"]
    assert told["seconds"] == 0.5 and len(told["scale"]) == len(told["shift"]) == 5
    assert told["scale"][0] == 1.0 and told["shift"][0] == 0.0


def test_random_weights_are_said_and_stamped(tmp_path, make_artifact, model, painted):
    clip = make_clip(tmp_path / "a.mp4", times(3), 120, 160)
    _, facts = make(clip, tmp_path / "out", Predictor([make_artifact(seeded=True)]))
    assert facts["warning"] == SEEDED
    make(clip, tmp_path / "plain", model)
    assert all((one != two).any() for one, two in zip(painted[:3], painted[3:]))


@pytest.mark.parametrize("options", [{}, {"range": FRAME}, {"steady": 0.5}])
def test_a_stopped_run_goes_on_where_it_was_and_ends_the_same(tmp_path, model, painted, options):
    clip = make_clip(tmp_path / "a.mp4", times(20), sound=True)
    make(clip, tmp_path / "whole", Counting(model), **options)
    whole, out = [*painted], tmp_path / "out"
    failing = Counting(model, fails_after=12)
    with pytest.raises(ArtifactError, match="gone"):
        make(clip, out, failing, **options)
    assert not (out / "a.mp4").exists()
    with (out / ".a.unfinished" / "maps.f32").open("ab") as torn:
        torn.write(b"torn by a kill")
    painted.clear()
    going_on = Counting(model)
    make(clip, out, going_on, resume=True, **options)
    assert 8 <= going_on.seen < 20
    np.testing.assert_array_equal(painted, whole)
    again = Counting(model)
    make(clip, out, again, resume=True, **options)
    assert again.seen == 0 and not (out / ".a.unfinished").exists()
    assert shown(out / "a.mp4")[0] == shown(clip)[0] and packets(out / "a.mp4") == packets(clip)


def test_without_resume_or_with_another_model_everything_is_done_anew(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(10))
    with pytest.raises(ArtifactError):
        make(clip, tmp_path, Counting(model, 5))
    source, anew = Source(clip, tmp_path / "a"), Counting(model)
    with pytest.raises(ArtifactError):
        run_video.run_one(source, Counting(model, 5), "other", VideoJob(resume=True))
    run_video.run_one(source, anew, "tiny", VideoJob(resume=True))
    assert anew.seen == 10
    anew = Counting(model)
    run_video.run_one(source, anew, "tiny", VideoJob())
    assert anew.seen == 10


def test_two_runs_do_not_write_one_video(tmp_path, model):
    clip = make_clip(tmp_path / "a.mp4", times(3))
    with video.depth_store(tmp_path / "a", "key", False) as store:
        store.append(np.zeros((2, 2), np.float32))
        with pytest.raises(InputError, match="another run works on it"):
            make(clip, tmp_path, model)


def alive_at_most(clip, out, model, monkeypatch, **options):
    """How many frames were in memory at once."""
    alive, most = set(), [0]
    before = video_render.Item

    def watch(frame):
        key = id(frame)
        alive.add(key)
        weakref.finalize(frame, alive.discard, key)
        most[0] = max(most[0], len(alive))
        return frame

    class Watched(VideoFrames):
        def __iter__(self):
            for frame in super().__iter__():
                yield watch(frame)
                del frame

    monkeypatch.setattr("apps.video_sources.VideoFrames", Watched)
    make(clip, out, model, **options)
    assert video_render.Item is before
    return most[0]


@pytest.mark.parametrize("options", [{}, {"range": FRAME}, {"steady": 0.5}])
def test_no_more_than_a_window_of_frames_is_in_memory(tmp_path, model, monkeypatch, options):
    short = make_clip(tmp_path / "short.mp4", times(60))
    long = make_clip(tmp_path / "long.mp4", times(240))
    few = alive_at_most(short, tmp_path / "out", model, monkeypatch, **options)
    many = alive_at_most(long, tmp_path / "out", model, monkeypatch, **options)
    assert many <= few + 2 <= 26


PEAK = """
import resource, sys
from pathlib import Path
from apps import run_video
from apps.video import VideoJob
from apps.video_sources import Source
from runtime.artifact.folder import read_artifact
from runtime.predict.predictor import Predictor
clip, artifact = map(Path, sys.argv[1:])
model = Predictor([read_artifact(artifact)])
run_video.run_one(Source(clip, clip.parent / "out" / clip.stem), model, "tiny", VideoJob())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_is_flat_from_60_to_3000_frames(tmp_path, tiny_artifact):
    peaks = []
    for count in (60, 3000):
        clip = make_clip(tmp_path / f"{count}.mp4", times(count), 240, 320)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(clip), str(tiny_artifact.path)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < peaks[0] * 1.1, peaks  # 3,000 frames alone would be 690 MB


def test_a_run_killed_outright_goes_on(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", times(150), 120, 160, sound=True)
    command = [sys.executable, "run_video.py", "--model", DEMO, "--engine", "eager"]
    command += ["--video-path", str(clip), "--outdir", str(tmp_path / "out"), "--resume"]
    running = subprocess.Popen([*command, "--input-size", "140"], cwd=ROOT)
    maps = tmp_path / "out" / ".a.unfinished" / "maps.f32"
    end = time.monotonic() + 60
    while not (maps.exists() and maps.stat().st_size > 20 * 4 * 140 * 182):
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out" / "a.mp4").exists()
    done = subprocess.run(
        [*command, "--input-size", "140"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "goes on after" in done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "out" / "a.mp4")]
    stamps, _, sound = shown(tmp_path / "out" / "a.mp4")
    assert stamps == shown(clip)[0] and sound == packets(clip)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.mp4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a clip in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "a.mp4", times(4), sound=True)
    return tmp_path


def test_upstreams_command_word_for_word(folder, capsys):
    assert run_video.main([*SMALL, "--video-path", "in", "--outdir", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out/a.mp4"]
    assert len(shown("out/a.mp4")[1]) == 4
    flags = ["--pred-only", "--grayscale", "--no-audio", "--crf", "30", "--range", "fixed:0,9"]
    assert run_video.main([*SMALL, "--video-path", "in/a.mp4", "--outdir", "o", *flags]) == 0
    _, frames, sound = shown("o/a.mp4")
    assert frames[0].shape == (48, 64, 3) and sound == []
    assert np.ptp(frames[0].astype(int), axis=-1).max() <= 6  # grey


def test_the_depth_is_that_of_the_eager_model(folder):
    flags = ["--formats", "npz", "--range", "frame"]
    assert run_video.main([*SMALL, "--video-path", "in/a.mp4", "--outdir", "o", *flags]) == 0
    from compile.checkpoint import build_model
    from compile.fetch import local_checkpoint
    from compile.registry import MODELS
    from layers.checkpoint import load_checkpoint

    demo = build_model(MODELS[DEMO])
    load_checkpoint(demo, local_checkpoint(MODELS[DEMO]), DEMO, {})
    with VideoFrames(Path("in/a.mp4")) as frames:
        for frame in frames:
            got = np.load(f"o/a/{frame.index:06d}.npz")["disparity"]
            np.testing.assert_array_equal(got, demo.infer_image(frame.rgb[..., ::-1], 28))


def test_a_list_with_all_that_lists_have(folder, capsys):
    make_clip("in/b.mov", times(3))
    Path("list.txt").write_text("in/a.mp4\n\n# a comment\nin/nothing.mp4\nin/b.mov\n")
    assert run_video.main([*SMALL, "--video-path", "list.txt", "--outdir", "out"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["out/a.mp4", "out/b.mp4"]
    assert "in/nothing.mp4: no such file" in said.err and "2 done, 1 failed" in said.err


def test_a_folder_with_what_is_no_video_and_two_of_one_name(folder, capsys, save_photo, caplog):
    save_photo(folder / "in" / "photo1.png")
    (folder / "in" / "notes.txt").touch()
    (folder / "in" / "sub").mkdir()
    make_clip("in/sub/a.mp4", times(2))
    (folder / "in" / "broken.mp4").write_bytes(b"no video" * 100)
    caplog.set_level("INFO")
    assert run_video.main([*SMALL, "--video-path", "in", "--outdir", "in/out"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["in/out/a.mp4", "in/out/sub/a.mp4"]
    assert "broken.mp4: no video that can be read" in said.err
    assert "2 files that are no videos are left out" in caplog.text


def test_half_a_video_is_made_of_its_half_and_fails(folder, capsys):
    make_clip("whole.mp4", times(60), 120, 160, sound=True)
    whole = Path("whole.mp4").read_bytes()
    Path("half.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    assert run_video.main([*SMALL, "--video-path", "half.mp4", "--outdir", "out"]) == 1
    said = capsys.readouterr()
    assert said.out == "out/half.mp4\n"
    assert "before its header says so; the rest is in out/half.mp4" in said.err
    stamps, _, _ = shown("out/half.mp4")
    assert 5 < len(stamps) < 60
    assert stamps == shown("whole.mp4")[0][: len(stamps)]
    facts = json.loads(Path("out/half.json").read_text())
    assert not facts["complete"] and facts["frames"] == len(stamps) and facts["problems"]


def test_numbered_pictures_need_a_rate_and_then_are_a_video(folder, capsys, save_photo):
    for number in range(3):
        save_photo(folder / "take" / f"f{number}.png", seed=number)
    take = ["--video-path", "take", "--outdir", "out"]
    assert run_video.main([*SMALL, *take]) == 1
    assert "3 pictures and no video; give --fps" in capsys.readouterr().err
    assert run_video.main([*SMALL, *take, "--fps", "30000/1001", "--formats", "png16"]) == 0
    assert shown("out/take.mp4")[0] == [Fraction(1001 * index, 30000) for index in range(3)]
    names = [path.name for path in sorted(Path("out/take").iterdir())]
    assert names == ["000000.png", "000001.png", "000002.png"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "--video-path"),
        (["--video-path", "nothing"], 1, "nothing: no such file or folder"),
        (["--video-path", "photo.jpg"], 1, "python run.py --img-path photo.jpg"),
        (["--video-path", "photos"], 1, "for those, `python run.py`"),
        (["--video-path", "in", "--outdir", "in"], 1, "both input and output"),
        (["--video-path", "in/a.mp4", "--outdir", "in"], 1, "would take its place"),
        (["--video-path", "in", "--range", "all"], 2, "fixed:LO,HI"),
        (["--video-path", "in", "--range", "fixed:3,3"], 2, "fixed:LO,HI"),
        (["--video-path", "in", "--fps", "0"], 2, "frames a second"),
        (["--video-path", "in", "--crf", "52"], 1, "0 (nothing lost) to 51"),
        (["--video-path", "in", "--steady", "0"], 2, "above 0"),
        (["--video-path", "in", "--steady", "--model", "vits-indoor"], 2, "gives metres"),
        (["--video-path", "in", "--steady", "--range", "frame"], 2, "nothing of it would show"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    folder, capsys, save_photo, arguments, status, said
):
    save_photo(folder / "photo.jpg")
    save_photo(folder / "photos" / "holiday.jpg")
    small = [] if "vits-indoor" in arguments else SMALL
    try:
        got = run_video.main([*small, *arguments])
    except SystemExit as error:
        got = error.code
    assert (got, said in capsys.readouterr().err) == (status, True)
    assert not (folder / "vis_video_depth").exists()


def test_a_video_called_as_its_folders_results_would_be_stays(folder):
    with pytest.raises(InputError, match="would take its place"):
        find_sources(Path("in/a.mp4"), Path("in"))
    make_clip("in/b.mov", times(2))
    Path("list.txt").write_text("in/a.mp4\nin/b.mov\n")
    with pytest.raises(InputError, match="would take its place"):
        find_sources(Path("list.txt"), Path("in"))


def test_help_needs_neither_pyav_nor_a_model():
    script = (
        "import sys; from apps import run_video\n"
        "try: run_video.main(['--help'])\n"
        "except SystemExit: assert not {'av', 'torch'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--video-path" in done.stdout and "da3-small" in done.stdout
