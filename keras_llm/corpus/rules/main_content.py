"""The tree of a web page, made easier to extract the main content from.

trafilatura falls back to all text of a page where it finds no article, and
gives a table a line a row. So what is never content goes first, and tables
that only lay out a page become blocks. It also keeps the line ends of a page's
source, which mean no more than spaces do, and which rules would take for the
ends of paragraphs.
"""

import logging
import re

from datatrove.pipeline.extractors import Trafilatura

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
