"""Example scenes of the app: folders of photos, and what was found of them before the start.

A folder of folders in; scenes that are there at a click out. One that was found already, of the
same photos and by the same model, is not found again.
"""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.web.app_engine import HIGH, LOW, Engine, FoundScene, SceneAsked
from apps.web.app_kept import read_found, write_found
from apps.web.app_splats import FilmAsked, films_in, make_film
from apps.web.app_words import photos_in, thumbnail
from exports.scene import scene_of
from runtime.errors import DepthError
from runtime.files import write_whole

KEPT, OF = "examples_found", "of.json"
Thumbnail = tuple[np.ndarray, str]  # a picture, and what stands below it

log = logging.getLogger("da3")


class Examples:
    """Folders of photos, each of one scene.

    Args:
        root: of the folders; it need not be there. It is read once.
        workspace: where what is found of them is kept.
        engine: who finds it.

    Attributes:
        folders: those with photos, by name.
        thumbnails: the first photo of each, its name, and how many.
    """

    def __init__(self, root: Path, workspace: Path, engine: Engine) -> None:
        self._kept, self._engine = workspace / KEPT, engine
        self._scenes: dict[str, tuple[dict[str, Any], FoundScene]] = {}  # with what each is of
        self._lock = threading.Lock()
        named = list(_with_photos(root))
        self.folders = [folder for folder, _ in named]
        self.thumbnails = [shown for _, shown in named]

    def found(self, folder: Path) -> Optional[tuple[FoundScene, list[Path]]]:
        """What was found of an example, and its videos.

        The scene is the same object each time: it is in memory once, and nobody may change it.
        None: nothing was found, or of other photos, or by another model.
        """
        kept = self._kept / folder.name
        with self._lock:
            of = _read(kept / OF)
            if (of.get("by"), of.get("photos")) != (self._engine.about, _photos(folder)):
                self._scenes.pop(folder.name, None)
                return None
            known, scene = self._scenes.get(folder.name, ({}, None))
            if scene is None or known != of:
                scene = read_found(kept)
            if scene is None:
                return None
            self._scenes[folder.name] = of, scene
        return scene, films_in(kept)

    def find_all(self, splats_tag: str = "") -> None:
        """Find each that was not found yet; one that fails is named, and left out.

        Args:
            splats_tag: examples with it in their names are found in full size, and with splats and
                a video of them.
        """
        for folder in self.folders:
            tagged = bool(splats_tag) and splats_tag.lower() in folder.name.lower()
            try:
                self._find(folder, SceneAsked(HIGH if tagged else LOW, tagged and self._splats))
            except (DepthError, OSError, MemoryError) as error:
                log.warning("%s: left out (%s)", folder.name, error)

    @property
    def _splats(self) -> bool:
        return not self._engine.no_splats

    def _find(self, folder: Path, asked: SceneAsked) -> None:
        kept = self._kept / folder.name
        of = {"by": self._engine.about, "asked": asdict(asked), "photos": _photos(folder)}
        if _read(kept / OF) == of and read_found(kept) is not None:
            log.info("%s: found before", folder.name)
            return
        log.info("%s: is being found", folder.name)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / OF).unlink(missing_ok=True)
        photos = photos_in(folder)
        self._engine.check(photos, asked)
        found = write_found(self._engine.scene(photos, asked, _quietly), kept)
        if asked.splats:
            make_film(scene_of(found.scene, found.photos), kept, FilmAsked(small=False), _quietly)
        write_whole(kept / OF, json.dumps(of, indent=2).encode())
        log.info("%s: done", folder.name)


def _with_photos(root: Path) -> Iterator[tuple[Path, Thumbnail]]:
    """Folders with photos, and what is shown of each; a first photo must be readable."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            photos = photos_in(folder) if folder.is_dir() else []
            if photos:
                yield folder, (thumbnail(photos[0]), f"{folder.name}: {len(photos)} photos")
        except (DepthError, OSError) as error:
            log.warning("%s: left out (%s)", folder.name, error)


def _quietly(what: str) -> None:
    log.debug("%s", what)


def _photos(folder: Path) -> list[list[Any]]:
    """Names, sizes and times: what tells photos from others."""
    files = [(photo.name, photo.stat()) for photo in photos_in(folder)]
    return [[name, facts.st_size, facts.st_mtime_ns] for name, facts in files]


def _read(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
