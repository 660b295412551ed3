"""The one door for heavy or optional packages."""

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional

from runtime.errors import MissingDependency

PROJECT = "depth-anything-inferentia"
# Packages that whole modules begin with, and the extra of this project that brings them; all others
# go through ``require``
EXTRAS = {
    "torch": "torch",
    "safetensors": "torch",
    "flask": "serve",
    "gradio": "app",
    "gunicorn": "serve",
    "prometheus_client": "serve",
    "pythonjsonlogger": "serve",
    "yaml": "serve",
    "jinja2": "serve",
}


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
        raise MissingDependency(install or how_to_install(module, extra)) from error


def missing(error: ModuleNotFoundError) -> Optional[MissingDependency]:
    """What to say instead of an import's own error; None if no extra brings the package."""
    name = error.name or ""
    return MissingDependency(how_to_install(name, EXTRAS[name])) if name in EXTRAS else None


def how_to_install(module: str, extra: str) -> str:
    """What to say of a package, or a part of one, that is not there."""
    command = f"pip install '{PROJECT}[{extra}]'"
    if Path(sys.prefix, "has-base").exists():  # setup.sh made this environment, without pip
        command = f"./setup.sh {extra}"
    return f"{module} is not installed; run: {command}"


def version_of(package: str) -> str:
    """An installed package's version, or ``absent``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
