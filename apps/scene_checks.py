"""What is refused of a model before its weights are read: a licence, too much memory."""

import os

from apps.scene_models import SceneModel
from runtime.errors import InputError, LimitError
from runtime.predict.choose import needs_consent

ROOM = 0.9  # of what is free that a scene may take


def refuse_licence(model: SceneModel) -> None:
    """Refuse weights that forbid commercial use, if nothing else is allowed.

    Raises:
        InputError: ``COMMERCIAL_ONLY=1``, and they do.
    """
    if os.environ.get("COMMERCIAL_ONLY") == "1" and needs_consent(model.licence):
        raise InputError(
            f"{model.name}: its weights' licence is {model.licence}, and COMMERCIAL_ONLY=1; use "
            "da3-small, da3-base, da3mono-large or da3metric-large"
        )


def refuse_large_windows(
    model: SceneModel, views: int, size_hw: tuple[int, int], copies: int = 1
) -> None:
    """Refuse windows that take more memory than there is, so many at a time.

    Raises:
        LimitError: says how many frames would fit.
    """
    needed, free = model.needed_bytes(views, [size_hw], False), model.free_bytes()
    if needed is None or free is None or copies * needed <= ROOM * free:
        return
    from apps.scene_memory import most_that_fit

    def bytes_of(count: int) -> int:
        return model.needed_bytes(count, [size_hw], False) or 0

    fits = most_that_fit(int(ROOM * free / copies), views, bytes_of)
    help_ = f"--views {fits}" if fits > 1 else "a smaller --process-res"
    help_ = help_ if copies == 1 else f"{help_}, or fewer than {copies} workers of a device"
    raise LimitError(
        f"windows of {views} frames take about {copies * needed / 2**30:.1f} GiB, and there are "
        f"{ROOM * free / 2**30:.1f} to take; use {help_}"
    )
