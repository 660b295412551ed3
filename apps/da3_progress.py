"""How far a long command is: a bar on a terminal, else a line now and then; all on stderr."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Optional

LINE_EVERY_S = 30.0

log = logging.getLogger(__name__)

Step = Callable[[], object]


class Progress:
    """Progress by stages, each of some steps.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    @contextlib.contextmanager
    def stage(self, name: str, unit: str, total: Optional[int] = None) -> Iterator[Step]:
        """Show a stage; what it yields is called after each of its steps."""
        from tqdm import tqdm

        shows = sys.stderr.isatty() and not self.quiet
        done, started = 0, time.monotonic()
        last = started

        with tqdm(total=total, desc=name, unit=unit, disable=not shows, leave=False) as bar:

            def step() -> None:
                nonlocal done, last
                done += 1
                bar.update()
                if not shows and not self.quiet and time.monotonic() - last > LINE_EVERY_S:
                    last = time.monotonic()
                    left = (last - started) / done * ((total or done) - done)
                    about = f", about {left:.0f} s left" if left > 0 else ""
                    log.info("%s: %d of %s %ss%s", name, done, total or "?", unit, about)

            yield step
        if not self.quiet:
            log.info("%s: %d %ss in %.1f s", name, done, unit, time.monotonic() - started)
