"""What became of a job, as one HTML page.

A job's plan, records and results in; ``report.html`` beside them out. The page needs nothing but
itself: no script, no font, no host. Every name in it is escaped, and no name makes it larger.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from exports.files import SIDECAR
from runtime.errors import DepthError, InputError
from runtime.storage import S3Options, Storage
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

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Depth, a batch job</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>
:root { color-scheme: light dark; --line: #8884; --good: #3778b8; --bad: #c33; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1100px; margin: auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
p { margin: .3em 0; } .quiet { opacity: .75; font-size: .9em; }
code { overflow-wrap: anywhere; white-space: pre-wrap; unicode-bidi: isolate; font-size: .92em; }
.cards { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1.2rem 0; }
.cards div { font-size: .9em; } .cards b { display: block; font-size: 1.7rem; line-height: 1.2; }
.bad { color: var(--bad); } a { color: inherit; }
table { border-collapse: collapse; font-size: .92em; width: 100%; }
th, td { padding: .3em .6em .3em 0; text-align: left; vertical-align: top;
 border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td:first-child { width: 35%; } .facts td:first-child { width: 7em; }
.facts { margin-bottom: 1.2rem; }
svg { width: 100%; display: block; } svg text { font-size: 11px; fill: currentColor; }
.good-bar { fill: var(--good); } .bad-bar { fill: var(--bad); } .axis { stroke: var(--line); }
.three { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1.5rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
 gap: 1.2rem 1rem; margin-top: .8rem; }
figure { margin: 0; } figure div { display: flex; gap: 2px; }
img { width: 50%; object-fit: contain; border-radius: 3px; }
figcaption { font-size: .85em; }
</style></head><body><main>
"""


@dataclass(frozen=True)
class Sample:
    """What is shown of some results: figures, what could not be shown, and their artifacts."""

    figures: list[str]
    notes: list[str]
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
        body = [
            f"<h1>Depth, a batch job</h1><p>{_code(plan.input)} &rarr; {_code(output.address)}</p>",
            f"<p>{'Finished' if finished else '<b class=bad>Not finished</b>'}. "
            f'<span class="quiet">Page made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC; plan '
            f"{_code(plan.digest[:12])}, options {_code(plan.options[:12])}.</span></p>",
            _shout(plan, shown.random),
            _cards(plan.count, counts, rates, totals.output_bytes()),
            _throughput(rates),
            _latency(totals) if counts[DONE] else "",
            _pictures(shown, counts[DONE]),
            _errors(totals),
            _artifacts(shown),
        ]
    finally:
        totals.close()
    text = f"{HEAD}{''.join(body)}</main></body></html>\n"
    folder.write(PAGE, text.encode("utf-8", "backslashreplace"))
    return folder.address(PAGE)


def _sample(output: Storage, totals: Totals, sample: int, s3: S3Options) -> Sample:
    figures, notes, random = [], [], False
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
            notes.append(f"<li>{_code(record.name)}: {html.escape(reason)}</li>")
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
        text = f"Simulated: no graph ran; each call waited {plan.service_ms:g} ms. No map is depth."
    else:
        text = RANDOM if random else ""
    return f'<p class="bad"><b>{text}</b></p>' if text else ""


def _cards(planned: int, counts: dict[str, int], rates: Rates, size: int) -> str:
    worked = counts[DONE] + counts[ERROR]
    failed = '<a href="#errors">failed</a>' if counts[ERROR] else "failed"
    unit, one = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    cards = [
        ("planned", f"{planned:,}", False),
        ("done", f"{counts[DONE]:,}", False),
        (failed, f"{counts[ERROR]:,}", counts[ERROR] > 0),
        ("missing", f"{counts[MISSING]:,}", counts[MISSING] > 0),
        ("images/s", _number(worked / rates.seconds) if rates.seconds else "-", False),
        ("time worked", _seconds(rates.seconds), False),
        (f"{unit} of results", _number(size / one), False),
    ]
    return '<div class="cards">{}</div>'.format(
        "".join(
            f"<div><b{' class=bad' * bad}>{value}</b>{name}</div>" for name, value, bad in cards
        )
    )


def _throughput(rates: Rates) -> str:
    if not rates.done:
        return ""
    parts = len(rates.done)
    step = next((one for one in STEPS_S if rates.seconds / one <= 10), rates.seconds / 10)
    labels = {
        number * step * parts / rates.seconds: _seconds(number * step)
        for number in range(int(rates.seconds / step) + 1)
    }
    note = f"Each bar is {_seconds(rates.seconds / parts)} of the time worked"
    note += "; red failed." if any(rates.failed) else "."
    if rates.pauses:
        note += f" Pauses left out: {rates.pauses}."
    return (
        f'<h2>Images a second</h2><p class="quiet">{note}</p>'
        f"{_bars(1050, [rates.done, rates.failed], labels)}"
    )


def _latency(totals: Totals) -> str:
    found = {stage: totals.times(stage) for stage in STAGES}
    low = min(min(times.bins) for times in found.values()) - 2
    high = max(max(times.bins) for times in found.values()) + 3
    marks = (0,) if high - low > 2 * PER_DECADE else (0, 3, 7)  # 1; 1, 2 and 5 times a power of 10
    labels = {
        float(place - low): _seconds(float(f"{10 ** (place / PER_DECADE):.1g}"))
        for place in range(low, high)
        if place % PER_DECADE in marks
    }
    parts = []
    for stage, times in found.items():
        values = [float(times.bins.get(place, 0)) for place in range(low, high)]
        parts.append(
            f'<div><h3>{stage}</h3><p class="quiet">median {_seconds(times.median_s)}, 95 % '
            f"{_seconds(times.p95_s)}, longest {_seconds(times.largest_s)}</p>"
            f"{_bars(340, [values], labels)}</div>"
        )
    return f'<h2>Time a photo takes</h2><div class="three">{"".join(parts)}</div>'


def _errors(totals: Totals) -> str:
    parts = []
    for code, count in totals.errors():
        rows = "".join(
            f"<tr><td>{_code(record.name)}</td><td>{html.escape(record.error)}</td></tr>"
            for record in totals.examples(code, EXAMPLES)
        )
        more = f", the first {EXAMPLES}" if count > EXAMPLES else ""
        parts.append(f"<h3>{_code(code)}: {count:,}{more}</h3><table>{rows}</table>")
    return f'<h2 id="errors">Errors</h2>{"".join(parts)}' if parts else ""


def _artifacts(shown: Sample) -> str:
    tables = []
    for told in shown.artifacts:
        rows = "".join(f"<tr><td>{name}</td><td>{_code(told[name])}</td></tr>" for name in told)
        tables.append(f'<table class="facts">{rows}</table>')
    note = '<p class="quiet">As the results that were looked at say.</p>'
    return f"<h2>Made with</h2>{note}{''.join(tables)}" if tables else ""


def _pictures(shown: Sample, done: int) -> str:
    if not shown.figures and not shown.notes:
        return ""
    notes = f'<p>Not shown:</p><ul class="quiet">{"".join(shown.notes)}</ul>' if shown.notes else ""
    return (
        f'<h2>Photo and depth</h2><p class="quiet">{len(shown.figures)} of {done:,} done; near is '
        f'the warm or bright end.</p><div class="grid">{"".join(shown.figures)}</div>{notes}'
    )


def _figure(record: Record, photo: bytes, depth: bytes) -> str:
    sources = [f"data:image/jpeg;base64,{base64.b64encode(one).decode()}" for one in (photo, depth)]
    return (
        f'<figure><div><img src="{sources[0]}" alt="photo"><img src="{sources[1]}" alt="depth">'
        f"</div><figcaption>{_code(record.name)} {record.width} &times; {record.height}"
        "</figcaption></figure>"
    )


def _bars(width: int, series: Sequence[Sequence[float]], labels: Mapping[float, str]) -> str:
    """Bars as SVG, the second series upon the first. ``labels``: left edge of a bar -> text."""
    left, right, top, bottom, height = 40, 25, 12, 20, 170
    count, highest = len(series[0]), max(map(sum, zip(*series)))
    step, scale = (width - left - right) / count, (height - top - bottom) / highest
    floor = height - bottom
    parts = []
    for number, stack in enumerate(zip(*series)):
        x, y = left + number * step, float(floor)
        for value, name in zip(stack, ("good-bar", "bad-bar")):
            y -= value * scale
            parts.append(
                f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{max(step - 1, 0.5):.1f}" '
                f'height="{value * scale:.1f}"><title>{_number(value)}</title></rect>'
            )
    for value in (0.0, highest / 2, highest):
        y = floor - value * scale
        parts.append(
            f'<line class="axis" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    for place, text in labels.items():
        x = left + place * step
        parts.append(f'<text x="{x:.1f}" y="{height - 5}" text-anchor="middle">{text}</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms" if seconds else "0"


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"
