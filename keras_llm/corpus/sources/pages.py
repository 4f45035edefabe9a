"""Plain text, HTML, and both as a web crawl holds them (WARC, by FastWARC).

What of a page is text is a rule's to decide.
"""

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sources import texts
from keras_llm.corpus.sources.encodings import Decoder, declared_encoding
from keras_llm.corpus.sources.texts import Origin, Unreadable, optional

HTML = ("text/html", "application/xhtml+xml")
RECORD_BYTES = 64 * 2**20
HEADER_BYTES = 2**16
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


def read_text(
    stream: BinaryIO,
    origin: Origin,
    decoder: Decoder,
    hint: str | None = None,
    **metadata: str,
) -> Iterator[Document]:
    """Yields a plain text; `hint` is the encoding that it is said to have."""
    pieces = decoder.characters(stream, hint)
    yield from origin.text(pieces, "text", **metadata)


def read_html(
    stream: BinaryIO,
    origin: Origin,
    decoder: Decoder,
    hint: str | None = None,
    **metadata: str,
) -> Iterator[Document]:
    """Yields a page as one document; the arguments are those of `read_text`.

    Raises:
        Unreadable: It is not text, or longer than `PART_CHARACTERS`: half a
            page cannot be taken apart.
    """
    most = texts.PART_CHARACTERS
    content = stream.read(4 * most + 1)
    hint = hint or declared_encoding(content)
    page = "".join(decoder.characters(io.BytesIO(content), hint))
    if len(page) > most:
        raise Unreadable(
            "too_large", f"The page is longer than {most} characters."
        )
    yield from origin.text([page], "html", **metadata)


def read_warc(
    stream: BinaryIO, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    """Yields the HTML and plain text of responses, and text conversions.

    Documents carry their address as `url`; a record's id adds `@` and its
    number, from 1, all records counted.

    Raises:
        Unreadable: The file is damaged from here on.
        InputError: FastWARC is not installed.
    """
    for number, record in enumerate(_records(stream), start=1):
        here = origin.inner(f"@{number}")
        try:
            yield from _documents(record, here, decoder)
        except Unreadable as error:
            yield here.unreadable(error)


class _Source:
    """The stream as FastWARC reads it, which wants to know where it is.

    It does not always pass an error on, so that it is kept here.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.error: Unreadable | None = None
        self._stream = stream
        self._place = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except Unreadable as error:
            self.error = error
            return b""
        self._place += len(data)
        return data

    def tell(self) -> int:
        return self._place


def _records(stream: BinaryIO) -> Iterator[Any]:
    warc = optional("fastwarc.warc", "web")
    source = _Source(stream)
    records = warc.ArchiveIterator(
        source,
        max_header_len=HEADER_BYTES,
        stream_detect=False,
        fsspec_args=False,
    )
    while True:
        try:
            record = next(records, None)
        except Exception as error:  # whatever it meets
            raise source.error or Unreadable.of(error) from error
        if record is None:
            break
        yield record
    if source.error:
        raise source.error


def _documents(
    record: Any, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    record_type = record.headers.get("WARC-Type")
    is_response = record_type == "response"
    headers = record.http_headers or record.headers
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip()
    is_page = is_response and kind.lower() in HTML
    is_text = is_response or record_type == "conversion"
    if not is_page and not (is_text and kind.lower() == "text/plain"):
        return
    content = io.BytesIO(_content(record))
    read = read_html if is_page else read_text
    url = str(record.headers.get("WARC-Target-URI"))
    hint = record.http_charset
    yield from read(content, origin, decoder, hint, url=url)


def _content(record: Any) -> bytes:
    """The payload, as the server meant it.

    FastWARC would decode it too, but refuses what the crawler has decoded
    before, and takes what is cut for whole.
    """
    stated = record.content_length
    content = record.reader.read(min(stated, RECORD_BYTES) + 1)
    if len(content) <= RECORD_BYTES and len(content) < stated:
        raise Unreadable("damaged", "The record is cut short.")
    headers = record.http_headers
    if headers and headers.get("Transfer-Encoding") == "chunked":
        content = _joined(content)
    if headers and (encoding := headers.get("Content-Encoding")):
        content = _decoded(content, encoding.strip().lower())
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


def _decoded(content: bytes, encoding: str) -> bytes:
    if encoding in ("br", "zstd"):
        io_of = optional("fastwarc.stream_io", "web")
        reader = io_of.BrotliReader if encoding == "br" else io_of.ZstdReader
        try:
            return reader(io.BytesIO(content)).read(RECORD_BYTES + 1)
        except Exception:  # the crawler has decoded it, or it is damaged
            return content
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
