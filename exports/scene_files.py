"""The formats of a scene: their names, what each needs, and the files that they make.

Names and options in, refused before any work if they cannot be; a ``Scene`` in, file names and
blocks of bytes out, ``scene.json`` last. The same formats give the same bytes in any order.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from exports import (
    depth_vis,
    scene_colmap,
    scene_features,
    scene_glb,
    scene_npz,
    scene_ply,
    scene_splat_video,
    scene_splats,
)
from exports.scene import WHAT, Frame, Scene
from exports.selection import CloudOptions
from runtime.errors import InputError

DESCRIPTION = "scene.json"
Files = Iterator[tuple[str, Iterable[bytes]]]


@dataclass(frozen=True)
class SceneFormat:
    """One format.

    Args:
        options: their class.
        encode: a scene and options to file names and blocks of bytes.
        needs: of ``exports.scene.WHAT``.
        holds: what is in it, for the description.
        frame: where its coordinates are; None: it has none.
        grid: which pixels it is about.
        check: refuses what cannot be written of a scene, before anything is.
        ready: refuses what cannot be written here, or of so many views, before any work.
    """

    name: str
    options: Any
    encode: Callable[[Scene, Any], Files]
    needs: tuple[str, ...]
    holds: str
    frame: Optional[Callable[[Scene, Any], Frame]] = None
    grid: str = "model"
    check: Optional[Callable[[Scene, Any], None]] = None
    ready: Optional[Callable[[Any, Optional[int]], None]] = None


def _world(scene: Scene, options: Any) -> Frame:
    return Frame()


ROWS = (
    SceneFormat(
        "mini_npz", scene_npz.NpzOptions, scene_npz.encode_mini, (), "depth, conf, cameras", _world
    ),
    SceneFormat(
        "npz",
        scene_npz.NpzOptions,
        scene_npz.encode_npz,
        ("images",),
        "images, depth, conf, cameras",
        _world,
    ),
    SceneFormat(
        "glb",
        scene_glb.GlbOptions,
        scene_glb.encode,
        ("images", "cameras"),
        "points with colours, camera pyramids",
        scene_glb.frame_of,
    ),
    SceneFormat(
        "ply",
        scene_ply.PlyOptions,
        scene_ply.encode,
        ("images", "cameras"),
        "the points of glb: x, y, z, colours, confidence",
        _world,
    ),
    SceneFormat(
        "colmap",
        scene_colmap.ColmapOptions,
        scene_colmap.encode,
        ("photos", "images", "cameras"),
        "cameras, images, points and tracks",
        _world,
        "photo",
        scene_colmap.check,
    ),
    SceneFormat(
        "gs_ply",
        scene_splats.GsPlyOptions,
        scene_splats.encode,
        ("gaussians",),
        "Gaussian splats",
        scene_splats.frame_of,
        check=scene_splats.check,
    ),
    SceneFormat(
        "gs_video",
        scene_splat_video.GsVideoOptions,
        scene_splat_video.encode,
        ("gaussians", "cameras"),
        "a flight through Gaussian splats",
        check=scene_splat_video.check,
        ready=scene_splat_video.check_ready,
    ),
    SceneFormat(
        "depth_vis",
        depth_vis.DepthVisOptions,
        depth_vis.encode,
        ("images",),
        "image | depth, near is red",
    ),
    SceneFormat(
        "feat_vis",
        scene_features.FeatVisOptions,
        scene_features.encode,
        ("images", "features"),
        "image | features",
        check=scene_features.check,
        ready=scene_features.check_ready,
    ),
)
SCENE_FORMATS = {row.name: row for row in ROWS}
CLOUDS = ("glb", "ply")  # hold the same points, so one's options are the other's
Asked = dict[str, Any]  # format -> its options, in the order of ``ROWS``


def asked_formats(
    formats: Union[str, Sequence[str]], given: Optional[Mapping[str, Mapping[str, Any]]] = None
) -> Asked:
    """Check names and options before any work.

    Args:
        formats: names, or one text of them joined by ``-``.
        given: format -> its options by name.
    Raises:
        InputError: an unknown format or option, or one that checks itself and fails.
    """
    names = formats.split("-") if isinstance(formats, str) else list(formats)
    for name in names:
        if name not in SCENE_FORMATS:
            raise InputError(
                f"Unsupported export format: {name!r}; use some of {', '.join(SCENE_FORMATS)}, "
                "joined by '-'"
            )
    own = {name: dict(options or {}) for name, options in (given or {}).items()}
    strange = [name for name in own if name not in SCENE_FORMATS]
    if strange:
        raise InputError(f"options for {', '.join(strange)}: use {', '.join(SCENE_FORMATS)}")
    _share_between_clouds(own)
    options = {row.name: _options(row, own.get(row.name, {})) for row in ROWS}
    return {name: checked for name, checked in options.items() if name in names}


def _share_between_clouds(given: dict[str, dict[str, Any]]) -> None:
    shared = {field.name for field in dataclasses.fields(CloudOptions)}
    for name, other in (CLOUDS, CLOUDS[::-1]):
        if name not in given and other in given:
            given[name] = {key: value for key, value in given[other].items() if key in shared}


def _options(row: SceneFormat, given: Mapping[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(row.options)]
    strange = [name for name in given if name not in known]
    if strange:
        raise InputError(
            f"{row.name}: no option {', '.join(strange)}; it has {', '.join(known) or 'none'}"
        )
    return row.options(**given)


def refuse_impossible(asked: Asked, gives: Iterable[str], views: Optional[int] = None) -> None:
    """Refuse formats that need what there will not be.

    Args:
        gives: of ``exports.scene.WHAT``.
        views: how many; None: not known yet.
    Raises:
        InputError: names them, and says what would work.
        MissingDependency: a format needs a package that is not installed.
    """
    for name in asked:
        for what in SCENE_FORMATS[name].needs:
            if what not in gives:
                works = [row.name for row in ROWS if set(row.needs) <= set(gives)]
                raise InputError(
                    f"{name} needs {what}: {WHAT[what]}; as it is, {', '.join(works)} would work"
                )
    for name, options in asked.items():
        ready = SCENE_FORMATS[name].ready
        if ready is not None:
            ready(options, views)


def scene_files(scene: Scene, asked: Asked) -> Files:
    """Every file of a scene once, by name below its folder, and the description last.

    Raises:
        InputError: a format that this scene has not what it takes for.
    """
    refuse_impossible(asked, scene.gives, scene.views)
    for name, options in asked.items():
        check = SCENE_FORMATS[name].check
        if check is not None:
            check(scene, options)
    written: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, options in asked.items():
        written[name] = []
        for file, blocks in SCENE_FORMATS[name].encode(scene, options):
            written[name].append(file)
            if file not in seen:  # glb brings pictures that depth_vis has too
                seen.add(file)
                yield file, blocks
    yield DESCRIPTION, [description(scene, asked, written)]


def description(scene: Scene, asked: Asked, written: Mapping[str, Sequence[str]]) -> bytes:
    """What lies beside it, as JSON."""
    facts: dict[str, Any] = {
        **scene.found.facts(),
        "scale_factor": scene.found.scale_factor,
        "focal_length_from": scene.focal_from if "cameras" in scene.gives else None,
        "formats": {},
    }
    if scene.photos is not None:
        facts["photos"] = [photo.name for photo in scene.photos]
    for name, options in asked.items():
        row = SCENE_FORMATS[name]
        has_frame = row.frame is not None and "cameras" in scene.gives
        facts["formats"][name] = {
            "files": written[name],
            "holds": row.holds,
            "grid": row.grid,
            "options": _plain(dataclasses.asdict(options)),
            **(row.frame(scene, options).facts() if has_frame and row.frame else {}),
        }
    text = json.dumps(_plain(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """The same as JSON has it; paths as text, and numbers that are none as their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
