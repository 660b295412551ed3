"""python -m benchmarks: measure, print a table, keep the numbers, rewrite the documentation."""

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks.document import DOCS, RESULTS, update_page
from benchmarks.machine import describe_machine, machine_line, slug
from compile.registry import MODELS
from depth_anything_3.config import NETWORKS
from runtime.errors import DepthError
from runtime.manifest import PRECISIONS

EXAMPLES = """examples:
  python -m benchmarks end2end                        the main job against an eager loop
  python -m benchmarks end2end --photos 4 --rounds 3 --artifacts my_artifacts/
  python -m benchmarks end2end --doc                  and rewrite its part of docs/performance.md
  python -m benchmarks end2end --side 1440            and of photos as large as this
  python -m benchmarks stages                         what the host does around the network
  python -m benchmarks decode                         what decoding smaller does to the depth
  python -m benchmarks buckets                        what fixed shapes cost in accuracy and time
  python -m benchmarks buckets --checkpoint depth_anything_v2_vits.pth --doc
  python -m benchmarks forms                          what the exact rewrites do to speed
  python -m benchmarks da3                            Depth Anything 3 against its own package
  python -m benchmarks cuda                           our graphs on a GPU, beside torch.compile
  python -m benchmarks load                           the service under load, beside LitServe
  python -m benchmarks soak                           the service's memory over 10,000 requests
  python -m benchmarks fleet --scratch /dev/shm       what the host does around each NeuronCore
  python -m benchmarks inputs --scratch /dev/shm      a batch job's memory over a million inputs
  python -m benchmarks memory                         Depth Anything 3's peak against views
  python -m benchmarks batch                          a batch job against its engine alone
  python -m benchmarks kills                          a batch job killed again and again
  python -m benchmarks casts --model demo             what Inferentia's casts do, emulated
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure on this machine. The table goes to stdout, the numbers as JSON to "
        "benchmarks/results/.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--input", type=Path, default=Path("input_images"), help="photos; default input_images/"
    )
    shared.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    shared.add_argument("--doc", action="store_true", help="rewrite the table in docs/ too")

    end2end = commands.add_parser(
        "end2end",
        parents=[shared],
        help="images/s of the main job against an upstream-style eager loop",
        description="Photos to files, vits at 518x518 with seeded weights: the main job on an "
        "OpenVINO artifact against a loop of eager infer_image, in interleaved rounds.",
        epilog="example: python -m benchmarks end2end --photos 4 --rounds 3",
    )
    end2end.add_argument(
        "--artifacts",
        type=Path,
        metavar="FOLDER",
        help="use, or compile into, this folder; default: a temporary one",
    )
    end2end.add_argument(
        "--side", type=int, metavar="N", help="JPEG photos enlarged to NxN; default: as shipped"
    )
    end2end.add_argument(
        "--precision", default="f32", choices=PRECISIONS[:2], help="of the main job; default f32"
    )
    end2end.add_argument("--photos", type=int, default=8, metavar="N", help="a round; default 8")
    end2end.add_argument("--rounds", type=int, default=5, metavar="R", help="default 5")
    end2end.add_argument(
        "--threads", type=int, metavar="N", help="of both sides; default: each side's own choice"
    )

    stages = commands.add_parser(
        "stages",
        parents=[shared],
        help="what the host does around the network, stage by stage",
        description="JPEG photos of 1080p and 12 megapixels to npz and colour PNG: the time of "
        "each stage, beside the network's in float32 and bfloat16.",
        epilog="example: python -m benchmarks stages --rounds 5 --doc",
    )
    stages.add_argument(
        "--artifacts", type=Path, metavar="FOLDER", help="use, or compile into, this folder"
    )
    stages.add_argument("--rounds", type=int, default=5, metavar="R", help="default 5")

    commands.add_parser(
        "decode",
        parents=[shared],
        help="what decoding JPEG files smaller does to the depth",
        description="Depth of the demo network from JPEG files decoded in full and smaller.",
        epilog="example: python -m benchmarks decode --doc",
    )

    forms = commands.add_parser(
        "forms",
        parents=[shared],
        help="compiled graphs with and without the exact rewrites",
        description="Compile vits at 518x518 for torchscript and openvino, as it is and rewritten, "
        "and time the four graphs in interleaved rounds.",
        epilog="example: python -m benchmarks forms --rounds 5 --doc",
    )
    forms.add_argument("--rounds", type=int, default=5, metavar="R", help="default 5")

    da3 = commands.add_parser(
        "da3",
        parents=[shared],
        help="Depth Anything 3 against the PyPI package's own network",
        description="One view at 280x504 through the package depth-anything-3, our eager network "
        "and our graphs, in interleaved rounds. Installs the package beside, once (torch 2 only).",
        epilog="example: python -m benchmarks da3 --rounds 5 --doc",
    )
    da3.add_argument("--model", default="da3-small", choices=["da3-small", "da3-base", "da3-large"])
    da3.add_argument("--rounds", type=int, default=5, metavar="R", help="default 5")

    cuda = commands.add_parser(
        "cuda",
        parents=[shared],
        help="our graphs on a CUDA device, beside torch.compile and transformers",
        description="Graphs in float32, bfloat16 and float16 against the eager network under "
        "torch.compile and, where it is installed, transformers' network, in interleaved rounds, "
        "and all against the device's own rate of products. Needs a CUDA device.",
        epilog="example: python -m benchmarks cuda --models vits --batches 1 32 --doc",
    )
    cuda.add_argument(
        "--models", nargs="+", default=["vits", "vitl", "da3-small"], choices=list(MODELS)
    )
    cuda.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], metavar="B")
    cuda.add_argument("--rounds", type=int, default=5, metavar="R", help="default 5")

    load = commands.add_parser(
        "load",
        parents=[shared],
        help="the service at capacity, at three times that, and beside LitServe",
        description="Start the service on loopback, load it with closed loops and then with three "
        "times what it can do, and do the same to LitServe with the same artifact. LitServe is "
        "installed beside, once.",
        epilog="example: python -m benchmarks load --artifact artifacts/vits-518x518-b1-openvino",
    )
    load.add_argument("--artifact", type=Path, default=Path("artifacts/demo-252x336-b1-openvino"))
    load.add_argument("--seconds", type=float, default=10, metavar="S", help="a round; default 10")
    load.add_argument("--rounds", type=int, default=3, metavar="R", help="default 3")
    load.add_argument("--alone", action="store_true", help="without LitServe")

    soak = commands.add_parser(
        "soak",
        parents=[shared],
        help="the service's memory over many requests",
        description="Send requests to the service on loopback, on a small graph, and look at its "
        "worker's memory in between.",
        epilog="example: python -m benchmarks soak --requests 10000 --doc",
    )
    soak.add_argument("--requests", type=int, default=10000, metavar="N", help="default 10000")

    batch = commands.add_parser(
        "batch",
        parents=[shared],
        help="images/s of a batch job, local and on Ray, against its engine alone",
        description="Full HD photos through serve.batch, its engine alone, and an upstream-style "
        "loop on the same engine, in turns.",
        epilog="example: python -m benchmarks batch --artifact artifacts/demo-252x336-b1-openvino",
    )
    batch.add_argument(
        "--artifact", type=Path, nargs="+", default=[Path("artifacts/demo-252x336-b1-openvino")]
    )
    batch.add_argument("--photos", type=int, default=60, metavar="N", help="a round; default 60")
    batch.add_argument("--rounds", type=int, default=3, metavar="R", help="default 3")

    kills = commands.add_parser(
        "kills",
        parents=[shared],
        help="a batch job killed again and again, against one left alone",
        description="Photos of real size, some damaged, through serve.batch: once undisturbed, "
        "once killed at random moments and begun again, once on Ray whose actors are killed. Ends "
        "with an error if a result is missing, wrong or there twice. 3,000 photos take 30 GB.",
        epilog="example: python -m benchmarks kills --photos 300 --bad 6 --doc",
    )
    kills.add_argument("--artifact", type=Path, default=Path("artifacts/demo-252x336-b1-openvino"))
    kills.add_argument("--photos", type=int, default=3000, metavar="N", help="default 3000")
    kills.add_argument("--bad", type=int, default=60, metavar="N", help="of them; default 60")
    kills.add_argument("--kills", type=int, default=5, metavar="N", help="of each job; default 5")

    fleet = commands.add_parser(
        "fleet",
        parents=[shared],
        help="simulated jobs of 1 to 64 NeuronCores: what the host needs",
        description="Measure the host's work a photo, run simulated batch jobs of 1, 4, 16 and 64 "
        "cores' worth of workers, and say how many vCPUs a core needs.",
        epilog="example: python -m benchmarks fleet --model vits --seconds 6 --scratch /dev/shm",
    )
    fleet.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")
    fleet.add_argument("--seconds", type=float, default=8, metavar="S", help="a job; default 8")
    fleet.add_argument("--scratch", type=Path, metavar="FOLDER", help="to work in")

    inputs = commands.add_parser(
        "inputs",
        parents=[shared],
        help="a batch job's memory against the number of its inputs, simulated",
        description="Run a simulated batch job of this many tiny photos to its end, and look at "
        "its memory from outside.",
        epilog="example: python -m benchmarks inputs --count 100000 --scratch /dev/shm",
    )
    inputs.add_argument("--count", type=int, default=1_000_000, metavar="N", help="default 1000000")
    inputs.add_argument("--scratch", type=Path, metavar="FOLDER", help="to work in")

    memory = commands.add_parser(
        "memory",
        parents=[shared],
        help="peak memory of Depth Anything 3 against the number of views",
        description="One eager pass over some views at 280x504, each in a process of its own.",
        epilog="example: python -m benchmarks memory --model da3-base --views 1 8 --doc",
    )
    memory.add_argument("--model", default="da3-small", choices=list(NETWORKS))
    memory.add_argument(
        "--views", type=int, nargs="+", default=[1, 4, 16, 32], metavar="N", help="1 4 16 32"
    )

    casts = commands.add_parser(
        "casts",
        parents=[shared],
        help="what Inferentia's casts do to the depth, emulated",
        description="Emulate neuron-cc's cast modes on photos at 518x518 and compare with float32.",
        epilog="example: python -m benchmarks casts --model demo --doc",
    )
    casts.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")

    buckets = commands.add_parser(
        "buckets",
        parents=[shared],
        help="depth through fixed shapes against the photo's own shape",
        description="Compare depth through one, three and five fixed shapes with depth at the "
        "photo's own aspect ratio, and time each shape. Eager; nothing is compiled.",
        epilog="example: python -m benchmarks buckets --checkpoint depth_anything_v2_vits.pth",
    )
    buckets.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")
    buckets.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights; default: those here, else seeded"
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    machine = describe_machine()  # before the run: its load average must not be our own
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    page, section = _place(args, machine)
    try:
        if args.doc:
            update_page(page, section)  # minutes before it is needed: fails now if it must
        numbers, table = MEASURES[args.command](args)
        text = f"{table}\n\n{machine_line(machine, command)}\n"
        print(text)
        file = args.json or RESULTS / f"{args.command}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        facts = {"command": command, "machine": machine, **numbers}
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        print(file)
        if args.doc:
            update_page(page, section, text)
            print(page)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _place(args: argparse.Namespace, machine: dict[str, Any]) -> tuple[Path, str]:
    """The page and the section that a command's table belongs to."""
    if args.command == "buckets":
        return DOCS / "buckets.md", "buckets"
    if args.command == "cuda":
        return DOCS / "performance.md", "cuda"
    if args.command == "casts":
        return DOCS / "numerics.md", f"casts {args.model}"
    if args.command == "kills":
        return DOCS / "batch.md", "kills"
    if args.command in ("fleet", "inputs"):
        return DOCS / "scale.md", args.command
    if args.command == "end2end" and args.side:
        large = f"end2end {args.side}x{args.side} {args.precision}"
        return DOCS / "performance.md", f"{large} {slug(machine)}"
    # one section a torch version: the eager side differs more between them than anything else
    return DOCS / "performance.md", f"{args.command} {slug(machine)}"


def _end2end(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.end2end import End2EndJob, measure, table

    job = End2EndJob(
        args.input,
        args.artifacts,
        args.photos,
        args.rounds,
        args.threads,
        args.side,
        args.precision,
    )
    numbers = measure(job)
    return numbers, table(numbers)


def _stages(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.stages import measure, table

    numbers = measure(args.input, args.artifacts, args.rounds)
    return numbers, table(numbers)


def _decode(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.decode import measure, table

    numbers = measure(args.input)
    return numbers, table(numbers)


def _buckets(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.buckets import study, table

    numbers = study(args.model, args.checkpoint, args.input)
    return numbers, table(numbers)


def _forms(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.forms import measure, table

    numbers = measure("vits", (518, 518), args.rounds)
    return numbers, table(numbers)


def _da3(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.da3 import measure, table

    numbers = measure(args.model, (280, 504), args.rounds)
    return numbers, table(numbers)


def _batch(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.batch import BatchBench, measure, table

    found = [
        measure(BatchBench(artifact, args.input, args.photos, args.rounds))
        for artifact in args.artifact
    ]
    return {"artifacts": found}, "\n\n".join(map(table, found))


def _kills(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.kills import KillsJob, measure, table

    numbers = measure(KillsJob(args.artifact, args.input, args.photos, args.bad, args.kills))
    return numbers, table(numbers)


def _cuda(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.cuda import CudaJob, measure, table

    numbers = measure(CudaJob(tuple(args.models), tuple(args.batches), rounds=args.rounds))
    return numbers, table(numbers)


def _memory(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.memory import measure, table

    numbers = measure(args.model, (280, 504), args.views)
    return numbers, table(numbers)


def _load(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.load import measure, table

    photo = _last_photo(args.input)
    numbers = measure(args.artifact, photo, args.seconds, args.rounds, not args.alone)
    return numbers, table(numbers)


def _soak(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.soak import measure, table

    numbers = measure(_last_photo(args.input), args.requests)
    return numbers, table(numbers)


def _fleet(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.fleet import measure, table

    numbers = measure(args.model, (518, 518), args.input, args.seconds, args.scratch)
    return numbers, table(numbers)


def _inputs(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.inputs import measure, table

    numbers = measure(args.input, args.count, args.scratch)
    return numbers, table(numbers)


def _last_photo(folder: Path) -> Path:
    from runtime.folder import FolderJob, find_photos

    return find_photos(FolderJob(folder, Path("output_depth")))[-1]


def _casts(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from benchmarks.casts import measure, text

    numbers = measure(args.model, args.input)
    return numbers, text(numbers)


MEASURES = {
    "end2end": _end2end,
    "stages": _stages,
    "decode": _decode,
    "buckets": _buckets,
    "forms": _forms,
    "da3": _da3,
    "cuda": _cuda,
    "load": _load,
    "soak": _soak,
    "fleet": _fleet,
    "inputs": _inputs,
    "memory": _memory,
    "batch": _batch,
    "kills": _kills,
    "casts": _casts,
}


if __name__ == "__main__":
    sys.exit(main())
