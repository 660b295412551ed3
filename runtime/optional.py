"""The one door for heavy or optional packages."""

import importlib
from types import ModuleType

from runtime.errors import MissingDependency


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Raises:
        MissingDependency: the package is not installed.
        ImportError: it is installed, but something it needs is not.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingDependency(
            f"{module} is not installed; run: pip install '.[{extra}]'"
        ) from error
