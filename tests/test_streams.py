"""One engine with all threads, or two of one each: what is measured, and what is chosen."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from compile.job import CompileJob, compile_model
from runtime.engines import available
from runtime.predict import streams
from runtime.predict.predictor import Predictor
from runtime.predict.streams import AUTO, ONE, Streams, choose_streams
from serve.batch.__main__ import main
from serve.http.batching import Batcher, Task
from serve.http.handlers import PhotoTask
from serve.http.model import Model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    if not available("openvino"):
        pytest.skip("openvino is not installed")
    folder = tmp_path_factory.mktemp("graphs")
    (made,) = compile_model(CompileJob("demo", "openvino", ((28, 28),), 1, folder))
    return made


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(streams, "MEASURE_S", 0.05)
    monkeypatch.setattr(streams, "SLOWEST_S", 60.0)  # a machine that is busy makes no call slow


def slept(artifact, seconds, sleep=time.sleep):
    """A predictor whose engine sleeps."""

    def load(_artifact, _device, _threads):
        def run(inputs):
            sleep(seconds)
            return {"disparity": np.ones((1, 28, 28), np.float32)}

        return run

    return Predictor([artifact], "cpu", load=load)


class Clock:
    """Time that passes only while somebody sleeps, one sleeper after the other."""

    def __init__(self) -> None:
        self.now, self._lock = 0.0, threading.Lock()

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.mark.parametrize(
    "narrow_s, count, rate", [(0.5, 2, "2.0"), (0.97, 1, "1.0"), (1.0, 1, "1.0"), (2.0, 1, "0.5")]
)
def test_two_are_chosen_if_they_do_more_and_one_if_they_do_not(
    narrow_s, count, rate, artifact, cores, monkeypatch
):
    clock, made = Clock(), []
    monkeypatch.setattr(streams, "time", clock)

    def make(threads):
        made.append(threads)
        return slept(artifact, narrow_s, clock.sleep)

    chosen = choose_streams(slept(artifact, 1.0, clock.sleep), make, "cpu", None)
    assert made == [1, 1]
    assert chosen.count == count == chosen.facts()["at_once"]
    says = f"{rate} calls a second on 2 of one thread, 1.0 on one of all threads"
    assert chosen.facts()["why"] == says


@pytest.mark.parametrize(
    "given, says",
    [
        ({"asked": ONE}, "asked for one"),
        ({"device": "cuda"}, "only openvino on the CPU"),
        ({"threads": 1}, "there is one thread"),
    ],
)
def test_nothing_is_measured_where_there_is_nothing_to_gain(artifact, cores, given, says):
    asked = {"device": "cpu", "threads": None, **given}
    chosen = choose_streams(slept(artifact, 0), lambda _: pytest.fail("made"), **asked)
    assert chosen.count == 1 and says in chosen.facts()["why"]


def test_large_or_slow_networks_keep_one(artifact, cores, monkeypatch):
    never = lambda _: pytest.fail("made")  # noqa: E731
    monkeypatch.setattr(streams, "SLOWEST_S", 0.005)
    assert "a call takes over" in choose_streams(slept(artifact, 0.02), never, "cpu", None).why
    monkeypatch.setattr(streams, "LARGEST_BYTES", 1 << 20)
    assert "over 1 MiB" in choose_streams(slept(artifact, 0), never, "cpu", None).why


def test_a_call_alone_has_all_threads_and_two_at_once_have_one_each():
    ran, both = [], threading.Barrier(2)

    class Engine:
        def __init__(self, name):
            self.name = name

        def infer(self, group):
            ran.append(self.name)
            if group == "together":
                both.wait(10)
            return [self.name]

    chosen = Streams(Engine("wide"), (Engine("a"), Engine("b")))
    assert chosen.infer("alone") == ["wide"] and chosen.infer("alone") == ["wide"]
    threads = [threading.Thread(target=chosen.infer, args=("together",)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(ran[2:]) in (["a", "wide"], ["b", "wide"])
    assert chosen.infer("alone") == ["wide"]


def test_the_number_of_threads_does_not_change_a_bit(artifact):
    rgb = np.random.RandomState(0).randint(0, 256, (40, 60, 3), np.uint8)
    found = [Predictor([artifact], "cpu", threads)(rgb).depth for threads in (None, 1, 2)]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_a_batch_job_says_what_it_chose_and_its_files_are_the_same(
    artifact, cores, save_photo, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(streams, "GAIN", 0.0)  # two, whatever is measured
    for number in range(4):
        save_photo(tmp_path / "in" / f"{number}.png", seed=number)
    made = {}
    for way, workers in ((AUTO, []), (ONE, ["--workers", "1"])):
        output = tmp_path / way
        words = ["--input", str(tmp_path / "in"), "--output", str(output), *workers]
        with caplog.at_level("INFO"):
            caplog.clear()
            assert main(["run", *words, "--artifact", str(artifact.path)]) == 0
        assert ("2 engines: " in caplog.text) == (way == AUTO)
        made[way] = {file.name: file.read_bytes() for file in output.glob("*.npz")}
    assert len(made[AUTO]) == 4 and made[AUTO] == made[ONE]


def test_the_service_answers_with_two_at_once_and_says_so(artifact, cores, save_photo, monkeypatch):
    monkeypatch.setattr(streams, "GAIN", 0.0)
    model = Model([artifact], "cpu", None, AUTO)
    model.warm_up()
    assert model.streams["at_once"] == 2 and "calls a second" in model.streams["why"]
    costs = model.costs[("photo", 0)]
    rgb = np.zeros((30, 40, 3), np.uint8)
    asked = SimpleNamespace(sizes_hw=[(30, 40)])
    handler = model._photos
    assert handler.cost_s(asked) == costs
    task = PhotoTask(Predictor([artifact], "cpu").prepare(rgb))
    batcher = Batcher(0.0, pytest.fail)
    batcher.start(model.streams["at_once"])
    deadline = time.monotonic() + 30
    futures = [
        batcher.submit(Task(handler.lane(task), task, deadline, lambda: False)) for _ in range(8)
    ]
    expected = Predictor([artifact], "cpu").infer([task.prepared])[0][0]
    for future in futures:
        np.testing.assert_array_equal(future.result(30).result[0], expected)
    alone = Model([artifact], "cpu")
    assert alone.streams == {"at_once": 1, "why": ""}
