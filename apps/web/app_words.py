"""What the app shows of what was found: words, pictures, and how far the work is.

Predictions, scenes and photos in; text and arrays out. Needs neither torch nor Gradio.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from apps.web.app_engine import Stopped
from exports.colour import colorize, stamp_warning
from exports.scene import Scene
from runtime.artifact.manifest import OutputSpec
from runtime.photo.decode import read_photo
from runtime.photo.find import is_photo
from runtime.predict.found import Prediction

THUMBNAIL = 320  # pixels of a side
LOOK_S = 0.1


def in_thread(stop: threading.Event, work: Callable[[Callable[[str], None]], Any]) -> Iterator[Any]:
    """Do some work beside this, and give what it says on the way, and its result at last.

    Args:
        stop: set by somebody who does not want to wait any more; whoever asks for the work clears
            it first.
    Raises:
        Stopped: somebody has stopped it, before it began or after; or what the work raises.
    """
    if stop.is_set():
        raise Stopped
    words: queue.Queue[str] = queue.Queue()
    ended: list[Any] = []

    def told(what: str) -> None:
        if stop.is_set():
            raise Stopped
        words.put(what)

    def run() -> None:
        try:
            ended.append(work(told))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S)
        latest = None
        while not words.empty():
            latest = words.get()
        if latest is not None:
            yield latest
    result = ended[0]
    if isinstance(result, BaseException):
        raise result
    yield result


def photos_in(folder: Path) -> list[Path]:
    """The photos directly in a folder."""
    return sorted(one for one in folder.iterdir() if one.is_file() and is_photo(one.name))


def thumbnail(photo: Path) -> np.ndarray:
    """A small picture of a photo."""
    rgb = read_photo(photo)
    scale = THUMBNAIL / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cast(np.ndarray, cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def painted(scene: Scene, view: int) -> np.ndarray:
    """A view's depth in colours."""
    found = scene.found
    depth = np.ascontiguousarray(found.depth[view], np.float32)
    picture = colorize(depth, OutputSpec(found.kind))
    stamp_warning(picture, None if found.provenance is None else found.provenance.warning)
    return picture


def meaning(found: Prediction) -> str:
    """What a photo's numbers are."""
    unit = "metres" if found.output.unit == "metre" else "relative, up to a scale"
    nearer = "larger is nearer" if found.output.larger_is_nearer else "larger is farther"
    facts = found.provenance
    warning = f"**{facts.warning}.** " if facts.warning else ""
    low, high = found.value_range
    return (
        f"{warning}{found.output.kind}: {unit}, {nearer}, {low:.3g} to {high:.3g}. "
        f"{facts.model}, licence {facts.licence}."
    )


def scene_meaning(scene: Scene) -> str:
    """What a scene's numbers are."""
    found = scene.found
    facts = found.provenance
    unit = "in metres" if found.unit == "metre" else "relative: not metric"
    warning = f"**{facts.warning}.** " if facts is not None and facts.warning else ""
    model = f" {facts.model}, licence {facts.licence}." if facts is not None else ""
    return f"{warning}{scene.views} views, lengths {unit}.{model}"
