"""What each worker process is doing, for all of them to see: one small file a process."""

import os
from pathlib import Path

from runtime.files import write_whole

LOADING, READY, DRAINING, FAILED = "loading", "ready", "draining", "failed"
SUFFIX = ".state"
STOPPING = "stopping"


class WorkerStates:
    """A folder that the workers of one service share; ``mine`` is what this process said last.

    Args:
        folder: exists; no other service uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = LOADING

    def set(self, state: str) -> None:
        """Say what this process does."""
        self.mine = state
        file = self.folder / f"{os.getpid()}{SUFFIX}"
        write_whole(file, state.encode())

    def stop(self) -> None:
        """Say that the whole service stops, not one process of it."""
        (self.folder / STOPPING).touch()

    @property
    def stopping(self) -> bool:
        """True once the whole service stops: nobody listens any more when this process leaves."""
        return (self.folder / STOPPING).exists()

    def forget(self, pid: int) -> None:
        """Remove a process that has ended."""
        (self.folder / f"{pid}{SUFFIX}").unlink(missing_ok=True)

    def states(self) -> dict[int, str]:
        """Process number to state."""
        found = {}
        for file in self.folder.glob(f"*{SUFFIX}"):
            try:
                found[int(file.stem)] = file.read_text()
            except FileNotFoundError:  # it ended just now
                continue
        return found

    def any_ready(self) -> bool:
        """True if a worker can answer."""
        return READY in self.states().values()
