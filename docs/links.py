"""Which links of a built site lead nowhere, within the site."""

import functools
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAMES = ("id", "name")
LINKING, LINKS = ("a", "img", "object"), ("href", "src", "data")


def broken_links(site: Path) -> list[str]:
    """A line for each link to a page, file or heading that is not there."""
    broken = []
    for page in sorted(site.rglob("*.html")):
        for link in sorted(_read(page).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = page
            if parts.path:
                target = (page.parent / unquote(parts.path)).resolve()
            is_page = target.suffix == ".html" and target.is_file()
            heading = unquote(parts.fragment)
            if not target.exists() or (
                is_page and heading and heading not in _read(target).names
            ):
                broken.append(f"{page.relative_to(site)}: {link}")
    return broken


class _Page(HTMLParser):
    """Where a page links to, and what of it can be linked to."""

    def __init__(self):
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.names |= {values[name] for name in NAMES if name in values}
        if tag in LINKING:
            self.links |= {values[name] for name in LINKS if name in values}


@functools.cache
def _read(page: Path) -> _Page:
    read = _Page()
    read.feed(page.read_text(encoding="utf-8"))
    return read
