"""Rays against solids, in closed form: ellipsoids, boxes and cylinders of any pose, many at a time.

Batched camera rays and solids in; which solid is hit first, and where, out. A solid is a unit shape
(ball, cube or cylinder, each within [-1, 1]^3) under a rotation and three half extents, so a ray is
brought into the unit frame, where each shape has a formula; the ray's parameter stays the same.
No random numbers, no colours.
"""

import warnings
from dataclasses import dataclass

import torch

# torch 1.13 says so at every first call; what is used here has not changed since
warnings.filterwarnings("ignore", message="scatter_reduce")

ELLIPSOID, BOX, CYLINDER, ROOM = range(4)  # a room is a box seen from within

NEAR_M = 0.03  # nothing nearer than this is seen
PARALLEL = 1e-9


@dataclass(frozen=True)
class Solids:
    """The solids of B scenes, N each; scenes with fewer are filled with ``exists`` False."""

    kind: torch.Tensor  # int64 (B, N)
    exists: torch.Tensor  # bool (B, N)
    center_m: torch.Tensor  # float32 (B, N, 3)
    rotation: torch.Tensor  # float32 (B, N, 3, 3), unit frame to world
    half_m: torch.Tensor  # float32 (B, N, 3)

    def to_unit(self) -> torch.Tensor:
        """World directions into the unit frame: float32 (B, N, 3, 3)."""
        return self.rotation.transpose(-1, -2) / self.half_m.unsqueeze(-1)


Vector = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def hit_ellipsoid(origin: Vector, ray: Vector) -> torch.Tensor:
    """Nearest parameter t at which rays enter the unit ball: float32, +inf for a miss."""
    (ox, oy, oz), (dx, dy, dz) = origin, ray
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    # the distance of the ray's line from the center, squared, without the cancellation of b*b - a*c
    along = b / a
    px, py, pz = ox - along * dx, oy - along * dy, oz - along * dz
    inside = 1 - (px * px + py * py + pz * pz)
    entry = -along - (inside.clamp(min=0) / a).sqrt()
    return torch.where(inside > 0, entry, torch.inf)


def slabs(origin: Vector, ray: Vector) -> Vector:
    """Entry and exit parameter of the unit cube, and whether it is hit at all."""
    entry = exit_ = None
    for o, d in zip(origin, ray):
        inverse = 1 / torch.where(d.abs() < PARALLEL, torch.full_like(d, PARALLEL), d)
        one, other = (-1 - o) * inverse, (1 - o) * inverse
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        entry = low if entry is None else torch.maximum(entry, low)
        exit_ = high if exit_ is None else torch.minimum(exit_, high)
    assert entry is not None and exit_ is not None
    return entry, exit_, entry < exit_


def hit_box(origin: Vector, ray: Vector) -> torch.Tensor:
    """Parameter at which rays enter the unit cube: float32, +inf for a miss."""
    entry, _, hit = slabs(origin, ray)
    return torch.where(hit, entry, torch.inf)


def hit_room(origin: Vector, ray: Vector) -> torch.Tensor:
    """Parameter at which rays leave the unit cube, seen from within: float32, +inf for a miss."""
    _, exit_, hit = slabs(origin, ray)
    return torch.where(hit, exit_, torch.inf)


def hit_cylinder(origin: Vector, ray: Vector) -> torch.Tensor:
    """Parameter at which rays enter the unit cylinder (along y, closed): float32, +inf: a miss."""
    (ox, oy, oz), (dx, dy, dz) = origin, ray
    a = (dx * dx + dz * dz).clamp(min=PARALLEL)
    along = (ox * dx + oz * dz) / a
    px, pz = ox - along * dx, oz - along * dz
    inside = 1 - (px * px + pz * pz)
    half_chord = (inside.clamp(min=0) / a).sqrt()
    inverse = 1 / torch.where(dy.abs() < PARALLEL, torch.full_like(dy, PARALLEL), dy)
    one, other = (-1 - oy) * inverse, (1 - oy) * inverse
    entry = torch.maximum(-along - half_chord, torch.minimum(one, other))
    exit_ = torch.minimum(-along + half_chord, torch.maximum(one, other))
    return torch.where((inside > 0) & (entry < exit_), entry, torch.inf)


HIT = {ELLIPSOID: hit_ellipsoid, BOX: hit_box, CYLINDER: hit_cylinder, ROOM: hit_room}


@dataclass(frozen=True)
class Pinhole:
    """B cameras without distortion; z forward, x right, y up in the camera's frame."""

    position_m: torch.Tensor  # float32 (B, 3)
    rotation: torch.Tensor  # float32 (B, 3, 3), camera to world
    focal_px: torch.Tensor  # float32 (B,)
    size_hw: tuple[int, int]

    def rays(self) -> torch.Tensor:
        """World directions float32 (B, H*W, 3), scaled so that a parameter t is depth in metres."""
        height, width = self.size_hw
        device = self.focal_px.device
        x = torch.arange(width, device=device).add(0.5 - width / 2)
        y = height / 2 - torch.arange(height, device=device) - 0.5
        focal = self.focal_px[:, None, None]
        shape = (len(self.focal_px), height, width)
        ahead = torch.ones(shape, device=device)
        across = (x[None, None] / focal).expand(shape)
        up = (y[None, :, None] / focal).expand(shape)
        rays = torch.stack((across, up, ahead), dim=-1).flatten(1, 2)
        return rays @ self.rotation.transpose(1, 2)


def first_hits(solids: Solids, camera: Pinhole) -> tuple[torch.Tensor, torch.Tensor]:
    """The first solid along every pixel's ray.

    Only pixels within a solid's outline on the screen are tried against it: a flat list of
    (solid, pixel) pairs, so that scenes of any make-up run as one batch.

    Returns:
        depth_m float32 (B, H*W), along the optical axis, +inf where nothing is hit; and the
        index of the solid int64 (B, H*W), -1 there.
    """
    height, width = camera.size_hw
    pixels = height * width
    rays = camera.rays().flatten(0, 1)  # (B*H*W, 3)
    low, high = _screen_boxes(solids, camera)
    span = (high - low).clamp(min=0) * solids.exists.unsqueeze(-1)
    to_unit = solids.to_unit()
    offset = camera.position_m.unsqueeze(1) - solids.center_m
    origin = (to_unit @ offset.unsqueeze(-1)).squeeze(-1)  # (B, N, 3)

    number = solids.kind.shape[1]
    depth = torch.full((len(rays),), torch.inf, device=rays.device)
    winner = torch.full((len(rays),), -1, dtype=torch.int64, device=rays.device)
    for kind, hit in HIT.items():
        chosen = ((solids.kind == kind) & (span.prod(-1) > 0)).flatten().nonzero().squeeze(1)
        if not len(chosen):
            continue
        columns = span[..., 0].flatten()[chosen]
        count = columns * span[..., 1].flatten()[chosen]
        pair = torch.repeat_interleave(torch.arange(len(chosen), device=rays.device), count)
        step = torch.arange(len(pair), device=rays.device) - (count.cumsum(0) - count)[pair]
        corner = low.flatten(0, 1)[chosen]
        wide = columns[pair]
        row = torch.div(step, wide, rounding_mode="floor")
        pixel = (corner[pair, 1] + row) * width + corner[pair, 0] + step - row * wide
        target = torch.div(chosen, number, rounding_mode="floor")[pair] * pixels + pixel
        frame = to_unit.flatten(0, 1)[chosen].flatten(1)[pair]  # (K, 9)
        ray = rays[target]
        local = [(frame[:, 3 * i : 3 * i + 3] * ray).sum(1) for i in range(3)]
        start = origin.flatten(0, 1)[chosen][pair]
        t = hit(start.unbind(1), tuple(local))
        t = torch.where(t.gt(NEAR_M), t, torch.inf)
        nearest = depth.scatter_reduce(0, target, t, "amin")
        best = (t == nearest[target]) & (t < depth[target])
        winner[target[best]] = (chosen % number)[pair[best]]
        depth = nearest
    return depth.view(-1, pixels), winner.view(-1, pixels)


def _screen_boxes(solids: Solids, camera: Pinhole) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel rectangles around solids: int64 (B, N, 2) as (x, y), low inside, high outside."""
    height, width = camera.size_hw
    signs = torch.tensor(
        [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)],
        device=solids.half_m.device,
    )
    corners = signs * solids.half_m.unsqueeze(2)  # (B, N, 8, 3)
    corners = corners @ solids.rotation.transpose(2, 3) + solids.center_m.unsqueeze(2)
    seen = (corners - camera.position_m[:, None, None]) @ camera.rotation.unsqueeze(1)
    z = seen[..., 2]
    focal = camera.focal_px[:, None, None]
    safe = z.clamp(min=NEAR_M)
    x = width / 2 + focal * seen[..., 0] / safe
    y = height / 2 - focal * seen[..., 1] / safe
    size = torch.tensor([width, height], device=z.device)
    low = torch.stack((x.amin(2), y.amin(2)), dim=-1).floor()
    high = torch.stack((x.amax(2), y.amax(2)), dim=-1).ceil()
    # a corner behind the camera projects to nonsense: then the whole screen is tried
    crosses = ((z <= NEAR_M).any(2) & (z > NEAR_M).any(2)).unsqueeze(-1)
    low = torch.where(crosses, torch.zeros_like(low), low.clamp(min=0).minimum(size))
    high = torch.where(crosses, size.expand_as(high).to(high), high.clamp(min=0).minimum(size))
    behind = (z <= NEAR_M).all(2).unsqueeze(-1)
    return low.long(), torch.where(behind, low, high).long()


def occluded(
    solids: Solids, points_m: torch.Tensor, toward: torch.Tensor, chunk: int = 8
) -> torch.Tensor:
    """Whether anything stands between points and a light.

    Args:
        points_m: float32 (B, P, 3), a little off their surfaces.
        toward: float32 (B, P, 3), the way to the light; the light stands at parameter 1.
        chunk: solids tried at a time, which bounds memory.
    Returns:
        bool (B, P). Rooms cast no shadow: their light is within.
    """
    shadow = torch.zeros(points_m.shape[:2], dtype=torch.bool, device=points_m.device)
    to_unit = solids.to_unit()
    for kind, hit in HIT.items():
        if kind == ROOM:
            continue
        index = (solids.kind.eq(kind) & solids.exists).nonzero()
        for part in index.split(chunk * len(points_m)):
            scene, solid = part.unbind(1)
            frame = to_unit[scene, solid].transpose(1, 2)  # (K, 3, 3)
            origin = (points_m[scene] - solids.center_m[scene, solid].unsqueeze(1)) @ frame
            ray = toward[scene] @ frame
            t = hit(origin.unbind(2), ray.unbind(2))
            blocked = (t > 0) & (t < 1)
            shadow.index_put_((scene,), blocked, accumulate=True)
    return shadow
