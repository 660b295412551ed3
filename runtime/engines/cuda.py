"""A graph on a CUDA device: recorded once on a stream of its own, then replayed.

A graph that is loaded in; a function from host tensors to host tensors out. Its inputs and
outputs on the device are always the same memory, as a recorded call asks for; on the host they
pass through pinned memory, which the device copies by itself. That is always the same, too: memory
that is handed out is held by others for as long as they like, and to pin more waits for the device.
Two of these on one module have two streams: one copies while the other computes.
"""

import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from runtime.artifact.manifest import StageSpec

log = logging.getLogger(__name__)

WARM_UPS = 4  # before recording: TorchScript settles in three, cuDNN picks its kernels in the first
_one_at_a_time = threading.Lock()  # recordings disturb each other

# Kernels of attention, the first that takes the tensors is used: torch's names of them
ATTENTION = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")


def attention_by(torch: ModuleType, order: Sequence[str] = ATTENTION) -> Any:
    """A context in which attention runs on the first kernel of ``order`` that takes it.

    It changes nothing where this torch has no such order (before 2.6). The order is the process's.
    """
    attention = getattr(torch.nn, "attention", None)
    if (
        attention is None
        or "set_priority" not in inspect.signature(attention.sdpa_kernel).parameters
    ):
        return contextlib.nullcontext()
    known = [getattr(attention.SDPBackend, name) for name in order]
    return attention.sdpa_kernel(known, set_priority=True)


class DeviceCall:
    """One graph, one stream, one set of buffers; one call at a time.

    Args:
        torch: the package.
        graph: from tensors on the device to a tensor or a tuple of them.
        stage: what it takes and returns.
        name: for the log.
        attention: kernels in the order in which they are tried; a recorded call keeps its own.
    """

    def __init__(
        self,
        torch: ModuleType,
        graph: Any,
        stage: StageSpec,
        name: str,
        attention: Sequence[str] = ATTENTION,
    ) -> None:
        self._torch, self._graph = torch, graph
        self._stream = torch.cuda.Stream()
        self._taken: list[Any] = []  # pinned, for inputs and outputs; made as they are needed
        self._given: list[Any] = []
        by_order = attention_by(torch, attention)
        with _one_at_a_time, by_order, torch.inference_mode(), torch.cuda.stream(self._stream):
            self._inputs = [
                torch.zeros(t.shape, dtype=getattr(torch, t.dtype), device="cuda")
                for t in stage.inputs
            ]
            for _ in range(WARM_UPS):
                self._run()
            self._stream.synchronize()
            self._repeat: Callable[[], Sequence[Any]] = self._run
            try:
                self._repeat = self._record()
            except (RuntimeError, TypeError) as error:  # TypeError: torch 1.13 knows fewer modes
                log.warning(
                    "%s: not recorded as a CUDA graph, each call is launched: %s", name, error
                )

    def __call__(self, *tensors: Any) -> tuple[Any, ...]:
        """Run: host tensors in, host tensors of their own out, in memory that is not pinned."""
        torch = self._torch
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            if not self._taken:
                self._taken = [self._pinned(buffer) for buffer in self._inputs]
            for buffer, pinned, tensor in zip(self._inputs, self._taken, tensors):
                buffer.copy_(pinned.copy_(tensor), non_blocking=True)
            made = self._repeat()
            if not self._given:
                self._given = [self._pinned(one) for one in made]
            for pinned, one in zip(self._given, made):
                pinned.copy_(one, non_blocking=True)
            self._stream.synchronize()
            return tuple(pinned.clone() for pinned in self._given)

    def _pinned(self, like: Any) -> Any:
        return self._torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def again(self) -> None:
        """Run once more on what is on the device, and wait: a call without its copies."""
        with self._torch.inference_mode(), self._torch.cuda.stream(self._stream):
            self._repeat()
            self._stream.synchronize()

    def _run(self) -> Sequence[Any]:
        found = self._graph(*self._inputs)
        return found if isinstance(found, tuple) else (found,)

    def _record(self) -> Callable[[], Sequence[Any]]:
        """Record a call; what is returned repeats it and gives the same tensors each time."""
        torch = self._torch
        recorded = torch.cuda.CUDAGraph()
        # thread_local: what other engines do meanwhile in their threads does not end it
        with torch.cuda.graph(recorded, stream=self._stream, capture_error_mode="thread_local"):
            outputs = self._run()

        def repeat() -> Sequence[Any]:
            recorded.replay()
            return outputs

        return repeat
