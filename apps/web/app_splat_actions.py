"""What the controls of the tab of splats do: a viewer, and videos of flights through them.

Values of controls in; values of controls out. Splats were found with the scene; no network is run.
"""

import html
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import gradio as gr

from apps.web.app_engine import Engine, Stopped
from apps.web.app_said import said
from apps.web.app_sessions import Session, Sessions
from apps.web.app_splats import FilmAsked, films_in, make_film, splats_frame
from apps.web.app_words import in_thread

ASK = "Tick <i>Infer 3D Gaussian Splatting</i> below, and press <i>Reconstruct</i>."


class SplatActions:
    """The controls' work.

    Args:
        engine: who computes; it says whether there can be splats.
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine, self._sessions = engine, sessions

    def latest_film(self, session: Session) -> Any:
        """A video of the session's splats, if there is one."""
        films = films_in(session.folder)
        return gr.Video(str(films[-1]), visible=True) if films else self.no_film()

    def no_film(self) -> Any:
        """The place of a video before there is one."""
        return gr.Video(None, visible=False)

    def empty(self) -> str:
        """What the tab says before there are splats, or if there never will be."""
        return f"<p>{html.escape(self._engine.no_splats) or ASK}</p>"

    def shown(self, session: Session) -> str:
        """The splats of a session in a frame, or what would bring them."""
        scene = session.scene()
        if "gaussians" not in scene.gives:
            return self.empty()
        return splats_frame(self._sessions.workspace, session.folder, scene)

    @said
    def begin_film(self, key: Optional[str]) -> str:
        """Before a video waits in line: from now on it can be stopped."""
        self._sessions.find(key).stop_film.clear()
        return "Waits for its turn …"

    @said
    def film(
        self, key: Optional[str], trajectory: str, quality: str, small: bool, depth: bool
    ) -> Iterator[tuple[Any, str]]:
        """A flight through the splats: the video, log."""
        session, begun = self._sessions.find(key), time.perf_counter()
        asked = FilmAsked(trajectory, quality, bool(small), bool(depth))
        scene = session.scene()

        def work(told: Any) -> Path:
            return make_film(scene, session.folder, asked, told)

        try:
            for one in in_thread(session.stop_film, work):
                if isinstance(one, Path):
                    yield (
                        gr.Video(str(one), visible=True),
                        f"Made in {time.perf_counter() - begun:.1f} s.",
                    )
                else:
                    yield gr.skip(), f"{one} …"
        except Stopped:
            yield gr.skip(), "Cancelled."

    @said
    def stop_film(self, key: Optional[str]) -> str:
        """End a video at its next frame."""
        event: threading.Event = self._sessions.find(key).stop_film
        event.set()
        return "Stops at the next frame …"
