"""What an evaluation of scenes says: a table, and what the page over all of a folder shows of them.

Runs, as plain dictionaries, in; text and plain values out. Reads the folder's JSON, writes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from metric_depth.pose_metrics import ANGLES_DEG
from metric_depth.report import number, read_json, run_facts, text_table

SCENE_SCHEMA = 1
ALIGNED, UNALIGNED = "scores", "unaligned"

# (where, score) -> (heading, which way is better, what it is)
SCENE_COLUMNS = {
    **{
        (ALIGNED, f"auc_{angle}"): (
            f"AUC{angle}",
            "higher",
            f"area under the accuracy of relative poses up to {angle} degrees, of the larger of "
            "both errors, of rotation and of the translation's direction",
        )
        for angle in ANGLES_DEG
    },
    (ALIGNED, "rotation_deg"): ("rot °", "lower", "median error of relative rotations"),
    (ALIGNED, "translation_deg"): ("trans °", "lower", "median error of relative directions"),
    (ALIGNED, "focal"): ("focal", "lower", "mean of |f / true f - 1|"),
    (ALIGNED, "abs_rel"): ("AbsRel", "lower", "mean of |d - t| / t over a scene's pixels, aligned"),
    (ALIGNED, "delta1"): ("delta1", "higher", "share of pixels with max(d / t, t / d) < 1.25"),
    (ALIGNED, "accuracy"): ("accuracy", "lower", "mean distance of found points to true ones"),
    (ALIGNED, "completeness"): ("complete", "lower", "mean distance of true points to found ones"),
    (ALIGNED, "f1"): ("F1", "higher", "of the shares of points within the threshold, both ways"),
    (UNALIGNED, "abs_rel"): ("AbsRel as is", "lower", "the same without alignment"),
    (UNALIGNED, "f1"): ("F1 as is", "higher", "the same without alignment"),
}
REQUIRED = {"label", "dataset", "about", "scores", "unaligned", "scenes", "photos", "failed"}
REQUIRED |= {"samples", "weights", "command", "date", "machine", "estimator", "given_cameras"}

HOW = (
    "d is the found depth, t the true one, on the pixels that the network saw; sky and "
    "unknown depth do not count. Aligned: the scene is moved, turned and scaled onto the true "
    "cameras by Umeyama's fit of their centres (by RANSAC from ten views on), or, if all "
    "cameras stand in one place, scaled by the medians of depth. As is: the first camera is "
    "put where it truly is, and nothing is scaled; of a model that gives no metres this says "
    "nothing. Points are those of all pixels with true depth, thinned to one for each cube of "
    "half the threshold. Distances are in the cameras' unit. Scores are means over scenes. "
    "Areas are counted in steps of one degree, and the sign of a translation does not count "
    "in them, as in the evaluation of Depth Anything 3."
)


def read_scene_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs over scenes in a folder, by dataset and model; other JSON is left alone."""
    runs = [
        run
        for run in read_json(folder)
        if run.keys() >= REQUIRED and run.get("scene_evaluation") == SCENE_SCHEMA
    ]
    return sorted(runs, key=lambda run: (run["dataset"], run["label"]))


def scene_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Runs as a table of plain text."""
    headings = [heading for heading, _, _ in SCENE_COLUMNS.values()]
    rows = [["model", "dataset", "scenes", "photos", *headings]]
    for run in runs:
        counts = [str(run["scenes"]), str(run["photos"])]
        rows.append([run["label"], run["dataset"], *counts, *_numbers(run)])
    return text_table(rows)


def shown_scenes(folder: Path) -> dict[str, Any]:
    """What the page says of the runs over scenes in a folder."""
    return {
        "how": HOW,
        "scores": [
            {"heading": heading, "better": way, "about": what}
            for heading, way, what in SCENE_COLUMNS.values()
        ],
        "runs": [_shown(run) for run in read_scene_runs(folder)],
    }


def _numbers(run: Mapping[str, Any]) -> list[str]:
    return [number(run[where].get(name)) for where, name in SCENE_COLUMNS]


def _shown(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as the page shows it: its row of the table, its lines, its pictures."""
    known = "told the true cameras" if run["given_cameras"] else "cameras not told"
    line = (
        f"{run['scenes']} scenes of {run['photos']} photos scored, {len(run['failed'])} failed; "
        f"{known}; {run['estimator'].get('how', '')}; unit: {', '.join(run.get('units', []))}; "
        f"true depth: {', '.join(run.get('depth_from', [])) or 'none'}."
    )
    return {
        "dataset": run["dataset"],
        "model": run["label"],
        "photos": run["photos"],
        "count": run["scenes"],
        "scores": _numbers(run),
        "seeded": run["weights"].get("source") == "seeded",
        "lines": [run["about"], line],
        "failed": run["failed"],
        "facts": run_facts(run),
        "figures": [_figure(item) for item in run["samples"] if item.get("picture")],
    }


def _figure(item: Mapping[str, Any]) -> dict[str, Any]:
    """A scene's picture, and what it scored."""

    def said(heading: str, value: Optional[float]) -> list[str]:
        return [] if value is None else [f"{heading} {number(value)}"]

    pose, aligned = item.get("pose", {}), item.get("aligned", {})
    told = [f"{item.get('views')} views"]
    told += said("AUC30", pose.get("auc_30")) + said("AbsRel", aligned.get("abs_rel"))
    told += said("F1", aligned.get("f1")) + said("within", item.get("threshold"))
    return {"picture": item["picture"], "name": item["name"], "told": " · ".join(told)}
