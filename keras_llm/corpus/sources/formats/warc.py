"""WARC: pages and plain texts of a web crawl."""

import io
import logging
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.formats.pages import read_html, read_text
from keras_llm.corpus.sources.optional import optional
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable

HTML = ("text/html", "application/xhtml+xml")
RECORD_BYTES = 64 * 2**20
LINE_BYTES = 2**16  # of a header; longer ones are cut
MOST_LINES = 2**14  # between records, headers included
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([-\w]+)", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


def read_warc(
    stream: BinaryIO, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    """Yields the HTML and plain text of responses, and text conversions.

    Documents carry their address as `url`.

    Args:
        stream: Binary stream, from its begin, decompressed.
        origin: That of the file; a record's id adds `@` and its number, from
            1, all records counted.
        decoder: What decodes all texts.

    Raises:
        Unreadable: The file is damaged from here on.
        InputError: warcio is not installed.
    """
    for number, record in enumerate(_records(stream), start=1):
        here = origin.inner(f"@{number}")
        try:
            yield from _documents(record, here, decoder)
        except Unreadable as error:
            yield here.unreadable(error)


def _records(stream: BinaryIO) -> Iterator[Any]:
    archive = optional("warcio.archiveiterator", "web")
    # It tells of each blemish that it has coped with.
    logging.getLogger("warcio").setLevel(logging.CRITICAL)

    class Records(archive.ArchiveIterator):
        INC_RECORD = ""  # it would write this to stderr

    try:
        records = Records(stream)
        lines = _ShortLines(records.reader.readline)
        records.reader.readline = lines
        for record in records:
            yield record
            lines.count = 0
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # ArchiveLoadFailed, and whatever it meets
        raise Unreadable.of(error) from error


class _ShortLines:
    """A `readline` that bounds the headers, which warcio does not."""

    def __init__(self, readline: Any) -> None:
        self.count = 0
        self._readline = readline

    def __call__(self, length: int | None = None) -> bytes:
        self.count += 1
        if self.count > MOST_LINES:
            detail = f"A record has more than {MOST_LINES} lines of headers."
            raise Unreadable("damaged", detail)
        return self._readline(min(length or LINE_BYTES, LINE_BYTES))


def _documents(
    record: Any, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    kind, hint = _content_type(record)
    is_page = record.rec_type == "response" and kind in HTML
    is_text = record.rec_type in ("response", "conversion")
    if not is_page and not (is_text and kind == "text/plain"):
        return
    content = io.BytesIO(_content(record))
    url = str(record.rec_headers.get_header("WARC-Target-URI"))
    if is_page:
        yield from read_html(content, origin, decoder, hint, url=url)
    else:
        yield from read_text(content, origin, decoder, hint, url=url)


def _content_type(record: Any) -> tuple[str, str | None]:
    """Type and declared encoding of what a record holds."""
    headers = record.http_headers or record.rec_headers
    stated = headers.get_header("Content-Type") or ""
    charset = _CHARSET.search(stated)
    kind = stated.partition(";")[0].strip().lower()
    return kind, charset[1] if charset else None


def _content(record: Any) -> bytes:
    """The payload, as the server meant it.

    warcio would do this too, but takes what is cut for whole, and has no
    bounds.
    """
    stated = record.payload_length if record.http_headers else record.length
    content = record.raw_stream.read(RECORD_BYTES + 1)
    if len(content) <= RECORD_BYTES and len(content) < (stated or 0):
        raise Unreadable("damaged", "The record is cut short.")
    headers = record.http_headers
    if headers and headers.get_header("Transfer-Encoding") == "chunked":
        content = _joined(content)
    encoding = headers and headers.get_header("Content-Encoding")
    if encoding:
        content = _inflated(content, encoding.strip().lower())
    if len(content) > RECORD_BYTES:
        detail = f"The record is longer than {RECORD_BYTES} bytes."
        raise Unreadable("too_large", detail)
    return content


def _joined(content: bytes) -> bytes:
    """The chunks of a body, unless the crawler has joined them already."""
    chunks = []
    at = 0
    while size := _CHUNK.match(content, at):
        length = int(size[1], 16)
        chunks.append(content[size.end() : size.end() + length])
        at = size.end() + length + len(b"\r\n")
        if length == 0:
            return b"".join(chunks)
    if not chunks:
        return content
    raise Unreadable("damaged", "Its chunks are cut short.")


def _inflated(content: bytes, encoding: str) -> bytes:
    if encoding in ("br", "zstd", "compress"):
        detail = f"Its content encoding is {encoding}."
        raise Unreadable("unsupported", detail)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return content
    if encoding != "deflate" and not content.startswith(b"\x1f\x8b"):
        return content  # the crawler has decompressed it
    for window in (32 + zlib.MAX_WBITS, -zlib.MAX_WBITS):
        unzip = zlib.decompressobj(window)
        try:
            inflated = unzip.decompress(content, RECORD_BYTES + 1)
        except zlib.error:
            continue
        if unzip.eof or len(inflated) > RECORD_BYTES:
            return inflated
    raise Unreadable("damaged", f"It cannot be read as {encoding}.")
