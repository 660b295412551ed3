"""Graphs on a CUDA device: recorded once, then repeated on whatever comes in.

Without a GPU the order of things is tested on a stand-in; the rest is skipped.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from marks import cuda
from stand_in_cuda import StandInTorch

from apps.scene_models import EagerScene
from compile.job import CompileJob, compile_model
from runtime.artifact.manifest import StageSpec, TensorSpec
from runtime.engines import load_engine
from runtime.engines.cuda import DeviceCall, attention_by
from runtime.engines.failures import failures_named
from runtime.engines.side_by_side import side_by_side
from runtime.engines.torchscript import shared_graph
from runtime.engines.where import torch_device
from runtime.errors import DeviceError, InputError
from runtime.predict.predictor import Predictor
from runtime.predict.streams import AUTO
from runtime.scene.query import SceneQuery
from serve.http.model import Model

STAGE = StageSpec("double", "graph.pt", (TensorSpec("x", (2, 3)),), (TensorSpec("y", (2, 3)),))


def double(x):
    return 2 * x


def test_a_recorded_call_is_repeated_on_each_input_and_its_results_are_kept_apart():
    stand_in = StandInTorch()
    call = DeviceCall(stand_in, stand_in.watched(double), STAGE, "tiny")
    del stand_in.events[:]
    inputs = [torch.full((2, 3), float(value)) for value in (1, 5)]
    ((first,), (second,)) = [call(tensor) for tensor in inputs]
    assert torch.equal(first, 2 * inputs[0]) and torch.equal(second, 2 * inputs[1])
    assert [event for event in stand_in.events if event != "pin"] == ["replay", "wait"] * 2


def test_pinned_memory_is_taken_once_and_never_handed_out():
    stand_in = StandInTorch()
    call = DeviceCall(stand_in, stand_in.watched(double), STAGE, "tiny")
    given = torch.ones(2, 3)
    held = [call(given * value)[0] for value in (1.0, 2.0, 3.0)]
    assert stand_in.events.count("pin") == 2  # one for what goes in, one for what comes out
    assert [one[0, 0].item() for one in held] == [2, 4, 6]  # later calls leave them as they are
    held[0].numpy().fill(9)  # nor does a caller who writes into one reach the next
    assert torch.equal(call(given)[0], 2 * given)


@pytest.mark.skipif(
    not hasattr(torch._C, "_get_sdp_priority_order"),
    reason=f"torch {torch.__version__} has no order of attention kernels",
)
def test_attention_kernels_are_tried_in_the_order_given_and_as_before_afterwards():
    before = torch._C._get_sdp_priority_order()
    kinds = torch.nn.attention.SDPBackend
    with attention_by(torch, ("FLASH_ATTENTION", "MATH")):
        order = torch._C._get_sdp_priority_order()
        assert order[:2] == [int(kinds.FLASH_ATTENTION), int(kinds.MATH)]
    with attention_by(torch):
        assert torch._C._get_sdp_priority_order()[0] == int(kinds.CUDNN_ATTENTION)
    assert torch._C._get_sdp_priority_order() == before


def test_an_order_of_attention_kernels_changes_no_answer():
    query = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    attend = getattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v: q)
    with attention_by(torch):
        found = attend(query, query, query)
    torch.testing.assert_close(found, attend(query, query, query), rtol=0, atol=1e-6)


def test_a_call_that_cannot_be_recorded_is_launched_and_the_log_says_why(caplog):
    stand_in = StandInTorch(refuses=True)
    call = DeviceCall(stand_in, stand_in.watched(double), STAGE, "tiny")
    assert "tiny: not recorded as a CUDA graph" in caplog.text
    assert "not permitted when stream is capturing" in caplog.text
    del stand_in.events[:]
    (found,) = call(torch.ones(2, 3))
    assert torch.equal(found, 2 * torch.ones(2, 3))
    assert [event for event in stand_in.events if event != "pin"] == ["launch", "wait"]


def test_engines_of_one_artifact_share_its_weights_until_the_file_changes(tmp_path):
    file = tmp_path / "graph.pt"
    traced = torch.jit.trace(torch.nn.Linear(3, 3), torch.zeros(1, 3))
    traced.save(str(file))
    first = shared_graph(torch, file, "cpu")
    assert shared_graph(torch, file, "cpu") is first
    traced = torch.jit.trace(torch.nn.Linear(3, 4), torch.zeros(1, 3))
    traced.save(str(file))
    assert shared_graph(torch, file, "cpu")(torch.zeros(1, 3)).shape == (1, 4)


def test_calls_from_several_threads_take_engines_that_are_free():
    gate, at_once, most = threading.Barrier(2), [0], []

    def engine(inputs):
        at_once[0] += 1
        gate.wait(10)
        most.append(at_once[0])
        gate.wait(10)
        at_once[0] = 0
        return inputs

    run = side_by_side([engine, lambda inputs: engine(inputs)])
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, [{"x": 1}, {"x": 2}]))
    assert found == [{"x": 1}, {"x": 2}] and most == [2, 2]
    assert side_by_side([engine]) is engine


@pytest.mark.parametrize(("gpu", "streams"), [(True, 2), (False, 1)])
def test_a_service_has_two_engines_of_a_graph_on_a_gpu(gpu, streams, tiny_artifact, monkeypatch):
    loaded = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(
        "serve.http.model.load_engine", lambda *_: loaded.append(1) or (lambda inputs: {})
    )
    model = Model([tiny_artifact], streams=AUTO)
    manifest = tiny_artifact.manifest
    for _ in "12":
        model.graphs.load(tiny_artifact.path, manifest, "auto", None, manifest.stages[0])
    assert model.streams["at_once"] == len(loaded) == streams


@pytest.mark.parametrize(
    "said, advice",
    [
        ("CUDA out of memory. Tried to allocate 2 GiB\nmore", "smaller batch"),
        (
            "The following operation failed in the TorchScript interpreter.\nTraceback\n"
            "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB\n",
            r"failed \(CUDA out of memory.*smaller batch",
        ),
        ("CUDA error: an illegal memory access was encountered", "restart the process"),
    ],
)
def test_a_failing_gpu_is_a_device_error_that_says_what_to_do(tmp_path, said, advice):
    with pytest.raises(DeviceError, match=advice), failures_named(tmp_path):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="no graph"), failures_named(tmp_path):
        raise RuntimeError("no graph in this file")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_without_a_device_is_refused(tiny_artifact):
    with pytest.raises(InputError, match="torch sees no CUDA GPU"):
        load_engine(tiny_artifact.path, tiny_artifact.manifest, "cuda")


def test_a_device_that_is_not_among_those_here_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"--device cuda:7: torch sees 1 .*cuda:0"):
        torch_device("cuda:7")
    assert torch_device("cuda:0").index == 0 and torch_device("cuda").index is None


def test_who_finds_a_scene_that_no_gpu_has_room_for_is_told_what_to_do():
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    scene = EagerScene("da3-small", None, "cpu", None, None)
    scene._model = SimpleNamespace(infer_views=full, named_modules=dict)
    view = scene.view(np.zeros((28, 42, 3), np.uint8))
    with pytest.raises(DeviceError, match=r"da3-small: the GPU failed \(CUDA.*fewer photos"):
        scene.infer([view], [], SceneQuery(), None, None, None, lambda: None)


@cuda
@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_the_device_answers_as_the_cpu_does(tmp_path, precision, caplog):
    job = CompileJob(
        "demo", "torchscript", ((56, 84),), 2, tmp_path, seeded="always", precision=precision
    )
    (artifact,) = compile_model(job)  # parity runs on the device
    assert "not recorded" not in caplog.text
    rng = np.random.RandomState(0)
    images = [rng.randn(2, 3, 56, 84).astype(np.float32) for _ in range(8)]
    kind = artifact.manifest.output.kind
    on_cpu = load_engine(artifact.path, artifact.manifest, "cpu")
    expected = [on_cpu({"image": image})[kind] for image in images]
    found: dict[int, np.ndarray] = {}

    def work(start: int) -> None:  # two engines, each in its thread, on one module
        engine = load_engine(artifact.path, artifact.manifest, "cuda")
        for index in range(start, len(images), 2):
            found[index] = engine({"image": images[index]})[kind]

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tolerance = {"f32": 1e-4, "bf16": 3e-2, "f16": 5e-3}[precision]
    for index, depth in enumerate(expected):
        np.testing.assert_allclose(found[index], depth, atol=tolerance * np.ptp(depth), rtol=0)


@cuda
def test_photos_go_through_a_predictor_on_the_device(tmp_path):
    job = CompileJob("demo", "torchscript", ((56, 84),), 1, tmp_path, seeded="always")
    (artifact,) = compile_model(job)
    rgb = np.random.RandomState(1).randint(0, 256, (60, 90, 3), dtype=np.uint8)
    on_device, on_cpu = (Predictor([artifact], device)(rgb).depth for device in ("cuda", "cpu"))
    np.testing.assert_allclose(on_device, on_cpu, atol=1e-4 * np.ptp(on_cpu), rtol=0)
