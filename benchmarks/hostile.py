"""What the worst photos within the limits cost, from file to map: memory and processor time.

The photos are made here, of 100 megapixels or of the largest file; each goes through the demo
network in a process of its own, because a process's peak never falls again.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.hostile_photos import PHOTOS
from benchmarks.spent import run
from compile.job import CompileJob, compile_model
from compile.registry import DEMO
from runtime.errors import DepthError

log = logging.getLogger(__name__)

ABOUT = "memory and processor time of the worst photos within the limits"
DESCRIPTION = (
    "Photos made to cost as much as they can, each from file to map in a process of its own."
)
EXAMPLE = "--photos JPEG --doc"

PAGE = "photos.md"
MOST_MB, MOST_SECONDS = 1500, 10
CASE = """
import json, resource, sys, time
from pathlib import Path
from runtime.artifact.folder import read_artifact
from runtime.errors import InputError
from runtime.photo.decode import read_at_least
from runtime.predict.predictor import Predictor
predictor = Predictor([read_artifact(Path(sys.argv[2]))], threads=1)
predictor.warm_up()
begun = time.process_time()
try:
    rgb, photo_hw = read_at_least(Path(sys.argv[1]), None)
    decoded = time.process_time() - begun
    depth = predictor(rgb).depth
    said = "%d x %d" % depth.shape[::-1]
except InputError as error:
    decoded = time.process_time() - begun
    said = str(error).partition(": ")[2]
print(json.dumps({
    "said": said, "decode_s": decoded, "seconds": time.process_time() - begun,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
}))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument("--photos", default="", metavar="WORDS", help="only those so named")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make one photo after the other, and bring each to a map.

    Raises:
        DepthError: no photo is called so.
    """
    names = [name for name in PHOTOS if args.photos in name]
    if not names:
        raise DepthError(f"--photos {args.photos}: no photo is called so")
    cases = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        root = Path(scratch)
        (artifact,) = compile_model(
            CompileJob(model=DEMO, target="torchscript", sizes_hw=((252, 336),), output=root)
        )
        for name in names:
            log.info("%s", name)
            file = root / "photo"
            _make(name, file)
            spent = run([sys.executable, "-c", CASE, str(file), str(artifact.path)])
            facts = json.loads(spent.stdout.splitlines()[-1])
            cases.append({"name": name, "file_mb": file.stat().st_size / 1e6, **facts})
            file.unlink()
    return {"model": DEMO, "cases": cases}


def section(args: argparse.Namespace, slug: str) -> str:
    """One table: memory is the same everywhere."""
    return "hostile"


def _make(name: str, file: Path) -> None:
    """In a process of its own: its memory is gone before the photo is read."""
    code = "import sys; from pathlib import Path; from benchmarks.hostile_photos import PHOTOS; "
    code += "PHOTOS[sys.argv[1]](Path(sys.argv[2]))"
    run([sys.executable, "-c", code, name, str(file)])


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = [
        [
            case["name"],
            f"{case['file_mb']:,.1f}",
            case["said"],
            f"{case['peak_mb']:,.0f}",
            f"{case['decode_s']:.1f}",
            f"{case['seconds']:.1f}",
        ]
        for case in numbers["cases"]
    ]
    header = ["photo", "file, MB", "map", "peak, MB", "decoded, CPU s", "in all, CPU s"]
    over = [
        case["name"]
        for case in numbers["cases"]
        if case["peak_mb"] > MOST_MB or case["seconds"] > MOST_SECONDS
    ]
    judged = f"Over {MOST_MB:,} MB or {MOST_SECONDS} s: {', '.join(over) or 'none'}."
    return (
        f"{markdown_table(header, rows)}\n\nThe peak is that of the whole process: Python, torch, "
        f"`{numbers['model']}`, the file, the photo and its map. {judged}"
    )
