"""The machine that something ran on: processor, versions, settings, date. Reads, never changes."""

import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any

from runtime.optional import require, version_of

PACKAGES = ("torch", "openvino", "numpy", "opencv-python-headless")
CPUINFO = Path("/proc/cpuinfo")
INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")  # x86's products of int8 whose sums have 32 bits
INSTRUCTIONS = ("avx512_bf16", *INT8[:2], "amx_bf16", *INT8[2:])  # and of bfloat16
# Environment variables that change how fast the same code runs.
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")


def saturates_int8() -> bool:
    """True if this processor adds up products of int8 in 16 bits, where large sums are cut off.

    So do x86's without VNNI and AMX (their ``vpmaddubsw``). Unknown processors do not.
    """
    flags = _cpuinfo("flags").split()  # of x86; others list "Features"
    return bool(flags) and not any(name in flags for name in INT8)


def describe_machine() -> dict[str, Any]:
    """Facts for the JSON beside a table; ``load_1min`` is the load average just now.

    Raises:
        MissingDependency: torch is not installed.
    """
    torch = require("torch", "torch")
    flags = _cpuinfo("flags").split()
    return {
        "cpu": cpu_name(_cpuinfo("model name") or platform.processor() or platform.machine()),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "date": datetime.date.today().isoformat(),
    }


def cpu_name(model: str) -> str:
    """What a processor calls itself, without marks, clock and filler: ``Intel Xeon``."""
    return " ".join(re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*|\d+-Core", "", model).split())


def _cpuinfo(key: str) -> str:
    """The first processor's entry; empty where there is none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
