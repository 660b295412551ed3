"""The one door for heavy or optional packages."""

import importlib
import importlib.metadata
from types import ModuleType
from typing import Optional

from runtime.errors import MissingDependency


def require(module: str, extra: str, install: Optional[str] = None) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        extra: of this package, which brings it.
        install: what to say instead, where no extra does.
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
            install or f"{module} is not installed; run: pip install '.[{extra}]'"
        ) from error


def version_of(package: str) -> str:
    """An installed package's version, or ``absent``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
