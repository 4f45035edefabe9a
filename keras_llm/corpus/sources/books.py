"""Books: the text of EPUB, PDF and DOCX files.

EPUB is hand-written, for what reads it elsewhere reads it whole, or leaves
the order of its chapters to the caller. Its chapters are marked up by a
publisher, not wrapped in a web page, so there is nothing to extract: every
word counts. PDFium and mammoth read the others, in a sandbox: both can be
kept busy for hours, or out of memory, by a few kilobytes.
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
from keras_llm.corpus.sources.archives import opened_zip
from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.optional import optional
from keras_llm.corpus.sources.streams import BUFFER, Budget, Guarded, held
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable

SECONDS = 60  # that PDFium or mammoth may take for a file
BOOK_BYTES = 2**28  # of a PDF or DOCX, which are read whole
CHAPTER_BYTES = 64 * 2**20
MOST_CHARACTERS = 2**27  # of a PDF, whose pages may share what they draw
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
HIDDEN = {"head", "script", "style", "title", "template"}
WITHIN_LINE = set(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd "
    "mark q ruby s samp small span strike strong sub sup time tt u var wbr "
    "body html".split()
)
_NAMED = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]*);")
_DECLARED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']([-\w]+)")
_SPACE = re.compile(" +")
_WHITESPACE = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(r" *(?:\n *)+")


class Books:
    """Reads books; keeps the processes that it does so in.

    Args:
        decoder: What decodes the chapters of an EPUB.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._sandboxes: dict[str, Sandbox] = {}

    def read(
        self, format: str, stream: BinaryIO, origin: Origin
    ) -> Iterator[Document]:
        """Yields the text of a book, paragraphs a line or an empty line apart.

        Args:
            format: `"epub"`, `"pdf"` or `"docx"`.
            stream: Binary stream, from its begin.
            origin: That of the book.

        Raises:
            Unreadable: It is damaged, encrypted, or takes too long.
            InputError: A library that it needs is not installed.
        """
        if format == "epub":
            pieces = _chapters(held(stream), self._decoder)
        else:
            pieces = [self._in_sandbox(format, stream)]
        yield from origin.text(pieces)

    def close(self) -> None:
        """Ends the processes."""
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._sandboxes.clear()

    def _in_sandbox(self, format: str, stream: BinaryIO) -> str:
        if format not in self._sandboxes:
            library, function = _LIBRARIES[format]
            optional(library, "documents")  # for the process to inherit
            self._sandboxes[format] = Sandbox(function, SECONDS, warm_up=b"")
        content = stream.read(BOOK_BYTES + 1)
        if len(content) > BOOK_BYTES:
            detail = f"It is longer than {BOOK_BYTES} bytes."
            raise Unreadable("too_large", detail)
        try:
            return self._sandboxes[format].call(content)
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

    return extract_raw_text(io.BytesIO(content)).value


_LIBRARIES = {
    "docx": ("mammoth", _docx_text),
    "pdf": ("pypdfium2", _pdf_text),
}


def _chapters(stream: BinaryIO, decoder: Decoder) -> Iterator[str]:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    book = _Book(opened_zip(stream), Budget(lambda: size))
    between = ""
    for path in book.spine():
        chapter = _text_of(book.read(path), decoder)
        if chapter:
            yield between + chapter
            between = "\n\n"
    yield "\n" if between else ""


class _Book:
    """The files of a book.

    Args:
        archive: The book.
        budget: How much may be decompressed.
    """

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._archive = archive
        self._budget = budget

    def spine(self) -> list[str]:
        """Names of the chapters' files, in reading order.

        Raises:
            Unreadable: The book does not say, or they are encrypted.
        """
        container = self._xml(CONTAINER)
        root = container.find(".//{*}rootfile")
        if root is None or not root.get("full-path"):
            raise _damaged("It does not name its package file.")
        package = root.get("full-path")
        contents = self._xml(package)
        items = {
            item.get("id"): item.get("href", "")
            for item in contents.iterfind(".//{*}manifest/{*}item")
        }
        found = []
        for reference in contents.iterfind(".//{*}spine/{*}itemref"):
            href = items.get(reference.get("idref"))
            if href is None:
                raise _damaged("A chapter is not among its files.")
            found.append(_resolved(package, href))
        if set(found) & self._encrypted():
            raise Unreadable("encrypted", "Its chapters are encrypted.")
        return found

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            Unreadable: It is missing, damaged or too long.
        """
        try:
            opened = self._archive.open(name)
        except MemoryError:
            raise
        except Exception as error:  # KeyError, BadZipFile, RuntimeError, ...
            raise _damaged(f"{name[:100]}: {error}") from error
        guarded = Guarded(opened, self._budget)
        content = io.BufferedReader(guarded, BUFFER).read(CHAPTER_BYTES + 1)
        if len(content) > CHAPTER_BYTES:
            detail = f"A chapter is longer than {CHAPTER_BYTES} bytes."
            raise Unreadable("too_large", detail)
        return content

    def _encrypted(self) -> set[str]:
        if ENCRYPTION not in self._archive.namelist():
            return set()
        found = self._xml(ENCRYPTION).iterfind(".//{*}CipherReference")
        return {urllib.parse.unquote(node.get("URI", "")) for node in found}

    def _xml(self, name: str) -> Any:
        etree = optional("lxml.etree", "documents")
        try:
            return etree.fromstring(self.read(name), _strict_parser(etree))
        except etree.LxmlError as error:
            raise _damaged(f"{name[:100]}: {error}") from error


def _strict_parser(etree: Any) -> Any:
    """A parser of XML that expands no entities and opens nothing else."""
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, recover=False
    )


def _resolved(package: str, href: str) -> str:
    path = urllib.parse.unquote(href.partition("#")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(package), path))


def _text_of(chapter: bytes, decoder: Decoder) -> str:
    etree = optional("lxml.etree", "documents")
    declared = _DECLARED.search(chapter[:200])
    hint = declared[1].decode() if declared else None
    text = "".join(decoder.characters(io.BytesIO(chapter), hint))
    text = _NAMED.sub(lambda name: html.unescape(name[0]), text)
    # What it declares no longer holds, and would win.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    data = text.encode("utf-8", "replace")
    try:
        root = etree.fromstring(data, _strict_parser(etree))
    except etree.LxmlError:
        # As a browser would: in particular, HTML does not close every tag.
        parser = etree.HTMLParser(encoding="utf-8", no_network=True)
        try:
            root = etree.fromstring(data, parser)
        except etree.LxmlError as error:
            raise _damaged(f"A chapter is not XHTML: {error}") from error
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
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
            continue
        tag = node.tag
        if not isinstance(tag, str):  # a comment, an instruction, an entity
            continue
        tag = tag.rpartition("}")[2].lower()
        if tag in HIDDEN:
            continue
        if tag == "br":
            yield "\n"
            continue
        around = "" if tag in WITHIN_LINE else _around(tag)
        yield around
        waiting.append(around)
        for child in reversed(node):
            waiting.append(_folded(child.tail))
            waiting.append(child)
        yield _folded(node.text)


def _around(tag: str) -> str:
    return " " if tag in ("td", "th") else "\n\n"


def _folded(text: str | None) -> str:
    return _WHITESPACE.sub(" ", text or "")


def _damaged(detail: str) -> Unreadable:
    return Unreadable("damaged", detail[:300])
