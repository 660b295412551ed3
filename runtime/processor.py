"""This processor, as Linux describes it: its name and what it can multiply. It only reads."""

import hashlib
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")  # x86's products of int8 whose sums have 32 bits
BF16 = ("avx512_bf16", "amx_bf16")  # and those of bfloat16
TELL_APART = ("model name", "flags", "Features")


def processor_name() -> str:
    """What it calls itself: ``Intel Xeon``."""
    name = _entries().get("model name") or platform.processor() or platform.machine()
    return plain_name(name)


def plain_name(model: str) -> str:
    """A processor's name without marks, clock and filler."""
    return " ".join(re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*|\d+-Core", "", model).split())


def low_precision_products() -> list[str]:
    """Which of ``BF16`` and ``INT8`` it has."""
    flags = _flags()
    return [name for name in (*BF16, *INT8) if name in flags]


def saturates_int8() -> bool:
    """True if it adds up products of int8 in 16 bits, where large sums are cut off.

    So do x86's without VNNI and AMX (their ``vpmaddubsw``). Unknown processors do not.
    """
    flags = _flags()
    return bool(flags) and not any(name in flags for name in INT8)


def fingerprint() -> str:
    """What tells one processor's instructions from another's."""
    entries = _entries()
    kept = [f"{key}: {entries[key]}" for key in TELL_APART if key in entries]
    return hashlib.sha256("\n".join([platform.machine(), *kept]).encode()).hexdigest()


def _flags() -> list[str]:
    """An x86's instructions; others list them as "Features"."""
    return _entries().get("flags", "").split()


def _entries() -> dict[str, str]:
    """The first processor's; empty where Linux says nothing."""
    try:
        lines = CPUINFO.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
