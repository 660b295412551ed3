"""A graph on a CUDA device: recorded once on a stream of its own, then replayed.

A loaded TorchScript module in; a function from host tensors to host tensors out. Its inputs and
outputs on the device are always the same memory, as a recorded call asks for; on the host they
pass through pinned memory, which the device copies by itself. Two of these on one module have two
streams: one copies while the other computes.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from runtime.artifact.manifest import StageSpec

log = logging.getLogger(__name__)

WARM_UPS = 4  # before recording: TorchScript settles in three, cuDNN picks its kernels in the first
_one_at_a_time = threading.Lock()  # recordings disturb each other


class DeviceCall:
    """One graph, one stream, one set of buffers; one call at a time.

    Args:
        torch: the package.
        graph: from tensors on the device to a tensor or a tuple of them.
        stage: what it takes and returns.
        name: for the log.
    """

    def __init__(self, torch: ModuleType, graph: Any, stage: StageSpec, name: str) -> None:
        self._torch, self._graph = torch, graph
        self._stream = torch.cuda.Stream()
        with _one_at_a_time, torch.inference_mode(), torch.cuda.stream(self._stream):
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
        """Run: host tensors in, host tensors in pinned memory of their own out."""
        torch = self._torch
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for buffer, tensor in zip(self._inputs, tensors):
                pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                buffer.copy_(pinned.copy_(tensor), non_blocking=True)
            found = []
            for made in self._repeat():
                pinned = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
                found.append(pinned.copy_(made, non_blocking=True))
            self._stream.synchronize()
        return tuple(found)

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
