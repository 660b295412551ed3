"""Requests that mean harm, made by a recipe: the same ones every time.

An honest photo in; some hundreds of bodies and headers out, of each kind that the service reads.
None is large: what they cost is what they claim, or what they unpack to.
"""

import pickle
from pathlib import Path

import numpy as np

from hostile.bodies import forms, jsons, part
from hostile.heads import Raw, headers, queries, raws
from hostile.images import (
    foreign,
    hostile_jpegs,
    hostile_others,
    hostile_pngs,
    hostile_tiffs,
    truncated,
)
from hostile.numpy_files import archives, arrays, npy, zipped
from hostile.request import BODY_MB, FORM, IMAGE_TYPES, JSON, NPY, NPZ, Executed, Hostile, encode

__all__ = [
    "BODY_MB", "FORM", "JSON", "NPY", "NPZ",
    "Hostile", "Raw", "corpus", "encode", "npy", "part", "raws", "zipped",
]  # fmt: skip


def corpus(rgb: np.ndarray, marker: Path) -> list[Hostile]:
    """All of them.

    Args:
        rgb: uint8 (H, W, 3), noisy enough that it does not compress to nothing.
        marker: a file that appears if anything in a body is executed.
    """
    encoded = {name: encode(rgb, name) for name in IMAGE_TYPES}
    png, bomb = encoded["PNG"], pickle.dumps(Executed(marker))
    found = [
        *truncated(encoded),
        *foreign(bomb),
        *hostile_pngs(),
        *hostile_jpegs(rgb, encoded["JPEG"]),
        *hostile_tiffs(),
        *hostile_others(encoded["WEBP"]),
        *arrays(bomb),
        *archives(bomb),
        *jsons(png, bomb),
        *forms(png, bomb),
        *queries(png),
        *headers(png),
    ]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, twice
    return found
