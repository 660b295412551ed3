"""The first run on an Inf1: twelve commands, one after the other, and a report of all to send.

A model and a folder in; what each command said, how long it took and how it ended, out. A command
that fails is written down and the next one runs: a report of failures is worth as much.
"""

import argparse
import io
import json
import logging
import os
import shlex
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.options import add_model, add_number
from compile.registry import MODELS
from compile.targets.journal import REPORT
from runtime.artifact.folder import MANIFEST
from runtime.command_line import above_zero
from runtime.files import write_whole

log = logging.getLogger(__name__)

ABOUT = "the first run on an Inf1: twelve commands and a report to send"
DESCRIPTION = (
    "Run what should be known of an Inf1, in the order of docs/first-run.md: machine, operators, "
    "audits, compiles, parity, speed, cores, service. Each step is a command that can be run alone."
)
EXAMPLE = "--model vits --report"
PAGE = "first-run.md"

PACKED = "neuron-report.tar.gz"
FACTS = "neuron-report.json"
TAIL = 40  # lines of what a command said
PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"


@dataclass(frozen=True)
class Step:
    """One command. ``needs`` is a step without which it cannot run; ``finds`` may exit 1 and pass.

    ``facts``: its stdout is JSON.
    """

    name: str
    about: str
    words: tuple[str, ...]
    needs: str = ""
    finds: bool = False
    facts: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", [name for name, row in MODELS.items() if not row.any_view])
    parser.add_argument("--size", default="518x518", metavar="HxW", help="default 518x518")
    parser.add_argument(
        "--output", type=Path, default=Path("first-run"), help="folder; default first-run/"
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to use")
    weights.add_argument("--seeded-weights", action="store_true", help="random weights")
    names = [step.name for step in steps_of(argparse.Namespace(**DEFAULTS))]
    parser.add_argument(
        "--steps", nargs="+", choices=names, metavar="STEP", help=f"only these: {', '.join(names)}"
    )
    parser.add_argument(
        "--report", action="store_true", help=f"pack what was found: {PACKED}, to be sent"
    )
    add_number(parser, "--timeout", 7200, "of each step", above_zero, "S")
    add_number(parser, "--calls", 100, "of a measurement")
    add_number(parser, "--seconds", 20, "of load")


DEFAULTS: dict[str, Any] = {
    "model": "vits", "size": "518x518", "output": Path("first-run"), "checkpoint": None,
    "seeded_weights": False, "input": Path("input_images"), "calls": 100, "seconds": 20,
}  # fmt: skip


def section(args: argparse.Namespace, slug: str) -> str:
    """One for all machines."""
    return str(args.command)


def steps_of(args: argparse.Namespace) -> list[Step]:
    """The twelve, in order."""
    model, size, out = args.model, args.size, args.output
    compiled = out / f"{model}-{size}-b1-neuron"
    hybrid = out / "hybrid" / f"{model}-{size}-b1-neuron"
    weights: tuple[str, ...] = ()
    if args.seeded_weights:
        weights = ("--seeded-weights",)
    elif args.checkpoint:
        weights = ("--checkpoint", str(args.checkpoint))
    given = weights if args.checkpoint else ()  # verify draws random weights again by itself
    build = ("compile", "--model", model, "--target", "neuron", "--sizes", size, *weights)
    audit = ("compile", "audit", "--model", model, "--size", size, "--json")
    chip, photos = "benchmarks.on_chip", ("--input", str(args.input))
    here, many = ("--artifact", str(compiled)), ("--calls", str(args.calls))
    return [
        Step("machine", "host, driver, chips, packages", (chip, "machine"), facts=True),
        Step("operators", "torch-neuron's list and ours", (chip, "operators"), facts=True),
        Step("audit", "what should run on the chip", audit, finds=True, facts=True),
        Step("audit-hybrid", "the same, resizes on the CPU", (*audit, "--form", "hybrid"),
             finds=True, facts=True),
        Step("compile", "the forms in turn", (*build, "--output", str(out))),
        Step("compile-hybrid", "the last form alone",
             (*build, "--attempts", "hybrid", "--output", str(out / "hybrid"))),
        Step("verify", "the graph against the model", ("compile", "verify", str(compiled), *given),
             needs="compile"),
        Step("verify-hybrid", "hybrid against the model",
             ("compile", "verify", str(hybrid), *given), needs="compile-hybrid"),
        Step("calls", "one core", (chip, "calls", *here, *many), needs="compile", facts=True),
        Step("calls-hybrid", "one core, hybrid", (chip, "calls", "--artifact", str(hybrid), *many),
             needs="compile-hybrid", facts=True),
        Step("cores", "one to four processes", (chip, "cores", *here, *many), needs="compile",
             facts=True),
        Step("serve", "the service under load",
             (chip, "serve", *here, *photos, "--seconds", str(args.seconds)), needs="compile",
             facts=True),
    ]  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the steps, each in a process of its own, since a core belongs to one until it ends."""
    args.output.mkdir(parents=True, exist_ok=True)
    ended: dict[str, str] = {}
    results = []
    for number, step in enumerate(steps_of(args), start=1):
        if args.steps and step.name not in args.steps:
            continue
        log.info("%d, %s: python -m %s", number, step.name, shlex.join(step.words))
        if ended.get(step.needs, PASSED) != PASSED:
            result = {"status": LEFT_OUT, "why": f"{step.needs} did not pass"}
        else:
            result = run_step(step, args.timeout)
        ended[step.name] = str(result["status"])
        results.append({"number": number, **asdict(step), **result})
        log.info("%d, %s: %s", number, step.name, result["status"])
    numbers = {"model": args.model, "size": args.size, "steps": results}
    write_whole(args.output / FACTS, (json.dumps(numbers, indent=2) + "\n").encode())
    if args.report:
        numbers["report"] = str(pack(args.output))
    return numbers


def run_step(step: Step, timeout_s: float) -> dict[str, Any]:
    """One command: how it ended, how long it took, what it said."""
    words = [sys.executable, "-m", *step.words]
    start = time.monotonic()
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=timeout_s, env=dict(os.environ)
        )
    except subprocess.TimeoutExpired:
        return {"status": FAILED, "seconds": timeout_s, "why": f"took more than {timeout_s:.0f} s"}
    fine = done.returncode == 0 or (step.finds and done.returncode == 1)
    result: dict[str, Any] = {
        "status": PASSED if fine else FAILED,
        "exit": done.returncode,
        "seconds": round(time.monotonic() - start, 2),
        "said": done.stderr.splitlines()[-TAIL:],
    }
    if fine and step.facts:
        try:
            result["facts"] = json.loads(done.stdout)
        except ValueError:
            result.update(status=FAILED, why="no JSON on its stdout")
    elif not step.facts:
        result["printed"] = done.stdout.splitlines()[-TAIL:]
    return result


def pack(folder: Path) -> Path:
    """The report, manifests and reports of compiles in one file; no graph, no weights, no photo."""
    names = [folder / FACTS, *folder.rglob(REPORT), *folder.rglob(MANIFEST)]
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for file in sorted(names):
            archive.add(file, arcname=str(Path("neuron-report") / file.relative_to(folder)))
    write_whole(folder / PACKED, held.getvalue())
    return folder / PACKED


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = []
    for one in numbers["steps"]:
        seconds = one.get("seconds")
        cells = ["" if seconds is None else f"{seconds:,.0f}", one["status"], _found(one)]
        rows.append([f"{one['number']}. {one['name']}", *cells])
    sent = f"\n\nTo be sent: `{numbers['report']}`" if "report" in numbers else ""
    what = f"`{numbers['model']}` at {numbers['size']}."
    return f"{what}\n\n{markdown_table(['step', 's', 'ended', 'found'], rows)}{sent}"


def _found(one: dict[str, Any]) -> str:
    """The one number of a step that people look for first, or why there is none."""
    facts = one.get("facts")
    if one["status"] != PASSED:
        said = [line for line in one.get("said", []) if line.strip()]
        return str(one.get("why") or (said[-1] if said else ""))[:160].replace("|", "/")
    if one["name"].startswith("calls"):
        ms = facts["ms"]
        return f"p50 {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms, {facts['images_s']:.1f} images/s"
    if one["name"] == "cores":
        each = facts["processes"]
        return ", ".join(
            f"{count}: {found['images_s']:.1f} images/s" for count, found in each.items()
        )
    if one["name"] == "serve":
        return f"{facts['images_s']:.1f} images/s, p99 {facts['ms']['p99']:.0f} ms"
    if one["name"].startswith("audit"):
        (audit,) = facts
        return f"{len(audit['device_parts'])} parts, {sum(audit['on_cpu'].values())} on the CPU"
    return ""
