"""What each worker process is doing, for all of them to see: memory that they share.

A state in, the states of all out. No file: a full disk keeps no worker from starting.
"""

import mmap
import os
import struct
import time

LOADING, READY, FAILED = "loading", "ready", "failed"
STATES = ("", LOADING, READY, FAILED)  # as numbers; 0: nobody is there
SLOT = struct.Struct("<IBd")  # process number, state, time.monotonic() of its last sign of life
PLACES, STALE_S = 256, 30.0


class WorkerStates:
    """A slot for each worker; made before the processes that share it are forked.

    ``mine`` is what this process said last.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 + PLACES * SLOT.size)
        self._place = 0
        self.mine = LOADING

    def enter(self, place: int) -> None:
        """This process is the worker with that number, from 0, and loads."""
        self._place = place % PLACES
        self.set(LOADING)

    def set(self, state: str) -> None:
        """Say what this process does."""
        self.mine = state
        self.beat()

    def beat(self) -> None:
        """Say that this process is alive; without this for ``STALE_S``, it is not counted ready."""
        number, now = STATES.index(self.mine), time.monotonic()
        SLOT.pack_into(self._memory, self._at(self._place), os.getpid(), number, now)

    def stop(self) -> None:
        """Say that the whole service stops, not one process of it."""
        self._memory[0] = 1

    @property
    def stopping(self) -> bool:
        """True once the whole service stops: newcomers are sent elsewhere."""
        return bool(self._memory[0])

    def forget(self, pid: int) -> None:
        """Remove a process that has ended."""
        for place in range(PLACES):
            if SLOT.unpack_from(self._memory, self._at(place))[0] == pid:
                SLOT.pack_into(self._memory, self._at(place), 0, 0, 0.0)

    def states(self) -> dict[int, str]:
        """Process number to state."""
        return {pid: STATES[state] for pid, state, _ in self._slots() if pid}

    def any_ready(self) -> bool:
        """True if a worker can answer."""
        return self.count_ready() > 0

    def count_ready(self) -> int:
        """How many workers can answer, and show signs of life."""
        ready, then = STATES.index(READY), time.monotonic() - STALE_S
        return sum(state == ready and beat > then for _, state, beat in self._slots())

    def _slots(self) -> list[tuple[int, int, float]]:
        return [SLOT.unpack_from(self._memory, self._at(place)) for place in range(PLACES)]

    @staticmethod
    def _at(place: int) -> int:
        return 1 + place * SLOT.size
