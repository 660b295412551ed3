"""A point cloud on the app's page, in the viewer of the gallery: it draws only when it must.

A file that Gradio may give out in; HTML with a frame of its own out. Splats are shown so too.
"""

import html
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from runtime.files import write_whole

VIEWERS = ("points.js", "splats.js")
FOLDER = "viewer"
HEIGHT = 560  # pixels
NOTHING = '<div style="height: 8rem; display: grid; place-items: center">No cloud yet.</div>'


def lay_out_viewer(workspace: Path) -> None:
    """Put the viewers where Gradio may give them out, as they are now."""
    for name in VIEWERS:
        data = resources.files("serve.http").joinpath("viewers").joinpath(name).read_bytes()
        write_whole(workspace / FOLDER / name, data)


def cloud_frame(workspace: Path, file: Path, unit: str, scene: str) -> str:
    """A frame that shows a GLB file.

    Args:
        unit: of its coordinates: ``metre``, or else relative.
        scene: whose file it is; another of the same is seen from where one stood.
    """
    values = {
        "viewer": address_of(workspace / FOLDER / "points.js"),
        "file": address_of(file),
        "unit": unit,
        "scene": scene,
    }
    return frame("Point cloud and cameras", "cloud.html", values)


def frame(title: str, page: str, values: Mapping[str, str]) -> str:
    """A page of this folder in a frame of its own.

    Args:
        values: by the names that stand in the page as ``%name%``.
    """
    text = resources.files("apps.web").joinpath(page).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"%{name}%", html.escape(value))
    style = f"width: 100%; height: {HEIGHT}px; border: 0; border-radius: 8px"
    return f'<iframe title="{title}" style="{style}" srcdoc="{html.escape(text)}"></iframe>'


def address_of(file: Path) -> str:
    """Where Gradio gives a file out, from its page."""
    return f"gradio_api/file={quote(str(file))}"
