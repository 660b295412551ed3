"""Training: the recipe's numbers, a step that helps, and a pause that loses nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from depth_anything_v2.dpt import DepthAnythingV2
from layers.pos_embed import resize_pos_embed
from metric_depth.initialisation import fresh_model, sinusoidal_pos_embed
from metric_depth.pool import ScenePool, augmented
from metric_depth.schedule import (
    ROUNDS,
    WARM_UP_STEPS,
    Round,
    Size,
    Stage,
    average_share,
    batch_size_hw,
    learning_rate,
    scaled,
    stage_at,
)
from metric_depth.state import LARGEST_BYTES, read_state, write_state
from metric_depth.train import main, train
from metric_depth.training import Training, TrainJob
from runtime.errors import CheckpointError, InputError

ROOT = Path(__file__).parent.parent


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


SMALL = Size(28, 32, batch=2, reuse=4, pool=8)
LARGER = Size(42, 48, batch=2, reuse=4, pool=8)


def stage(steps: int, *sizes: Size) -> Stage:
    return Stage(steps, sizes, plain=0.5, calm=0.5, ranking=2, contra=0.5)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A recipe of six steps on scenes as small as they can be."""
    rounds = (Round(4e-4, (stage(4, SMALL),)), Round(2e-4, (stage(2, SMALL, LARGER),)))
    monkeypatch.setitem(ROUNDS, "cpu", rounds)
    return TrainJob(output=tmp_path / "demo", work=tmp_path / "training")


def test_the_rate_warms_up_peaks_and_ends_near_nothing_in_every_round():
    rounds = (Round(4e-4, (stage(1000, SMALL),)), Round(2e-4, (stage(600, SMALL),)))
    rates = [learning_rate(step, rounds) for step in range(1600)]
    for part, peak in ((rates[:1000], 4e-4), (rates[1000:], 2e-4)):
        assert part[0] == pytest.approx(peak / WARM_UP_STEPS)
        assert max(part) == pytest.approx(peak) and part.index(max(part)) <= WARM_UP_STEPS
        assert part[WARM_UP_STEPS:] == sorted(part[WARM_UP_STEPS:], reverse=True)
        assert part[-1] == pytest.approx(peak / 100, rel=0.01)


def test_stages_follow_each_other_across_rounds():
    rounds = (Round(4e-4, (stage(3, SMALL), stage(1, SMALL))), Round(2e-4, (stage(2, LARGER),)))
    assert [stage_at(rounds, step)[0] for step in range(7)] == [0, 0, 0, 1, 2, 2, 2]
    assert stage_at(rounds, 4)[1].sizes == (LARGER,)


def test_a_scaled_recipe_keeps_every_stage():
    rounds = (Round(4e-4, (stage(300, SMALL), stage(3, SMALL))),)
    assert [part.steps for part in scaled(rounds, 0.1)[0].stages] == [30, 1]
    assert scaled(rounds, 0.1)[0].steps == 31


@pytest.mark.parametrize("kind", ROUNDS)
def test_every_recipe_ends_at_518_and_has_whole_batches_of_scenes(kind):
    stages = [part for turn in ROUNDS[kind] for part in turn.stages]
    assert stages[-1].sizes[-1].side_px == 518
    sizes = [size for part in stages for size in part.sizes]
    assert all(size.pool % 8 == 0 and size.render_px > size.side_px for size in sizes)
    assert all(sum(size.share for size in part.sizes) == pytest.approx(1) for part in stages)


def test_batches_come_in_whole_patches():
    assert batch_size_hw(126, (1.0, 1.0)) == (126, 126)
    assert batch_size_hw(252, (0.75, 1.33)) == (196, 336)


def test_the_average_follows_closely_at_first():
    assert average_share(0) == pytest.approx(0.1) and average_share(10**6) == 0.999


def test_positions_mean_the_same_at_every_resolution():
    full = sinusoidal_pos_embed(192)
    coarse = resize_pos_embed(full, (9, 9))[0, 1:].view(9, 9, -1)
    exact = full[0, 1:].view(37, 37, -1)[2::4, 2::4]  # the centers of a 9x9 grid, to half a patch
    assert (coarse - exact).abs().mean() < 0.15 * exact.abs().mean()


def test_the_same_seed_starts_from_the_same_weights():
    one, same, other = (fresh_model(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert DepthAnythingV2("vitt").state_dict().keys() == one.keys()


def test_augmentation_moves_picture_and_truth_together():
    """A picture that is its own disparity stays so, wherever it is cropped and mirrored to."""
    ramp = torch.linspace(0.1, 0.9, 64).expand(64, 64)
    rgb = ramp.expand(8, 3, 64, 64)
    image, truth = augmented(rgb, rgb[:, 0].contiguous(), (28, 42), seeded(3))
    assert image.shape == (8, 3, 28, 42) and truth.shape == (8, 28, 42)
    for picture, disparity in zip(image, truth):
        both = torch.stack([picture.mean(0).flatten(), disparity.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95


def test_the_pool_renders_again_as_it_is_used():
    pool = ScenePool((32, 32), capacity=8, reuse=2, first_seed=100, device=torch.device("cpu"))
    assert list(pool.fill()) == [8] and pool.next_seed == 108
    before = pool._rgb.clone()
    for step in range(8):
        image, truth = pool.draw(2, (28, 28), seeded(step))
    assert pool.next_seed == 116 and not torch.equal(before, pool._rgb)
    assert image.dtype == truth.dtype == torch.float32 and (truth > 0).all()


def test_a_few_steps_on_one_batch_lower_the_loss(tiny):
    training = Training(tiny)
    pool = ScenePool((48, 48), capacity=8, reuse=1e9, first_seed=0, device=torch.device("cpu"))
    list(pool.fill())
    image, truth = pool.draw(4, (42, 42), seeded(0))
    losses = [
        training.advance(image, truth, seeded(1), stage_at(training.rounds, 0)[1])
        for _ in range(12)
    ]
    assert losses[-1] < losses[0] - 0.05
    assert training.step == 12


def test_a_training_ends_in_a_checkpoint_that_loads(tiny):
    assert train(tiny)
    weights = load_file(str(tiny.output / "model.safetensors"))
    assert all(value.dtype == torch.float16 for value in weights.values())
    model = DepthAnythingV2("vitt")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    assert torch.isfinite(model(torch.zeros(1, 3, 28, 28))).all()
    facts = json.loads((tiny.output / "training.json").read_text())
    assert facts["steps"] == 6 and facts["encoder"] == "vitt"


def test_a_paused_training_goes_on_where_it_was(tiny, tmp_path):
    assert not train(TrainJob(tiny.output, tiny.work, stop_after_s=0.0))
    paused = Training(TrainJob(tiny.output, tiny.work, resume=True))
    _, numbers = read_state(tiny.work / "state")
    assert paused.step == numbers["step"] == 1
    assert paused.optimiser.state_dict()["state"]
    assert train(TrainJob(tiny.output, tiny.work, resume=True))
    assert json.loads((tiny.output / "training.json").read_text())["steps"] == 6


WRITE = """
import os, signal, sys
from pathlib import Path
import torch
from metric_depth import state
from runtime import files
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def kill_at(number, function, calls=[0]):
    def counted(*arguments):
        calls[0] += 1
        return kill() if calls[0] == number else function(*arguments)
    return counted
moment, number = sys.argv[2], int(sys.argv[3])
if moment == "writing":
    state.save_file = kill_at(number, state.save_file)
else:
    Path.rename = kill_at(number, Path.rename)
if moment == "renaming":  # as on a disk that cannot exchange two folders in one step
    files._exchanged = lambda *_: False
tensors = {str(i): torch.full((1000, 1000), 4.0) for i in range(9)}
state.write_state(Path(sys.argv[1]), tensors, {"step": 4})
"""


def state_of(step: int) -> "dict[str, torch.Tensor]":
    return {str(i): torch.full((1000, 1000), float(step)) for i in range(9)}


def assert_whole(folder: Path, step: int) -> None:
    found, numbers = read_state(folder)
    expected = state_of(step)
    assert numbers == {"step": step} and found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_state_is_small_files_of_which_nothing_else_stays(tmp_path):
    folder = tmp_path / "state"
    for step in (3, 4):
        write_state(folder, state_of(step), {"step": step})
    assert all(file.stat().st_size < 2**24 > LARGEST_BYTES for file in folder.iterdir())
    assert_whole(folder, 4)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "moment, number, step",
    [
        ("writing", 1, 3),
        ("writing", 3, 3),
        ("renaming", 1, 3),
        pytest.param("renaming", 2, 4, id="between the old one's rename and the new one's"),
        pytest.param("renaming", 3, 4, id="not killed"),
        pytest.param("exchanged", 1, 4, id="old and new have changed places"),
    ],
)
def test_a_kill_leaves_the_old_state_or_the_new(tmp_path, moment, number, step):
    folder = tmp_path / "work" / "state"
    write_state(folder, state_of(3), {"step": 3})
    words = [sys.executable, "-c", WRITE, str(folder), moment, str(number)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    killed = (moment, number) != ("renaming", 3)
    assert ended.returncode == (-signal.SIGKILL if killed else 0), ended.stderr
    assert_whole(folder, step)
    write_state(folder, state_of(5), {"step": 5})
    assert_whole(folder, 5)
    assert list(folder.parent.iterdir()) == [folder], "what the killed one left is removed"


def test_ctrl_c_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    folder, rename, calls = tmp_path / "state", Path.rename, []
    write_state(folder, state_of(3), {"step": 3})

    def interrupted(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr("runtime.files._exchanged", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_state(folder, state_of(4), {"step": 4})
    monkeypatch.undo()
    assert_whole(folder, 4)


def test_a_disk_that_refuses_leaves_the_old_state_and_nothing_else(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    write_state(folder, state_of(3), {"step": 3})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metric_depth.state.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_state(folder, state_of(4), {"step": 4})
    assert_whole(folder, 3)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_training_that_is_stopped_says_how_it_goes_on(tiny, monkeypatch, capsys):
    def interrupted(job):
        raise KeyboardInterrupt

    monkeypatch.setattr("metric_depth.train.train", interrupted)
    assert main(["--output", str(tiny.output), "--work", str(tiny.work)]) == 130
    assert "--resume goes on" in capsys.readouterr().err


def test_resuming_nothing_or_another_recipe_says_so(tiny, capsys):
    with pytest.raises(CheckpointError, match="no training to resume"):
        Training(TrainJob(tiny.output, tiny.work, resume=True))
    train(TrainJob(tiny.output, tiny.work, stop_after_s=0.0))
    with pytest.raises(InputError, match="use the same version, --steps-scale"):
        Training(TrainJob(tiny.output, tiny.work, resume=True, steps_scale=2))
    arguments = ["--output", str(tiny.output), "--work", str(tiny.work), "--steps-scale", "0"]
    assert main(arguments) == 1
    assert "give a number above 0" in capsys.readouterr().err


def test_upstreams_training_flags_are_answered(capsys):
    upstreams = ["--encoder", "vitl", "--dataset", "hypersim", "--bs", "4", "--lr", "5e-6"]
    assert main(upstreams) == 2
    said = capsys.readouterr().err
    assert "fine-tunes on Hypersim" in said and "metric_depth/run.py --load-from" in said
