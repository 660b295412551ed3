"""Marks with a reason that holds on the machine at hand."""

import os

import pytest
import torch

NEEDED_GIB = 12
_HERE_GIB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30

# vitg alone: 1.26 billion float32 weights, twice while they are set
large = pytest.mark.skipif(
    _HERE_GIB < NEEDED_GIB,
    reason=f"needs {NEEDED_GIB} GiB of memory, this machine has {_HERE_GIB:.0f}",
)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
