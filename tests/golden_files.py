"""Reading golden files: the reduced ones beside the tests, or full ones in DEPTH_GOLDEN_DIR."""

import os
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get("DEPTH_GOLDEN_DIR", Path(__file__).parent / "golden"))
TOLERANCE = 1e-4  # of the golden's range


def golden(file: str) -> "np.lib.npyio.NpzFile":
    """One file, by the name it has beside the tests."""
    path = FOLDER / f"{file}.npz"
    if not path.exists():  # the full folder keeps its small files apart
        path = FOLDER / "mini" / f"{file[len('mini_') :]}.npz"
    return np.load(path, allow_pickle=False)


def thin(file: "np.lib.npyio.NpzFile", name: str, values: np.ndarray) -> np.ndarray:
    """What a reduced file keeps of these values."""
    if f"thin__{name}" not in file:
        return values
    return values[tuple(slice(None, None, int(step)) for step in file[f"thin__{name}"])]


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Largest difference, as a share of the golden's range."""
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / (np.ptp(expected) or np.abs(expected).max())
    assert error <= tolerance, f"off by {error:.2e} of the range"
