"""The app's work on a server elsewhere: the service for photos, a backend for scenes.

Files in; predictions, as the server says them, out. Needs neither torch nor weights.
"""

import contextlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.web.app_engine import FoundScene, SceneAsked, Told, why_no_splats
from apps.web.app_video import make_depth_video
from apps.web.client import Client, ServerError, path_of_file
from exports.png import png_bytes
from exports.read_splats import FILE as SPLATS_FILE
from exports.read_splats import WHOLE, read_splats
from exports.scene import ScenePhoto
from exports.scene_npz import NPZ_FILE
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError
from runtime.photo.decode import photo_size
from runtime.predict.found import ArtifactName, Prediction, Provenance, ScenePrediction
from runtime.predict.predictor import Prepared

PATCH, SPLATS = 14, "gs_ply"
MAX_NPZ = 4 << 30  # bytes that a scene may unpack to
LOOK_S = 0.3  # between two questions about a task


class RemoteEngine:
    """A server.

    Raises:
        ServerError: it cannot be reached.
    """

    def __init__(self, address: str) -> None:
        self.client = Client(address)
        info = self.client.get("/info")
        name, licence = str(info.get("model")), str(info.get("licence"))
        self.photo_models, self.photo_model = [(f"{name}: {licence}", name)], name
        self.takes_focal = False
        try:
            status: Any = self.client.get("/status")
        except ServerError as error:
            if error.status != 404:
                raise
            status = {}
        self.scene_model = str(status.get("model") or "")
        self.no_splats = self._why_no_splats(status)
        self.takes_focal = self.scene_model == "da3metric-large"
        scenes = "" if self.scene_model else " It does no scenes: that takes `da3 backend`."
        warning = f" {info['warning']}." if info.get("warning") else ""
        self.about = f"{name} at {address}. Licence of its weights: {licence}.{warning}{scenes}"

    def _why_no_splats(self, status: Any) -> str:
        if not self.scene_model:
            return f"No scenes, and so no splats: {self.client.address} is no `da3 backend`."
        if status.get("finds_splats"):
            return ""
        return f"{self.client.address}: {why_no_splats(self.scene_model)}"

    def photo(self, photo: Path, model: str) -> Prediction:
        """As ``Engine.photo``."""
        return self._depth(photo.read_bytes(), photo_size(photo))

    def _depth(self, data: bytes, photo_hw: tuple[int, int]) -> Prediction:
        sent = {"Content-Type": "application/x-image", "Accept": "application/x-npz"}
        _, body = self.client.ask("POST", "/v1/depth?size=input", content=data, headers=sent)
        arrays, facts = _unpacked(body)
        depth = next((arrays[name] for name in (facts["kind"], "depth_0") if name in arrays), None)
        if depth is None:
            raise InputError(f"the server sent {', '.join(arrays)}, and no depth of a photo")
        near = tuple(max(1, round(side / PATCH)) * PATCH for side in depth.shape)
        return Prediction(
            depth=np.ascontiguousarray(depth, np.float32),
            output=OutputSpec(facts["kind"], facts.get("max_depth_m")),
            provenance=_provenance(facts),
            input=InputSpec((near[0], near[1])),  # it does not say what its network took
            photo_hw=photo_hw,
        )

    def check(self, photos: Sequence[Path], asked: SceneAsked) -> str:
        """As ``Engine.check``: the server says it when it is asked."""
        if not self.scene_model:
            raise InputError(self.about)
        return ""

    def scene(self, photos: Sequence[Path], asked: SceneAsked, told: Told) -> FoundScene:
        """As ``Engine.scene``."""
        self.check(photos, asked)
        told("sends the photos")
        names = [photo.name for photo in photos]
        formats = f"npz-{SPLATS}" if asked.splats else "npz"
        fields = {"export_format": formats, **asked.fields()}
        if asked.splats:
            fields["export_kwargs"] = {SPLATS: WHOLE}
        sent = self.client.post_form("/inference", fields, list(zip(names, photos)))
        task_id = sent["task_id"]
        try:
            task = self._ended(task_id, told)
            if task["status"] != "completed":
                raise InputError(f"the task is {task['status']}: {task['message']}")
            with tempfile.TemporaryDirectory() as folder:
                scene = self._fetched(task_id, Path(folder), asked.splats)
        except BaseException:
            with contextlib.suppress(ServerError):  # what went wrong is said, not this
                self.client.delete(f"/task/{task_id}")
            raise
        self.client.delete(f"/task/{task_id}")
        size_hw = (scene.depth.shape[1], scene.depth.shape[2])
        shown = tuple(
            ScenePhoto(name, photo_size(photo), size_hw) for name, photo in zip(names, photos)
        )
        return FoundScene(scene, shown)

    def _fetched(self, task_id: str, folder: Path, splats: bool) -> ScenePrediction:
        """What a task has found, read from its files."""
        file = folder / "scene.npz"
        self.client.save(path_of_file(task_id, NPZ_FILE), file)
        facts = json.loads(self.client.ask("GET", path_of_file(task_id, "scene.json"))[1])
        arrays, _ = _unpacked(file.read_bytes())
        scene = ScenePrediction(
            depth=arrays["depth"],
            kind=facts["kind"],
            conf=arrays.get("conf"),
            extrinsics=arrays.get("extrinsics"),
            intrinsics=arrays.get("intrinsics"),
            processed_images=arrays["image"],
            scale_factor=facts.get("scale_factor"),
            provenance=_provenance(facts),
        )
        if not splats:
            return scene
        self.client.save(path_of_file(task_id, SPLATS_FILE), folder / "splats.ply")
        return replace(scene, gaussians=read_splats(folder / "splats.ply", scene))

    def _ended(self, task_id: str, told: Told) -> dict[str, Any]:
        while True:
            task: dict[str, Any] = self.client.get(f"/task/{task_id}?wait={LOOK_S}")
            told(f"{task['message']} ({task['progress'] or 0:.0%})")
            if task["status"] not in ("pending", "running"):
                return task
            time.sleep(LOOK_S)

    def video(self, video: Path, folder: Path, model: str, told: Told) -> Path:
        """As ``Engine.video``: frame by frame."""
        return make_depth_video(video, folder, RemoteStages(self), self.client.address, told)


class RemoteStages:
    """A server in the three stages of a ``Predictor``, for frames of videos."""

    batch = 1

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """A frame as it is."""
        return Prepared(rgb, (rgb.shape[0], rgb.shape[1]), bucket=0, seconds={})

    def infer(self, group: Sequence[Prepared]) -> list[tuple[np.ndarray, float]]:
        """Send a frame, and get its depth."""
        (frame,) = group
        begun = time.perf_counter()
        self._last = self._engine._depth(png_bytes(frame.tensor, {}), frame.photo_hw)
        return [(self._last.depth, time.perf_counter() - begun)]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float
    ) -> tuple[Prediction, dict[str, float]]:
        """The map is on the frame's pixels already."""
        return replace(self._last, depth=depth), {"inference": infer_seconds}


def _unpacked(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays of an archive and its facts; nothing in it is run.

    Raises:
        InputError: it is none, or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_NPZ:
                raise InputError("the server's answer unpacks to too much")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"the server's answer is no archive of arrays ({error})") from None
    meta = arrays.pop("meta", None)
    return arrays, {} if meta is None else json.loads(str(meta))


def _provenance(facts: dict[str, Any]) -> Provenance:
    """Whose numbers they are, as the server says."""
    weights, artifact = facts.get("weights"), facts.get("artifact")
    if not weights:
        raise InputError("the server does not say whose weights its numbers are of")
    named = None if not artifact else ArtifactName(artifact["name"], artifact["digest"])
    return Provenance(facts["model"], WeightsSpec(**weights), named)
