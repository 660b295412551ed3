"""Tracing and exporting an eager model, as others do: the graph gives what the model gives.

Graphs are tried on photos that they were not traced with: what a tracer took for a constant shows.
"""

import io

import numpy as np
import pytest
import torch

from compile.seeded import fill_seeded
from depth_anything_3 import config, traced
from depth_anything_3.api import DepthAnything3
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.errors import InputError
from runtime.scene.cameras import decode_pose
from runtime.scene.reference_view import STRATEGIES, choose_reference, references_first
from runtime.scene.sky import SKY, fill_sky

pytestmark = pytest.mark.filterwarnings("ignore")  # tracers say that sizes are constants: they are

TINY = config.DA3Spec("vitt", (5, 7, 9, 11), 32, (24, 48, 96, 192), alternate_from=4)
MONO = config.DA3Spec("vitt", (2, 5, 8, 11), 32, (24, 48, 96, 192))
CAMERAS = ("depth", "depth_conf", "extrinsics", "intrinsics", "ray", "ray_conf")


@pytest.fixture(autouse=True)
def same_numbers():
    """The same photos each time."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def tiny():
    """A network of each kind, small, by the name of the model that it stands for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(config.NETWORKS, "da3-small", TINY)
        patch.setitem(config.NETWORKS, "da3metric-large", MONO)
        patch.setitem(config.NESTED, "da3nested-giant-large", ("da3-small", "da3metric-large"))
        models = {
            name: DepthAnything3(name)
            for name in (*config.NETWORKS, *config.NESTED)
            if name in ("da3-small", "da3metric-large", "da3nested-giant-large")
        }
    for model in models.values():
        fill_seeded(model)
        model.requires_grad_(False)
    return models


@pytest.fixture(autouse=True)
def no_fuser():
    """torch 1.13's fuser turns some of these graphs into NaN at their third call; see the docs."""
    before = torch.jit.set_fusion_strategy([])
    yield
    torch.jit.set_fusion_strategy(before)


class Named(torch.nn.Module):
    """A model of 3 with tensors for its output, as exporters want it."""

    def __init__(self, model, names, **options):
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, image):
        found = self.model(image, **self.options)
        return tuple(found[name] for name in self.names)


def close(found, wanted, share=1e-4):
    """Whether arrays are equal, up to a share of what the right one spans."""
    assert len(found) == len(wanted)
    for one, right in zip(found, wanted):
        one, right = np.asarray(one), right.numpy()
        assert one.shape == right.shape
        np.testing.assert_allclose(one, right, rtol=0, atol=share * np.ptp(right) + 1e-9)


def exported(model, image, **options):
    """The model as ONNX Runtime runs it, by torch's exporter of TorchScript."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    if not torch.__version__.startswith("1."):
        options["dynamo"] = False
    file = io.BytesIO()
    torch.onnx.export(model, (image,), file, opset_version=17, input_names=["image"], **options)
    session = onnxruntime.InferenceSession(file.getvalue())
    return lambda given: session.run(None, {"image": given.numpy()})


@pytest.mark.parametrize("options", [{}, {"max_depth": 20.0, "use_clstoken": True}])
@pytest.mark.parametrize("size", [(28, 70), (70, 42)])
def test_v2_is_traced_and_exported_at_any_size(size, options):
    model = DepthAnythingV2("vitt", **options).eval().requires_grad_(False)
    fill_seeded(model)
    seen, other = torch.randn(2, 3, *size), torch.randn(3, 3, *size)
    graph = torch.jit.trace(model, seen, check_trace=False)
    close([graph(other)], [model(other)])
    close(exported(model, seen, dynamic_axes={"image": {0: "batch"}})(other), [model(other)])


def test_v2_is_traced_at_the_size_of_its_training():
    model = DepthAnythingV2("vitt").eval().requires_grad_(False)
    fill_seeded(model)
    seen, other = torch.randn(1, 3, 518, 518), torch.randn(1, 3, 518, 518)
    close([torch.jit.trace(model, seen, check_trace=False)(other)], [model(other)])


@pytest.mark.parametrize(
    "scenes, views, strategy",
    [
        (1, 1, "saddle_balanced"),
        (1, 2, "first"),
        (2, 3, "saddle_balanced"),
        (1, 4, "middle"),
        (1, 3, "saddle_sim_range"),
        (1, 3, "first"),
    ],
)
def test_a_scene_is_traced_with_its_cameras(tiny, scenes, views, strategy):
    model = Named(tiny["da3-small"], CAMERAS, ref_view_strategy=strategy)
    seen, *others = torch.randn(4, scenes, views, 3, 28, 42)
    graph = torch.jit.trace(model, seen, check_trace=False)
    for other in others:
        close(graph(other), model(other))


def test_a_scene_is_exported_with_its_cameras(tiny):
    model = Named(tiny["da3-small"], CAMERAS)
    seen, other = torch.randn(2, 2, 3, 3, 28, 42)
    close(exported(model, seen)(other), model(other))


def test_a_traced_model_gives_a_dictionary_too(tiny):
    seen, other = torch.randn(2, 1, 2, 3, 28, 42)
    graph = torch.jit.trace(tiny["da3-small"], seen, strict=False, check_trace=False)
    found, wanted = graph(other), tiny["da3-small"](other)
    assert set(found) == set(CAMERAS)
    close([found[name] for name in CAMERAS], [wanted[name] for name in CAMERAS])


def test_sky_is_filled_in_a_traced_graph(tiny):
    model = Named(tiny["da3metric-large"], ("depth", "sky"))
    seen, other = torch.randn(2, 2, 2, 3, 28, 42)
    bias = model.model.model.head.scratch.sky_output_conv2[-1].bias
    middle = model(other)[1].flatten().sort().values[2000:2700]
    gap = middle.diff().argmax()  # so that no pixel is on the brink
    bias += SKY - middle[gap : gap + 2].mean()
    wanted = model(other)
    assert 0.1 < (wanted[1] >= SKY).float().mean() < 0.9  # both sides are there
    close(torch.jit.trace(model, seen, check_trace=False)(other), wanted)
    close(exported(model, seen)(other), wanted)


def test_what_only_the_host_finds_is_refused_where_a_graph_is_traced(tiny):
    seen = torch.randn(1, 2, 3, 28, 42)
    for options in ({"use_ray_pose": True}, {"export_feat_layers": [3]}):
        model = Named(tiny["da3-small"], ("depth",), **options)
        with pytest.raises(InputError, match="found on the host, so no traced graph"):
            torch.jit.trace(model, seen, check_trace=False)
        assert model(seen)[0].shape == (1, 2, 28, 42)
    nested = Named(tiny["da3nested-giant-large"], ("depth",))
    with pytest.raises(InputError, match="finds metres on the host; trace its two networks"):
        torch.jit.trace(nested, seen, check_trace=False)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "first"])
@pytest.mark.parametrize("views", [3, 5, 8])
def test_the_reference_view_is_the_host_s(strategy, views):
    rng = np.random.default_rng(views)
    for _ in range(20):
        tokens = rng.normal(size=(2, views, 16)).astype(np.float32)
        tokens[1] = tokens[1, rng.integers(0, views, views)]  # some alike
        chosen = [choose_reference(scene, strategy) for scene in tokens]
        order = traced._order(traced._reference(torch.from_numpy(tokens), strategy))
        assert order.tolist() == references_first(views, chosen)


def test_cameras_are_the_host_s():
    encoding = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    encoding[:, 7:] = np.abs(encoding[:, 7:])
    encoding[0, 7:] = 0  # no field of view
    found = traced.decode_pose(torch.from_numpy(encoding), (28, 42))
    for one, right in zip(found, decode_pose(encoding, (28, 42))):
        np.testing.assert_allclose(one.numpy(), right, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99, 1])
def test_sky_is_the_host_s(share):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (2, 20, 30)).astype(np.float32)
    sky = np.where(rng.uniform(size=depth.shape) < share, 0.9, 0.1).astype(np.float32)
    found = traced.fill_sky(torch.from_numpy(depth), torch.from_numpy(sky))
    np.testing.assert_allclose(found.numpy(), fill_sky(depth, sky), rtol=1e-6)
