"""Which artifacts are used: one answer, and what was left out says why."""

import dataclasses
import logging
import os
import shutil

import pytest
import torch

from runtime.artifact.folder import MANIFEST
from runtime.artifact.manifest import to_json
from runtime.errors import ArtifactError
from runtime.predict.choose import BOTH, PHOTOS, SCENE, choose, choose_among


def reasons(chosen):
    return {one.path.name: one.reason for one in chosen.left_out}


def names(chosen):
    return [one.manifest.name for one in chosen.artifacts]


def test_real_weights_come_before_random_ones(make_artifact, tmp_path):
    make_artifact(size_hw=(28, 28), root=tmp_path, seeded=True)
    make_artifact(size_hw=(28, 42), root=tmp_path, weights_sha256="f" * 64)
    chosen = choose([tmp_path])
    assert names(chosen) == ["vits-28x42-b1-torchscript"]
    assert reasons(chosen) == {
        "vits-28x28-b1-torchscript": "has random weights, and there are real ones"
    }


def test_float32_comes_before_a_smaller_batch(make_artifact, tmp_path):
    make_artifact(batch=4, root=tmp_path)
    make_artifact(batch=1, precision="bf16", root=tmp_path)
    chosen = choose([tmp_path])
    assert names(chosen) == ["vits-28x28-b4-torchscript"]
    assert "bf16: a higher one is there" in reasons(chosen)["vits-28x28-b1-torchscript-bf16"]


@pytest.mark.parametrize("batches", [(1, 2), (2, 1)])
def test_of_several_batches_the_smallest_is_used(batches, make_artifact, tmp_path):
    for batch in batches:
        make_artifact(batch=batch, root=tmp_path)
    chosen = choose([tmp_path])
    assert names(chosen) == ["vits-28x28-b1-torchscript"]
    assert "batch 2: one of 1 is there" in reasons(chosen)["vits-28x28-b2-torchscript"]


def test_who_names_an_artifact_gets_it_whatever_its_precision(make_artifact, tmp_path):
    make_artifact(root=tmp_path)
    low = make_artifact(precision="bf16", root=tmp_path)
    assert choose([low.path]).artifacts == (low,)


def test_what_cannot_be_read_is_left_out_with_a_warning(make_artifact, tmp_path, caplog):
    good = make_artifact(root=tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / MANIFEST).write_text('{"schema_version": 2}')
    with caplog.at_level(logging.WARNING):
        chosen = choose([tmp_path])
    assert chosen.artifacts == (good,)
    assert "old: manifest has schema version 2" in caplog.text
    with pytest.raises(ArtifactError, match="schema version 2"):
        choose([tmp_path / "old"])


def test_a_folder_of_several_models_asks_which(make_artifact, tmp_path):
    for model in ("vits", "vitb"):
        make_artifact(model=model, root=tmp_path)
    with pytest.raises(ArtifactError, match="artifacts of vitb, vits; name the model: --model"):
        choose([tmp_path])
    assert choose([tmp_path], "vitb").model == "vitb"
    with pytest.raises(
        ArtifactError, match=r"no artifact of vitl can be used.*of vits, not of vit"
    ):
        choose([tmp_path], "vitl")


def test_one_set_of_weights_is_used_the_one_compiled_last(make_artifact, tmp_path):
    old = make_artifact(size_hw=(28, 28), root=tmp_path, weights_sha256="a" * 64)
    make_artifact(size_hw=(28, 42), root=tmp_path, weights_sha256="b" * 64)
    os.utime(old.path / MANIFEST, (1, 1))
    chosen = choose([tmp_path])
    assert names(chosen) == ["vits-28x42-b1-torchscript"]
    assert "weights that others have replaced" in reasons(chosen)["vits-28x28-b1-torchscript"]
    assert choose([tmp_path], weights_sha256="a" * 64).artifacts == (old,)


def test_photos_scenes_and_both_get_what_serves_them(make_artifact, tmp_path):
    single = make_artifact(root=tmp_path)
    assert choose([tmp_path], use=BOTH).artifacts == (single,)
    with pytest.raises(ArtifactError, match="takes each photo for itself"):
        choose([tmp_path], use=SCENE)


def test_a_target_that_cannot_run_here_is_left_out(make_artifact, tmp_path):
    make_artifact(root=tmp_path)
    with pytest.raises(ArtifactError, match="target torchscript cannot run here"):
        choose([tmp_path], runs=lambda target: target != "torchscript")


def test_nothing_there_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match=r"no artifact can be used\. Compile one with `make"):
        choose([tmp_path])
    with pytest.raises(ArtifactError, match=r"absent: no manifest\.json there"):
        choose([tmp_path / "absent"])


def test_choosing_among_what_was_read_looks_at_no_folder(tiny_artifact):
    assert choose_among([tiny_artifact], use=PHOTOS).artifacts == (tiny_artifact,)


@pytest.fixture
def both(make_artifact, tmp_path):
    """An artifact for a GPU or the CPU in float16, and one for the CPU in float32."""
    gpu = make_artifact(precision="f16", root=tmp_path)
    manifest = dataclasses.replace(gpu.manifest, target="openvino", precision="f32")
    shutil.copytree(gpu.path, tmp_path / manifest.name)
    (tmp_path / manifest.name / MANIFEST).write_text(to_json(manifest))
    return tmp_path


def anything(target):
    return True


@pytest.mark.parametrize(
    "gpu, device, target",
    [
        (True, "auto", "torchscript"),
        (True, "cuda", "torchscript"),
        (True, "cpu", "openvino"),
        (False, "auto", "openvino"),
        (False, "cpu", "openvino"),
    ],
)
def test_what_runs_on_a_gpu_is_preferred_where_one_is_used(gpu, device, target, both, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    chosen = choose([both], runs=anything, device=device)
    assert [one.manifest.target for one in chosen.artifacts] == [target]


def test_what_cannot_run_on_the_device_asked_for_says_what_would(both, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = both / "vits-28x28-b1-openvino"
    with pytest.raises(ArtifactError, match="cannot run on cuda; compile it with --target torchsc"):
        choose([path], runs=anything, device="cuda")


def test_a_gpu_is_looked_for_only_if_that_decides(make_artifact, tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.engines.cuda_is_here", lambda device: pytest.fail("asked"))
    make_artifact(root=tmp_path)
    make_artifact(precision="bf16", root=tmp_path)
    assert names(choose([tmp_path])) == ["vits-28x28-b1-torchscript"]
