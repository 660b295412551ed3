"""python -m serve.batch: depth for many photos, restartable."""

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from exports.colour import COLORMAPS
from runtime.engines import DEVICES, available
from runtime.errors import DepthError, InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS
from runtime.predict.choose import PHOTOS, choose
from runtime.storage import S3Options
from serve.batch.job import ENGINES, OVERWRITES, BatchJob
from serve.batch.listing import list_inputs
from serve.batch.plan import read_plan
from serve.batch.records import DONE, Record
from serve.batch.run import SUCCESS, Summary, as_json, run_job
from serve.batch.totals import Totals
from serve.batch.verify import verify_job

ALL_DONE, STOPPED, SOME_FAILED = 0, 1, 3
LINE_EVERY_S = 10.0

EXAMPLES = """examples:
  python -m serve.batch run --input photos/ --output depth/
  python -m serve.batch run --input s3://bucket/photos --output s3://bucket/depth
  python -m serve.batch run --input list.jsonl --output depth/ --shard 0/4 --max-error-rate 0.01
  python -m serve.batch status --output depth/
  python -m serve.batch retry-failed --input photos/ --output depth/
  python -m serve.batch verify --output depth/
  python -m serve.batch run --input photos/ --output trial/ --engine simulated --service-ms 27 \\
      --workers 4

exit status: 0 all done; 3 done, with errors under the rate; 1 stopped or given up; 2 usage
"""

log = logging.getLogger("batch")


def formats(text: str) -> tuple[str, ...]:
    """Comma-separated output formats."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def shard(text: str) -> tuple[int, int]:
    """``i/n``."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/n, as 0/4")
    return int(index), int(count)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serve.batch",
        description="Depth for many photos: one result, or one reason, for each. Run it again "
        "after whatever stopped it, and it goes on where it was.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--output", required=True, metavar="WHERE", help="folder or s3://bucket/…")
    where.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N", help="one part of N")
    where.add_argument("--endpoint-url", metavar="URL", help="another service that speaks S3")
    where.add_argument("--path-style", action="store_true", help="buckets in the path")
    where.add_argument("--requester-pays", action="store_true")
    where.add_argument("--kms-key", metavar="KEY", help="encrypt results; aws: the account's key")
    what = argparse.ArgumentParser(add_help=False)
    what.add_argument(
        "--input",
        required=True,
        metavar="WHAT",
        help="folder, file, pattern, list (.txt, .jsonl, .csv, .parquet) or s3://bucket/prefix",
    )
    what.add_argument("--artifact", type=Path, default=Path("artifacts"), metavar="FOLDER")
    what.add_argument("--model", default="", help="which, where the folder holds several")
    what.add_argument("--formats", type=formats, default=("npz", "png16"), metavar="LIST")
    what.add_argument("--colormap", choices=COLORMAPS, default="Spectral_r")
    what.add_argument("--engine", choices=ENGINES, default="local")
    what.add_argument(
        "--service-ms",
        type=float,
        metavar="MS",
        help="of a call, with --engine simulated: all but the graph is real, and no map is depth",
    )
    what.add_argument("--workers", type=int, default=1, metavar="N", help="engines side by side")
    what.add_argument("--threads", type=int, default=0, metavar="N", help="to read, and to write")
    what.add_argument("--device", choices=DEVICES, default="auto")
    what.add_argument("--limit", type=int, metavar="N", help="of inputs, for a trial")
    what.add_argument("--max-error-rate", type=float, default=0.05, metavar="SHARE")
    what.add_argument("--overwrite", choices=OVERWRITES, default="changed")
    what.add_argument("--max-pixels", type=int, default=MAX_PIXELS, metavar="N")
    what.add_argument(
        "--decode", choices=DECODES, default=FULL, help="reduced: large JPEGs only as far as needed"
    )
    what.add_argument("--focal-px", type=float, metavar="F", help="for da3metric-large")

    run = commands.add_parser("run", parents=[where, what], help="begin a job, or go on with it")
    run.add_argument("--dry-run", action="store_true", help="count inputs, and write nothing")
    commands.add_parser("retry-failed", parents=[where, what], help="those that failed, again")
    commands.add_parser("status", parents=[where], help="counts, as JSON")
    commands.add_parser("verify", parents=[where], help="read every result; 1 if one is wrong")
    report = commands.add_parser("report", parents=[where], help="write _job/report.html")
    report.add_argument("--sample", type=int, default=12, metavar="N", help="pictures; default 12")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return COMMANDS[args.command](args)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return STOPPED


def _job(args: argparse.Namespace) -> BatchJob:
    s3 = S3Options(args.endpoint_url, args.path_style, args.requester_pays, args.kms_key)
    if not hasattr(args, "input"):
        return BatchJob("", args.output, shard=args.shard, s3=s3)
    return BatchJob(
        args.input,
        args.output,
        (args.artifact,),
        args.formats,
        args.colormap,
        args.engine,
        args.workers,
        args.threads,
        args.device,
        args.shard,
        args.limit,
        args.max_error_rate,
        args.overwrite,
        args.max_pixels,
        args.focal_px,
        s3,
        args.service_ms,
        args.decode,
    )


def _run(args: argparse.Namespace) -> int:
    job = _job(args)
    simulated = job.service_ms is not None
    runs = (lambda target: True) if simulated else available
    artifacts = choose([args.artifact], args.model, PHOTOS, runs).artifacts
    if getattr(args, "dry_run", False):
        count = sum(1 for _ in list_inputs(job))
        print(json.dumps({"inputs": count, "artifacts": [a.manifest.name for a in artifacts]}))
        return ALL_DONE
    if simulated:
        log.warning("SIMULATED: no graph runs, each call waits %g ms", job.service_ms)
    elif any(artifact.manifest.weights.seeded for artifact in artifacts):
        log.warning("RANDOM WEIGHTS: the pipeline is real, the depth means nothing")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Progress() as progress:
        summary = run_job(job, artifacts, stop, progress, args.command == "retry-failed")
    print(as_json(summary))
    if summary.given_up:
        log.error(
            "given up: %d of %d failed, over --max-error-rate %g (%s)",
            summary.failed,
            summary.planned,
            job.max_error_rate,
            summary.codes,
        )
    if not summary.finished:
        return STOPPED
    return SOME_FAILED if summary.failed else ALL_DONE


class Progress:
    """A bar on a terminal; elsewhere an event a line, as JSON, every few seconds."""

    def __enter__(self) -> "Progress":
        self._bar: Any = None
        self._since = self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, summary: Summary, record: Record) -> None:
        """One more record."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=summary.planned, unit="photo", disable=not sys.stderr.isatty())
        done = summary.done + summary.failed
        self._bar.update(done + summary.kept - self._bar.n)
        if record.status != DONE:
            self._bar.write(f"failed: {record.error}", file=sys.stderr)
        now = time.monotonic()
        if self._bar.disable and now - self._since > LINE_EVERY_S:
            self._since = now
            rate = done / (now - self._began)
            left = summary.planned - done - summary.kept
            event = {
                "event": "progress",
                "done": summary.done,
                "failed": summary.failed,
                "kept": summary.kept,
                "planned": summary.planned,
                "images_s": round(rate, 2),
                "left_s": round(left / rate) if rate else None,
            }
            log.info("%s", json.dumps(event))


def _status(args: argparse.Namespace) -> int:
    job = _job(args)
    output = job.open_output()
    plan = read_plan(output, job.folder)
    if plan is None:
        raise InputError(f"{output.address}: no job there; begin it with `run`")
    totals = Totals(output, job.folder, plan)
    facts = {
        "input": plan.input,
        "planned": plan.count,
        **totals.counts(),
        "errors": dict(totals.errors()),
        "finished": output.stat(f"{job.folder}/{SUCCESS}") is not None,
        **plan.label(),
    }
    totals.close()
    print(json.dumps(facts, indent=2))
    return ALL_DONE


def _verify(args: argparse.Namespace) -> int:
    job, faults = _job(args), 0
    for fault in verify_job(job.open_output(), job.folder):
        faults += 1
        print(f"{fault.name}: {fault.problem}")
    log.info("%s", "every input has one result or a reason" if not faults else f"{faults} faults")
    return STOPPED if faults else ALL_DONE


def _report(args: argparse.Namespace) -> int:
    from serve.batch.report import write_report

    job = _job(args)
    print(write_report(job.open_output(), job.folder, args.sample, job.s3))
    return ALL_DONE


COMMANDS = {
    "run": _run,
    "retry-failed": _run,
    "status": _status,
    "verify": _verify,
    "report": _report,
}


if __name__ == "__main__":
    sys.exit(main())
