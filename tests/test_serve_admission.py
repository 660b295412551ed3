"""What is let in and in what order it runs: the admission by cost, and the device's thread."""

import threading
import time

import pytest

from runtime.errors import DeviceError, InputError, LimitError
from serve.http.admission import Admission
from serve.http.batching import Batcher, Lane, Task
from serve.http.costs import Costs
from serve.http.problems import Problem
from serve.http.service import check_work

FOREVER = 1e9


def refused(admission: Admission, cost_s: float, deadline_s: float = FOREVER) -> bool:
    try:
        with admission.accepted(cost_s, deadline_s):
            return False
    except Problem as problem:
        assert (problem.status, problem.code) == (429, "overloaded")
        assert problem.retry_after_s >= 1
        return True


def test_work_is_accepted_up_to_its_cost():
    admission = Admission(10, 100)
    with admission.accepted(6, FOREVER):
        assert refused(admission, 5) and not refused(admission, 4)
        assert (admission.cost_s, admission.count) == (6, 1)
    assert (admission.cost_s, admission.count) == (0, 0)


def test_a_request_that_alone_costs_more_than_the_limit_is_accepted():
    assert not refused(Admission(1, 100), 50)


def test_requests_are_counted_whatever_they_cost():
    admission = Admission(10, 2)
    with admission.accepted(0, FOREVER), admission.accepted(0, FOREVER):
        assert refused(admission, 0)


def test_work_that_could_not_be_done_by_its_deadline_is_refused_at_once():
    admission = Admission(100, 100)
    with admission.accepted(5, FOREVER):
        assert refused(admission, 1, deadline_s=4) and not refused(admission, 1, deadline_s=7)


def test_a_failed_request_gives_its_place_back():
    admission = Admission(10, 1)
    with pytest.raises(ValueError), admission.accepted(3, FOREVER):
        raise ValueError
    assert (admission.cost_s, admission.count) == (0, 0)


class Recorder:
    """A lane's work: notes each batch, and blocks the first until it is released."""

    def __init__(self, batch: int = 1) -> None:
        self.batches: list[list[int]] = []
        self.release = threading.Event()
        self.errors: list[BaseException] = []
        self.batcher = Batcher(0.02, self.errors.append)
        self.lane = Lane("a", self.run, batch)

    def run(self, payloads):
        if not self.batches:
            self.batches.append(list(payloads))
            assert self.release.wait(10)
        else:
            self.batches.append(list(payloads))
        if "fail" in payloads:
            raise RuntimeError("the device is lost")
        return [f"done {payload}" for payload in payloads]

    def first(self):
        """A task that is running, until it is released."""
        self.batcher.start()
        future = self.submit(1)
        while not self.batches:
            time.sleep(0.005)
        return future

    def submit(self, payload, deadline_s=30.0, gone=lambda: False, lane=None):
        deadline = time.monotonic() + deadline_s
        return self.batcher.submit(
            Task(lane=lane or self.lane, payload=payload, deadline=deadline, gone=gone)
        )


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(batch=3)


def test_tasks_share_a_batch_and_get_their_own_results(recorder):
    futures = [recorder.submit(number) for number in range(5)]
    recorder.release.set()
    recorder.batcher.start()
    found = [future.result(10) for future in futures]
    assert [one.result for one in found] == [f"done {number}" for number in range(5)]
    assert recorder.batches == [[0, 1, 2], [3, 4]]
    assert [one.batched for one in found] == [3, 3, 3, 2, 2]


def test_tasks_of_another_shape_never_share_a_batch(recorder):
    other = Lane("b", recorder.run, 3)
    futures = [recorder.submit(n, lane=other if n % 2 else None) for n in range(4)]
    recorder.release.set()
    recorder.batcher.start()
    for future in futures:
        future.result(10)
    assert recorder.batches == [[0, 2], [1, 3]]


def test_a_batch_waits_for_its_window_and_no_longer(recorder):
    recorder.release.set()
    recorder.batcher.start()
    start = time.monotonic()
    assert recorder.submit(1).result(10).batched == 1
    assert 0.015 < time.monotonic() - start < 5


def test_two_streams_run_two_batches_at_once_and_are_watched_by_the_oldest():
    inside, leave = threading.Semaphore(0), threading.Event()

    def run(payloads):
        inside.release()
        assert leave.wait(10)
        return payloads

    batcher = Batcher(0.0, lambda error: None)
    assert batcher.busy_since == 0
    batcher.start(2)
    lane = Lane("a", run)
    before = time.monotonic()
    futures = [batcher.submit(Task(lane, n, before + 30, gone=lambda: False)) for n in range(3)]
    assert all(inside.acquire(timeout=10) for _ in range(2))
    assert not inside.acquire(timeout=0.05) and batcher.waiting == 1
    assert before <= batcher.busy_since <= time.monotonic()
    leave.set()
    assert [future.result(10).result for future in futures] == [0, 1, 2]


def test_calls_at_the_same_time_share_their_seconds():
    costs, together = Costs(), threading.Barrier(2)

    def call():
        with costs.timed("both"):
            together.wait(10)
            time.sleep(0.2)
            together.wait(10)

    others = [threading.Thread(target=call) for _ in "12"]
    for one in others:
        one.start()
    for one in others:
        one.join()
    with costs.timed("alone", passes=2):
        time.sleep(0.2)
    assert costs["alone"] >= 0.1 <= costs["both"] < 0.2
    with pytest.raises(InputError), costs.timed("failed"):
        raise InputError("not learned from")
    assert costs["failed"] == 0


def test_expired_work_is_not_computed(recorder):
    first = recorder.first()
    late = recorder.submit(2, deadline_s=0.05)
    time.sleep(0.2)
    recorder.release.set()
    assert first.result(10).result == "done 1"
    with pytest.raises(Problem) as caught:
        late.result(10)
    assert caught.value.code == "deadline_passed"
    assert recorder.batches == [[1]]


def test_work_of_a_client_that_has_gone_is_not_computed(recorder):
    first, gone = recorder.first(), recorder.submit(2, gone=lambda: True)
    recorder.release.set()
    first.result(10)
    with pytest.raises(Problem):
        gone.result(10)
    assert recorder.batches == [[1]]


def test_cancelled_work_is_not_computed_and_the_thread_goes_on(recorder):
    first, cancelled = recorder.first(), recorder.submit(2)
    assert cancelled.cancel()
    recorder.release.set()
    first.result(10)
    assert recorder.submit(3).result(10).result == "done 3"
    assert [2] not in recorder.batches


def test_a_failure_reaches_its_requests_and_whoever_watches_the_device(recorder):
    recorder.release.set()
    recorder.batcher.start()
    failed = recorder.submit("fail")
    with pytest.raises(RuntimeError, match="the device is lost"):
        failed.result(10)
    assert recorder.submit(1).result(10).result == "done 1"
    assert len(recorder.errors) == 1


def test_a_photo_that_takes_too_long_is_the_photos_fault():
    past, now = time.monotonic() - 1, time.thread_time()
    check_work(now - 5, time.monotonic() + 60)  # there is time
    check_work(now, past)  # it had to wait: the deadline's affair
    with pytest.raises(LimitError, match=r"5\.0 s of a processor .* send a smaller or simpler one"):
        check_work(now - 5, past)


def test_long_work_lets_what_waits_go_first_and_then_goes_on(recorder):
    recorder.release.set()
    order, going = [], threading.Event()

    def long(give_way):
        for step in range(3):
            order.append(f"step {step}")
            going.set()
            deadline = time.monotonic() + 5
            while step < 2 and recorder.batcher.waiting == 0 and time.monotonic() < deadline:
                time.sleep(0.002)
            give_way()

    def work():
        with recorder.batcher.long_work() as give_way:
            long(give_way)

    lane = Lane("photo", lambda group: [order.append(one) for one in group])
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    assert not order, "nothing begins before the model is warm"
    recorder.batcher.start()
    assert going.wait(5)
    recorder.submit("first", lane=lane).result(5)
    assert order == ["step 0", "first"] or order == ["step 0", "first", "step 1"]
    recorder.submit("second", lane=lane).result(5)
    thread.join(5)
    assert order == ["step 0", "first", "step 1", "second", "step 2"]
    recorder.submit("third", lane=lane).result(5)


def test_requests_without_end_do_not_keep_long_work_from_its_end(recorder):
    recorder.release.set()
    lane, end = Lane("photo", lambda group: [time.sleep(0.002) for _ in group]), []
    deadline = time.monotonic() + 10

    def more(_):
        if not end and time.monotonic() < deadline:  # else a mistake would be a test without end
            recorder.submit("next", lane=lane).add_done_callback(more)

    recorder.batcher.start()
    for _ in range(3):
        recorder.submit("one", lane=lane).add_done_callback(more)
    with recorder.batcher.long_work() as give_way:
        for _ in range(20):
            give_way()
        assert time.monotonic() < deadline, "it went on although requests came without end"
    end.append(True)


def test_what_expires_while_long_work_runs_is_answered_and_not_waited_for(recorder):
    recorder.release.set()
    recorder.batcher.start()
    with recorder.batcher.long_work() as give_way:
        late = recorder.submit(2, deadline_s=0.0)
        given_up = recorder.submit(3)
        given_up.cancel()
        give_way()
        with pytest.raises(Problem, match="not begun"):
            late.result(0)
    assert not recorder.batches


def test_long_works_follow_each_other_and_one_that_is_over_takes_nothing(recorder):
    batcher, order = recorder.batcher, []
    recorder.release.set()
    batcher.start()

    def work(name):
        with batcher.long_work() as give_way:
            order.append(f"{name} begins")
            time.sleep(0.05)
            order.append(f"{name} ends")
        kept.append(give_way)

    kept = []
    others = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for one in others:
        one.start()
    for one in others:
        one.join(10)
    assert [line.split()[1] for line in order] == ["begins", "ends"] * 2
    future = recorder.submit(1)
    for give_way in kept:
        give_way()
    assert future.result(10).batched == 1


def test_only_a_device_that_fails_in_long_work_is_a_failed_device(recorder):
    recorder.batcher.start()
    for error in (InputError("no"), KeyError(1), DeviceError("lost")):
        with pytest.raises(type(error)), recorder.batcher.long_work():
            raise error
    assert [type(error) for error in recorder.errors] == [DeviceError]
    recorder.release.set()
    assert recorder.submit(1).result(5).result == "done 1", "and it is free again"
