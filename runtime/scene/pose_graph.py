"""Windows of a sequence and what links them, brought to agreement: loops spread their error.

Similarities and how sure each is in; one similarity a window out. Links follow each other; loops
are few, and may be false: Cauchy's weights in rounds leave those out. numpy only: the chain is
solved block by block, loops by the small system that they add.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.scene.similarity import Similarity

SIGMAS = (0.005, math.radians(0.2), 0.005)  # of shift over depth, of turn, of log scale
STEPS, ROUNDS, STEPS_A_ROUND = 30, 8, 6
CAUCHY = (8.0, 4.0, 2.0)  # of the first rounds; 1 afterwards
REJECTED = 0.1  # weight below which a loop counts as false
SMALL = 1e-5  # angles and log scales below are taken by their limits
FREE = range(7)  # of a similarity: shift, turn, log scale

Rows = list[tuple[int, np.ndarray]]  # of a loop: a window, and (7, 7)


@dataclass(frozen=True, eq=False)
class Edge:
    """``to`` brings window ``i`` into the gauge of window ``j``.

    Args:
        sigmas: how sure: shift in units of window j, turn in radians, log scale.
        loop: whether it may be false.
    """

    i: int
    j: int
    to: Similarity
    sigmas: tuple[float, float, float] = (1.0, 1.0, 1.0)
    loop: bool = False


@dataclass(frozen=True, eq=False)
class Solved:
    """Windows in the gauge of the first, and what each loop weighs in the end, in their order.

    ``drift``: how many times as unsure links are as their sigmas say, as loops tell.
    """

    windows: list[Similarity]
    weights: list[float]
    cost: float
    drift: float = 1.0


def chain(links: Sequence[Similarity], first: Similarity) -> list[Similarity]:
    """Windows in one gauge, each by its link to the one before."""
    found = [first]
    for link in links:
        found.append(found[-1].after(link))
    return found


def close_loops(
    windows: Sequence[Similarity],
    edges: Sequence[Edge],
    robust: bool = True,
) -> Solved:
    """Bring windows to agree with all edges; the first stays where it is.

    Args:
        windows: a start, as of ``chain``.
        edges: a link from each window but the first to the one before it; and loops.
        robust: weigh loops in rounds; False: squares.
    """
    found, loops = list(windows), [edge for edge in edges if edge.loop]
    weights = np.ones(len(loops))
    if not robust or not loops:
        found, cost = _minimised(found, edges, weights, STEPS)
        return Solved(found, weights.tolist(), cost)
    cost = 0.0
    for round_ in range(ROUNDS):
        width = CAUCHY[round_] if round_ < len(CAUCHY) else 1.0
        weights = np.array([_cauchy(residual(edge, found), edge, width) for edge in loops])
        found, cost = _minimised(found, edges, weights, STEPS_A_ROUND)
    return Solved(found, weights.tolist(), cost)


def loosened(edge: Edge, times: float) -> Edge:
    """The same edge, so many times as unsure."""
    shift, turn, scale = edge.sigmas
    return replace(edge, sigmas=(times * shift, times * turn, times * scale))


def gap_covariance(
    windows: Sequence[Similarity], edges: Sequence[Edge], among: Sequence[Edge]
) -> np.ndarray:
    """How far L other edges may be off by what all edges leave open: (L, 7, L, 7).

    Args:
        windows: that agree with ``edges``. among: edges that are asked about.
    """
    diagonal, below, _, rows = _normal(windows, edges, np.ones(len(edges)))
    count, wide = len(diagonal), len(FREE) * len(among)
    columns = np.zeros((count, len(FREE), wide))
    for number, edge in enumerate(among):
        _, to_i, to_j = _jacobians(edge, windows)
        own = slice(len(FREE) * number, len(FREE) * (number + 1))
        for at, jacobian in ((edge.i - 1, to_i), (edge.j - 1, to_j)):
            if at >= 0:
                columns[at][:, own] += jacobian.T
    answers = _solved(diagonal, below, columns, rows).reshape(-1, wide)
    found = columns.reshape(-1, wide).T @ answers
    return np.asarray(found.reshape(len(among), len(FREE), len(among), len(FREE)))


def residual(edge: Edge, windows: Sequence[Similarity]) -> np.ndarray:
    """By what an edge is off: (tau, omega, sigma)."""
    return log_similarity(_gap(edge, windows))


def exp_similarity(x: np.ndarray) -> Similarity:
    """(tau, omega, sigma) to a similarity: the exponential of its 4 x 4 matrix."""
    tau, omega, sigma = x[:3], x[3:6], float(x[6])
    k = _cross(omega)
    theta = float(np.linalg.norm(omega))
    sine, cosine = _turning(theta)
    rotation = np.eye(3) + sine * k + cosine * k @ k
    return Similarity(rotation, _spread(theta, sigma, k) @ tau, math.exp(sigma))


def log_similarity(one: Similarity) -> np.ndarray:
    """The inverse of ``exp_similarity``: (7,); turns of up to half a circle."""
    omega, sigma = _turn_of(one.rotation), math.log(one.scale)
    spread = _spread(float(np.linalg.norm(omega)), sigma, _cross(omega))
    return np.array([*np.linalg.solve(spread, one.translation), *omega, sigma])


def _gap(edge: Edge, windows: Sequence[Similarity]) -> Similarity:
    return edge.to.after(windows[edge.i].inverse()).after(windows[edge.j])


def _cauchy(off: np.ndarray, edge: Edge, width: float) -> float:
    return 1 / (1 + float((off**2 * _information(edge)).sum()) / (len(FREE) * width**2))


def _information(edge: Edge) -> np.ndarray:
    shift, turn, scale = edge.sigmas
    return 1 / np.square([shift, shift, shift, turn, turn, turn, scale])


def _minimised(
    windows: list[Similarity], edges: Sequence[Edge], weights: np.ndarray, steps: int
) -> tuple[list[Similarity], float]:
    """Levenberg and Marquardt's steps from a start; what came out, and its cost."""
    damping, cost = 1e-6, _cost(windows, edges, weights)
    for _ in range(steps):
        step = _step(windows, edges, weights, damping)
        moved = [windows[0]] + [exp_similarity(x).after(one) for x, one in zip(step, windows[1:])]
        fresh = _cost(moved, edges, weights)
        if fresh < cost:
            done = cost - fresh <= 1e-12 * cost
            windows, cost, damping = moved, fresh, damping / 2
            if done:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return windows, cost


def _cost(windows: Sequence[Similarity], edges: Sequence[Edge], weights: np.ndarray) -> float:
    total, loop = 0.0, 0
    for edge in edges:
        value = float((residual(edge, windows) ** 2 * _information(edge)).sum())
        if edge.loop:
            value, loop = value * float(weights[loop]), loop + 1
        total += value
    return total


def _step(
    windows: Sequence[Similarity], edges: Sequence[Edge], weights: np.ndarray, damping: float
) -> np.ndarray:
    """(K - 1, 7). The chain's normal equations are block tridiagonal; a loop adds seven rows."""
    diagonal, below, right, rows = _normal(windows, edges, weights)
    eye = np.arange(len(FREE))
    whole = diagonal[:, eye, eye].copy()
    for row in rows:
        for at, jacobian in row:
            whole[at] += (jacobian**2).sum(0)
    diagonal[:, eye, eye] += damping * whole
    return _solved(diagonal, below, right[:, :, None], rows)[:, :, 0]


def _normal(
    windows: Sequence[Similarity], edges: Sequence[Edge], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Rows]]:
    """The normal equations: blocks on and below the diagonal, the right side, rows of loops."""
    count = len(windows) - 1
    diagonal, below = np.zeros((count, 7, 7)), np.zeros((max(count - 1, 0), 7, 7))
    right, rows, loop = np.zeros((count, 7)), list[Rows](), 0
    for edge in edges:
        off, to_i, to_j = _jacobians(edge, windows)
        information = _information(edge)
        if edge.loop:
            information, loop = information * weights[loop], loop + 1
        parts = [(edge.i - 1, to_i), (edge.j - 1, to_j)]
        for at, jacobian in parts:
            if at >= 0:
                right[at] -= jacobian.T @ (information * off)
        if edge.loop:
            root = np.sqrt(information)[:, None]
            rows.append([(at, root * jacobian) for at, jacobian in parts if at >= 0])
            continue
        for at, jacobian in parts:
            if at >= 0:
                diagonal[at] += jacobian.T @ (information[:, None] * jacobian)
        if edge.i > 1:
            below[edge.i - 2] += to_i.T @ (information[:, None] * to_j)
    return diagonal, below, right, rows


def _solved(
    diagonal: np.ndarray, below: np.ndarray, right: np.ndarray, rows: Sequence[Rows]
) -> np.ndarray:
    """(H + U'U) x = right (K - 1, 7, R): H block tridiagonal, U the rows of loops (Woodbury)."""
    (count, free, own), wide = right.shape, 7 * len(rows)
    columns = np.zeros((count, free, own + wide))
    columns[:, :, :own] = right
    for number, row in enumerate(rows):
        for at, jacobian in row:
            columns[at][:, own + 7 * number : own + 7 * number + 7] += jacobian.T
    answers = _through_chain(diagonal, below, columns)
    if not rows:
        return answers
    u, z = (part.reshape(7 * count, -1) for part in (columns[:, :, own:], answers))
    small = np.eye(wide) + u.T @ z[:, own:]
    z = z[:, :own] - z[:, own:] @ np.linalg.solve(small, u.T @ z[:, :own])
    return np.asarray(z.reshape(right.shape))


def _through_chain(diagonal: np.ndarray, below: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Gauss's elimination of blocks, down and up; ``below[k]`` stands at (k + 1, k)."""
    count = len(diagonal)
    pivots, values = diagonal.copy(), columns.copy()
    for at in range(1, count):
        factor = np.linalg.solve(pivots[at - 1].T, below[at - 1].T).T
        pivots[at] -= factor @ below[at - 1].T
        values[at] -= factor @ values[at - 1]
    for at in range(count - 1, -1, -1):
        if at + 1 < count:
            values[at] -= below[at].T @ values[at + 1]
        values[at] = np.linalg.solve(pivots[at], values[at])
    return values


def _jacobians(
    edge: Edge, windows: Sequence[Similarity]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The residual, and its derivatives by steps of window i and of window j: (7, 7) each."""
    off = residual(edge, windows)
    ad = _small_adjoint(off)
    left = np.eye(7) - ad / 2 + ad @ ad / 12
    to_j = left @ _adjoint(edge.to.after(windows[edge.i].inverse()))
    return off, -to_j, to_j


def _adjoint(one: Similarity) -> np.ndarray:
    found = np.zeros((7, 7))
    found[:3, :3], found[:3, 3:6] = one.scale * one.rotation, _cross(one.translation) @ one.rotation
    found[:3, 6], found[3:6, 3:6], found[6, 6] = -one.translation, one.rotation, 1
    return found


def _small_adjoint(x: np.ndarray) -> np.ndarray:
    found = np.zeros((7, 7))
    turn = _cross(x[3:6])
    found[:3, :3], found[:3, 3:6] = x[6] * np.eye(3) + turn, _cross(x[:3])
    found[:3, 6], found[3:6, 3:6] = -x[:3], turn
    return found


def _cross(v: np.ndarray) -> np.ndarray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def _turning(theta: float) -> tuple[float, float]:
    """sin(theta) / theta and (1 - cos(theta)) / theta^2."""
    if theta < SMALL:
        return 1 - theta**2 / 6, 0.5 - theta**2 / 24
    return math.sin(theta) / theta, (1 - math.cos(theta)) / theta**2


def _spread(theta: float, sigma: float, k: np.ndarray) -> np.ndarray:
    """What tau is multiplied by: the integral of exp(u (sigma I + K)) over u from 0 to 1."""
    grown = math.expm1(sigma) / sigma if abs(sigma) > 1e-12 else 1 + sigma / 2
    if theta < SMALL:
        if abs(sigma) < SMALL:
            a, b = 0.5 + sigma / 3, 1 / 6 + sigma / 8
        else:
            e = math.exp(sigma)
            a = (e * (sigma - 1) + 1) / sigma**2
            b = (e * (sigma**2 / 2 - sigma + 1) - 1) / sigma**3
            if abs(sigma) < 1e-3:  # the exact words cancel
                a, b = 0.5 + sigma / 3 + sigma**2 / 8, 1 / 6 + sigma / 8 + sigma**2 / 20
        return grown * np.eye(3) + a * k + b * k @ k
    e = math.exp(sigma)
    p, q, d = e * math.sin(theta), e * math.cos(theta), theta**2 + sigma**2
    a = (p * sigma + (1 - q) * theta) / (theta * d)
    b = (grown - ((q - 1) * sigma + p * theta) / d) / theta**2
    return grown * np.eye(3) + a * k + b * k @ k


def _turn_of(rotation: np.ndarray) -> np.ndarray:
    """A rotation's vector, for any angle."""
    twice = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine, cosine = np.linalg.norm(twice) / 2, (np.trace(rotation) - 1) / 2
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        return np.asarray(twice / (2 * sine) * angle)
    if cosine > 0:
        return np.asarray(twice / 2)
    square = (rotation + np.eye(3)) / 2  # half a circle: the axis's products with itself
    axis = square[:, int(np.argmax(np.diag(square)))]
    return np.asarray(axis / np.linalg.norm(axis) * angle)
