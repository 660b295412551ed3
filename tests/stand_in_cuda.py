"""A stand-in for torch with a CUDA device: what ``runtime.engines.cuda`` calls, on the CPU.

Device memory is host memory and a stream is a name. A recorded call is repeated by running the
function again on the tensors that it was recorded with, into the tensors that it then returned:
the semantics of a CUDA graph, not its speed. It proves nothing about a GPU.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


class StandInTorch:
    """Give this for ``torch``, and what ``watched`` makes of a graph for the graph.

    Args:
        refuses: whether recording fails.
    """

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.events: list[str] = []
        self.last: tuple[Any, tuple[torch.Tensor, ...], torch.Tensor]
        self.cuda = self

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def watched(self, function: Any) -> Any:
        """A graph that notes what it was called with."""

        def run(*tensors: torch.Tensor) -> torch.Tensor:
            self.events.append("launch")
            found = function(*tensors)
            self.last = (function, tensors, found)
            return found

        return run

    def zeros(self, *shape: Any, device: str, **options: Any) -> torch.Tensor:
        assert device == "cuda"
        return torch.zeros(*shape, **options)

    def empty(
        self, *shape: Any, pin_memory: bool = False, device: str = "", **options: Any
    ) -> torch.Tensor:
        assert pin_memory != (device == "cuda")
        if pin_memory:
            self.events.append("pin")
        return torch.empty(*shape, **options)

    def current_stream(self) -> "StandInTorch":
        return self

    def Stream(self) -> "StandInTorch":
        return self

    def synchronize(self) -> None:
        self.events.append("wait")

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def graph(self, recorded: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        recorded.call = self.last
        self.last[2].fill_(float("nan"))  # a call that is being recorded computes nothing

    def CUDAGraph(self) -> "Recorded":
        return Recorded(self.events)


class Recorded:
    """A recorded call."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.call: Any = None

    def replay(self) -> None:
        self.events.append("replay")
        function, tensors, found = self.call
        found.copy_(function(*tensors))
