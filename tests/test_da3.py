"""The ``da3`` command: what goes in, what comes out, and what is refused before anything is."""

import json
import logging
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, times
from known_scene import (
    NAMES,
    SIZE_HW,
    K,
    world_to_camera,
    write_cameras_json,
    write_colmap_binary,
    write_colmap_text,
    write_kitti,
    write_transforms,
)
from PIL import Image
from tiny_scene import make_scene_artifact

from apps.da3 import main
from apps.export_folder import MARKER
from apps.scene_models import EagerScene, find_scene_model
from runtime.artifact.manifest import WeightsSpec

ROOT = Path(__file__).parent.parent
COMMON = (
    *("--model-dir", "--device", "--process-res", "--process-res-method", "--use-backend"),
    *("--backend-url", "--use-ray-pose", "--ref-view-strategy", "--cameras", "--export-dir"),
    *("--export-format", "--export-feat", "--auto-cleanup", "--conf-thresh-percentile"),
    *("--num-max-points", "--show-cameras", "--feat-vis-fps"),
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """An artifact for scenes of three views, which runs in milliseconds."""
    return make_scene_artifact(tmp_path_factory.mktemp("artifacts"), 3)


@pytest.fixture
def here(tmp_path, monkeypatch, save_photo):
    """A folder with three photos of one scene in ``room/``, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in ("DA3_MODEL_DIR", "DA3_LOG_LEVEL", "DEPTH_CHECKPOINT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for index, name in enumerate(NAMES):
        save_photo(tmp_path / "room" / name, *SIZE_HW, seed=index)
    return tmp_path


@pytest.fixture
def da3(artifact, capsys, caplog):
    """Run the command on the artifact: exit status, paths on stdout, and what is said."""
    caplog.set_level(logging.INFO)

    def run(*words, model=artifact.path):
        capsys.readouterr()
        caplog.clear()
        try:
            status = main([*map(str, words), *(["--model-dir", str(model)] if model else [])])
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), caplog.text + printed.err

    return run


def arrays(folder):
    with np.load(Path(folder) / "exports" / "mini_npz" / "results.npz") as found:
        return dict(found)


def files_in(folder):
    return sorted(
        file.relative_to(folder).as_posix() for file in Path(folder).rglob("*") if file.is_file()
    )


# --- what every command does


@pytest.mark.parametrize("command", ["auto", "images"])
def test_photos_of_a_folder_become_a_scene_and_stdout_names_its_files(command, here, da3):
    status, out, err = da3(command, "room", "--export-dir", "out", "--export-format", "glb-npz")
    assert status == 0, err
    expected = ["exports/npz/results.npz", "scene.glb", "scene.jpg", "scene.json"]
    expected += [f"depth_vis/{number:04d}.jpg" for number in range(3)]
    assert sorted(out) == sorted(f"out/{name}" for name in expected)
    assert files_in("out") == sorted([*expected, MARKER])
    facts = json.loads(Path("out/scene.json").read_text())
    assert facts["photos"] == list(NAMES) and facts["views"] == 3
    assert facts["formats"]["glb"]["options"]["conf_thresh_percentile"] == 40
    assert ("room: images, a folder" in err) == (command == "auto")


def test_without_a_folder_each_run_makes_one_of_its_own(here, da3):
    runs = [da3("image", "room/000000.png", "--export-format", "npz") for _ in range(2)]
    assert [status for status, _, _ in runs] == [0, 0]
    folders = {Path(path).parts[1] for _, out, _ in runs for path in out}
    assert len(folders) == 2 and all(name.startswith("outputs_20") for name in folders)
    assert {Path(path).parts[0] for _, out, _ in runs for path in out} == {"outputs"}


HELP = """
import sys
from apps.da3 import main
for command in ("auto", "image", "images", "colmap", "video"):
    print("==", command)
    try: main([command, "--help"])
    except SystemExit as ended: assert not ended.code
assert not {"torch", "av", "flask", "yaml", "huggingface_hub"} & set(sys.modules), sys.modules
"""


def test_help_needs_neither_torch_nor_an_extra_and_names_every_option():
    said = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    pages = dict(page.split("\n", 1) for page in said.stdout.split("== ")[1:])
    assert len(pages) == 5
    for command, page in pages.items():
        assert all(option in page for option in COMMON)
        assert ("--fps " in page) == (command in ("auto", "video"))
        assert ("--sparse-subdir" in page) == (command in ("auto", "colmap"))
        assert ("--image-extensions" in page) == (command == "images")


def test_defaults_are_upstreams(monkeypatch):
    from apps.da3_options import build_parser

    monkeypatch.delenv("DA3_MODEL_DIR", raising=False)
    args = vars(build_parser().parse_args(["auto", "room"]))
    expected = {
        "model_dir": "depth-anything/DA3NESTED-GIANT-LARGE-1.1",
        "export_format": "glb",
        "use_backend": False,
        "backend_url": "http://localhost:8008",
        "export_feat": (),
        "auto_cleanup": False,
        "use_ray_pose": False,
        "ref_view_strategy": "saddle_balanced",
        "conf_thresh_percentile": 40.0,
        "num_max_points": 1_000_000,
        "show_cameras": True,
        "feat_vis_fps": 15,
        "fps": 1.0,
        "sparse_subdir": "",
        "align_to_input_ext_scale": True,
    }
    assert {name: args[name] for name in expected} == expected
    parsed = build_parser().parse_args(
        ["images", "x", "--no-show-cameras", "--export-feat", "1, ,5"]
    )
    assert (parsed.show_cameras, parsed.export_feat) == (False, (1, 5))
    assert parsed.image_extensions == "png,jpg,jpeg"
    monkeypatch.setenv("DA3_MODEL_DIR", "models/mine")
    assert build_parser().parse_args(["image", "x"]).model_dir == "models/mine"


def documented():
    """The commands of the page, and those of upstream's README and CLI page without a backend."""
    page = (ROOT / "docs" / "da3.md").read_text(encoding="utf-8")
    block = [line.strip() for line in page.split("\n\n")[1].splitlines()]
    yield from (line.partition("  #")[0].strip() for line in block)
    yield (
        "da3 auto assets/examples/SOH --export-format glb --model-dir depth-anything/DA3-SMALL "
        "--export-dir workspace/gallery/TEST_CLI/SOH"
    )
    yield (
        "da3 video assets/examples/robot_unitree.mp4 --fps 15 --export-dir workspace/gallery/robo "
        "--export-format glb-depth_vis --feat-vis-fps 15 --auto-cleanup --no-use-backend"
    )
    yield (
        'da3 images room --image-extensions "png,jpg,webp" --export-dir output '
        "--conf-thresh-percentile 30.0 --num-max-points 2000000 --no-show-cameras --no-use-ray-pose"
    )
    yield (
        "da3 colmap project --sparse-subdir 0 --align-to-input-ext-scale --device cpu "
        "--ref-view-strategy middle --export-format mini_npz-glb"
    )


@pytest.mark.parametrize("command", list(documented()))
def test_documented_commands_run_word_for_word(
    command, here, da3, artifact, save_photo, monkeypatch
):
    pytest.importorskip("av", reason="PyAV is not installed")
    for name in ("da3-small", "depth-anything/DA3-SMALL"):  # a folder of this name comes first
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).symlink_to(artifact.path)
    monkeypatch.setenv("DA3_MODEL_DIR", str(artifact.path))
    for name in NAMES:
        for folder in ("assets/examples/SOH", "project/images"):
            save_photo(here / folder / name, *SIZE_HW)
    save_photo(here / "photo.jpg")
    write_colmap_binary(here / "project" / "sparse" / "0")
    write_transforms(here / "transforms.json")
    make_clip(here / "walk.mp4", times(40))
    make_clip(here / "assets/examples/robot_unitree.mp4", times(10))
    program, *words = shlex.split(command)
    status, out, err = da3(*words, model=None)
    assert program == "da3" and status == 0 and out, err
    assert all((here / path).is_file() for path in out)


def test_an_unknown_command_says_which_there_are(da3):
    status, _, err = da3("galery", model=None)
    assert status == 2 and all(name in err for name in ("auto", "images", "colmap", "video"))
    assert da3(model=None)[0] == 2


def test_levels_of_upstreams_variable_count(here, da3, monkeypatch):
    for level, says in (("ERROR", False), ("WARN", False), ("INFO", True)):
        monkeypatch.setenv("DA3_LOG_LEVEL", level)
        _, _, err = da3("image", "room/000000.png", "--export-format", "npz")
        assert ("done -> " in err) == says
    monkeypatch.delenv("DA3_LOG_LEVEL")
    assert da3("image", "room/000000.png", "--export-format", "npz", "--quiet")[2] == ""


def test_a_broken_photo_is_named_and_costs_only_itself(here, da3):
    Path("room/000001.png").write_bytes(Path("room/000000.png").read_bytes()[:300])
    Path("room/0.png").write_bytes(b"no photo")
    status, _, err = da3("images", "room", "--export-dir", "out", "--export-format", "mini_npz")
    assert status == 1 and "failed: room/0.png" in err and "failed: room/000001.png" in err
    assert json.loads(Path("out/scene.json").read_text())["photos"] == [NAMES[0], NAMES[2]]
    assert arrays("out")["depth"].shape[0] == 2


def test_photos_are_found_by_suffix_in_any_case_and_sorted_as_text(here, da3, save_photo):
    for name in ("b.Jpg", "a.JPEG", ".hidden.png", "c.webp"):
        save_photo(here / "mixed" / name)
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--auto-cleanup")
    for words, expected in (
        (("images", "mixed"), ["a.JPEG", "b.Jpg"]),
        (("images", "mixed", "--image-extensions", "webp,.jpg"), ["b.Jpg", "c.webp"]),
        (("auto", "mixed"), ["a.JPEG", "b.Jpg", "c.webp"]),
    ):
        status, _, err = da3(*words, *args)
        assert status == 0, err
        assert json.loads(Path("out/scene.json").read_text())["photos"] == expected


# --- refusals, each before anything is written


def refusals():
    yield "a folder that is not there", ["images", "nope"], 2, "nope: no such folder"
    yield "a file that is not there", ["image", "nope.png"], 2, "no such file"
    yield "a folder for a photo", ["image", "room"], 2, "a folder, not a photo"
    yield "a video that is not there", ["video", "nope.mp4"], 2, "no such file, not a video"
    yield "a photo for a video", ["video", "room/000000.png"], 2, "use `da3 image`"
    yield "a video for a photo", ["image", "clip.mp4"], 2, "use `da3 video`"
    yield "no photo", ["images", "empty"], 2, "no photo directly in it"
    yield "no project", ["colmap", "room"], 2, "expected a COLMAP project"
    yield "an unknown input", ["auto", "notes.txt"], 1, "it takes image .a photo., images"
    yield "a missing input", ["auto", "nope"], 1, "no such file or folder; it takes"
    yield "no photo at all", ["image", "notes.txt"], 1, "not an image in a known format"
    yield "no video", ["video", "notes.txt"], 1, "no video that can be read"
    yield "an unknown format", ["images", "room", "--export-format", "glb-x"], 2, "Unsupported"
    yield "an unknown option", ["images", "room", "--export-option", "glb:x:1"], 2, "no option x"
    yield "no option", ["images", "room", "--export-option", "glb"], 2, "FORMAT:NAME:VALUE"
    yield "a percentile", ["images", "room", "--conf-thresh-percentile", "101"], 2, "0 to 100"
    yield "no points", ["images", "room", "--num-max-points", "0"], 2, "use 1 or more"
    yield "features of an artifact", ["images", "room", "--export-feat", "2"], 1, "no artifact has"
    yield "splats of an artifact", ["images", "room", "--export-format", "gs_ply"], 1, "infer_gs"
    yield "rays of this artifact", ["images", "room", "--use-ray-pose"], 1, "no stage 'ray_head'"
    yield "no layers", ["images", "room", "--export-feat", "x"], 2, "give block numbers"
    yield "an artifact's size", ["images", "room", "--process-res", "280"], 1, "for one size"
    yield "an unknown strategy", ["images", "room", "--ref-view-strategy", "empty"], 2, "invalid"
    yield "a useless focal", ["images", "room", "--focal-px", "9"], 1, "does not depend on it"
    yield "no cameras", ["images", "room", "--cameras", "notes.txt"], 1, "no cameras that are known"
    nowhere = ["--use-backend", "--backend-url", "http://127.0.0.1:9"]
    yield "no backend", ["images", "room", *nowhere], 1, "start it with `da3 backend`"
    yield "no address", ["images", "room", *nowhere[:2], "here"], 1, "give http://HOST:PORT"
    yield "an abbreviation", ["images", "room", "--export-form", "npz"], 2, "unrecognized"
    yield "0 frames a second", ["video", "clip.mp4", "--fps", "0"], 2, "above 0"
    yield "somebody's folder", ["images", "room", "--export-dir", "mine"], 1, "no run of da3 made"
    yield "its own input", ["images", "room", "--export-dir", "room"], 1, "lies in it"
    yield "all of it", ["images", "room", "--export-dir", ".", "--auto-cleanup"], 1, "lies in it"
    yield "an old export", ["images", "room", "--export-dir", "old"], 1, "--auto-cleanup"


@pytest.mark.parametrize(
    "words, status, said", [one[1:] for one in refusals()], ids=[one[0] for one in refusals()]
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(words, status, said, here, da3):
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("notes\n")
    (here / "clip.mp4").write_text("no video")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("mine")
    assert da3("images", "room", "--export-dir", "old")[0] == 0
    before = {name: (here / name).stat().st_mtime_ns for name in files_in(here)}
    found, out, err = da3(*words)
    assert found == status, err
    assert not out and "Traceback" not in err
    assert re.search(said, err), err
    assert {name: (here / name).stat().st_mtime_ns for name in files_in(here)} == before
    assert not (here / "outputs").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (("--model-dir", "da3-small"), "cannot fetch"),
        (("--model-dir", "nobody/nothing"), "no such folder, and cannot fetch"),
        (("--model-dir", "room"), "neither model.safetensors nor an artifact"),
        (("--model-dir", "nothing", "--seeded-weights"), "is no model's name"),
        (("--model-dir", "da3mono-large", "--seeded-weights"), "glb needs cameras"),
        (
            ("--model-dir", "da3mono-large", "--seeded-weights", "--cameras", "cameras.json"),
            "takes each view for itself",
        ),
        (
            ("--model-dir", "da3-small", "--seeded-weights", "--export-format", "gs_ply"),
            "only da3-giant",
        ),
        (("--model-dir", "da3-small", "--seeded-weights", "--export-feat", "12"), "0 to 11"),
        (("--model-dir", "da3-small", "--seeded-weights", "--device", "chip"), "no such device"),
        (("--model-dir", "da3-small", "--seeded-weights", "--process-res", "9"), "14 pixels"),
        (
            ("--model-dir", "da3-small", "--seeded-weights", "--memory-gib", "0.1"),
            "take about .* there are 0.1 to take",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_its_weights_are_read(
    words, said, here, da3, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    write_cameras_json(here / "cameras.json")
    status, out, err = da3("images", "room", *words, model=None)
    assert status == 1 and not out
    assert re.search(said, err), err
    assert sorted(path.name for path in here.iterdir()) == ["cameras.json", "room"]


def test_weights_that_are_not_for_sale_are_refused_if_asked(here, da3, monkeypatch):
    monkeypatch.setenv("COMMERCIAL_ONLY", "1")
    status, _, err = da3("images", "room", model=None)
    assert status == 1 and "CC-BY-NC-4.0" in err and "da3-small" in err
    assert da3("images", "room", "--export-format", "npz")[0] == 0


def test_artifacts_of_other_kinds_beside_are_no_reason_to_stop(here, da3, make_artifact):
    make_artifact(root=here / "artifacts")  # of a model for single photos
    status, _, err = da3("images", "room", model=here / "artifacts")
    assert status == 1 and "takes each photo for itself" in err
    make_scene_artifact(here / "artifacts", 2)
    status, _, err = da3("images", "room", "--export-dir", "out", model=here / "artifacts")
    assert status == 0 and "network: 8 steps" in err, err  # two groups of four stages
    make_scene_artifact(here / "artifacts", 2, model="da3-base")
    status, _, err = da3("images", "room", model=here / "artifacts")
    assert status == 1 and "artifacts of da3-base, da3-small; name one of them" in err


# --- known cameras


@pytest.mark.parametrize("form", ["binary", "text", "numbered"])
def test_a_colmap_project_comes_out_in_its_own_world(form, here, da3):
    (here / "project").mkdir()
    (here / "room").rename(here / "project" / "images")
    sparse = here / "project" / "sparse"
    if form == "text":
        write_colmap_text(sparse)
    else:
        write_colmap_binary(sparse / "0" if form == "numbered" else sparse)
    Path("project/images/extra.png").write_bytes(Path("project/images/000000.png").read_bytes())
    Path("project/images/000001.png").unlink()
    status, _, err = da3(
        "auto", "project", "--export-dir", "out", "--export-format", "mini_npz-colmap"
    )
    assert status == 0, err
    assert "1 images of the model have no file: 000001.png" in err
    assert "1 photos are not in the model: extra.png" in err
    assert ("taking project/sparse/0" in err) == (form == "numbered")
    found = arrays("out")
    np.testing.assert_allclose(found["extrinsics"], world_to_camera()[[0, 2], :3], atol=1e-5)
    in_photo = np.diag([SIZE_HW[1] / 42, SIZE_HW[0] / 28, 1]) @ found["intrinsics"]
    np.testing.assert_allclose(in_photo, [K, K], rtol=1e-5)
    from test_scene_colmap import read_model

    cameras, images, _ = read_model(here / "out")
    assert [image[0] for image in images.values()] == ["000000.png", "000002.png"]
    np.testing.assert_allclose(cameras[1][3], [K[0, 0], K[1, 1], K[0, 2], K[1, 2]], rtol=1e-5)


def test_cameras_of_a_file_are_taken_on_every_command(here, da3):
    write_cameras_json(here / "cameras.json")
    write_kitti(here / "poses.txt")
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--auto-cleanup")
    for words in (
        ("images", "room", "--cameras", "cameras.json"),
        ("auto", "room", "--cameras", "poses.txt", "--focal-px", "150"),
    ):
        status, _, err = da3(*words, *args)
        assert status == 0, err
        found = arrays("out")["extrinsics"]
        np.testing.assert_allclose(found, world_to_camera()[:, :3], atol=1e-5)
    status, _, err = da3("image", "room/000001.png", "--cameras", "cameras.json", *args)
    assert status == 0, err
    np.testing.assert_allclose(arrays("out")["extrinsics"], world_to_camera()[1:2, :3], atol=1e-5)
    status, _, err = da3("images", "room", "--cameras", "poses.txt", *args)
    assert status == 1 and "give --focal-px" in err
    wrong = ("images", "room", "--cameras", "cameras.json", "--focal-px", "150")
    assert "does not depend on it" in da3(*wrong, *args)[2]  # the file says it already
    status, _, err = da3("images", "room", "--cameras", "out/exports", *args)
    assert status == 1 and "without a COLMAP model" in err


def test_distortion_is_refused_with_what_helps(here, da3):
    (here / "room").rename(here / "images")
    write_colmap_text(here / "sparse", "OPENCV", (150, 140, 81, 58, 0.1, 0, 0, 0))
    status, _, err = da3("colmap", ".", "--export-dir", "out")
    assert status == 1 and "colmap image_undistorter" in err and not (here / "out").exists()
    status, _, err = da3("colmap", ".", "--export-dir", "out", "--ignore-distortion")
    assert status == 0, err


def test_a_model_that_leads_out_of_its_project_reads_nothing_there(here, da3):
    (here / "room").rename(here / "images")
    folder = write_colmap_text(here / "sparse")
    text = (folder / "images.txt").read_text().replace("000000.png", "../secret.png")
    (folder / "images.txt").write_text(text)
    (here / "secret.png").write_bytes((here / "images/000000.png").read_bytes())
    status, _, err = da3("colmap", ".", "--export-dir", "out", "--export-format", "mini_npz")
    assert status == 0 and "no file: ../secret.png" in err
    assert json.loads(Path("out/scene.json").read_text())["photos"] == list(NAMES[1:])


@pytest.mark.parametrize("damage", ["empty", "cut", "missing"])
def test_a_model_that_cannot_be_read_is_bad_usage(damage, here, da3):
    (here / "room").rename(here / "images")
    (here / "sparse").mkdir()
    if damage != "missing":
        folder = write_colmap_binary(here / "sparse")
        (folder / "images.bin").write_bytes(
            struct.pack("<Q", 0) if damage == "empty" else b"\1\0\0"
        )
    assert da3("colmap", ".", "--export-dir", "out")[0] == 2
    assert not (here / "out").exists()


# --- video


def frames_of(folder):
    return json.loads((Path(folder) / "source.json").read_text())


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], [0, 30, 60]),
        (["--fps", "7"], list(range(0, 75, 4))),
        (["--fps", "99"], list(range(75))),
        (["--fps", "10", "--max-frames", "3"], [0, 36, 72]),
        (["--max-frames", "1"], [0]),
    ],
)
def test_every_so_manyth_frame_of_a_video_becomes_a_view(words, expected, here, da3):
    pytest.importorskip("av", reason="PyAV is not installed")
    make_clip(here / "clip.mp4", times(75))
    status, out, err = da3(
        "video", "clip.mp4", "--export-dir", "out", "--export-format", "mini_npz", *words
    )
    assert status == 0, err
    facts = frames_of("out")
    assert [row["index"] for row in facts["frames"]] == expected
    assert [row["time_s"] for row in facts["frames"]] == [
        pytest.approx(index / 30) for index in expected
    ]
    names = [f"input_images/{number:06d}.png" for number in range(len(expected))]
    assert [row["file"] for row in facts["frames"]] == names
    assert [name for name in files_in("out") if name.startswith("input")] == names
    assert Image.open(here / "out" / names[0]).size == (64, 48)
    assert not any("input_images" in path for path in out) and "out/source.json" in out
    assert ("every one is taken" in err) == ("99" in words)
    assert arrays("out")["depth"].shape[0] == len(expected)


def test_frames_are_turned_upright_and_kept_only_if_wanted(here, da3):
    pytest.importorskip("av", reason="PyAV is not installed")
    make_clip(here / "clip.mp4", times(31), turn=90)
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--auto-cleanup")
    assert da3("auto", "clip.mp4", *args)[0] == 0
    assert Image.open("out/input_images/000000.png").size == (48, 64)
    assert da3("auto", "clip.mp4", *args, "--no-keep-frames")[0] == 0
    assert files_in("out") == [MARKER, "exports/mini_npz/results.npz", "scene.json", "source.json"]
    assert [sorted(row) for row in frames_of("out")["frames"]] == [["index", "time_s"]] * 2


def test_half_a_video_is_the_scene_of_its_half_and_fails(here, da3):
    pytest.importorskip("av", reason="PyAV is not installed")
    file = make_clip(here / "clip.mkv", times(90))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--fps", "10")
    status, _, err = da3("video", "clip.mkv", *args)
    rows = frames_of("out")["frames"]
    assert status == 1 and "failed: clip.mkv: ends" in err
    assert [row["index"] for row in rows] == list(range(0, 3 * len(rows), 3)) and 5 < len(rows) < 30
    assert len([name for name in files_in("out") if name.startswith("input")]) == len(rows)
    assert arrays("out")["depth"].shape[0] == len(rows)


def test_uneven_times_are_sampled_by_time(here, da3):
    pytest.importorskip("av", reason="PyAV is not installed")
    slow, quick = [9000 * at for at in range(20)], [180000 + 1500 * at for at in range(120)]
    make_clip(here / "clip.mkv", [*slow, *quick])
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--fps", "2")
    status, _, err = da3("video", "clip.mkv", *args)
    assert status == 0 and "uneven times" in err, err
    facts = frames_of("out")
    step = int(Fraction(facts["rate"]) / 2) / Fraction(facts["rate"])
    taken = [row["time_s"] for row in facts["frames"]]
    gaps = np.diff(taken)
    assert abs(gaps.mean() - float(step)) < 0.02 and gaps.max() < float(step) + 0.1
    assert facts["times"] == "uneven"


def test_a_video_that_is_too_long_is_refused_with_the_command_that_fits(here, da3):
    pytest.importorskip("av", reason="PyAV is not installed")
    make_clip(here / "my clip.mp4", times(90))
    model = find_scene_model("da3-small", "cpu", 56, None, True)
    limit_gib = ((model.needed_bytes(40, [(48, 64)], False) or 0) + 1000) / 2**30
    words = ["video", "my clip.mp4", "--fps", "30", "--max-frames", "80", "--process-res", "56"]
    words += ["--model-dir", "da3-small", "--seeded-weights", "--memory-gib", str(limit_gib)]
    status, _, err = da3(*words, model=None)
    assert status == 1 and not (here / "outputs").exists()
    fits = err.split("this would fit: ")[1].strip()
    assert fits.startswith("da3 video 'my clip.mp4' --fps 30 --process-res 56")
    assert fits.endswith("--max-frames 40") and fits.count("--max-frames") == 1
    photos = ["images", "room", "--model-dir", "da3-small", "--seeded-weights", "--memory-gib"]
    status, _, err = da3(*photos, "0.6", model=None)
    side = int(
        re.search(r"this would fit: da3 images room .* --process-res (\d+)$", err.strip())[1]
    )
    needed = [
        find_scene_model("da3-small", "cpu", res, None, True).needed_bytes(3, [SIZE_HW], False)
        for res in (side, side + 14)
    ]
    assert status == 1 and side < 504 and needed[0] <= 0.6 * 2**30 < needed[1]


def test_memory_is_estimated_a_little_too_high():
    """Against ``python -m benchmarks memory``, as docs/performance-memory.md has it."""
    from apps.scene_memory import estimated_bytes

    for views, measured_mib in {1: 621, 4: 1012, 16: 1511, 32: 1870}.items():
        estimated = estimated_bytes("da3-small", views, (280, 504)) / 2**20
        assert measured_mib < estimated < 1.3 * measured_mib


# --- kills


def test_a_command_that_is_killed_leaves_the_old_export_or_the_new_one(here, artifact):
    words = [sys.executable, "-m", "apps.da3", "images", "room", "--export-dir", "out"]
    words += ["--model-dir", str(artifact.path), "--auto-cleanup", "--export-format"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    subprocess.run([*words, "glb-npz"], env=env, check=True, capture_output=True)
    whole_s = time.monotonic() - began
    old = files_in("out")
    new = sorted([MARKER, "exports/mini_npz/results.npz", "scene.json", "scene.ply"])
    seen = set()
    for share in (0.3, 0.6, 0.75, 0.85, 0.95):
        process = subprocess.Popen(
            [*words, "mini_npz-ply"], env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(share * whole_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = files_in("out")
        assert there in (old, new)
        seen.add(tuple(there))
    assert tuple(old) in seen
    subprocess.run([*words, "mini_npz-ply"], env=env, check=True, capture_output=True)
    assert files_in("out") == new
    assert sorted(path.name for path in here.iterdir()) == ["out", "room"]


# --- a real network


def test_readme_commands_on_da3_small(here, da3):
    """Upstream's README, on seeded weights: each file says that they mean nothing."""
    words = ["--export-format", "glb-npz-feat_vis", "--export-feat", "3", "--process-res", "42"]
    words += ["--export-dir", "workspace/my scene", "--auto-cleanup", "--seeded-weights"]
    words += ["--export-option", "feat_vis:video:false", "--process-res-method", "lower_bound_crop"]
    status, out, err = da3("auto", "room", *words, model="da3-small")
    assert status == 0, err
    assert "RANDOM WEIGHTS" in err and "network: 13 steps" in err and "reading: 3 views" in err
    facts = json.loads(Path("workspace/my scene/scene.json").read_text())
    assert facts["warning"].startswith("made with random weights") and facts["model"] == "da3-small"
    assert "workspace/my scene/feat_vis/feat_layer_3/000002.jpg" in out
    assert WeightsSpec(**facts["weights"]).seeded


def test_eager_and_python_say_the_same(here, da3):
    from safetensors.torch import save_file

    from depth_anything_3 import DepthAnything3

    scene = EagerScene("da3-small", None, "cpu", 42, None)
    scene.load([])
    state = {key: value.clone() for key, value in scene._model.state_dict().items()}
    folder = here / "models" / "da3-small"
    folder.mkdir(parents=True)
    save_file(state, str(folder / "model.safetensors"))
    write_cameras_json(here / "cameras.json")
    args = ("--export-dir", "out", "--export-format", "mini_npz", "--process-res", "42")
    status, _, err = da3("images", "room", "--cameras", "cameras.json", *args, model="da3-small")
    assert status == 0, err
    facts = json.loads(Path("out/scene.json").read_text())
    assert facts["weights"]["source"] == "checkpoint" and "warning" not in facts
    model = DepthAnything3.from_pretrained("models/da3-small")
    photos = [str(here / "room" / name) for name in NAMES]
    model.inference(
        photos,
        world_to_camera(),
        np.stack([K] * 3),
        process_res=42,
        export_dir="python",
        export_format="mini_npz",
    )
    for name, array in arrays("python").items():
        np.testing.assert_array_equal(arrays("out")[name], array)
