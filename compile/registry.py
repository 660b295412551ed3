"""The one table of models: what each puts out, under which licence, and where its weights are.

Read by the command line, the tests and the README. No torch, no network.
"""

from dataclasses import dataclass
from typing import Optional

from depth_anything_3.config import LICENCES, METRIC, NESTED, NETWORKS, RETRAINED
from depth_anything_v2.config import MAX_DEPTH_M
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.scene.focal import METRIC_FOCAL_PX

CC_BY_NC = "CC-BY-NC-4.0"
UNTAGGED = "untagged upstream"
PATCH = 14  # pixels
LONG_SIDE = 504  # pixels of a view's longer side, upstream's default for Depth Anything 3
RATIOS = ((1, 1), (4, 3), (3, 2), (16, 9))  # of photos, the longer side first


@dataclass(frozen=True)
class ModelSpec:
    """One row: a name that users type, and everything that follows from it."""

    name: str
    family: str
    encoder: str
    kind: str
    licence: str
    parameters_m: float
    max_depth_m: Optional[float] = None
    metric_focal_px: Optional[float] = None  # the focal length at which depth is in metres
    repo: Optional[str] = None  # on the Hugging Face Hub; None: there is nothing to fetch
    file: Optional[str] = None  # within checkpoints/
    short_side: int = 518  # pixels of a photo's shorter side that suit the weights best

    @property
    def output(self) -> OutputSpec:
        """What its graphs return."""
        return OutputSpec(self.kind, self.max_depth_m, self.metric_focal_px)

    @property
    def usual_sizes(self) -> tuple[tuple[int, int], ...]:
        """Input shapes (height, width) that photos usually need.

        V2: three, for square photos, 4:3 across and 4:3 upright, with ``short_side``; all are
        compiled, and a photo goes through the nearest.
        Depth Anything 3: seven, for 1:1 and for 4:3, 3:2 and 16:9 across and upright. The longer
        side is 504, so that each is the very shape to which ``inference`` brings such a photo
        (``process_res=504``): what is compiled sees what the eager model sees, and upstream trained
        with these shapes. Seven graphs are too many to compile for one photo: take the one that is
        nearest to the photos at hand.
        """
        if self.family == "v3":
            shorts = [round(LONG_SIDE * b / a / PATCH) * PATCH for a, b in RATIOS]
            both_ways = [((short, LONG_SIDE), (LONG_SIDE, short)) for short in shorts]
            return tuple(dict.fromkeys(size for pair in both_ways for size in pair))
        short = self.short_side
        long = round(short * 4 / 3 / PATCH) * PATCH
        return ((short, short), (short, long), (long, short))

    @property
    def remote_file(self) -> Optional[str]:
        """What the weights are called in ``repo``: DA3's files are told apart by their folder."""
        return self.file.rpartition("/")[2] if self.file else None

    @property
    def any_view(self) -> bool:
        """True if it takes several photos of one scene at once."""
        return self.name in NESTED or (self.family == "v3" and NETWORKS[self.name].any_view)

    @property
    def successor(self) -> Optional[str]:
        """The model with newer weights of the same network, which upstream recommends instead."""
        return RETRAINED.get(self.name)


DEMO = "demo"  # ours, trained on generated scenes
HUB = "depth-anything/Depth-Anything-V2"
SIZES = {"vits": "Small", "vitb": "Base", "vitl": "Large"}
PARAMETERS_M = {"vits": 24.8, "vitb": 97.5, "vitl": 335.3, "vitg": 1258.1}


def _relative(encoder: str, licence: str) -> ModelSpec:
    return ModelSpec(
        name=encoder,
        family="v2",
        encoder=encoder,
        kind="disparity",
        licence=licence,
        parameters_m=PARAMETERS_M[encoder],
        repo=f"{HUB}-{SIZES[encoder]}",
        file=f"depth_anything_v2_{encoder}.pth",
    )


def _metric(encoder: str, scene: str, dataset: str) -> ModelSpec:
    return ModelSpec(
        name=f"{encoder}-{scene}",
        family="v2",
        encoder=encoder,
        kind="depth_m",
        licence=UNTAGGED,
        parameters_m=PARAMETERS_M[encoder],
        max_depth_m=MAX_DEPTH_M[scene],
        repo=f"{HUB}-Metric-{dataset}-{SIZES[encoder]}",
        file=f"depth_anything_v2_metric_{dataset.lower()}_{encoder}.pth",
    )


def _da3(name: str, parameters_m: float) -> ModelSpec:
    single = NESTED[name][0] if name in NESTED else name
    return ModelSpec(
        name=name,
        family="v3",
        encoder=NETWORKS[single].encoder,
        kind="depth_m" if name in NESTED else "depth",
        licence=LICENCES[name],
        parameters_m=parameters_m,
        metric_focal_px=METRIC_FOCAL_PX if name == METRIC else None,
        repo=f"depth-anything/{name.upper()}",
        file=f"{name}/model.safetensors",
    )


ROWS = [
    _relative("vits", "Apache-2.0"),
    _relative("vitb", CC_BY_NC),
    _relative("vitl", CC_BY_NC),
    ModelSpec(
        name="vitg",
        family="v2",
        encoder="vitg",
        kind="disparity",
        licence=CC_BY_NC,
        parameters_m=PARAMETERS_M["vitg"],
    ),
    *(_metric(encoder, "indoor", "Hypersim") for encoder in SIZES),
    *(_metric(encoder, "outdoor", "VKITTI") for encoder in SIZES),
    _da3("da3-small", 34.3),
    _da3("da3-base", 135.4),
    _da3("da3-large-1.1", 410.9),
    _da3("da3-large", 410.9),
    _da3("da3-giant-1.1", 1355.7),
    _da3("da3-giant", 1355.7),
    _da3("da3mono-large", 334.2),
    _da3("da3metric-large", 334.2),
    _da3("da3nested-giant-large-1.1", 1689.8),
    _da3("da3nested-giant-large", 1689.8),
    ModelSpec(
        name=DEMO,
        family="v2",
        encoder="vitt",
        kind="disparity",
        licence="Apache-2.0",
        parameters_m=6.4,
        file="demo/model.safetensors",
        short_side=252,
    ),
]
MODELS = {row.name: row for row in ROWS}


OUTPUTS = {
    "disparity": "disparity, relative",
    "depth": "depth, relative",
    "depth_m": "depth in metres",
}


def find_model(name: str) -> ModelSpec:
    """The row of this name.

    Raises:
        InputError: there is none; the text lists those there are.
    """
    if name not in MODELS:
        raise InputError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def table() -> str:
    """The table as Markdown, for the README and for ``python -m compile --list``."""
    lines = [
        "| model | parameters | output | weights' licence | weights |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        output = OUTPUTS[row.kind]
        if row.max_depth_m is not None:
            output += f", up to {row.max_depth_m:.0f}"
        if row.metric_focal_px is not None:
            output += "; metres if the focal length is known"
        if row.any_view:
            output += "; cameras"
        where = f"`{row.repo}`" if row.repo else "not published upstream"
        if row.name == DEMO:
            where = "in this repository"
        lines.append(
            f"| `{row.name}` | {row.parameters_m:,.1f} M | {output} | {row.licence} | {where} |"
        )
    return "\n".join(lines)
