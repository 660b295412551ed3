"""What became of a job, as one HTML page.

A job's plan, records and results in; ``report.html`` beside them out. The page needs nothing but
itself, its pictures too. Its look and its escaping are those of ``exports.pages``.
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from exports.files import SIDECAR
from exports.pages import render
from exports.pages.charts import bar_chart, number_text, seconds_text
from runtime.errors import DepthError, InputError
from runtime.storage import S3Options, Storage
from runtime.walk import told
from serve.batch.job_folder import JobFolder
from serve.batch.plan import PAGE_BYTES, JobPlan, the_plan
from serve.batch.records import DONE, ERROR, Record
from serve.batch.thumbnails import depth_thumbnail, photo_thumbnail
from serve.batch.totals import MISSING, PER_DECADE, STAGES, Rates, Totals

PAGE = "report.html"
EXAMPLES = 20
MAX_SAMPLE = 1000  # some 40 MB of pictures
RANDOM = "Random weights: the pipeline is real, the depth means nothing."
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Sample:
    """What is shown of some results.

    Figures; names of those that could not be shown, with the reason; the artifacts; and whether one
    of these has random weights.
    """

    figures: list[dict[str, Any]]
    notes: list[tuple[str, str]]
    artifacts: list[dict[str, str]]
    random: bool


def write_report(folder: JobFolder, sample: int, s3: S3Options) -> str:
    """Write the page over a job.

    Args:
        folder: the job's own, below the output.
        sample: how many results to show.
        s3: to read their photos again.
    Returns:
        where the page is.
    Raises:
        InputError: no job there, or a sample that is no number of pictures.
        StorageError: the output cannot be read or written.
    """
    if not 0 <= sample <= MAX_SAMPLE:
        raise InputError(f"sample={sample}: give 0 to {MAX_SAMPLE}")
    output, plan, finished = folder.output, the_plan(folder), folder.finished
    totals = Totals(folder, plan)
    try:
        shown = _sample(output, totals, sample, s3)
        counts, rates = totals.counts(), totals.rates()
        text = render(
            "batch.html.j2",
            input=plan.input,
            output=output.address,
            finished=finished,
            made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}",
            plan=plan.digest[:12],
            options=plan.options[:12],
            warning=_shout(plan, shown.random),
            cards=_cards(plan.count, counts, rates, totals.output_bytes()),
            throughput=_throughput(rates),
            stages=_stages(totals) if counts[DONE] else [],
            figures=shown.figures,
            notes=shown.notes,
            done=f"{counts[DONE]:,}",
            errors=_errors(totals),
            left_out=told(plan.left_out),
            artifacts=shown.artifacts,
        )
    finally:
        totals.close()
    folder.write(PAGE, text.encode("utf-8", "backslashreplace"))
    return folder.address(PAGE)


def _sample(output: Storage, totals: Totals, sample: int, s3: S3Options) -> Sample:
    figures: list[dict[str, Any]] = []
    notes: list[tuple[str, str]] = []
    random = False
    artifacts: dict[str, dict[str, str]] = {}
    for record in totals.sample(max(1, sample)):  # one, to say what made it
        try:
            facts = json.loads(output.read(record.name + SIDECAR, PAGE_BYTES))
            told = _artifact_facts(facts)
            artifacts[told["digest"]] = told
            random = random or "warning" in facts
            if sample:
                depth = depth_thumbnail(output, record, facts)
                figures.append(_figure(record, photo_thumbnail(record, s3), depth))
        except Exception as error:  # decoders fed with damaged bytes raise whatever they trip over
            reason = str(error) if isinstance(error, DepthError) else f"damaged ({error!r})"
            notes.append((record.name, reason))
    return Sample(figures, notes, list(artifacts.values()), random)


def _artifact_facts(facts: dict[str, Any]) -> dict[str, str]:
    weights = facts["weights"]
    told = {
        "artifact": facts["artifact"]["name"],
        "digest": facts["artifact"]["digest"],
        "model": f"{facts['model']}, {facts['kind']}, {facts['unit']}",
        "weights": f"{weights.get('file') or weights['source']}, sha256 {weights['sha256']}",
        "licence": facts["licence"],
        "warning": facts.get("warning", ""),
    }
    return {name: str(value) for name, value in told.items() if value}


def _shout(plan: JobPlan, random: bool) -> str:
    if plan.service_ms is not None:
        return f"Simulated: no graph ran; each call waited {plan.service_ms:g} ms. No map is depth."
    return RANDOM if random else ""


def _cards(
    planned: int, counts: dict[str, int], rates: Rates, size: int
) -> list[tuple[str, str, bool, str]]:
    """Value, what it is, whether it is bad, and a link if there is more of it."""
    worked, failed, missing = counts[DONE] + counts[ERROR], counts[ERROR], counts[MISSING]
    unit, one = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    rate = number_text(worked / rates.seconds) if rates.seconds else "-"
    return [
        (f"{planned:,}", "planned", False, ""),
        (f"{counts[DONE]:,}", "done", False, ""),
        (f"{failed:,}", "failed", failed > 0, "#errors" if failed else ""),
        (f"{missing:,}", "missing", missing > 0, ""),
        (rate, "images/s", False, ""),
        (seconds_text(rates.seconds), "time worked", False, ""),
        (number_text(size / one), f"{unit} of results", False, ""),
    ]


def _throughput(rates: Rates) -> Optional[dict[str, Any]]:
    """Images a second over the time worked; None if there is no such time."""
    if not rates.done:
        return None
    parts = len(rates.done)
    step = next((one for one in STEPS_S if rates.seconds / one <= 10), rates.seconds / 10)
    labels = {
        number * step * parts / rates.seconds: seconds_text(number * step)
        for number in range(int(rates.seconds / step) + 1)
    }
    note = f"Each bar is {seconds_text(rates.seconds / parts)} of the time worked"
    note += "; red failed." if any(rates.failed) else "."
    if rates.pauses:
        note += f" Pauses left out: {rates.pauses}."
    return {"note": note, "chart": bar_chart(1050, [rates.done, rates.failed], labels)}


def _stages(totals: Totals) -> list[dict[str, Any]]:
    """How long a photo took to read, infer and write, on one scale of time."""
    found = {stage: totals.times(stage) for stage in STAGES}
    low = min(min(times.bins) for times in found.values()) - 2
    high = max(max(times.bins) for times in found.values()) + 3
    marks = (0,) if high - low > 2 * PER_DECADE else (0, 3, 7)  # 1; 1, 2 and 5 times a power of 10
    labels = {
        float(place - low): seconds_text(float(f"{10 ** (place / PER_DECADE):.1g}"))
        for place in range(low, high)
        if place % PER_DECADE in marks
    }
    return [
        {
            "name": stage,
            "note": f"median {seconds_text(times.median_s)}, 95 % {seconds_text(times.p95_s)}, "
            f"longest {seconds_text(times.largest_s)}",
            "chart": bar_chart(
                340, [[float(times.bins.get(place, 0)) for place in range(low, high)]], labels
            ),
        }
        for stage, times in found.items()
    ]


def _errors(totals: Totals) -> list[dict[str, Any]]:
    """Each kind of error, the most frequent first, with examples."""
    return [
        {
            "code": code,
            "count": f"{count:,}",
            "more": count > EXAMPLES,
            "examples": list(totals.examples(code, EXAMPLES)),
        }
        for code, count in totals.errors()
    ]


def _figure(record: Record, photo: bytes, depth: bytes) -> dict[str, Any]:
    """A photo and its depth, two JPEG files in base64."""
    return {
        "photo": base64.b64encode(photo).decode(),
        "depth": base64.b64encode(depth).decode(),
        "name": record.name,
        "width": record.width,
        "height": record.height,
    }
