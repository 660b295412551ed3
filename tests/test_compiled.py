"""Artifacts for photos and scenes, compiled first if they are not there or are out of date."""

import dataclasses
import shutil
import subprocess
import sys

import pytest

from apps import compiled
from apps.compiled import choose_or_compile, needed_sizes
from compile.registry import MODELS
from runtime.artifact.folder import commit
from runtime.artifact.manifest import StageSpec, TensorSpec
from runtime.errors import ArtifactError
from runtime.files import partial_folder, sha256_of
from runtime.predict.choose import BOTH, PHOTOS, SCENE, choose

CHECKPOINTS = {
    "vits": "checkpoints/depth_anything_v2_vits.pth",
    "da3-small": "checkpoints/da3-small/model.safetensors",
}


@pytest.fixture
def workplace(tmp_path, monkeypatch, save_photo):
    """A folder with a wide photo and an upright one, and no checkpoint anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPTH_CHECKPOINT_DIR", raising=False)
    photos = [save_photo(tmp_path / "in" / "a.png", 30, 40), save_photo(tmp_path / "b.png", 64, 36)]
    return tmp_path, photos


@pytest.fixture
def make_staged(make_artifact):
    """An artifact that says it takes scenes; its graph is not one that could."""

    def make(root, views=1, size_hw=(28, 28), **more):
        plain = make_artifact(size_hw=size_hw, kind="depth", model="da3-small", **more)
        tensor = TensorSpec("tokens", (1, 1))
        stages = tuple(
            StageSpec(name, "graph.pt", (tensor,), (tensor,))
            for name in ("encoder_local", "encoder_global", "depth_head")
        )
        manifest = dataclasses.replace(plain.manifest, family="v3", stages=stages, views=views)
        with partial_folder(root) as folder:
            shutil.copy(plain.path / "graph.pt", folder)
            return commit(folder, manifest, root)

    return make


@pytest.fixture
def compiles(monkeypatch):
    """Record what is compiled; ``then`` makes what the compile would leave."""
    made = []

    def record(then):
        def compile_sizes(model, sizes_hw, views=1, device="auto"):
            made.append((model, list(sizes_hw), views))
            then()

        monkeypatch.setattr(compiled, "compile_sizes", compile_sizes)
        return made

    return record


def checkpoint(root, model, content=b"weights"):
    file = root / CHECKPOINTS[model]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_a_scene_is_compiled_again_when_weights_come(workplace, make_staged, compiles):
    root, photos = workplace
    make_staged(root / "artifacts", views=2, seeded=True)
    assert choose_or_compile("da3-small", photos, SCENE).artifacts[0].manifest.weights.seeded
    sha256 = sha256_of(checkpoint(root, "da3-small"))
    made = compiles(lambda: make_staged(root / "artifacts", views=2, weights_sha256=sha256))
    chosen = choose_or_compile("da3-small", photos, SCENE)
    assert len(made) == 1 and made[0][2] == 2
    assert chosen.artifacts[0].manifest.weights.sha256 == sha256
    assert choose_or_compile("da3-small", photos, SCENE) == chosen
    assert len(made) == 1


@pytest.mark.parametrize(("file", "again"), [("depth_anything_v2_vits.pth", 1), ("mine.pth", 0)])
def test_photos_are_compiled_again_if_the_checkpoint_of_that_name_changed(
    file, again, workplace, make_artifact, compiles
):
    root, photos = workplace

    def make(sha256):
        plain = make_artifact(weights_sha256=sha256)
        weights = dataclasses.replace(plain.manifest.weights, file=file)
        with partial_folder(root / "artifacts") as folder:
            shutil.copy(plain.path / "graph.pt", folder)
            manifest = dataclasses.replace(plain.manifest, weights=weights)
            commit(folder, manifest, root / "artifacts")

    make("a" * 64)
    sha256 = sha256_of(checkpoint(root, "vits", b"newer weights"))
    made = compiles(lambda: make(sha256))
    choose_or_compile("vits", photos, PHOTOS)
    assert len(made) == again
    choose_or_compile("vits", photos, PHOTOS)
    assert len(made) == again


def test_a_scene_gets_more_views_if_the_compiled_ones_are_too_few(workplace, make_staged, compiles):
    root, photos = workplace
    make_staged(root / "artifacts", views=1)
    made = compiles(lambda: make_staged(root / "artifacts", views=2))
    chosen = choose_or_compile("da3-small", photos, SCENE)
    assert [one.manifest.views for one in chosen.artifacts] == [2]
    assert made[0][2] == 2


def test_a_scene_uses_one_size_that_of_most_photos(workplace, make_staged, save_photo):
    root, _ = workplace
    for size_hw in ((28, 42), (42, 28)):
        make_staged(root / "artifacts", views=4, size_hw=size_hw)
    upright = [save_photo(root / f"{number}.png", 60, 40) for number in range(4)]
    chosen = choose_or_compile("da3-small", upright, SCENE)
    assert [one.manifest.input.size_hw for one in chosen.artifacts] == [(42, 28)]


def test_only_the_sizes_that_photos_need_are_compiled(workplace):
    _, (wide, upright) = workplace
    for model in ("da3-small", "da3mono-large"):
        spec = MODELS[model]
        (one,) = needed_sizes(spec, [wide], PHOTOS)
        assert one[1] / one[0] == pytest.approx(4 / 3, rel=0.05)
        assert len(needed_sizes(spec, [wide, upright], PHOTOS)) == 2
        assert len(needed_sizes(spec, [wide, upright], SCENE)) == 1
    assert needed_sizes(MODELS["vits"], [wide], PHOTOS) == list(MODELS["vits"].usual_sizes)


def test_a_compile_that_leaves_nothing_is_one_sentence(workplace, compiles):
    _, photos = workplace
    compiles(lambda: None)
    with pytest.raises(ArtifactError, match="no artifact of vits can run here"):
        choose_or_compile("vits", photos)


def test_photos_on_their_own_take_the_graph_of_one_view_and_scenes_all(workplace, make_staged):
    root, _ = workplace
    for views in (1, 2, 4):
        make_staged(root / "artifacts", views=views)
    assert [one.manifest.views for one in choose([root / "artifacts"]).artifacts] == [1]
    for use in (SCENE, BOTH):
        found = choose([root / "artifacts"], use=use).artifacts
        assert sorted(one.manifest.views for one in found) == [1, 2, 4]


def test_a_compile_is_this_packages_own_whatever_lies_in_the_current_folder(workplace, monkeypatch):
    root, _ = workplace
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("compile.py", "argparse.py", "runtime.py", "logging.py"):
        (root / name).write_text("raise SystemExit('somebody else')")
    words = [sys.executable, "-c", compiled.COMPILE, "list"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "vits" in done.stdout
