"""Shrink full golden files to the samples that the tests keep (under 100 kB each, photos apart).

    python tests/golden/reduce.py FOLDER_WITH_FULL_GOLDENS

The full files hold outputs of the original Depth Anything V2 (commit a561b84), float32 on a CPU,
with the seeded weights of ``compile.seeded`` and the inputs of ``tests/recipe.py``. Arrays of over
2,000 values are thinned along their last axes; ``thin__<name>`` holds the steps. Photos, shapes
and statistics are kept whole. The tests take either kind, so the full files can be tested with

    DEPTH_GOLDEN_DIR=FOLDER_WITH_FULL_GOLDENS pytest tests/test_golden_v2.py
"""

import math
import sys
from pathlib import Path

import numpy as np

KEPT_VALUES = 2000
FILES = ("v2_vits", "v2_vitb", "v2_vitl", "v2_vitg", "v2_metric_vits", "eps_probe", "units")
WHOLE = ("photo_", "input_")


def wanted(name: str) -> bool:
    """True for what belongs to V2."""
    return name.startswith("v2_feat") or not name.startswith(
        ("da3_", "uv_", "rope_", "ref_", "v2_resize")
    )


def steps(shape: tuple[int, ...]) -> list[int]:
    """Odd steps for the last two axes that leave about ``KEPT_VALUES`` values."""
    result = [1] * len(shape)
    excess = math.prod(shape) / KEPT_VALUES
    if excess > 1:
        step = math.ceil(math.sqrt(excess)) | 1
        for axis in range(max(0, len(shape) - 2), len(shape)):
            result[axis] = min(step, max(1, shape[axis] // 4))
    return result


def main(source: Path) -> None:
    """Write the reduced files beside this script."""
    for file in FILES:
        with np.load(source / f"{file}.npz") as full:
            kept = {}
            for name in filter(wanted, full.files):
                array = full[name]
                if array.dtype == np.float32 and not name.startswith(WHOLE):
                    by = steps(array.shape)
                    if max(by) > 1:
                        array = array[tuple(slice(None, None, step) for step in by)]
                        kept[f"thin__{name}"] = np.array(by)
                kept[name] = array
        np.savez_compressed(Path(__file__).parent / f"{file}.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
