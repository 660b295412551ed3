"""A traced graph as a list of operators: counts against hand arithmetic."""

import pytest
import torch
from torch import nn

from compile.deploy import deployment_form
from compile.trace import trace
from depth_anything_v2.dpt import DepthAnythingV2


def test_operations_of_single_layers_are_two_for_each_multiply_and_add():
    def flops(layer, *shape):
        return trace(layer.eval(), torch.zeros(shape)).flops

    assert flops(nn.Linear(5, 7), 1, 11, 5) == 2 * 11 * 5 * 7
    assert flops(nn.Conv2d(3, 4, 3, padding=1), 2, 3, 8, 6) == 2 * (2 * 4 * 8 * 6) * (3 * 3 * 3)
    assert flops(nn.ConvTranspose2d(3, 4, 2, stride=2), 1, 3, 8, 6) == 2 * (3 * 8 * 6) * (4 * 2 * 2)
    assert flops(nn.ReLU(), 1, 9) == 0


@pytest.mark.parametrize("size_hw, gflop", [((518, 518), 115.3)])
def test_vits_costs_what_was_counted_of_upstream(size_hw, gflop):
    """115.3 GFLOP at 518x518; the eager graph, before any rewrite."""
    shape = (1, 3, *size_hw)
    form = deployment_form(DepthAnythingV2("vits").eval(), shape, ())
    graph = trace(form, torch.zeros(shape))
    assert graph.flops / 1e9 == pytest.approx(gflop, abs=0.05)
    # scores in and out of the softmax, the largest two things that live at once
    assert graph.peak_bytes() == pytest.approx(2 * 4 * 6 * 1370**2, rel=0.15)
    assert graph.constant_bytes == pytest.approx(4 * 24.8e6, rel=0.01)


def test_each_operator_names_its_tensors_settings_and_place():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, stride=2)

        def forward(self, x):
            first, second = self.conv(x).unbind(0)
            return torch.cat((first, second), dim=0)

    graph = trace(Both().eval(), torch.zeros(2, 3, 6, 8))
    conv, unbind, cat = graph.operators
    assert (conv.kind, conv.scope.rpartition(".")[2]) == ("aten::_convolution", "conv")
    assert [t.shape for t in conv.tensors] == [(2, 3, 6, 8), (4, 3, 2, 2), (4,)]
    assert conv.settings["stride"] == [2, 2] and conv.settings["transposed"] is False
    assert [t.shape for t in unbind.outputs] == [(4, 3, 4), (4, 3, 4)]
    assert cat.tensors == unbind.outputs
    assert graph.inputs[0].shape == (2, 3, 6, 8) and graph.outputs == cat.outputs
    assert graph.constant_bytes == 4 * (4 * 3 * 2 * 2 + 4)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_convolution_is_float32_on_a_gpu_whatever_was_allowed_where_it_was_traced(
    allowed, monkeypatch
):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    (conv,) = trace(nn.Conv2d(3, 4, 2).eval(), torch.zeros(1, 3, 6, 8)).operators
    told = {name: conv.settings[name] for name in ("allow_tf32", "benchmark", "cudnn_enabled")}
    assert told == {"allow_tf32": False, "benchmark": True, "cudnn_enabled": True}
    assert torch.backends.cudnn.allow_tf32 is allowed


def test_memory_is_freed_after_the_last_reader():
    class Chain(nn.Module):
        def forward(self, x):
            for _ in range(5):
                x = torch.relu(x) + 1
            return x

    graph = trace(Chain(), torch.zeros(100))
    assert graph.peak_bytes() == 2 * 400  # what is read and what is written, never more
