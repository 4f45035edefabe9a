"""Filter that reduces HTML to its main content, by trafilatura.

trafilatura falls back to all text of a page where it finds no article, gives a
table a line a row, and keeps the line ends of a page's source, which mean no
more than spaces do. So what is never content goes first, tables that only lay
out a page become blocks, and white space is collapsed.

Pages are read in a process of their own, so that one that takes forever, or
takes the process down, is given up and the rest goes on.
"""

import logging
import re
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus.sandbox import Sandbox
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check

_NEVER_CONTENT = (
    "nav",
    "script",
    "style",
    "noscript",
    "template",
    "iframe",
    "svg",
    "button",
    "dialog",
)
_NOTICE = re.compile(
    r"\b(?:cookies?|consent|gdpr)[-_]?"
    r"(?:banner|bar|box|consent|law|message|modal|notice|overlay|policy|popup)",
    re.IGNORECASE,
)
_MARKED = ".//*[@id or @class or @role]"
_LONGEST_NOTICE = 3000  # characters; what is longer may be the page itself
_AS_WRITTEN = ("pre", "textarea", "xmp")
_WHITE_SPACE = re.compile(r"[ \t\n\f\r]+")
_BLOCKS = ("p", "h1", "h2", "h3", "h4", "div", "ul", "ol", "table")


class Html(BaseFilter):
    """Reduces web pages to their main content; lets other texts through.

    Navigation, advertisements, cookie notices, scripts and comments go;
    headings, paragraphs, list items and table rows stay, a line each. The
    page is dropped if nothing stays (`no_main_content`), if it takes too long
    (`timeout`) or if reading it fails (`broken_page`).

    Args:
        favor_precision: Whether what may not belong to the main content goes
            (or, if `False`, what may belong to it stays).
        include_tables: Whether tables stay.
        include_links: Whether the address of a link stays behind its text.
        timeout: Seconds a page.
    """

    def __init__(
        self,
        favor_precision: bool = False,
        include_tables: bool = True,
        include_links: bool = False,
        timeout: float = 30.0,
    ):
        super().__init__()
        check(timeout > 0, "html.timeout", "above 0", timeout)
        self.timeout = timeout
        self._options = {
            "favour_precision": favor_precision,
            "include_tables": include_tables,
            "include_links": include_links,
        }
        self._sandbox: Sandbox | None = None

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Puts a page's main content in its place, or says why not."""
        if doc.metadata.get("format") != "html":
            return True
        if self._sandbox is None:
            extract = _extractor(self._options).extract
            self._sandbox = Sandbox(extract, self.timeout, warm_up="")
        try:
            page = doc.text.encode("utf-8", "replace").decode("utf-8")
            text = self._sandbox.call(page)
        except TimeoutError:
            return False, "timeout"
        except (EOFError, MemoryError, ValueError):
            return False, "broken_page"
        if not text:
            return False, "no_main_content"
        doc.text = text
        doc.metadata["format"] = "text"
        return True

    def close(self) -> None:
        """Ends the process that reads pages; the next page starts another."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_sandbox": None}


def _extractor(options: dict[str, Any]) -> "MainContent":
    try:
        import trafilatura  # noqa: F401  (here, for the process to inherit)
    except ImportError as error:
        raise InputError(
            f"Reading HTML needs trafilatura ({error}). Install it with "
            "`pip install 'keras-llm[web]'`, or leave HTML out."
        ) from error
    return MainContent(**options)


class MainContent(Trafilatura):
    """datatrove's `Trafilatura` on a page simplified first.

    It does not look for duplicates: that search remembers earlier pages, and
    what stays of a page would depend on which worker read what before.

    Args:
        **options: As of `Trafilatura` and `trafilatura.extract`.
    """

    def __init__(self, **options: bool):
        super().__init__(deduplicate=False, **options)

    def extract(self, text: str) -> str | None | ValueError:
        """The main content of a page; nothing if it has none.

        An error is returned and not raised: raised, it would end the process
        that reads pages, with its traceback on the terminal.
        """
        try:
            return self._extract(text)
        except Exception as error:  # of a parser on any page of the web
            return ValueError(repr(error))

    def _extract(self, text: str) -> str | None:
        from trafilatura import load_html

        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
        tree = load_html(text)
        if tree is None:
            return None
        _simplify(tree)
        _unwrap(tree)
        return super().extract(tree)


def _simplify(tree) -> None:
    for element in list(tree.iter(*_NEVER_CONTENT)):
        _drop(element)
    for element in tree.xpath(_MARKED):
        names = f"{element.get('id')} {element.get('class')}"
        if element.get("role") == "navigation" or (
            _NOTICE.search(names)
            and len(element.text_content()) <= _LONGEST_NOTICE
        ):
            _drop(element)
    for table in list(tree.iter("table")):
        if any(found is not table for found in table.iter(*_BLOCKS)):
            for element in table.iter("table", "tbody", "tr", "td", "th"):
                element.tag = "div"


def _unwrap(tree) -> None:
    """White space becomes one space, as a browser shows it."""
    as_written = {
        each for pre in tree.iter(*_AS_WRITTEN) for each in pre.iter()
    }
    for element in tree.iter():
        if element.text and element not in as_written:
            element.text = _WHITE_SPACE.sub(" ", element.text)
        if element.tail and element.getparent() not in as_written:
            element.tail = _WHITE_SPACE.sub(" ", element.tail)


def _drop(element) -> None:
    """Removes an element and keeps the text behind it."""
    if element.getparent() is not None:
        element.drop_tree()
