"""The benchmarks as a table: what each is called, what it takes, what it runs, where it is written.

``python -m benchmarks`` reads its menu and its options from here. A module of this folder is
imported when its command is asked for, so that ``--help`` needs none of them.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from compile.registry import MODELS
from depth_anything_3.config import NETWORKS
from runtime.artifact.manifest import PRECISIONS

SQUARE_HW, VIEW_HW = (518, 518), (280, 504)
SERVED = Path("artifacts/demo-252x336-b1-openvino")


@dataclass(frozen=True)
class Option:
    """An argument of a command, as argparse takes it."""

    flag: str
    settings: dict[str, Any]


def option(flag: str, help: str, **settings: Any) -> Option:
    """An option and what ``--help`` says about it."""
    return Option(flag, {"help": help, **settings})


def number(flag: str, default: Any, help: str, kind: type = int, metavar: str = "N") -> Option:
    """An option that is a number; its help ends in its default."""
    text = f"{help}; default {default}" if help else f"default {default}"
    return Option(flag, {"type": kind, "default": default, "metavar": metavar, "help": text})


def model(default: str, choices: Sequence[str]) -> Option:
    """Which model."""
    return option("--model", f"default {default}", default=default, choices=list(choices))


def models(*default: str) -> Option:
    """Which models."""
    text = f"default {' '.join(default)}"
    return option("--models", text, nargs="+", default=list(default), choices=list(MODELS))


def precisions(*default: str) -> Option:
    """Of our graphs, in which precisions."""
    text = f"of our graphs, where a target has them; default {' '.join(default)}"
    return option("--precisions", text, nargs="+", default=list(default), choices=PRECISIONS)


def rounds(default: int = 5) -> Option:
    """How many rounds count."""
    return number("--rounds", default, "", metavar="R")


SCRATCH = option("--scratch", "to work in", type=Path, metavar="FOLDER")
ARTIFACT = option("--artifact", f"default {SERVED}", type=Path, default=SERVED, metavar="FOLDER")


@dataclass(frozen=True)
class Command:
    """One benchmark.

    Args:
        module: of this folder.
        about: its line in the menu.
        example: what comes after its name on a command line.
        measure: from the module and the arguments to the numbers.
        table: from the module and the numbers to Markdown.
        page: in docs/, where ``--doc`` writes.
        section: of that page, from the arguments and the run's slug: one a torch version and a
            processor, which change the ratios more than anything else does.
        after: done with the numbers when ``--doc`` is given.
    """

    name: str
    module: str
    about: str
    description: str
    example: str
    options: tuple[Option, ...]
    measure: Callable[[ModuleType, argparse.Namespace], dict[str, Any]]
    table: Callable[[ModuleType, dict[str, Any]], str] = lambda module, found: module.table(found)
    page: str = "performance.md"
    section: Callable[[argparse.Namespace, str], str] = lambda a, slug: f"{a.command} {slug}"
    after: Callable[[ModuleType, dict[str, Any]], None] = lambda module, numbers: None


def _by_name(args: argparse.Namespace, slug: str) -> str:
    """A section that is the same on every torch and processor."""
    return args.command


def _last_photo(folder: Path) -> Path:
    from runtime.photo.find import find_photos

    return find_photos(folder)[-1]


SPEED = (
    Command(
        "latency",
        "latency",
        "one image, beside upstream, transformers, ONNX Runtime, OpenVINO",
        "One image at 518x518 through our graphs and through other people's packages, each in an "
        "environment of its own that is installed once, in interleaved rounds, and the "
        "processor's own limit beside them.",
        "--model vits --rounds 5 --doc",
        (
            model("vits", ["vits", "demo", "vitb"]),
            rounds(),
            number("--threads", 2, "of every side"),
            number("--wait", 10, "for others to be quiet, before a round, seconds", float, "S"),
            option("--alone", "without the others and the limit", action="store_true"),
            precisions(*PRECISIONS),
        ),
        lambda m, a: m.measure(
            m.LatencyJob(
                a.model,
                SQUARE_HW,
                a.rounds,
                a.threads,
                a.wait,
                not a.alone,
                tuple(a.precisions),
            )
        ),
        section=lambda a, slug: f"latency {a.model} {slug}",
    ),
    Command(
        "end2end",
        "end2end",
        "images/s of the main job against upstream's loop",
        "Photos to files, vits at 518x518 with seeded weights: the main job on an OpenVINO "
        "artifact against upstream's loop around the eager network, in interleaved rounds.",
        "--photos 4 --rounds 3",
        (
            option(
                "--artifacts",
                "use, or compile into, this folder; default: a temporary one",
                type=Path,
                metavar="FOLDER",
            ),
            option(
                "--side", "JPEG photos enlarged to NxN; default: as shipped", type=int, metavar="N"
            ),
            option(
                "--precision",
                "of the main job; default f32",
                default="f32",
                choices=PRECISIONS[:2],
            ),
            number("--photos", 8, "a round"),
            rounds(),
            option(
                "--threads",
                "of both sides; default: each side's own choice",
                type=int,
                metavar="N",
            ),
        ),
        lambda m, a: m.measure(
            m.End2EndJob(a.input, a.artifacts, a.photos, a.rounds, a.threads, a.side, a.precision)
        ),
        section=lambda a, slug: (
            f"end2end {a.side}x{a.side} {a.precision} {slug}" if a.side else f"end2end {slug}"
        ),
    ),
    Command(
        "throughput",
        "throughput",
        "images/s of engines side by side, of batches, and of OpenVINO's streams",
        "The same threads given to one engine, to an engine each, to batches, and to OpenVINO's "
        "own streams, in interleaved rounds. Compiles for openvino with seeded weights.",
        "--models vits --precisions bf16 --doc",
        (
            models("demo", "vits"),
            precisions("f32", "bf16"),
            number("--threads", 2, "in all"),
            rounds(3),
        ),
        lambda m, a: m.measure(a.models, SQUARE_HW, a.precisions, a.threads, a.rounds),
    ),
    Command(
        "load",
        "load",
        "the service at capacity, at three times that, and beside LitServe",
        "Start the service on loopback, load it with closed loops and then with three times what "
        "it can do, and do the same to LitServe with the same artifact. LitServe is installed "
        "beside, once.",
        "--artifact artifacts/vits-518x518-b1-openvino",
        (
            ARTIFACT,
            number("--seconds", 10, "a round", float, "S"),
            rounds(3),
            option("--alone", "without LitServe", action="store_true"),
        ),
        lambda m, a: m.measure(a.artifact, _last_photo(a.input), a.seconds, a.rounds, not a.alone),
    ),
    Command(
        "compile",
        "compiling",
        "seconds and memory of a compile, and of an artifact's start",
        "Compile each model for each target with seeded weights, then load what came of it and "
        "answer once; every one of them in a process of its own.",
        "--models demo vits --targets openvino onnx --doc",
        (
            models("demo", "vits"),
            option(
                "--targets",
                "default openvino onnx torchscript",
                nargs="+",
                default=["openvino", "onnx", "torchscript"],
                choices=["openvino", "onnx", "torchscript"],
            ),
            precisions("f32"),
        ),
        lambda m, a: m.measure(a.models, a.targets, a.precisions, SQUARE_HW),
    ),
    Command(
        "growth",
        "growth",
        "time and memory against images, batch, views and model size, as pictures",
        "Small runs, each in a process of its own. With --doc, draws docs/pictures/growth-*.png.",
        "--doc",
        (models("demo", "vits", "vitb", "vitl"),),
        lambda m, a: m.measure(a.input, a.models),
        after=lambda m, numbers: m.draw_all(numbers),
    ),
)
PARTS = (
    Command(
        "stages",
        "stages",
        "what the host does around the network, stage by stage",
        "JPEG photos of 1080p and 12 megapixels to npz and colour PNG: the time of each stage, "
        "beside the network's in float32 and bfloat16.",
        "--rounds 5 --doc",
        (
            option("--artifacts", "use, or compile into, this folder", type=Path, metavar="FOLDER"),
            rounds(),
        ),
        lambda m, a: m.measure(a.input, a.artifacts, a.rounds),
    ),
    Command(
        "forms",
        "forms",
        "compiled graphs with and without the exact rewrites",
        "Compile vits at 518x518 for torchscript and openvino, as it is and rewritten, and time "
        "the four graphs in interleaved rounds.",
        "--rounds 5 --doc",
        (rounds(),),
        lambda m, a: m.measure("vits", SQUARE_HW, a.rounds),
    ),
    Command(
        "da3",
        "da3",
        "Depth Anything 3 against the PyPI package's own network",
        "One view at 280x504 through the package depth-anything-3, our eager network and our "
        "graphs, in interleaved rounds. Installs the package beside, once (torch 2 only).",
        "--rounds 5 --doc",
        (model("da3-small", ["da3-small", "da3-base", "da3-large"]), rounds()),
        lambda m, a: m.measure(a.model, VIEW_HW, a.rounds),
    ),
    Command(
        "cuda",
        "cuda",
        "our graphs on a CUDA device, beside torch.compile and transformers",
        "Graphs in float32, bfloat16 and float16 against the eager network under torch.compile "
        "and, where it is installed, transformers' network, in interleaved rounds, and all "
        "against the device's own rate of products. Needs a CUDA device.",
        "--models vits --batches 1 32 --doc",
        (
            models("vits", "vitl", "da3-small"),
            option("--batches", "1 8 32", type=int, nargs="+", default=[1, 8, 32], metavar="B"),
            rounds(),
        ),
        lambda m, a: m.measure(m.CudaJob(tuple(a.models), tuple(a.batches), rounds=a.rounds)),
        section=_by_name,
    ),
    Command(
        "memory",
        "memory",
        "peak memory of Depth Anything 3 against the number of views",
        "One eager pass over some views at 280x504, each in a process of its own.",
        "--model da3-base --views 1 8 --doc",
        (
            model("da3-small", list(NETWORKS)),
            option(
                "--views", "1 4 16 32", type=int, nargs="+", default=[1, 4, 16, 32], metavar="N"
            ),
        ),
        lambda m, a: m.measure(a.model, VIEW_HW, a.views),
    ),
)
JOBS = (
    Command(
        "batch",
        "batch",
        "images/s of a batch job, local and on Ray, against its engine alone",
        "Full HD photos through serve.batch, its engine alone, and upstream's loop on the "
        "same engine, in turns.",
        "--artifact artifacts/demo-252x336-b1-openvino",
        (
            option("--artifact", f"default {SERVED}", type=Path, nargs="+", default=[SERVED]),
            number("--photos", 60, "a round"),
            rounds(3),
        ),
        lambda m, a: {
            "artifacts": [
                m.measure(m.BatchBench(artifact, a.input, a.photos, a.rounds))
                for artifact in a.artifact
            ]
        },
        table=lambda m, found: "\n\n".join(map(m.table, found["artifacts"])),
    ),
    Command(
        "kills",
        "kills",
        "a batch job killed again and again, against one left alone",
        "Photos of real size, some damaged, through serve.batch: once undisturbed, once killed at "
        "random moments and begun again, once on Ray whose actors are killed. Ends with an error "
        "if a result is missing, wrong or there twice. 3,000 photos take 30 GB.",
        "--photos 300 --bad 6 --doc",
        (
            ARTIFACT,
            number("--photos", 3000, ""),
            number("--bad", 60, "of them"),
            number("--kills", 5, "of each job"),
        ),
        lambda m, a: m.measure(m.KillsJob(a.artifact, a.input, a.photos, a.bad, a.kills)),
        page="batch.md",
        section=_by_name,
    ),
    Command(
        "fleet",
        "fleet",
        "simulated jobs of 1 to 64 NeuronCores: what the host needs",
        "Measure the host's work a photo, run simulated batch jobs of 1, 4, 16 and 64 cores' "
        "worth of workers, and say how many vCPUs a core needs.",
        "--model vits --seconds 6 --scratch /dev/shm",
        (model("vits", list(MODELS)), number("--seconds", 8, "a job", float, "S"), SCRATCH),
        lambda m, a: m.measure(a.model, SQUARE_HW, a.input, a.seconds, a.scratch),
        page="scale.md",
        section=_by_name,
    ),
    Command(
        "inputs",
        "inputs",
        "a batch job's memory against the number of its inputs, simulated",
        "Run a simulated batch job of this many tiny photos to its end, and look at its memory "
        "from outside.",
        "--count 100000 --scratch /dev/shm",
        (number("--count", 1_000_000, ""), SCRATCH),
        lambda m, a: m.measure(a.input, a.count, a.scratch),
        page="scale.md",
        section=_by_name,
    ),
    Command(
        "soak",
        "soak",
        "the service's memory over many requests",
        "Send requests to the service on loopback, on a small graph, and look at its worker's "
        "memory in between.",
        "--requests 10000 --doc",
        (number("--requests", 10000, ""),),
        lambda m, a: m.measure(_last_photo(a.input), a.requests),
    ),
)
ANSWERS = (
    Command(
        "decode",
        "decode",
        "what decoding JPEG files smaller does to the depth",
        "Depth of the demo network from JPEG files decoded in full and smaller.",
        "--doc",
        (),
        lambda m, a: m.measure(a.input),
    ),
    Command(
        "precisions",
        "precisions",
        "what bf16 and int8 do to the depth",
        "Depth of graphs in each precision against the eager float32 network's, on crops of the "
        "photos. int8 is fitted first, which takes minutes.",
        "--models vits --precisions bf16 --doc",
        (models("demo", "vits"), precisions("f32", "bf16", "int8")),
        lambda m, a: m.measure(a.models, SQUARE_HW, a.precisions, a.input),
    ),
    Command(
        "buckets",
        "buckets",
        "depth through fixed shapes against the photo's own shape",
        "Compare depth through one, three and five fixed shapes with depth at the photo's own "
        "aspect ratio, and time each shape. Eager; nothing is compiled.",
        "--checkpoint depth_anything_v2_vits.pth",
        (
            model("vits", list(MODELS)),
            option(
                "--checkpoint",
                "weights; default: those here, else seeded",
                type=Path,
                metavar="FILE",
            ),
        ),
        lambda m, a: m.study(a.model, a.checkpoint, a.input),
        page="buckets.md",
        section=_by_name,
    ),
    Command(
        "casts",
        "casts",
        "what Inferentia's casts do to the depth, emulated",
        "Emulate neuron-cc's cast modes on photos at 518x518 and compare with float32.",
        "--model demo --doc",
        (model("vits", list(MODELS)),),
        lambda m, a: m.measure(a.model, a.input),
        table=lambda m, found: m.text(found),
        page="numerics.md",
        section=lambda a, slug: f"casts {a.model}",
    ),
)
GROUPS = {
    "speed and memory, for a first look": SPEED,
    "parts of the way": PARTS,
    "many photos, many requests": JOBS,
    "what it does to the depth": ANSWERS,
}
COMMANDS = {command.name: command for group in GROUPS.values() for command in group}


def menu() -> str:
    """The commands in groups, a line each."""
    width = max(map(len, COMMANDS))
    lines = []
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {one.name:{width}}  {one.about}" for one in group)]
    return "\n".join(lines[1:])
