"""A video's depth as a video, by a model that finds cameras: a sequence, and no more kept of it.

A video and a model in; a file below a folder out. Whoever waits is told how far it is.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from apps.da3_progress import Progress, Step
from apps.scene_models import SceneModel
from apps.sequence_job import SequenceJob, run_sequence
from apps.sequence_results import VIDEO, Wanted
from apps.sequence_source import VideoSource
from apps.sequence_store import FOLDER

Told = Callable[[str], None]


class ToldProgress(Progress):
    """Progress as sentences."""

    def __init__(self, told: Told) -> None:
        super().__init__(quiet=True)
        self._told = told

    @contextlib.contextmanager
    def stage(self, name: str, unit: str, total: Optional[int] = None) -> Iterator[Step]:
        """As ``Progress.stage``."""
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self._told(f"{name}: {unit} {done} of about {total or '?'}")

        yield step


def make_sequence_video(video: Path, folder: Path, model: SceneModel, told: Told) -> Path:
    """Depth of all frames in one scale and one range of colours; errors as of ``run_sequence``.

    Args:
        folder: what is kept of the run on the way goes with its end; the video stays.
    """
    wanted = Wanted((), poses=False, cloud=False)
    job = SequenceJob(folder, wanted=wanted, preview_s=0)
    try:
        run_sequence(VideoSource(video), model, job, progress=ToldProgress(told))
    finally:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return folder / VIDEO
