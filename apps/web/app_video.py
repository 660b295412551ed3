"""One video of the app: its depth as a video, and how far it is.

A video and a model in three stages in; a file out. Needs neither torch nor Gradio.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional

from apps.estimators import Stages
from apps.video import VideoJob, make_video
from apps.video_sources import Source
from apps.web.app_engine import Told

NAME = "depth"


def make_depth_video(video: Path, folder: Path, stages: Stages, key: str, told: Told) -> Path:
    """A video's depth as a video below a folder; errors as of ``make_video``."""

    def track(items: Iterable[Any], what: str, total: Optional[int]) -> Iterator[Any]:
        for count, item in enumerate(items, start=1):
            told(f"{what}: frame {count} of about {total or '?'}")
            yield item

    source = Source(video, folder / NAME)
    make_video(source, stages, key, VideoJob(), track)
    return source.video
