"""What the host decides, as operations on tensors: for graphs that are traced from an eager model.

Views and a question in, the same dictionary out as from ``DepthAnything3Net``. ``torch.jit.trace``
and exporters to ONNX keep what numpy computes as constants of the one photo that they saw, so while
they watch, the steps of ``runtime.scene`` run here. Graphs that ``python -m compile`` makes leave
these steps to the host.
"""

from typing import TYPE_CHECKING, Any

import torch

from runtime.errors import InputError
from runtime.predict.scenes import (
    CAMERA,
    CAMERA_DECODER,
    DEPTH_HEAD,
    ENCODER_GLOBAL,
    ENCODER_LOCAL,
    IMAGE,
    TAPS,
)
from runtime.scene.cameras import MIN_TANGENT
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import MIN_VIEWS, SAME
from runtime.scene.sky import FAR, MIN_PIXELS, SKY

if TYPE_CHECKING:
    from depth_anything_3.model import DepthAnything3Net


def is_traced() -> bool:
    """True while a tracer or an exporter writes down what is computed."""
    exporting: Any = getattr(getattr(torch, "compiler", None), "is_exporting", None)
    return torch.jit.is_tracing() or bool(exporting and exporting())  # type: ignore[attr-defined]


def check_traceable(query: SceneQuery) -> None:
    """Refuse what only the host can find.

    Raises:
        InputError: known cameras, ray poses, splats or single layers are asked for.
    """
    asked = {
        "extrinsics": query.has_cameras,
        "use_ray_pose": query.use_ray_pose,
        "infer_gs": query.infer_gs,
        "export_feat_layers": bool(query.export_feat_layers),
    }
    wrong = [name for name, given in asked.items() if given]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: found on the host, so no traced graph has them; leave them out, "
            "or run the model itself"
        )


def any_view(
    net: "DepthAnything3Net", images: torch.Tensor, query: SceneQuery, batch: int
) -> dict[str, torch.Tensor]:
    """``run_scene`` on tensors alone: float (V, 3, H, W) -> maps (V, ...) and cameras."""
    total, size_hw = int(images.shape[0]), (int(images.shape[2]), int(images.shape[3]))
    views = total // batch
    stages = net.stages(batch, views, size_hw)
    tokens = stages(ENCODER_LOCAL, {IMAGE: images})["tokens"]
    moves = views >= MIN_VIEWS and query.ref_view_strategy != "first"
    if moves:
        first = tokens[:, 0].reshape(batch, views, -1)
        order = _order(_reference(first, query.ref_view_strategy))
        tokens = tokens.index_select(0, order)
    given = {"tokens": tokens, "camera_tokens": stages.camera_tokens}
    found = stages(ENCODER_GLOBAL, given)
    if moves:
        back = order.sort().indices
        found = {name: found[name].index_select(0, back) for name in (*TAPS, CAMERA)}
    maps = stages(DEPTH_HEAD, {tap: found[tap] for tap in TAPS})
    pose = stages(CAMERA_DECODER, {CAMERA: found[CAMERA]})["pose"]
    extrinsics, intrinsics = decode_pose(pose, size_hw)
    return {**maps, "extrinsics": extrinsics, "intrinsics": intrinsics}


def _reference(first: torch.Tensor, strategy: str) -> torch.Tensor:
    """``choose_reference`` of each scene: class tokens float (B, N, C) -> bool (B, N), one true."""
    batch, views, channels = (int(side) for side in first.shape)
    places = torch.arange(views, device=first.device)
    if strategy == "middle":
        return torch.eq(places, views // 2).expand(batch, -1)
    tokens = first.double()
    length = (tokens * tokens).sum(-1).sqrt()
    unit = tokens / length.unsqueeze(-1)
    # No matrix product: ONNX Runtime has none that transposes float64
    likeness = (unit.unsqueeze(2) * unit.unsqueeze(1)).sum(-1) - torch.eye(views).to(unit)
    if strategy == "saddle_sim_range":
        off = likeness.amin(2) - likeness.amax(2)
    else:
        spread = (unit - unit.mean(-1, keepdim=True)).pow(2).sum(-1) / (channels - 1)
        off = torch.zeros_like(length)
        for measure in (likeness.sum(2) / (views - 1), length, spread):
            low, high = measure.amin(1, keepdim=True), measure.amax(1, keepdim=True)
            off = off + ((measure - low) / (high - low + 1e-8) - 0.5).abs()
    best = (off * 10**SAME).round().argmin(1, keepdim=True)
    return places == best


def _order(is_reference: torch.Tensor) -> torch.Tensor:
    """``references_first``: bool (B, N) -> int64 (B * N,)."""
    batch, views = (int(side) for side in is_reference.shape)
    places = torch.arange(views, device=is_reference.device)
    order = torch.where(is_reference, places - views, places).sort(1).indices
    return (order + views * torch.arange(batch, device=order.device).unsqueeze(1)).flatten()


def decode_pose(
    encoding: torch.Tensor, size_hw: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``runtime.scene.cameras.decode_pose``: float (V, 9) -> float (V, 3, 4) and (V, 3, 3)."""
    quaternion = encoding[:, 3:7]
    quaternion = quaternion / (quaternion * quaternion).sum(1, keepdim=True).sqrt()
    x, y, z, w = quaternion.unbind(1)
    rows = (  # of the rotation from camera to world
        (w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z),
    )
    turned = torch.stack([torch.stack(column, 1) for column in zip(*rows)], 1)  # world to camera
    moved = -(turned @ encoding[:, :3, None])
    height, width = size_hw
    fields = (encoding[:, 7:9] / 2).tan().clamp(min=MIN_TANGENT)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    pixels = [
        [width / 2 / fields[:, 1], zero, width / 2 * one],
        [zero, height / 2 / fields[:, 0], height / 2 * one],
        [zero, zero, one],
    ]
    intrinsics = torch.stack([torch.stack(row, 1) for row in pixels], 1)
    return torch.cat((turned, moved), 2), intrinsics


def fill_sky(depth: torch.Tensor, sky: torch.Tensor) -> torch.Tensor:
    """``runtime.scene.sky.fill_sky``: two float (...) of one scene -> float (...)."""
    ground = torch.lt(sky, SKY)
    count, total = ground.sum(), sky.numel()
    nearest = torch.where(ground, depth, torch.full_like(depth, torch.inf)).flatten().sort().values
    place = (count - 1).clamp(min=0) * FAR
    below = place.floor().long()
    both = torch.stack((below, torch.minimum(below + 1, (count - 1).clamp(min=0))))
    low, high = nearest.index_select(0, both).unbind(0)
    far = low + (high - low) * (place - below)
    few = (count <= MIN_PIXELS) | (total - count <= MIN_PIXELS)
    return torch.where(ground | few, depth, far.to(depth.dtype))
