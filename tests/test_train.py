"""Training: the recipe's numbers, a step that helps, and a pause that loses nothing."""

import json

import pytest
import torch
from safetensors.torch import load_file

from depth_anything_v2.dpt import DepthAnythingV2
from layers.pos_embed import resize_pos_embed
from metric_depth import train as train_module
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
from metric_depth.train import Training, TrainJob, fresh_model, main, sinusoidal_pos_embed, train
from runtime.errors import CheckpointError, InputError


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
    monkeypatch.setitem(train_module.ROUNDS, "cpu", rounds)
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


def test_state_is_small_files_and_survives_a_kill_between_renames(tmp_path):
    folder = tmp_path / "state"
    tensors = {str(i): torch.full((1000, 1000), float(i)) for i in range(9)}
    write_state(folder, tensors, {"step": 3})
    write_state(folder, tensors, {"step": 4})
    assert all(file.stat().st_size < 2**24 > LARGEST_BYTES for file in folder.iterdir())
    folder.rename(tmp_path / "state.old")
    found, numbers = read_state(folder)
    assert numbers == {"step": 4} and all(torch.equal(found[k], v) for k, v in tensors.items())


def test_resuming_nothing_or_another_recipe_says_so(tiny, capsys):
    with pytest.raises(CheckpointError, match="no training to resume"):
        Training(TrainJob(tiny.output, tiny.work, resume=True))
    train(TrainJob(tiny.output, tiny.work, stop_after_s=0.0))
    with pytest.raises(InputError, match="use the same version, --steps-scale"):
        Training(TrainJob(tiny.output, tiny.work, resume=True, steps_scale=2))
    arguments = ["--output", str(tiny.output), "--work", str(tiny.work), "--steps-scale", "0"]
    assert main(arguments) == 1
    assert "give a number above 0" in capsys.readouterr().err
