"""The OpenVINO engine's products of int8: sums that some processors would cut off at 16 bits."""

import logging

import numpy as np
import pytest

from runtime import processor
from runtime.engines import available
from runtime.engines import openvino as engine
from runtime.engines.openvino import compiled, import_openvino
from runtime.processor import saturates_int8

VNNI, AMX = "flags\t\t: fpu avx2 avx512f avx512_vnni", "flags : avx2 amx_bf16 amx_tile amx_int8"
AVX2 = "flags\t\t: fpu avx2 avx512f avx512_bf16"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Lets this be another processor, as far as Linux says which it is."""

    def write(text):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{text}\n")
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")

    return write


@pytest.mark.parametrize(
    "text, expected",
    [
        (AVX2, True),
        (VNNI, False),
        (AMX, False),
        ("flags : avx2 avx_vnni", False),
        ("Features : fp asimd asimddp", False),
        ("model name : unknown", False),
    ],
)
def test_x86_without_vnni_and_amx_cuts_off_sums_of_int8(text, expected, cpuinfo):
    cpuinfo(text)
    assert saturates_int8() is expected


@pytest.fixture
def large_sums(tmp_path):
    """A product of the largest terms that int8 has: its file, what goes in, what comes out."""
    if not available("openvino"):
        pytest.skip("openvino is not installed")
    openvino = import_openvino()
    ops, limit = openvino.opset13, np.float32(1.27)
    weights = np.full((64, 32), limit, np.float32)
    weights[::3] = -0.5
    x = ops.parameter([8, 64], np.float32, name="x")
    rounded = [
        ops.fake_quantize(values, -limit, limit, -limit, limit, 255)
        for values in (x, ops.constant(weights))
    ]
    product = ops.matmul(*rounded, False, False)
    file = tmp_path / "graph.xml"
    openvino.save_model(openvino.Model([product], [x]), str(file), compress_to_fp16=False)
    given = np.full((8, 64), limit, np.float32)
    return file, given, given @ weights


@pytest.mark.parametrize("text", ["", AVX2])
def test_products_of_int8_are_exact_on_this_processor_and_on_one_without_them(
    text, large_sums, cpuinfo, caplog
):
    file, given, expected = large_sums
    if text:
        cpuinfo(text)
    engine._say_float32.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = compiled(file, "int8")(given)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-2)  # bfloat16 carries it, if there is any
    assert ("compute in float32 here" in caplog.text) == saturates_int8()
