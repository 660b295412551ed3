"""Runs depth-anything.cpp by its C interface, on an image that is as large as its network's input.

Started by ``benchmarks.latency``; no code of ours. The image is a PPM file, so that decoding is
nothing.
"""

import ctypes
import sys

import numpy as np
from answer import answer


def load(library):
    """Its functions, with their types."""
    loaded = ctypes.CDLL(library)
    floats, number = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int)
    for name, gives, takes in (
        ("da_capi_load", ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)),
        ("da_capi_abi_version", ctypes.c_int, ()),
        ("da_capi_last_error", ctypes.c_char_p, (ctypes.c_void_p,)),
        ("da_capi_depth_path", floats, (ctypes.c_void_p, ctypes.c_char_p, number, number)),
        ("da_capi_free_floats", None, (floats,)),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = gives, takes
    return loaded


def main(library, weights, image, threads, depth_file):
    """Load, then answer."""
    ggml = load(library)
    model = ggml.da_capi_load(weights.encode(), int(threads))
    if not model:
        sys.exit(f"{weights}: depth-anything.cpp does not load it")

    def call():
        height, width = ctypes.c_int(), ctypes.c_int()
        found = ggml.da_capi_depth_path(
            model, image.encode(), ctypes.byref(height), ctypes.byref(width)
        )
        if not found:
            sys.exit(ggml.da_capi_last_error(model).decode())
        depth = np.ctypeslib.as_array(found, (height.value, width.value)).copy()
        ggml.da_capi_free_floats(found)
        return depth

    versions = {"interface": str(ggml.da_capi_abi_version())}
    answer({"versions": versions, "threads": int(threads)}, call, depth_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
