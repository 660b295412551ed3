"""Pages: HTML from the templates beside this file, every value in it escaped, one look for all.

A template's name and values in; text out. A page needs no script, font or host: its style is in it.
No disk but the templates.
"""

import functools
from pathlib import Path
from typing import Any

from runtime.optional import require


@functools.lru_cache(maxsize=1)
def environment() -> Any:
    """The templates, as a ``jinja2.Environment``.

    Text is shown as text, whatever it holds; a value that a template asks for and does not get is
    an error. A page begins with ``{% extends "base.html.j2" %}``.

    Raises:
        MissingDependency: Jinja2 is not installed.
    """
    jinja2 = require("jinja2", "html")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """A page's text.

    Raises:
        MissingDependency: Jinja2 is not installed.
    """
    return str(environment().get_template(template).render(values))
