"""Generated scenes: photo-like pictures whose depth is exact.

Seeds in; RGB and depth in metres out, batched, on any device. The same seed gives the same scene on
every device, up to rounding. Seeds from ``HELD_OUT_SEED`` on are for judging and never trained on.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np
import torch
import torch.nn.functional as F

from metric_depth.effects import hash32, hashed_noise, photograph
from metric_depth.raycast import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    ROOM,
    Pinhole,
    Solids,
    first_hits,
    occluded,
)
from metric_depth.textures import VARIANTS, Atlas, make_atlas, texture_index
from metric_depth.world import CALM_SHARE, PLAIN_SHARE, World, random_world
from runtime.errors import InputError

HELD_OUT_SEED = 2**31
ATLAS_SEED = 7
AMBIENT_REACH = 0.25  # how far corners darken, as a share of depth
Device = Union[str, torch.device]


@dataclass(frozen=True)
class Scenes:
    """A batch of pictures and their truth."""

    rgb: torch.Tensor  # uint8 (B, 3, H, W)
    depth_m: torch.Tensor  # float32 (B, H, W), along the optical axis; +inf where sky

    @property
    def disparity(self) -> torch.Tensor:
        """Inverse depth in 1/m: float32 (B, H, W), 0 where sky."""
        return 1 / self.depth_m


def render_scenes(
    seeds: Sequence[int],
    size_hw: tuple[int, int],
    device: Device = "cpu",
    plain: float = PLAIN_SHARE,
    calm: float = CALM_SHARE,
) -> Scenes:
    """Render one scene a seed.

    Args:
        seeds: any whole numbers from 0.
        size_hw: height and width in pixels, at least 16 each.
        plain, calm: how likely each is one of the plain layouts, and any other framed as people
            frame photos, from 0 to 1.
    Raises:
        InputError: a negative seed, no seed, or a size too small.
    """
    if not seeds or min(seeds) < 0 or min(size_hw) < 16:
        raise InputError(
            f"{len(seeds)} seeds, size {size_hw}: give at least one seed from 0 and sides from 16"
        )
    worlds = [random_world(seed, plain, calm) for seed in seeds]
    return render_worlds(worlds, seeds, size_hw, device)


@torch.no_grad()
def render_worlds(
    worlds: Sequence[World], seeds: Sequence[int], size_hw: tuple[int, int], device: Device = "cpu"
) -> Scenes:
    """Render worlds; the seeds only vary the noise."""
    height, width = size_hw
    solids = stack_solids(worlds, device)
    focal = [max(size_hw) / 2 / np.tan(world.fov_rad / 2) for world in worlds]
    camera = Pinhole(
        _tensor([w.position_m for w in worlds], device),
        _tensor([w.rotation for w in worlds], device),
        _tensor(focal, device),
        size_hw,
    )
    materials = torch.zeros((*solids.kind.shape, worlds[0].materials.shape[1]), device=device)
    for item, world in enumerate(worlds):
        materials[item, : len(world.materials)] = _tensor(world.materials, device)
    look = {name: _tensor([w.look[name] for w in worlds], device) for name in worlds[0].look}
    seed = torch.tensor(list(seeds), device=device)
    depth_m, winner = first_hits(solids, camera)
    linear = shade(solids, materials, camera, look, seed, depth_m, winner)
    linear = linear.transpose(1, 2).reshape(-1, 3, height, width)
    depth_m = depth_m.view(-1, height, width)
    rgb = photograph(linear, depth_m, look, seed)
    return Scenes(rgb.mul(255).round().to(torch.uint8), depth_m)


def stack_solids(worlds: Sequence[World], device: Device) -> Solids:
    """Bring worlds of different sizes into one batch."""
    most = max(len(world.solids["kind"]) for world in worlds)

    def padded(name: str, filler: np.ndarray) -> np.ndarray:
        rows = np.broadcast_to(filler, (len(worlds), most, *filler.shape)).copy()
        for item, world in enumerate(worlds):
            rows[item, : len(world.solids["kind"])] = world.solids[name]
        return rows

    counts = torch.tensor([len(world.solids["kind"]) for world in worlds])
    return Solids(
        kind=torch.from_numpy(padded("kind", np.array(BOX))).to(device),
        exists=(torch.arange(most) < counts.unsqueeze(1)).to(device),
        center_m=_tensor(padded("center_m", np.zeros(3)), device),
        rotation=_tensor(padded("rotation", np.eye(3)), device),
        half_m=_tensor(padded("half_m", np.ones(3)), device),
    )


def _tensor(values: object, device: Device) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32)).to(device)


@functools.lru_cache(maxsize=4)
def _atlas(device: str) -> Atlas:
    return make_atlas(ATLAS_SEED).to(torch.device(device))


def shade(
    solids: Solids,
    materials: torch.Tensor,
    camera: Pinhole,
    look: dict[str, torch.Tensor],
    seed: torch.Tensor,
    depth_m: torch.Tensor,
    winner: torch.Tensor,
) -> torch.Tensor:
    """Light that reaches the camera from each pixel: linear RGB float32 (B, H*W, 3)."""
    rays = camera.rays()
    sky = _sky(rays, look)
    hit = winner.ge(0)
    safe = torch.where(hit, depth_m, torch.ones_like(depth_m))
    point = camera.position_m.unsqueeze(1) + safe.unsqueeze(2) * rays
    chosen = winner.clamp(min=0)

    def of_solid(values: torch.Tensor) -> torch.Tensor:
        index = chosen.view(*chosen.shape, *[1] * (values.ndim - 2))
        return values.gather(1, index.expand(*chosen.shape, *values.shape[2:]))

    turn = of_solid(solids.rotation)
    half = of_solid(solids.half_m)
    local = ((point - of_solid(solids.center_m)).unsqueeze(2) @ turn).squeeze(2)  # metres
    kind = of_solid(solids.kind)
    normal = _normal(kind, local / half, half)
    facing = (turn @ normal.unsqueeze(3)).squeeze(3)
    view = -F.normalize(rays, dim=2)
    slant = (facing * view).sum(2).abs().clamp(min=0.15)
    look_at = of_solid(materials)
    footprint = safe / camera.focal_px.unsqueeze(1) / slant
    albedo = _albedo(look_at, local, normal, footprint)

    to_lamp = look["lamp_m"].unsqueeze(1) - point
    start = point + facing * (1e-3 + 2e-3 * safe.unsqueeze(2))
    shadow, corner = _shadows(solids, start, to_lamp, facing, safe, seed, camera.size_hw)
    distance = to_lamp.norm(dim=2, keepdim=True)
    way = to_lamp / distance
    reach = torch.where(distance > 50, torch.ones_like(distance), 4 / (1 + distance**2)).clamp(
        max=2
    )
    direct = (facing * way).sum(2, keepdim=True).clamp(min=0) * (1 - shadow) * reach
    up = facing[..., 1:2] * 0.5 + 0.5
    ambient = torch.lerp(look["ambient_down"].unsqueeze(1), look["ambient_up"].unsqueeze(1), up)
    fill_way = F.normalize(look["fill_way"], dim=1).unsqueeze(1)
    fill = (facing * fill_way).sum(2, keepdim=True).clamp(min=0) * look["fill"].view(-1, 1, 1)
    middle = F.normalize(way + view, dim=2)
    gloss = look_at[..., 12:13]
    shine = gloss * (facing * middle).sum(2, keepdim=True).clamp(min=0) ** 40 * (1 - shadow)
    lamp = look["lamp_colour"].unsqueeze(1)
    colour = albedo * (lamp * direct + (ambient + fill) * (1 - 0.7 * corner)) + lamp * shine
    haze = 1 - torch.exp(-look["fog"].view(-1, 1, 1) * safe.unsqueeze(2))
    colour = torch.lerp(colour, look["horizon"].unsqueeze(1).expand_as(colour), haze)
    return torch.where(hit.unsqueeze(2), colour, sky)


def _normal(kind: torch.Tensor, unit: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """Outward unit normals in the solid's frame, from points on the unit shape: (B, P, 3)."""
    face = F.one_hot(unit.abs().argmax(2), 3) * unit.sign()
    cap = (unit[..., 1].abs() > unit[..., ::2].norm(dim=2)).unsqueeze(2)
    axis = torch.tensor([0.0, 1.0, 0.0], device=unit.device)
    side = F.normalize(unit * (1 - axis) / half, dim=2)
    kind = kind.unsqueeze(2)
    normal = torch.where(kind.eq(ROOM), -face, face)
    normal = torch.where(kind.eq(CYLINDER), torch.where(cap, axis * unit.sign(), side), normal)
    return torch.where(kind.eq(ELLIPSOID), F.normalize(unit / half, dim=2), normal)


def _albedo(
    material: torch.Tensor, local: torch.Tensor, normal: torch.Tensor, footprint: torch.Tensor
) -> torch.Tensor:
    """Colour of surfaces: a texture between two colours, and dirt: float32 (B, P, 3)."""
    atlas = _atlas(str(local.device))
    # the plane that the surface faces most carries the texture
    axis = normal.abs().argmax(2, keepdim=True)
    x, y, z = local.unsqueeze(3).unbind(2)
    across = torch.where(axis == 0, z, x)
    upward = torch.where(axis == 1, z, y)
    tile_m, cos, sin = material[..., 1:2], material[..., 2:3], material[..., 3:4]
    u = (across * cos - upward * sin) / tile_m + material[..., 4:5]
    v = (across * sin + upward * cos) / tile_m + material[..., 5:6]
    uv = torch.cat((u, v), dim=2).flatten(0, 1)
    spans = (footprint.unsqueeze(2) / tile_m).flatten()
    texture = material[..., 0].long().flatten()
    value = atlas.sample(texture, uv, spans)
    stain = texture_index("noise", 0) + texture % VARIANTS
    dirt = atlas.sample(stain, 0.31 * uv.flip(1) + 0.5, 0.31 * spans)
    shape = (*local.shape[:2], 1)
    mixed = torch.lerp(material[..., 6:9], material[..., 9:12], value.view(shape))
    return mixed * (0.75 + 0.5 * dirt.view(shape))


def _shadows(
    solids: Solids,
    start: torch.Tensor,
    to_lamp: torch.Tensor,
    facing: torch.Tensor,
    depth_m: torch.Tensor,
    seed: torch.Tensor,
    size_hw: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shadow of the lamp and darkening of corners, both float32 (B, P, 1) in [0, 1].

    Traced at half the resolution and enlarged, which softens them as lamps of some size do. Corners
    are one random ray a pixel into the open half-space, then blurred.
    """
    height, width = size_hw

    def halved(x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), height, width, -1)[:, ::2, ::2].flatten(1, 2)

    low_hw = (-(-height // 2), -(-width // 2))
    origin, normal = halved(start), halved(facing)
    scatter = hashed_noise(normal.shape, hash32(seed.add(1)))
    astray = F.normalize(F.normalize(scatter, dim=2).mul(0.9).add(normal), dim=2)
    astray = astray.mul(AMBIENT_REACH) * halved(depth_m.unsqueeze(2))
    blocked = occluded(
        solids, torch.cat((origin, origin), dim=1), torch.cat((halved(to_lamp), astray), dim=1)
    )
    maps = blocked.float().view(len(start), 2, *low_hw)
    corner = F.avg_pool2d(maps[:, 1:], 5, stride=1, padding=2, count_include_pad=False)
    maps = torch.cat((maps[:, :1], corner), dim=1)
    maps = F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False).flatten(2)
    return maps[:, 0].unsqueeze(2), maps[:, 1].unsqueeze(2)


def _sky(rays: torch.Tensor, look: dict[str, torch.Tensor]) -> torch.Tensor:
    """A gradient with clouds: float32 (B, P, 3)."""
    way = F.normalize(rays, dim=2)
    height = way[..., 1:2]
    horizon, zenith = look["horizon"].unsqueeze(1), look["zenith"].unsqueeze(1)
    sky = torch.lerp(horizon, zenith, height.clamp(min=0) ** 0.6)
    amount, size, variant = look["clouds"].unsqueeze(2).unsqueeze(3).unbind(1)
    uv = way[..., ::2] / (height.abs() + 0.15) * 0.1 * size
    index = (variant.long() + texture_index("noise", 0)).expand(-1, rays.shape[1], -1).flatten()
    flat = uv.flatten(0, 1)
    cloud = _atlas(str(rays.device)).sample(index, flat, torch.full_like(flat[:, 0], 0.01))
    cloud = (cloud.view(*height.shape) * 2 - 0.7).clamp(0, 1) * amount
    return torch.lerp(sky, torch.full_like(sky, 0.95), cloud)
