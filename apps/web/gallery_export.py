"""A gallery as files that open from the disk: a folder, or one page that holds everything.

A gallery's folder in; files out. A page that lies on the disk may not read other files, so what is
drawn comes as scripts: beside the page, or in it.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from apps.web.gallery import Shown, group_manifest, groups_in, manifest, scenes_in
from apps.web.gallery_routes import OURS
from apps.web.look import PAGE_POLICY, read_text
from runtime.errors import InputError
from runtime.files import write_whole
from serve.http.viewers import VIEWERS, viewer_bytes

PAGE, PLACE = "index.html", "<!--data-->"
AS_SCRIPTS = (".glb", ".ply")  # what a page reads, rather than shows
STEP = 3 << 18  # a multiple of three: pieces of base64 join
ONE_PAGE = (".html", ".htm")


def export_gallery(root: Path, target: Path) -> Iterator[Path]:
    """Write a gallery; each file is told once it is there.

    Args:
        target: a page, if it ends in .html; else a folder, whose other files stay.
    Raises:
        InputError: there is no scene, or the target lies in the gallery.
        OSError: the disk refuses.
    """
    groups = groups_in(root)
    if not groups:
        raise InputError(f"{root}: no scene in it; a scene is a folder with scene.glb")
    if root.resolve() in (target.resolve(), *target.resolve().parents):
        raise InputError(f"--export {target}: lies in the gallery; name another place")
    scenes = [scene for group in groups for scene in scenes_in(root, group)]
    facts = {"json": _manifests(root, groups, scenes)}
    if target.suffix.lower() in ONE_PAGE:
        write_whole(target, _one_page(root, scenes, facts))
        yield target
        return
    for scene in scenes:
        for name in scene.files():
            source, copy = root / name, target / name
            write_whole(copy, _blocks(source))
            yield copy
            if name.endswith(AS_SCRIPTS):
                write_whole(target / f"{name}.js", _as_script(source, quote(name)))
                yield target / f"{name}.js"
    for name in VIEWERS:
        write_whole(target / OURS / name, viewer_bytes(name))
        yield target / OURS / name
    page = _page(f"<script>window.GALLERY = {_in_script(facts)};</script>")
    write_whole(target / PAGE, page.encode())
    yield target / PAGE


def _manifests(root: Path, groups: list[str], scenes: list[Shown]) -> dict[str, Any]:
    """What the page would ask for: address -> JSON."""
    found: dict[str, Any] = {"manifest.json": manifest(root)}
    for group in groups:
        # as encodeURIComponent writes it
        address = f"manifest/{quote(group, safe=chr(39) + '!()*~')}.json"
        found[address] = group_manifest(root, group)
    for scene in scenes:
        if scene.description is not None:
            name = f"{scene.folder}/{scene.description}"
            try:
                found[quote(name)] = json.loads((root / name).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                found[quote(name)] = {"scene.json": "damaged"}
    return found


def _page(before: str) -> str:
    policy = PAGE_POLICY.replace("'self'", "'self' file:").replace(
        "frame-ancestors 'self' file:; ", ""
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page = read_text("gallery.html")
    return page.replace("<meta charset", f"{head}\n<meta charset", 1).replace(PLACE, before, 1)


def _one_page(root: Path, scenes: list[Shown], facts: dict[str, Any]) -> Iterator[bytes]:
    """The page with all files in it, in blocks: it can be large."""
    names = [name for scene in scenes for name in scene.files() if not name.endswith(".json")]
    tools = ["points.js"] * any(scene.model for scene in scenes)
    tools += ["splats.js"] * any(scene.splats for scene in scenes)
    before, after = _page(PLACE).split(PLACE, 1)
    yield before.encode()
    for tool in tools:
        yield b"<script>" + viewer_bytes(tool).replace(b"</script", b"<\\/script") + b"</script>\n"
    yield f"<script>window.GALLERY = {_in_script(facts)}; GALLERY.files = {{\n".encode()
    for name in names:
        yield f"{_in_script(quote(name))}: '".encode()
        yield from _base64(root / name)
        yield b"',\n"
    yield b"};</script>"
    yield after.encode()


def _as_script(source: Path, address: str) -> Iterator[bytes]:
    yield f"GALLERY_DATA({_in_script(address)}, '".encode()
    yield from _base64(source)
    yield b"');\n"


def _base64(source: Path) -> Iterator[bytes]:
    return map(base64.b64encode, _blocks(source))


def _blocks(source: Path) -> Iterable[bytes]:
    with source.open("rb") as data:
        while block := data.read(STEP):
            yield block


def _in_script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
