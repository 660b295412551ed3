"""python -m serve.batch: depth for many photos, restartable."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from exports.colour import COLORMAPS
from exports.files import PHOTO_FORMATS
from runtime.artifact.folder import Artifact
from runtime.command_line import UsageError, above_zero, positive, run_command, some_of
from runtime.engines import DEVICES, available
from runtime.errors import InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS
from runtime.predict.choose import PHOTOS, choose
from runtime.scene.known_points import MILLIMETRES
from runtime.storage import S3Options
from runtime.walk import LeftOut
from serve.batch.job import OVERWRITES, RUNNERS, BatchJob
from serve.batch.job_folder import JobFolder, open_job
from serve.batch.listing import list_inputs
from serve.batch.neuron_cores import check_cores
from serve.batch.plan import provenance_facts, the_plan
from serve.batch.records import DONE, ERROR, Record
from serve.batch.run import FocalRule, Summary, as_json, exit_status, run_job
from serve.batch.totals import MISSING, Totals
from serve.batch.verify import verify_job

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

exit status, of the job as it stands: 0 every input has a result; 3 every input has a result or an
error record, or folders of the input could not be read; 1 inputs are left: stopped, given up, or an
error, such as a storage that is gone; 2 usage
"""

log = logging.getLogger("batch")


def shard(text: str) -> tuple[int, int]:
    """``i/n``."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/n with i from 0 to n - 1, as 0/4")
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
        help="folder, file, pattern, list (.txt, .csv, .tsv, .json, .jsonl, .parquet) or "
        "s3://bucket/prefix",
    )
    what.add_argument("--artifact", type=Path, default=Path("artifacts"), metavar="FOLDER")
    what.add_argument("--model", default="", help="which model, if the folder holds several")
    what.add_argument(
        "--formats",
        type=some_of(PHOTO_FORMATS),
        default=("npz",),
        metavar="LIST",
        help=f"of {','.join(PHOTO_FORMATS)}; default npz",
    )
    what.add_argument("--colormap", choices=COLORMAPS, default="Spectral_r")
    what.add_argument("--engine", choices=RUNNERS, default="local")
    what.add_argument(
        "--service-ms",
        type=float,
        metavar="MS",
        help="of a call, with --engine simulated: all but the graph is real, and no map is depth",
    )
    what.add_argument(
        "--workers",
        type=positive,
        default=0,
        metavar="N",
        help="engines side by side; default: two on a GPU, or where a measurement of a second "
        "says that two of one thread do more, else one; on Inf1 start a process a core instead, "
        "with --shard",
    )
    what.add_argument("--threads", type=int, default=0, metavar="N", help="to read, and to write")
    what.add_argument("--device", choices=DEVICES, default="auto")
    what.add_argument("--limit", type=positive, metavar="N", help="of inputs, for a trial")
    what.add_argument(
        "--max-error-rate",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="of the inputs that may fail, in this run and before, until the job gives up",
    )
    what.add_argument(
        "--overwrite",
        choices=OVERWRITES,
        default="changed",
        help="results that are there: default changed, those of another photo, focal length, "
        "artifact or option",
    )
    what.add_argument("--max-pixels", type=positive, default=MAX_PIXELS, metavar="N")
    what.add_argument(
        "--decode", choices=DECODES, default=FULL, help="reduced: large JPEGs only as far as needed"
    )
    what.add_argument(
        "--focal-px",
        type=above_zero,
        metavar="F",
        help="focal length of the camera in pixels of the photos, for da3metric-large; a row's own "
        "focal_px in a manifest comes first; default: as EXIF says",
    )
    what.add_argument(
        "--fit-png-scale",
        type=above_zero,
        default=MILLIMETRES,
        metavar="N",
        help="stored values a metre, of known points (a manifest's column points) that are a PNG; "
        "default 1000, millimetres; KITTI's have 256",
    )

    run = commands.add_parser("run", parents=[where, what], help="begin a job, or go on with it")
    run.add_argument("--dry-run", action="store_true", help="count inputs, and write nothing")
    commands.add_parser(
        "retry-failed", parents=[where, what], help="work on the failed inputs again"
    )
    commands.add_parser("status", parents=[where], help="counts, as JSON")
    commands.add_parser("verify", parents=[where], help="read every result; 1 if one is wrong")
    report = commands.add_parser("report", parents=[where], help="write _job/report.html")
    report.add_argument("--sample", type=int, default=12, metavar="N", help="pictures; default 12")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(build_parser(), lambda args: COMMANDS[args.command](args), argv)


def _job(args: argparse.Namespace) -> BatchJob:
    try:
        return BatchJob(
            input=args.input,
            output=args.output,
            artifacts=(args.artifact,),
            formats=args.formats,
            colormap=args.colormap,
            engine=args.engine,
            workers=args.workers,
            threads=args.threads,
            device=args.device,
            shard=args.shard,
            limit=args.limit,
            max_error_rate=args.max_error_rate,
            overwrite=args.overwrite,
            max_pixels=args.max_pixels,
            focal_px=args.focal_px,
            points_per_metre=args.fit_png_scale,
            s3=_s3(args),
            service_ms=args.service_ms,
            decode=args.decode,
        )
    except InputError as error:
        raise UsageError(str(error)) from None


def _s3(args: argparse.Namespace) -> S3Options:
    return S3Options(args.endpoint_url, args.path_style, args.requester_pays, args.kms_key)


def _folder(args: argparse.Namespace) -> JobFolder:
    try:
        return open_job(args.output, args.shard, _s3(args))
    except InputError as error:
        raise UsageError(str(error)) from None


def _run(args: argparse.Namespace) -> int:
    job = _job(args)
    artifacts = _artifacts(job, args.model)
    if getattr(args, "dry_run", False):
        left_out = LeftOut()
        count = sum(1 for _ in list_inputs(job, FocalRule(job, artifacts), left_out))
        facts = {"inputs": count, "artifacts": [a.manifest.name for a in artifacts]}
        print(json.dumps({**facts, "left_out": left_out.facts()}))
        return 0
    provenance = provenance_facts(artifacts, job.simulated)
    if job.simulated:
        log.warning("SIMULATED: no graph runs, each call waits %g ms", job.service_ms)
    elif "warning" in provenance:
        log.warning("RANDOM WEIGHTS: the pipeline is real, the depth means nothing")
    with _until_signalled() as stop, Progress() as progress:
        summary = run_job(job, artifacts, stop, progress, args.command == "retry-failed")
    print(as_json(summary, provenance))
    _tell(summary, job)
    return summary.exit_status


def _artifacts(job: BatchJob, model: str) -> Sequence[Artifact]:
    """Those that are used; what was left out is said."""
    runs, device = (_any, None) if job.simulated else (available, job.device)
    choice = choose(job.artifacts, model, PHOTOS, runs, device=device)
    left_out = [str(one) for one in choice.left_out if one.model == choice.model]
    if left_out:
        log.info("artifacts left out: %s", "; ".join(left_out))
    check_cores(job, choice.artifacts, os.environ)
    return choice.artifacts


def _any(target: str) -> bool:
    """A graph that is not loaded runs anywhere."""
    return True


@contextlib.contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set; afterwards they do what they did before."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _tell(summary: Summary, job: BatchJob) -> None:
    """What the counts mean, if anything is wrong."""
    if summary.given_up:
        log.error(
            "given up: %d of %d failed, over --max-error-rate %g (%s); `retry-failed` tries these "
            "again, a higher rate goes on",
            summary.failed,
            summary.planned,
            job.max_error_rate,
            summary.codes,
        )
    elif not summary.finished:
        log.error("%d of %d inputs are left; `run` goes on", summary.left, summary.planned)
    elif summary.failed:
        log.warning(
            "%d of %d inputs have an error record (%s); `retry-failed` tries these again",
            summary.failed,
            summary.planned,
            summary.codes,
        )


class Progress:
    """A bar on a terminal; elsewhere an event a line, as JSON, every few seconds."""

    def __enter__(self) -> "Progress":
        self._bar: Any = None
        self._since = self._began = time.monotonic()
        self._worked = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, summary: Summary, record: Record) -> None:
        """One more record."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=summary.planned, unit="photo", disable=not sys.stderr.isatty())
        self._worked += 1
        self._bar.update(summary.planned - summary.left - self._bar.n)
        if record.status != DONE:
            self._bar.write(f"failed: {record.error}", file=sys.stderr)
        now = time.monotonic()
        if self._bar.disable and now - self._since > LINE_EVERY_S:
            self._since = now
            rate = self._worked / (now - self._began)
            event = {
                "event": "progress",
                "done": summary.done,
                "failed": summary.failed,
                "kept": summary.kept,
                "planned": summary.planned,
                "images_s": round(rate, 2),
                "left_s": round(summary.left / rate) if rate else None,
            }
            log.info("%s", json.dumps(event))


def _status(args: argparse.Namespace) -> int:
    folder = _folder(args)
    plan = the_plan(folder)
    totals = Totals(folder, plan)
    counts, errors = totals.counts(), dict(totals.errors())
    totals.close()
    facts = {
        "input": plan.input,
        "planned": plan.count,
        **counts,
        "errors": errors,
        "finished": folder.finished,
        "exit_status": exit_status(folder.finished, counts[ERROR], plan.unread),
        **plan.facts(),
    }
    print(json.dumps(facts, indent=2))
    return 0


def _verify(args: argparse.Namespace) -> int:
    folder, faults = _folder(args), 0
    for fault in verify_job(folder):
        faults += 1
        print(f"{fault.name}: {fault.problem}")
    totals = Totals(folder, the_plan(folder))
    counts = totals.counts()
    totals.close()
    log.info(
        "%d results, %d error records, %d inputs without either; faults found: %d",
        counts[DONE],
        counts[ERROR],
        counts[MISSING],
        faults,
    )
    return 1 if faults else 0


def _report(args: argparse.Namespace) -> int:
    from serve.batch.report import write_report

    print(write_report(_folder(args), args.sample, _s3(args)))
    return 0


COMMANDS = {
    "run": _run,
    "retry-failed": _run,
    "status": _status,
    "verify": _verify,
    "report": _report,
}


if __name__ == "__main__":
    sys.exit(main())
