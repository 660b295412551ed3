"""What memory a scene will take, before anything is loaded.

A model's name, a number of views and their size in; bytes, about and rather too many, out.
Measured by ``python -m benchmarks memory``; tests compare the two.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import torch

from compile.registry import find_model
from depth_anything_3.config import NESTED, NETWORKS
from depth_anything_3.model import VIEWS_IN_MEMORY
from layers.vit import VITS

PROGRAM_BYTES = 340 << 20  # Python, torch and what they import
FLOAT = 4
LOADING = 1.1  # of the weights' bytes, while they are set
TOKEN_FLOATS = 20  # held for each channel of a token: taps, and what a block makes on its way
HEAD_FLOATS, CHANNEL_FLOATS = 140, 1  # of a pixel that is decoded; and of each of its channels
PIXEL_BYTES = 60  # of a view that stay: pixels, normalised ones, depth, confidence, rays
SPLAT_BYTES = 400  # of one splat, which each pixel becomes
PATCH = 14


def estimated_bytes(name: str, views: int, size_hw: tuple[int, int], splats: bool = False) -> int:
    """The most that a process holds while it infers a scene.

    Args:
        name: of the model; size_hw: of each view.
    """
    spec = NETWORKS[NESTED[name][0] if name in NESTED else name]
    pixels = size_hw[0] * size_hw[1]
    tokens = pixels / PATCH**2
    total = PROGRAM_BYTES + find_model(name).parameters_m * 1e6 * FLOAT * LOADING
    total += views * tokens * VITS[spec.encoder].dim * TOKEN_FLOATS * FLOAT
    decoded = min(views, VIEWS_IN_MEMORY) * pixels
    total += decoded * (HEAD_FLOATS + CHANNEL_FLOATS * spec.features) * FLOAT
    total += views * pixels * (PIXEL_BYTES + (SPLAT_BYTES if splats else 0))
    return int(total)


def most_that_fit(limit: int, count: int, bytes_of: Callable[[int], int]) -> int:
    """The largest number from 1 to ``count`` whose bytes fit; 0 if none does."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_of(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def free_bytes(device: torch.device) -> Optional[int]:
    """What may be taken on a device; None if nobody knows."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [size for size in (_available(), _of_container()) if size is not None]
    return min(found) if found else None


def _available() -> Optional[int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return None


def _of_container() -> Optional[int]:
    """What a control group leaves, of version 2 or 1."""
    root = Path("/sys/fs/cgroup")
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int((root / most).read_text())
            return max(0, limit - int((root / used).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
