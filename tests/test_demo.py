"""The checkpoint that is shipped: what it is, and that it scores what it says, compiled too.

``python tests/test_demo.py`` writes the stated scores anew, after a training.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from apps.estimators import artifact_estimator, eager_estimator
from compile.fetch import local_checkpoint
from compile.job import CompileJob, compile_model
from compile.registry import DEMO, MODELS
from metric_depth.datasets import DatasetName, open_dataset
from metric_depth.judge import judge_all, summarise

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "checkpoints" / "demo"
STATED = FOLDER / "scores.json"
COUNT, SIZE = 12, 252
MEASURES = ("delta1", "abs_rel", "pearson", "ordinal_accuracy", "contradicting_accuracy")


def scores_of(estimator: Any) -> dict[str, float]:
    dataset = open_dataset(DatasetName("generated"), COUNT)
    summary = summarise(list(judge_all(estimator, dataset)))
    assert summary["failed"] == []
    return {name: round(summary["scores"][name], 4) for name in MEASURES}


def eager_scores() -> dict[str, float]:
    return scores_of(
        eager_estimator(MODELS[DEMO], FOLDER / "model.safetensors", False, SIZE, "cpu")
    )


def compiled_scores(folder: Path) -> dict[str, float]:
    job = CompileJob(
        DEMO, "torchscript", ((SIZE, SIZE),), 1, folder, FOLDER / "model.safetensors", device="cpu"
    )
    (artifact,) = compile_model(job)
    return scores_of(artifact_estimator([artifact.path], "cpu"))


def test_checkpoint_is_small_and_says_how_it_was_made():
    facts = json.loads((FOLDER / "training.json").read_text())
    assert (FOLDER / "model.safetensors").stat().st_size <= 16e6
    assert facts["encoder"] == MODELS[DEMO].encoder
    assert facts["steps"] == sum(
        stage["steps"] for turn in facts["rounds"] for stage in turn["stages"]
    )
    card = (FOLDER / "README.md").read_text()
    for word in ("Apache-2.0", "Limits", "disparity", f"{facts['scenes']:,}"):
        assert word in card, word


def test_checkpoint_is_found_without_the_internet(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert local_checkpoint(MODELS[DEMO]) == Path("checkpoints/demo/model.safetensors")


def test_checkpoint_reaches_its_stated_scores():
    stated = json.loads(STATED.read_text())
    assert eager_scores() == pytest.approx(stated["eager"], abs=0.01)


def test_compiled_checkpoint_reaches_its_stated_scores(tmp_path):
    stated = json.loads(STATED.read_text())
    assert compiled_scores(tmp_path) == pytest.approx(stated["compiled"], abs=0.01)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        found = {
            "what": f"{COUNT} held-out generated scenes; eager at short side {SIZE}, compiled at "
            f"{SIZE}x{SIZE}; written by tests/test_demo.py",
            "eager": eager_scores(),
            "compiled": compiled_scores(Path(scratch)),
        }
    STATED.write_text(json.dumps(found, indent=2) + "\n")
    print(STATED.read_text())
