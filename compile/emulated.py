"""The emulation of casts for any model of the table: one question, whatever its graphs are.

A model, photos and numbers of views in; errors, their table and a recommendation out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from torch import nn
from tqdm import tqdm

from compile import numerics, numerics_da3
from compile.numerics import MEAN_TOLERANCE, MODES, PEARSON_TOLERANCE, ModeError
from compile.numerics_da3 import CameraError, StageError
from compile.registry import ModelSpec
from depth_anything_3.model import DepthAnything3Net
from runtime.errors import InputError

VIEWS = (1, 3)  # of any-view models, unless told: from three on the host chooses a reference


@dataclass(frozen=True)
class Emulated:
    """What was found: errors of single photos, or of scenes."""

    photos: tuple[ModeError, ...] = ()
    stages: tuple[StageError, ...] = ()
    cameras: tuple[CameraError, ...] = ()

    def recommended(
        self, mean: Optional[float] = None, pearson: Optional[float] = None
    ) -> Optional[str]:
        """The fastest mode within the tolerance, by default ours; None if there is none."""
        limits = (mean or MEAN_TOLERANCE, pearson or PEARSON_TOLERANCE)
        if self.stages:
            return numerics_da3.recommend_scene(self.stages, *limits)
        best = numerics.recommend(self.photos, *limits)
        return best.mode if best else None

    def asked(self, mean: Optional[float] = None, pearson: Optional[float] = None) -> str:
        """The tolerance, in words."""
        share, least = mean or MEAN_TOLERANCE, pearson or PEARSON_TOLERANCE
        what = "depth of the whole within" if self.stages else ""
        limits = f"mean <= {share:.1%} of the range and correlation >= {least}"
        return f"{what} {limits} on every {'scene' if self.stages else 'photo'}".strip()

    def table(self) -> str:
        """Markdown."""
        if self.stages:
            return numerics_da3.scene_table(self.stages, self.cameras)
        return numerics.table(self.photos)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        if self.stages:
            return numerics_da3.scene_facts(self.stages, self.cameras)
        return {"modes": [asdict(error) for error in self.photos]}


def emulate(
    spec: ModelSpec,
    model: nn.Module,
    size_hw: tuple[int, int],
    photos: Sequence[Path],
    views: Optional[Sequence[int]] = None,
    device: str = "cpu",
) -> Emulated:
    """Emulate every mode.

    Args:
        model: with its weights.
        views: of a scene, one emulation each; any-view models only, by default ``VIEWS``.
    Raises:
        InputError: too few photos for a scene, or a device that scenes do not run on.
    """
    modes = list(MODES)
    if not spec.any_view:
        bar = tqdm(modes, unit="mode", disable=not sys.stderr.isatty())
        found = numerics.measure_model(model, size_hw, photos, spec.output, bar, device)
        return Emulated(photos=tuple(found))
    if device != "cpu":
        raise InputError(f"--device {device}: scenes are emulated on the CPU only")
    assert isinstance(model, DepthAnything3Net)
    stages: list[StageError] = []
    cameras: list[CameraError] = []
    for count in dict.fromkeys(views or VIEWS):
        bar = tqdm(modes, unit="mode", desc=f"{count} views", disable=not sys.stderr.isatty())
        parts = numerics_da3.measure_scenes(model, size_hw, photos, count, bar)
        stages += parts[0]
        cameras += parts[1]
    return Emulated(stages=tuple(stages), cameras=tuple(cameras))
