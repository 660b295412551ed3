"""Which of several views the others are told from.

Class tokens of the views in; an index, and the order of the views that puts it first, out.
Source: Depth Anything 3 (Lin et al., 2025), its reference view selection.
"""

from collections.abc import Sequence

import numpy as np

from runtime.errors import InputError

STRATEGIES = ("saddle_balanced", "saddle_sim_range", "first", "middle")
DEFAULT_STRATEGY = STRATEGIES[0]
MIN_VIEWS = 3  # with fewer, the first view is the reference, whatever the strategy
SAME = 6  # decimals to which scores count as equal: of equals, the first view is taken


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that does not exist.

    Raises:
        InputError: it is none of ``STRATEGIES``.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"ref_view_strategy={strategy!r}: use one of {', '.join(STRATEGIES)}")


def choose_reference(class_tokens: np.ndarray, strategy: str = DEFAULT_STRATEGY) -> int:
    """Pick the reference view.

    Args:
        class_tokens: float (N, C), token 0 of every view before the views exchange information.
        strategy: ``saddle_balanced`` takes the view nearest to the middle of three measures
            (likeness to the others, length, variance), ``saddle_sim_range`` the one whose likeness
            to the others varies most, ``first`` and ``middle`` go by position.
    Raises:
        InputError: an unknown strategy.
    """
    check_strategy(strategy)
    views = len(class_tokens)
    if strategy == "first" or views == 1:
        return 0
    if strategy == "middle":
        return views // 2
    tokens = np.asarray(class_tokens, np.float64)
    length = np.linalg.norm(tokens, axis=1)
    unit = tokens / length[:, None]
    likeness = unit @ unit.T - np.eye(views)
    if strategy == "saddle_sim_range":
        return int(np.round(likeness.max(1) - likeness.min(1), SAME).argmax())
    measures = (likeness.sum(1) / (views - 1), length, unit.var(axis=1, ddof=1))
    off = np.zeros(views)
    for measure in measures:
        low, high = measure.min(), measure.max()
        off += np.abs((measure - low) / (high - low + 1e-8) - 0.5)
    return int(np.round(off, SAME).argmin())


def reference_first(views: int, reference: int) -> list[int]:
    """The order of ``views`` views that puts one first and keeps the others as they were."""
    return [reference, *(view for view in range(views) if view != reference)]


def references_first(views: int, references: Sequence[int]) -> list[int]:
    """``reference_first`` for scenes that follow each other, each of ``views`` views."""
    return [
        scene * views + view
        for scene, reference in enumerate(references)
        for view in reference_first(views, reference)
    ]
