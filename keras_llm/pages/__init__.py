"""Pages of reports: one file of HTML that needs nothing outside itself.

A template extends `page.html.jinja`, which has the style, and allows neither
scripts nor anything from elsewhere.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from keras_llm.files import write_text


def write_page(
    path: Path,
    template: Path,
    filters: dict[str, Callable] | None = None,
    **values: Any,
) -> None:
    """Writes a page, whole or not at all; see `rendered`."""
    write_text(path, rendered(template, filters, **values))


def rendered(
    template: Path, filters: dict[str, Callable] | None = None, **values: Any
) -> str:
    """A page; texts in it are escaped.

    Args:
        template: Of Jinja; a name that it lacks is an error.
        filters: What the template calls, beside Jinja's own.
        **values: What the template shows.
    """
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(
            [template.parent, Path(__file__).parent]
        ),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(**values)


def picture_data(path: Path) -> str:
    """A PNG file as an address that holds it, for `src` of an image."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/png;base64,{data}"
