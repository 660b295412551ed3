"""What a compile cannot do is known from its settings: every target, device, precision, model."""

import itertools

import pytest

from compile.job import CompileJob, compile_model
from compile.targets import NEURON_TARGETS
from compile.targets.options import CASTS, NeuronOptions
from runtime.artifact.manifest import PRECISIONS, TARGETS
from runtime.errors import InputError

SIZES = ((28, 28),)
HAS = {  # what each target's graphs can be computed in, and where
    "neuron": ({"f32"}, {"auto", "cpu"}),
    "neuronx": ({"f32"}, {"auto", "cpu"}),
    "torchscript": ({"f32", "bf16", "f16"}, {"auto", "cpu", "cuda"}),
    "pt2": ({"f32", "bf16", "f16"}, {"auto", "cpu", "cuda"}),
    "tensorrt": ({"f32", "f16"}, {"auto", "cuda"}),
    "onnx": ({"f32"}, {"auto", "cpu"}),
    "openvino": ({"f32", "bf16", "int8"}, {"auto", "cpu"}),
}
# model, batch, views -> whether its graphs exist
SHAPES = {
    ("vits", 1, 1): True,
    ("vits", 2, 1): True,
    ("vits", 1, 2): False,
    ("vits-indoor", 8, 1): True,
    ("da3-small", 1, 1): True,
    ("da3-small", 1, 4): True,
    ("da3-small", 2, 1): False,
    ("da3mono-large", 2, 1): True,
    ("da3metric-large", 1, 2): False,
    ("da3nested-giant-large", 1, 3): True,
    ("da3nested-giant-large", 2, 1): False,
}
PIXELS = ("normalised", "rgb", "rgb8")
EVERYTHING = list(itertools.product(TARGETS, ("auto", "cpu", "cuda"), PRECISIONS, SHAPES, PIXELS))


def possible(target, device, precision, shape, pixels):
    precisions, devices = HAS[target]
    model = shape[0]
    return (
        SHAPES[shape]
        and precision in precisions
        and device in devices
        and not (pixels != "normalised" and model.startswith("da3"))
    )


def job(target, device, precision, shape, pixels):
    model, batch, views = shape
    return CompileJob(
        model=model,
        target=target,
        sizes_hw=SIZES,
        batch=batch,
        views=(views,),
        device=device,
        precision=precision,
        pixels=pixels,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_impossible_is_refused_where_it_is_written_and_nothing_else_is(target):
    counts = {True: 0, False: 0}
    for case in EVERYTHING:
        if case[0] != target:
            continue
        counts[possible(*case)] += 1
        if possible(*case):
            job(*case)
        else:
            with pytest.raises(InputError) as caught:
                job(*case)
            assert str(caught.value), case
    assert min(counts.values()) > 10, counts


@pytest.mark.parametrize(
    "shape", [shape for shape, there in SHAPES.items() if there and shape[0][-5:] != "large"]
)
@pytest.mark.parametrize("pixels", PIXELS)
def test_what_the_check_lets_through_is_compiled(shape, pixels, tmp_path):
    """The other side of the table, by torch's own tracer: float32 on the CPU."""
    case = ("torchscript", "cpu", "f32", shape, pixels)
    if not possible(*case):
        with pytest.raises(InputError):
            job(*case)
        return
    model, batch, views = shape
    wanted = CompileJob(
        model=model,
        target="torchscript",
        sizes_hw=SIZES,
        batch=batch,
        views=(views,),
        device="cpu",
        pixels=pixels,
        output=tmp_path,
        seeded="always",
    )
    (artifact,) = compile_model(wanted)
    assert artifact.manifest.parity.status == "passed"


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "vitx"},
        {"model": "vitx", "pixels": "rgb"},
        {"target": "tpu"},
        {"device": "tpu"},
        {"batch": 0},
        {"views": ()},
        {"views": (0,)},
        {"sizes_hw": ()},
        {"sizes_hw": ((500, 518),)},
        {"seeded": "maybe"},
        {"pixels": "bgr"},
        {"without": ("layerscale",)},
        {"without": ("rgb-input",)},
        {"precision": "fp16"},
    ],
    ids=str,
)
def test_a_setting_that_does_not_exist_is_refused_where_it_is_written(settings):
    with pytest.raises(InputError):
        CompileJob(**settings)


@pytest.mark.parametrize("casts", CASTS)
def test_casts_are_for_the_compilers_that_have_them(casts):
    options = NeuronOptions(casts=casts)
    CompileJob(target="neuron", neuron=options)
    for target in set(TARGETS) - set(NEURON_TARGETS):
        if casts == "all":  # the default
            CompileJob(target=target, neuron=options)
        else:
            with pytest.raises(InputError, match=f"casts: for target {target} this does nothing"):
                CompileJob(target=target, neuron=options)
    if "exact-transpose" in casts:
        with pytest.raises(InputError, match="neuronx-cc knows"):
            CompileJob(target="neuronx", neuron=options)
    else:
        CompileJob(target="neuronx", neuron=options)


def test_what_auto_chooses_is_checked_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr("compile.job.pick_target", lambda device: "openvino")
    monkeypatch.setattr("compile.job.load_model", lambda *_: pytest.fail("weights were loaded"))
    wanted = CompileJob(target="auto", device="cuda", output=tmp_path)
    with pytest.raises(InputError, match="graphs for openvino do not run there"):
        next(compile_model(wanted))
