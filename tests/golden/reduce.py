"""Shrink full golden files to the samples that the tests keep (under 100 kB each, photos apart).

    python tests/golden/reduce.py FOLDER_WITH_FULL_GOLDENS

The full files hold outputs of the original Depth Anything V2 (commit a561b84) and Depth Anything 3
(commit 2c21ea8), float32 on a CPU, with the seeded weights of ``compile.seeded`` and the inputs of
``tests/recipe.py``. Arrays of over 2,000 values are thinned along their longest axes;
``thin__<name>`` holds the steps. Photos, shapes, statistics and what a test computes from are kept
whole. The tests take either kind, so the full files can be tested with

    DEPTH_GOLDEN_DIR=FOLDER_WITH_FULL_GOLDENS pytest tests/test_golden_*.py
"""

import math
import sys
from pathlib import Path

import numpy as np

KEPT_VALUES = 2000
FILES = (
    "v2_vits", "v2_vitb", "v2_vitl", "v2_vitg", "v2_metric_vits", "eps_probe", "units",
    "da3_small", "da3_base", "da3_large", "da3_giant", "da3mono_large", "da3metric_large",
    "da3nested_giant_large", "da3_small_inference", "input_processor",
    "geom_pose", "geom_umeyama", "geom_camray", "geom_align", "geom_gs", "mini/da3_small",
    "mini/da3mono_large",
)  # fmt: skip
WHOLE = ("photo_", "input_", "in_", "ref_", "rope_", "uv_", "ray_b", "conf_b", "norm_", "kout_")
THINNED = (np.float32, np.uint8, np.bool_)
# photos that another file holds already, and what is as large as all else together
LEFT_OUT = ("photos", "photo_coffee", "v2_resize", "ray_a", "conf_a", "conf_after_a", "ply_")
FIRST_VIEW = ("in_raw", "in_depth", "in_opacity")  # of geom_gs


def wanted(file: str, name: str) -> bool:
    """True for what the tests use."""
    if file == "units":
        return name != "v2_resize"  # kept by v2_resize.npz
    if file == "v2_vits":
        return True
    return not name.startswith(LEFT_OUT)


def steps(shape: tuple[int, ...]) -> list[int]:
    """Odd steps for the two longest axes that leave about ``KEPT_VALUES`` values."""
    result = [1] * len(shape)
    excess = math.prod(shape) / KEPT_VALUES
    if excess > 1:
        step = math.ceil(math.sqrt(excess)) | 1
        for axis in np.argsort(shape, kind="stable")[-2:]:
            result[axis] = min(step, max(1, shape[axis] // 4))
    return result


def main(source: Path) -> None:
    """Write the reduced files beside this script."""
    for file in FILES:
        with np.load(source / f"{file}.npz") as full:
            kept = {}
            for name in full.files:
                if not wanted(file, name):
                    continue
                array = full[name]
                if file == "geom_gs" and name in FIRST_VIEW:
                    array = array[:, :1]
                if array.dtype in THINNED and not name.startswith(WHOLE):
                    by = steps(array.shape)
                    if max(by, default=1) > 1:
                        array = array[tuple(slice(None, None, step) for step in by)]
                        kept[f"thin__{name}"] = np.array(by)
                kept[name] = array
        np.savez_compressed(Path(__file__).parent / f"{file.replace('/', '_')}.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
