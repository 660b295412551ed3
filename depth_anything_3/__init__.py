"""Depth Anything 3: upstream's import path and API on our own layers.

``from depth_anything_3 import DepthAnything3`` works; torch is imported for it, and only then.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3

__all__ = ["DepthAnything3"]


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__`` when it is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from depth_anything_3.api import DepthAnything3

    return DepthAnything3


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
