"""Where callers may have files read and written: below one folder, links resolved.

A path that somebody sent in; a path below the root, or a refusal, out.
"""

import os
from pathlib import Path

from runtime.errors import InputError
from serve.http.problems import Problem, shown


class Places:
    """The files that callers may name.

    Args:
        root: everything that may be named lies in it.
        private: a folder in it, or elsewhere, that is the program's own.
    """

    def __init__(self, root: Path, private: Path) -> None:
        self.root, self.private = root.resolve(), private.resolve()

    def find(self, name: str, what: str) -> Path:
        """The place of a path, absolute or from the root.

        Raises:
            InputError: no path.
            Problem: it leads out of the root, or into the program's own folder.
        """
        if not name or "\0" in name:
            raise InputError(f"{what}: {shown(name)} is no path")
        try:
            place = Path(os.path.realpath(self.root / name))
        except (OSError, ValueError) as error:
            raise InputError(f"{what}: {shown(name)} is no path ({error})") from None
        own = self.private in (place, *place.parents) or place in self.private.parents
        if self.root not in (place, *place.parents) or own:
            raise Problem(
                "forbidden_path",
                f"{what}: {shown(name)} is not in the folder whose files may be named; "
                "--root says which, or upload the photos",
            )
        return place
