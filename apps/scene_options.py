"""Options that the commands for scenes share: which model, and how a sequence goes through it.

They load nothing: ``--help`` must be quick.
"""

import os
from argparse import Namespace
from typing import Any

from runtime.command_line import positive

MODEL = "depth-anything/DA3NESTED-GIANT-LARGE-1.1"
MODEL_VARIABLE = "DA3_MODEL_DIR"
ENGINES = ("local", "ray")
ALIGNS = ("depth", "points")
KEYFRAMES = ("fill", "poses")
SEQUENCE = ("views", "overlap", "loops", "workers", "engine", "align", "keyframes", "depth_formats")


def add_scene_model(group: Any) -> None:
    """Which model, where it runs, and random weights instead of its own."""
    group.add_argument(
        "--model-dir",
        default=os.environ.get(MODEL_VARIABLE) or MODEL,
        metavar="MODEL",
        help="a model's name as da3-small, a name on the Hugging Face Hub, a folder of weights, or "
        f"one of compiled artifacts; default ${MODEL_VARIABLE}, else {MODEL}",
    )
    group.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, or what else torch knows; default auto: cuda if there is one",
    )
    group.add_argument(
        "--seeded-weights",
        action="store_true",
        help="random weights: everything runs, no depth means anything, and every file says so",
    )


def add_window_options(group: Any) -> None:
    """How frames go through the network: of ``apps.sequence`` and of ``da3 --sequence``."""
    group.add_argument(
        "--views",
        type=positive,
        metavar="N",
        help="frames of a window; default 8, or the most that artifacts are compiled for",
    )
    group.add_argument(
        "--overlap", type=positive, metavar="N", help="frames that windows share; a quarter"
    )
    group.add_argument(
        "--loops",
        action="store_true",
        help="find places that are seen again, and close the path there",
    )
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="models side by side; default one for each of --device, as cuda:0,cuda:1",
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="workers in this process, or Ray's actors on as many machines as there are",
    )
    group.add_argument(
        "--align",
        choices=ALIGNS,
        default=ALIGNS[0],
        help="windows by depth and cameras, or by points as upstream's streaming does, to compare",
    )
    group.add_argument(
        "--keyframes",
        nargs="?",
        choices=KEYFRAMES,
        const=KEYFRAMES[1],
        help="geometry of frames alone that differ from the last one taken, or come a second after "
        "it; others get a camera between their neighbours' (poses, the default) or go through the "
        "network with the key frames around them (fill)",
    )


def window_options_of(args: Namespace) -> list[str]:
    """Those of a sequence that were given, as they are written."""
    given = {name: getattr(args, name, None) for name in SEQUENCE}
    return [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if value and value not in (ENGINES[0], ALIGNS[0])
    ]
