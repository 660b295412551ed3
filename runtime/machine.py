"""The machine that something ran on: processor, versions, settings, date. Reads, never changes."""

import datetime
import os
import platform
from typing import Any

from runtime.optional import require, version_of
from runtime.processor import low_precision_products, processor_name

PACKAGES = ("torch", "openvino", "numpy", "opencv-python-headless")
# Environment variables that change how fast the same code runs.
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")


def describe_machine() -> dict[str, Any]:
    """Facts for the JSON beside a table; ``load_1min`` is the load average just now.

    Raises:
        MissingDependency: torch is not installed.
    """
    torch = require("torch", "torch")
    return {
        "cpu": processor_name(),
        "instructions": low_precision_products(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "date": datetime.date.today().isoformat(),
    }
