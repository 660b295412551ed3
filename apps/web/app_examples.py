"""Example scenes found before the app starts, so that they are there at a click.

An app in; scenes kept beside the examples' photos out.
"""

import logging

from apps.web.app_actions import App
from apps.web.app_engine import HIGH, LOW, SceneAsked
from apps.web.app_words import photos_in
from exports.scene import scene_of
from exports.scene_files import asked_formats
from exports.write import write_scene
from runtime.errors import DepthError

PERCENTILE = 20.0  # upstream's

log = logging.getLogger("da3")


def cache_examples(app: App, splats_tag: str) -> None:
    """Reconstruct each example; one that fails is named, and left out.

    Args:
        splats_tag: examples with it in their names are found in full size, and with splats.
    """
    for folder in app.scene_examples():
        tagged = bool(splats_tag) and splats_tag.lower() in folder.name.lower()
        asked = SceneAsked(HIGH if tagged else LOW, tagged and not app.engine.no_splats)
        try:
            found = app.engine.scene(photos_in(folder), asked, lambda what: None)
            formats = "glb-gs_ply" if asked.splats else "glb"
            options = {"glb": {"conf_thresh_percentile": PERCENTILE}}
            scene = scene_of(found.scene, found.photos)
            target = app.gallery / "examples" / folder.name
            write_scene(scene, target, asked_formats(formats, options))
            log.info("%s: done, in the gallery", folder.name)
        except (DepthError, OSError) as error:
            log.warning("%s: left out (%s)", folder.name, error)
