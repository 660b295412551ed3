"""A point cloud on the app's page, in the viewer of the gallery: it draws only when it must.

A file that Gradio may give out in; HTML with a frame of its own out.
"""

import html
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from runtime.files import write_whole

VIEWER, FOLDER = "points.js", "viewer"
HEIGHT = 560  # pixels
NOTHING = '<div style="height: 8rem; display: grid; place-items: center">No cloud yet.</div>'


def lay_out_viewer(workspace: Path) -> None:
    """Put the viewer where Gradio may give it out."""
    data = resources.files("serve.http").joinpath("viewers").joinpath(VIEWER).read_bytes()
    write_whole(workspace / FOLDER / VIEWER, data)


def cloud_frame(workspace: Path, file: Path, unit: str, scene: str) -> str:
    """A frame that shows a GLB file.

    Args:
        unit: of its coordinates: ``metre``, or else relative.
        scene: whose file it is; another of the same is seen from where one stood.
    """
    page = resources.files("apps.web").joinpath("cloud.html").read_text(encoding="utf-8")
    for name, value in (
        ("viewer", address_of(workspace / FOLDER / VIEWER)),
        ("file", address_of(file)),
        ("unit", unit),
        ("scene", scene),
    ):
        page = page.replace(f"%{name}%", html.escape(value))
    frame = f"width: 100%; height: {HEIGHT}px; border: 0; border-radius: 8px"
    shown = html.escape(page)
    return f'<iframe title="Point cloud and cameras" style="{frame}" srcdoc="{shown}"></iframe>'


def address_of(file: Path) -> str:
    """Where Gradio gives a file out, from its page."""
    return f"gradio_api/file={quote(str(file))}"
