"""Loops of long sequences: true ones close whatever drift there is, false ones change nothing."""

import math

import numpy as np
import pytest
from stream_recipe import K, windows

from runtime.scene.agreement import agreement
from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.links import SharedFrames, link_windows, mean_rotation, median_depth
from runtime.scene.loops import similar_pairs
from runtime.scene.pose_graph import (
    REJECTED,
    SIGMAS,
    Edge,
    chain,
    close_loops,
    exp_similarity,
    gap_covariance,
    log_similarity,
)
from runtime.scene.similarity import IDENTITY, Similarity
from runtime.scene.true_loops import close_true_loops

DEPTH, RADIUS = 2.0, 3.0
SURE = (SIGMAS[0] * DEPTH, *SIGMAS[1:])
SPREADS = np.array([SURE[0]] * 3 + [SURE[1]] * 3 + [SURE[2]])


def round_trip(count):
    """Windows once round a ring, in the first one's gauge."""
    found = []
    for turn in np.linspace(0, 2 * math.pi, count):
        axes = exp_similarity(np.array([0, 0, 0, 0, turn, 0, 0])).rotation
        place = np.array([RADIUS * math.sin(turn), 0, RADIUS * math.cos(turn)])
        found.append(Similarity(axes, place, 1.0))
    return [found[0].inverse().after(window) for window in found]


def drifting(count, seed, times=1.0, growing=0.0):
    """The truth, and a chain whose links are off by so many sigmas, and scale grows by a link."""
    random, true = np.random.RandomState(seed), round_trip(count)
    links = []
    for one, other in zip(true, true[1:]):
        off = times * SPREADS * random.normal(size=7)
        off[6] += growing
        links.append(exp_similarity(off).after(one.inverse().after(other)))
    edges = [Edge(at + 1, at, link, SURE) for at, link in enumerate(links)]
    return true, chain(links, IDENTITY), edges, random


def true_loop(true, later, earlier, random):
    off = exp_similarity(SPREADS * random.normal(size=7))
    there = true[earlier].inverse().after(true[later])
    return Edge(later, earlier, off.after(there), SURE, loop=True)


def false_loop(windows, later, earlier, random):
    """Section 5.6's: a scale of exp(0.3 normal), a turn of 0.5 normal, a shift of 1 normal."""
    draws = [random.normal(size=3), 0.5 * random.normal(size=3), [0.3 * random.normal()]]
    there = windows[earlier].inverse().after(windows[later])
    return Edge(later, earlier, exp_similarity(np.concatenate(draws)).after(there), SURE, loop=True)


def off_by(windows, true):
    """Percent of scale at the end, and the mean distance of places."""
    last = true[-1].inverse().after(windows[-1])
    places = [np.linalg.norm(a.translation - b.translation) for a, b in zip(windows, true)]
    return 100 * abs(log_similarity(last)[6]), np.mean(places)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [{"times": 4.0}, {"growing": 0.02}], ids=["random", "growing"])
def test_a_true_loop_closes_links_that_drift_by_2_percent_each(how, seed):
    true, start, edges, random = drifting(30, seed, **how)
    solved = close_true_loops(start, [*edges, true_loop(true, 29, 0, random)])
    assert solved.weights[0] > 0.5 and 2 < solved.drift < 12
    (_, before), (scale, after) = off_by(start, true), off_by(solved.windows, true)
    assert scale < 2 and after < 0.6 * before


@pytest.mark.parametrize("how", [{}, {"times": 4.0}, {"growing": 0.02}])
def test_false_loops_beside_true_ones_change_nothing(how):
    true, start, edges, random = drifting(30, 1, **how)
    loops = [true_loop(true, 29, 0, random), true_loop(true, 25, 3, random)]
    wrong = [false_loop(start, *ends, random) for ends in ((20, 5), (29, 12))]
    alone = close_true_loops(start, [*edges, *loops])
    both = close_true_loops(start, [*edges, *wrong, *loops])
    assert both.weights[:2] == [0, 0] and min(both.weights[2:]) > 0.5
    assert both.drift <= 1.5 * alone.drift
    for one, other in zip(alone.windows, both.windows):
        assert np.abs(log_similarity(one.inverse().after(other))).max() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_false_loops_alone_change_nothing(seed):
    _, start, edges, random = drifting(30, seed)
    wrong = [false_loop(start, *ends, random) for ends in ((20, 5), (29, 2))]
    solved = close_true_loops(start, [*edges, *wrong])
    assert max(solved.weights) < REJECTED and solved.drift == 1
    for one, other in zip(start, solved.windows):
        assert np.allclose(one.translation, other.translation, atol=1e-9)


def test_without_drift_it_is_the_graph_of_the_reference():
    true, start, edges, random = drifting(12, 5)
    edges.append(true_loop(true, 11, 0, random))
    ours, plain = close_true_loops(start, edges), close_loops(start, edges)
    assert ours.drift == 1 and ours.weights[0] == pytest.approx(plain.weights[0], abs=1e-3)
    for one, other in zip(ours.windows, plain.windows):
        assert np.abs(log_similarity(one.inverse().after(other))).max() < 1e-4


def test_what_links_leave_open_adds_up_along_the_chain():
    still = [IDENTITY] * 5
    edges = [Edge(at + 1, at, IDENTITY, SURE) for at in range(4)]
    loops = [Edge(4, 0, IDENTITY, SURE, loop=True), Edge(3, 2, IDENTITY, SURE, loop=True)]
    found = gap_covariance(still, edges, loops)
    far, near = found[0, :, 0], found[1, :, 1]
    assert np.allclose(found[0, :, 1], near)  # the one link that both have
    assert np.allclose(far, np.diag(4 * SPREADS**2)) and np.allclose(near, np.diag(SPREADS**2))
    closed = gap_covariance(still, [*edges, loops[0]], loops[1:])
    assert np.allclose(
        closed[0, :, 0], np.diag(SPREADS**2 * 4 / 5)
    )  # one link, four others beside it


# whether two windows show one place


@pytest.fixture(scope="module")
def room():
    return windows(2000)[0]


def moved(window, to):
    seen = window.seen(slice(None))
    return SharedFrames(seen.depth * to.scale, seen.conf, to.move_cameras(seen.extrinsics))


def test_windows_of_one_place_agree_and_those_of_others_do_not(room):
    focal, first, last = np.stack([K] * 12), slice(0, 6), slice(6, 12)
    begin = link_windows(room[0].seen(first), room[7].seen(first))
    end = link_windows(room[6].seen(last), room[7].seen(last))
    own = room[0].seen(slice(None))
    to = begin.to.after(end.to.inverse())
    found = agreement(own, focal, moved(room[6], to), focal)
    assert found.seen > 0.6 and found.agree > 0.98
    for k in (2, 3, 4):  # as if they stood where the first one stands
        axes = [inverse(homogeneous(one.w2c))[:, :3] for one in (room[0], room[k])]
        turn = mean_rotation(axes[0][:, :, :3], axes[1][:, :, :3])
        scale = median_depth(own) / median_depth(room[k].seen(slice(None)))
        centres = [one[:, :, 3].mean(0) for one in axes]
        to = Similarity(turn, centres[0] - scale * turn @ centres[1], scale)
        assert agreement(own, focal, moved(room[k], to), focal).agree < 0.6


def test_what_shows_nothing_agrees_with_nothing(room):
    focal, own = np.stack([K] * 12), room[0].seen(slice(None))
    sky = SharedFrames(own.depth, np.ones_like(own.conf), own.extrinsics)
    for pair in ((own, sky), (sky, own), (sky, sky)):
        found = agreement(pair[0], focal, pair[1], focal)
        assert found.seen == 0 and found.agree == 0


def test_a_dense_video_finds_its_loops_however_alike_neighbours_are():
    """Frames beside each other are the most alike; they are no loops, and take no loop's place."""
    turn = np.linspace(0, 4 * math.pi, 400)
    lap = np.where(np.arange(400) < 200, 0.08, -0.08)  # another light
    rows = np.stack((np.cos(turn), np.sin(turn), lap), -1).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = similar_pairs(rows, 0.98, 100, 7, 5)
    assert found and all(abs(later - earlier - 200) < 5 for later, earlier, _ in found)
    assert len(similar_pairs(rows, 0.98, 100, 2, 5, near_count=True)) <= 1 < len(found)
