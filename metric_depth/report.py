"""What an evaluation writes: a JSON file a run, a table, and one HTML page over all of a folder.

Runs, as plain dictionaries, in; text out. The page needs nothing but the pictures beside it. Its
look and its escaping are those of ``exports.pages``.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from exports.pages import render
from runtime.files import write_whole

log = logging.getLogger(__name__)

SCHEMA = 1
PAGE = "index.html"
PICTURES = "pictures"

# score -> (heading, which way is better, what it is)
COLUMNS = {
    "abs_rel": ("AbsRel", "lower", "mean of |d - t| / t"),
    "rmse": ("RMSE m", "lower", "root of the mean squared error, in metres"),
    "log10": ("log10", "lower", "mean of |log10 d - log10 t|"),
    "delta1": ("delta1", "higher", "share of pixels with max(d / t, t / d) < 1.25"),
    "delta2": ("delta2", "higher", "the same, below 1.25²"),
    "delta3": ("delta3", "higher", "the same, below 1.25³"),
    "pearson": ("Pearson", "higher", "correlation of predicted and true disparity"),
    "ordinal_accuracy": ("ordinal", "higher", "point pairs put in the right order; a tie is wrong"),
    "contradicting_accuracy": (
        "contradicting",
        "higher",
        "the same, of pairs whose nearer point is higher in the picture",
    ),
    "lower_is_nearer": (
        "rule alone",
        "",
        'what "lower in the picture is nearer" would score without a model, level pairs left out',
    ),
}
REQUIRED = {"evaluation", "label", "dataset", "about", "scores", "pairs", "photos", "failed"}
REQUIRED |= {"samples", "weights", "command", "date", "machine", "estimator", "output_kind"}


def plain_name(text: str) -> str:
    """A name for a file: letters, digits, dot, dash and underscore, not hidden."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._") or "unnamed"


def write_run(folder: Path, run: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Path:
    """Write a run's JSON and its pictures, which replace those of its last time.

    Args:
        pictures: path below ``folder`` -> JPEG, as ``picture_path`` names them.
    Returns:
        the JSON file.
    Raises:
        OSError: the disk refuses.
    """
    place = folder / PICTURES / _stem(run)
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("*.jpg"):
        old.unlink()
    for name, data in pictures.items():
        write_whole(folder / name, data)
    file = folder / f"{_stem(run)}.json"
    text = json.dumps(run, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(file, text.encode("utf-8", "backslashreplace"))
    return file


def picture_path(run: Mapping[str, Any], index: int) -> str:
    """Where the picture of a run's sample goes, below the report's folder."""
    return f"{PICTURES}/{_stem(run)}/{index:05d}.jpg"


def _stem(run: Mapping[str, Any]) -> str:
    return f"{plain_name(run['label'])}-{plain_name(run['dataset'])}"


def write_page(folder: Path, scenes: Optional[Mapping[str, Any]] = None) -> Path:
    """Write the page over every run in a folder, older ones too; returns the file.

    Args:
        scenes: of ``scene_report.shown_scenes``.
    """
    file = folder / PAGE
    write_whole(file, page(read_runs(folder), scenes).encode("utf-8", "backslashreplace"))
    return file


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs in a folder, by dataset and model; other JSON is left alone."""
    runs = [
        run for run in read_json(folder) if run.keys() >= REQUIRED and run["evaluation"] == SCHEMA
    ]
    return sorted(runs, key=lambda run: (run["dataset"], run["label"]))


def read_json(folder: Path) -> Iterator[dict[str, Any]]:
    """What the JSON files of a folder hold, those of other forms left out."""
    for file in sorted(folder.glob("*.json")):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is not on the page: %s", file, error)
            continue
        if isinstance(run, dict):
            yield run


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Runs as a table of plain text."""
    rows = [
        ["model", "dataset", "photos", "pairs", *(heading for heading, _, _ in COLUMNS.values())]
    ]
    for run in runs:
        scores = [number(run["scores"].get(name)) for name in COLUMNS]
        counts = [str(run["photos"]), str(run["pairs"]["total"])]
        rows.append([run["label"], run["dataset"], *counts, *scores])
    return text_table(rows)


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of one length as lines: two columns to the left, all others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        text = [cell.ljust(width) for cell, width in zip(row[:2], widths)]
        text += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        lines.append("  ".join(text).rstrip())
    return "\n".join(lines)


def number(value: Optional[float]) -> str:
    """Three digits after the point, or a dash."""
    return "-" if value is None else f"{value:.3f}"


FIT = (
    "d is the predicted depth, t the true one. Every prediction is turned into disparity (1 / "
    "depth for models that give depth), a scale of at least 0 and a shift are fitted to the true "
    "disparity by least squares, a photo at a time, the result is cut at 1 / the dataset's largest "
    "depth, and d is 1 over it. Sky and unknown depth do not count. Scores of depth are means over "
    "photos; pairs are pooled. Pictures: the photo with its first ten pairs (disc nearer, ring "
    "farther; red with a cross is wrong), the truth where there is one (grey is not known), the "
    "prediction; near is red."
)


NO_SCENES: dict[str, Any] = {"runs": [], "scores": [], "how": ""}


def page(runs: Sequence[Mapping[str, Any]], scenes: Optional[Mapping[str, Any]] = None) -> str:
    """The HTML page: a table of all runs, what the scores are, and each run's pictures."""
    scores = [
        {"heading": heading, "better": way, "about": what}
        for heading, way, what in COLUMNS.values()
    ]
    shown = [_shown(run) for run in runs]
    return render(
        "evaluation.html.j2", scores=scores, fit=FIT, runs=shown, scenes=scenes or NO_SCENES
    )


def _shown(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as the page shows it: its row of the table, its lines, its pictures."""
    return {
        "dataset": run["dataset"],
        "model": run["label"],
        "photos": run["photos"],
        "pairs": run["pairs"]["total"],
        "scores": [number(run["scores"].get(name)) for name in COLUMNS],
        "seeded": run["weights"].get("source") == "seeded",
        "lines": _lines(run),
        "failed": run["failed"],
        "facts": run_facts(run),
        "figures": [_figure(item) for item in run["samples"] if item.get("picture")],
    }


def _lines(run: Mapping[str, Any]) -> list[str]:
    """What is said of a run beside its scores, a paragraph each."""
    pairs, how = run["pairs"], run["estimator"].get("how", "")
    lines = [
        run["about"],
        f"{run['photos']} photos scored, {len(run['failed'])} failed; output {run['output_kind']}; "
        f"{how}.",
        f"Pairs: {pairs['right']} of {pairs['total']} right; {pairs['contradicting_right']} of "
        f"{pairs['contradicting']} that contradict the rule, {pairs['following_right']} of "
        f"{pairs['following']} that follow it.",
    ]
    if run.get("unaligned"):
        metres = run["unaligned"]
        lines.append(
            f"Metres as the model gave them, no fit: AbsRel {number(metres.get('abs_rel'))}, RMSE "
            f"{number(metres.get('rmse'))} m, delta1 {number(metres.get('delta1'))}."
        )
    return lines


def run_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    """Where a run comes from."""
    weights = run["weights"]
    return {
        "weights": weights.get("file") or weights.get("source"),
        "sha256": weights.get("sha256"),
        "licence": weights.get("licence"),
        "command": run["command"],
        "date": run["date"],
        "machine": json.dumps(run["machine"], ensure_ascii=False),
    }


def _figure(item: Mapping[str, Any]) -> dict[str, Any]:
    """A photo's strip, and what it scored."""
    told = []
    scores = item.get("scores", {})
    for key in ("abs_rel", "delta1", "pearson"):
        if scores.get(key) is not None:
            told.append(f"{COLUMNS[key][0]} {number(scores[key])}")
    pairs = item.get("pairs", {})
    if pairs.get("total"):
        told.append(f"{pairs['right']} of {pairs['total']} pairs")
        told.append(f"{pairs['contradicting_right']} of {pairs['contradicting']} contradicting")
    return {"picture": item["picture"], "name": item["name"], "told": " · ".join(told)}
