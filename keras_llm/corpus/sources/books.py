"""Books: the text of EPUB, PDF and DOCX files, read in a sandbox.

A few kilobytes of any of them can keep a reader busy for hours, or out of
memory. PDFium and mammoth read PDF and DOCX. EPUB is hand-written, on lxml:
a publisher's chapters are not wrapped in a web page, so that every word
counts, where what extracts pages leaves words out.
"""

import html
import io
import posixpath
import re
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sandbox import Sandbox
from keras_llm.corpus.sources.texts import Origin, Unreadable, optional

SECONDS = 60  # a book
BOOK_BYTES = 2**28  # which are read whole
MOST_CHARACTERS = 2**27  # of a PDF, whose pages may share what they draw
MOST_BYTES = 2**27  # of the files in an EPUB or DOCX that hold text
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
HIDDEN = {"head", "script", "style", "title", "template"}
WITHIN_LINE = set(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd "
    "mark q ruby s samp small span strike strong sub sup time tt u var wbr "
    "body html".split()
)
_SPACE = re.compile(" +")
_WHITESPACE = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(r" *(?:\n *)+")


class Books:
    """Reads books; keeps the processes that it does so in."""

    def __init__(self) -> None:
        self._sandboxes: dict[str, Sandbox] = {}

    def read(
        self, format: str, stream: BinaryIO, origin: Origin
    ) -> Iterator[Document]:
        """Yields the text of a book; the format is `"epub"`, `"pdf"` or
        `"docx"`.

        Raises:
            Unreadable: It is damaged, encrypted, or takes too long.
            InputError: A library that it needs is not installed.
        """
        library, function = _READERS[format]
        optional(library, "documents")  # for the process to inherit
        if format not in self._sandboxes:
            self._sandboxes[format] = Sandbox(function, SECONDS, warm_up=b"")
        content = stream.read(BOOK_BYTES + 1)
        if len(content) > BOOK_BYTES:
            detail = f"It is longer than {BOOK_BYTES} bytes."
            raise Unreadable("too_large", detail)
        try:
            text = self._sandboxes[format].call(content)
        except Unreadable:
            raise
        except TimeoutError as error:
            detail = f"It takes more than {SECONDS} seconds."
            raise Unreadable("timeout", detail) from error
        except MemoryError as error:
            detail = "It takes too much memory."
            raise Unreadable("too_large", detail) from error
        except Exception as error:  # of the library, of what died of it
            raise Unreadable.of(error) from error
        yield from origin.text([text])

    def close(self) -> None:
        """Ends the processes."""
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._sandboxes.clear()


def _pdf_text(content: bytes) -> str:
    """The text of all pages, as it is drawn; scanned pages have none."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(content)
    except PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted", "It needs a password.") from error
        raise
    pages = []
    length = 0
    for page in document:
        text = page.get_textpage().get_text_range()
        length += len(text)
        if length > MOST_CHARACTERS:
            detail = f"It has more than {MOST_CHARACTERS} characters."
            raise Unreadable("too_large", detail)
        # PDFium joins the lines of a word that was divided, with a mark.
        pages.append(text.replace("\ufffe", "-\n").replace("\r\n", "\n"))
    return "".join(f"{page}\n" for page in pages)


def _docx_text(content: bytes) -> str:
    from mammoth import extract_raw_text

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        _check_size(archive, [n for n in names if n.endswith(".xml")])
    return extract_raw_text(io.BytesIO(content)).value


def _epub_text(content: bytes) -> str:
    """The chapters in reading order; paragraphs are an empty line apart."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_size(archive, [CONTAINER])
        spine = _spine(archive)
        _check_size(archive, spine)
        chapters = [_text_of(archive.read(path)) for path in spine]
    text = "\n\n".join(filter(None, chapters))
    return text and text + "\n"


_READERS = {
    "docx": ("mammoth", _docx_text),
    "epub": ("lxml.etree", _epub_text),
    "pdf": ("pypdfium2", _pdf_text),
}


def _spine(archive: zipfile.ZipFile) -> list[str]:
    """Names of the chapters' files, in reading order."""
    root = _xml(archive.read(CONTAINER)).find(".//{*}rootfile")
    if root is None or not root.get("full-path"):
        raise Unreadable("damaged", "It does not name its package file.")
    package = root.get("full-path")
    _check_size(archive, [package])
    contents = _xml(archive.read(package))
    items = {
        item.get("id"): item.get("href", "")
        for item in contents.iterfind(".//{*}manifest/{*}item")
    }
    found = []
    for reference in contents.iterfind(".//{*}spine/{*}itemref"):
        href = items.get(reference.get("idref"))
        if href is None:
            raise Unreadable("damaged", "A chapter is not among its files.")
        path = urllib.parse.unquote(href.partition("#")[0])
        path = posixpath.join(posixpath.dirname(package), path)
        found.append(posixpath.normpath(path))
    if ENCRYPTION in archive.namelist():
        nodes = _xml(archive.read(ENCRYPTION)).iterfind(".//{*}CipherReference")
        hidden = {urllib.parse.unquote(node.get("URI", "")) for node in nodes}
        if hidden & set(found):
            raise Unreadable("encrypted", "Its chapters are encrypted.")
    return found


def _check_size(archive: zipfile.ZipFile, names: list[str]) -> None:
    """Raises unless files are of a size that a book can have, by what the
    archive says: no more than that is read.
    """
    if sum(archive.getinfo(name).file_size for name in names) > MOST_BYTES:
        detail = f"Its text has more than {MOST_BYTES} bytes."
        raise Unreadable("too_large", detail)


def _xml(content: bytes) -> Any:
    """The root of XML, of which no entity expands and nothing else opens."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return etree.fromstring(content, parser)


def _text_of(chapter: bytes) -> str:
    from lxml import etree

    try:
        root = _xml(chapter)
    except etree.LxmlError:
        # As a browser would: in particular, HTML does not close every tag.
        parser = etree.HTMLParser(encoding="utf-8", no_network=True)
        root = etree.fromstring(chapter, parser)
    if root is None:
        return ""
    joined = _SPACE.sub(" ", "".join(_pieces(root)))
    return _BREAKS.sub(_line_ends, joined).strip()


def _line_ends(breaks: re.Match[str]) -> str:
    return "\n\n" if breaks[0].count("\n") > 1 else "\n"


def _pieces(root: Any) -> Iterator[str]:
    """Texts in order; `\\n` for a line break, twice for a paragraph's end.

    Elements may be nested deeper than Python's stack.
    """
    from lxml import etree

    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
            continue
        tag = node.tag
        if tag is etree.Entity:
            yield html.unescape(node.text)
        if not isinstance(tag, str):  # a comment, an instruction, an entity
            continue
        tag = tag.rpartition("}")[2].lower()
        if tag in HIDDEN:
            continue
        if tag == "br":
            yield "\n"
            continue
        is_cell = tag in ("td", "th")
        around = "" if tag in WITHIN_LINE else " " if is_cell else "\n\n"
        yield around
        waiting.append(around)
        for child in reversed(node):
            waiting.append(_WHITESPACE.sub(" ", child.tail or ""))
            waiting.append(child)
        yield _WHITESPACE.sub(" ", node.text or "")
