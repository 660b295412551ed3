"""The options of ``da3``: upstream's names and defaults, and some of ours."""

import argparse
import json
from pathlib import Path
from typing import Any, Optional

from apps.scene_options import add_scene_model, add_window_options
from apps.web.options import add_web_commands
from runtime.command_line import above_zero, positive

EXTENSIONS = "png,jpg,jpeg"
FPS = 1.0

EXAMPLES = """examples:
  da3 auto room/ --model-dir da3-small             photos of one scene -> outputs/outputs_<time>/
  da3 images room/ --export-dir out --export-format glb-npz-colmap
  da3 video walk.mp4 --fps 2 --max-frames 60 --model-dir models/da3-small
  da3 colmap project/ --sparse-subdir 0 --export-format npz
  da3 images room/ --model-dir da3-giant --export-format gs_ply-gs_video
  da3 images room/ --cameras transforms.json --auto-cleanup --export-dir out
  da3 image photo.jpg --model-dir artifacts/ --export-format glb-ply

The files written go to stdout, one path a line; all else goes to stderr. Exit status: 0 done,
1 something failed, 2 bad usage, 130 stopped. More: docs/da3.md.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="da3",
        description="Depth Anything 3: photos, videos and COLMAP projects to scenes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def add(name: str, place: str, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        command.add_argument("input", type=Path, metavar=place)
        command.set_defaults(parser=command)
        _add_common(command)
        return command

    auto = add("auto", "INPUT_PATH", "see what the input is, and do as the command of its name")
    add("image", "IMAGE_PATH", "one photo")
    images = add("images", "IMAGES_DIR", "the photos in a folder, as one scene")
    colmap = add("colmap", "COLMAP_DIR", "images/ and sparse/ of a COLMAP project")
    video = add("video", "VIDEO_PATH", "frames of a video, as one scene")
    images.add_argument(
        "--image-extensions",
        default=EXTENSIONS,
        metavar="LIST",
        help=f"which files, separated by commas; default {EXTENSIONS}",
    )
    for command in (auto, video):
        _add_video(command)
    for command in (auto, images, video):
        _add_sequence(command)
    for command in (auto, colmap):
        _add_colmap(command)
    add_web_commands(commands)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_model(parser.add_argument_group("model"))
    _add_scene(parser.add_argument_group("scene"))
    _add_export(parser.add_argument_group("export"))


def _add_model(group: Any) -> None:
    from runtime.scene.views import METHODS

    add_scene_model(group)
    group.add_argument(
        "--process-res",
        type=positive,
        metavar="N",
        help="pixels that a view's side gets; default 504. Not with artifacts, which have a size",
    )
    group.add_argument(
        "--process-res-method", choices=METHODS, help=f"which side, and how; default {METHODS[0]}"
    )
    group.add_argument(
        "--memory-gib",
        type=above_zero,
        metavar="GIB",
        help="refuse scenes that are estimated to need more; default: what is free",
    )
    group.add_argument("--use-backend", action=argparse.BooleanOptionalAction, default=False)
    group.add_argument("--backend-url", default="http://localhost:8008", metavar="URL")


def _add_scene(group: Any) -> None:
    from runtime.scene.reference_view import DEFAULT_STRATEGY, STRATEGIES

    group.add_argument(
        "--cameras",
        type=Path,
        metavar="FILE",
        help="known cameras: cameras.json, nerfstudio's transforms.json, a COLMAP model's folder, "
        "poses of TUM or KITTI",
    )
    group.add_argument(
        "--focal-px",
        type=above_zero,
        metavar="F",
        help="focal length in pixels of the photos: for poses of TUM and KITTI, for metres of "
        "da3metric-large, for clouds of models that find no cameras",
    )
    group.add_argument(
        "--ignore-distortion",
        action="store_true",
        help="take known cameras with lens distortion for pinholes",
    )
    group.add_argument(
        "--align-to-input-ext-scale",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with known cameras: depth in their unit; else they are moved into the network's",
    )
    group.add_argument(
        "--use-ray-pose",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="find cameras by the ray maps",
    )
    group.add_argument(
        "--ref-view-strategy",
        choices=STRATEGIES,
        default=DEFAULT_STRATEGY,
        help=f"which view the others are told from, from 3 views on; default {DEFAULT_STRATEGY}",
    )
    group.add_argument(
        "--infer-gs",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="find Gaussian splats; default: if a format needs them",
    )
    group.add_argument(
        "--export-feat",
        type=_layers,
        default=(),
        metavar="LAYERS",
        help="blocks whose features are wanted, separated by commas, for feat_vis",
    )


def _add_export(group: Any) -> None:
    from exports.scene_files import SCENE_FORMATS

    group.add_argument(
        "--export-dir",
        type=Path,
        metavar="FOLDER",
        help="default: a new one, outputs/outputs_<time>",
    )
    group.add_argument(
        "--export-format",
        default="glb",
        metavar="FORMATS",
        help=f"joined by '-': {', '.join(SCENE_FORMATS)}; default glb",
    )
    group.add_argument(
        "--export-option",
        type=_option,
        action="append",
        default=[],
        metavar="FORMAT:NAME:VALUE",
        help="an option of a format, as colmap:min_views:2 (docs/exports.md); can be repeated",
    )
    group.add_argument(
        "--auto-cleanup",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="replace an earlier export in the folder without asking; other files in it stay",
    )
    group.add_argument(
        "--conf-thresh-percentile",
        type=float,
        default=40.0,
        metavar="P",
        help="of all confidences; surer pixels become points; default 40",
    )
    group.add_argument(
        "--num-max-points",
        type=int,
        default=1_000_000,
        metavar="N",
        help="of clouds; default 1,000,000",
    )
    group.add_argument(
        "--show-cameras",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="as pyramids in glb",
    )
    group.add_argument(
        "--keep-sky",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="put sky behind all else in clouds, instead of leaving it out",
    )
    group.add_argument(
        "--sh",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="all harmonics in gs_ply: colours that change with the direction",
    )
    group.add_argument(
        "--feat-vis-fps", type=int, default=15, metavar="N", help="of feat_vis; default 15"
    )
    group.add_argument("--quiet", action="store_true", help="no progress")


def _add_video(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("video")
    group.add_argument(
        "--fps",
        type=above_zero,
        default=FPS,
        metavar="F",
        help="frames a second that become views, at least; default 1, with --sequence all",
    )
    group.add_argument(
        "--max-frames",
        type=positive,
        metavar="N",
        help="at most so many, spread evenly",
    )
    group.add_argument(
        "--keep-frames",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep them in input_images/",
    )


def _add_sequence(parser: argparse.ArgumentParser) -> None:
    from exports.files import FORMATS
    from runtime.command_line import some_of

    group = parser.add_argument_group("sequence")
    group.add_argument(
        "--sequence",
        action="store_true",
        help="any number of frames, in windows: memory does not grow, and the same command goes on "
        "after a stop (docs/long-sequences.md)",
    )
    add_window_options(group)
    group.add_argument(
        "--depth-formats",
        type=some_of(FORMATS),
        default=(),
        metavar="LIST",
        help=f"files of each frame's depth: {','.join(FORMATS)}; default none",
    )


def _add_colmap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("colmap").add_argument(
        "--sparse-subdir",
        default="",
        metavar="SUB",
        help="0: the model in sparse/0/; default: in sparse/ itself",
    )


def _layers(text: str) -> tuple[int, ...]:
    """Argument type: block numbers, separated by commas; spaces and empty parts do not count."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give block numbers, separated by commas")
    return tuple(map(int, parts))


def _option(text: str) -> tuple[str, str, Any]:
    """Argument type: a format, the name of its option, and a value as JSON has it, or a word."""
    parts = text.split(":", 2)
    if len(parts) != 3 or not all(parts[:2]):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give FORMAT:NAME:VALUE, as glb:camera_size:0.1"
        )
    value: Any = parts[2]
    if value.lower() in ("true", "false"):
        value = value.lower() == "true"
    else:
        try:
            value = json.loads(value)
        except ValueError:  # a word
            value = parts[2]
    return parts[0], parts[1], value


def export_options(args: argparse.Namespace) -> Optional[dict[str, dict[str, Any]]]:
    """What ``export_kwargs`` of ``DepthAnything3.inference`` are: format -> options by name."""
    options: dict[str, dict[str, Any]] = {}
    if args.keep_sky:
        options = {name: {"keep_sky": True} for name in ("glb", "ply", "colmap")}
    if args.sh:
        options["gs_ply"] = {"save_sh_dc_only": False}
    for name, key, value in args.export_option:
        options.setdefault(name, {})[key] = value
    return options
