"""What goes wrong behind a control of the app, as a sentence on its page."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import gradio as gr

from runtime.command_line import sentence
from runtime.errors import DepthError

Action = TypeVar("Action", bound=Callable[..., Any])


def said(action: Action) -> Action:
    """Have what goes wrong in an action said on the page; the action may be a generator."""
    if inspect.isgeneratorfunction(action):

        @wraps(action)
        def doing(*values: Any) -> Iterator[Any]:
            with _on_page():
                yield from action(*values)

    else:

        @wraps(action)
        def doing(*values: Any) -> Any:
            with _on_page():
                return action(*values)

    return cast(Action, doing)


@contextmanager
def _on_page() -> Iterator[None]:
    try:
        yield
    except (DepthError, OSError, MemoryError) as error:
        raise gr.Error(sentence(error), print_exception=False) from None
