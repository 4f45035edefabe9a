"""JSON and JSON Lines: a record an object, or a line.

A line is known by where it begins.
"""

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any

from keras_llm.corpus.sources.fields import Numbered
from keras_llm.corpus.sources.unreadable import Unreadable

LINE_BYTES = 64 * 2**20
FILE_BYTES = 2**29
SKIP_BYTES = 2**20


def json_line_records(
    stream: io.BufferedReader, start: int = 0, stop: int | None = None
) -> Iterator[Numbered]:
    """Yields the records of the lines that begin in a range of bytes.

    Their numbers are the offsets of the lines, wherever the file is cut.

    Args:
        stream: Binary stream, from its begin; it seeks if `start` is not 0.
        start: First byte of the range.
        stop: The byte after its last; the end of the file if omitted.

    Raises:
        Unreadable: The file is not UTF-8 text.
    """
    head = stream.peek(4)[:4]
    if b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        if start:
            return  # what begins at 0 tells
        raise Unreadable("not_text", "JSON Lines must be UTF-8.")
    for offset, line in _lines(stream, start, stop):
        try:
            record = _record(line)
        except Unreadable as error:
            record = error
        if record is not None:
            yield offset, record


def json_records(stream: io.BufferedReader) -> Iterator[Numbered]:
    """Yields the objects of one JSON array, or the one that a file is.

    Their numbers are from 1.

    Args:
        stream: Binary stream, from its begin; read whole.

    Raises:
        Unreadable: The file is no such JSON.
    """
    content = stream.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise Unreadable(
            "too_large",
            f"It is longer than {FILE_BYTES} bytes. JSON Lines may be.",
        )
    value = _parsed(content.removeprefix(codecs.BOM_UTF8))
    values = value if isinstance(value, list) else [value]
    for number, each in enumerate(values, 1):
        yield number, each if isinstance(each, dict) else _no_object(each)


def _lines(
    stream: io.BufferedReader, start: int, stop: int | None
) -> Iterator[tuple[int, bytes | None]]:
    """Offsets and lines; `None` for a line that is too long to hold."""
    position = start
    if start:
        # A line that begins at `start` follows a line end.
        position = stream.seek(start - 1)
        position += _skip(stream, None if stop is None else stop - position)
    while stop is None or position < stop:
        line = stream.readline(LINE_BYTES + 1)
        if not line:
            return
        offset = position
        position += len(line)
        if len(line) > LINE_BYTES and not line.endswith(b"\n"):
            line = None
            position += _skip(stream, None)
        elif offset == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        yield offset, line


def _skip(stream: io.BufferedReader, most: int | None) -> int:
    """Reads to the next line end, or `most` bytes; returns how many."""
    count = 0
    while most is None or count < most:
        piece = stream.readline(SKIP_BYTES)
        count += len(piece)
        if not piece or piece.endswith(b"\n"):
            break
    return count


def _record(line: bytes | None) -> dict[str, Any] | Unreadable | None:
    """The record of a line; `None` if the line is blank."""
    if line is None:
        detail = f"The line is longer than {LINE_BYTES} bytes."
        raise Unreadable("too_large", detail)
    if not line.strip():
        return None
    record = _parsed(line)
    return record if isinstance(record, dict) else _no_object(record)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise Unreadable("not_text", f"{error}.") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable("invalid_json", f"{error}.") from error


def _no_object(value: Any) -> Unreadable:
    kind = type(value).__name__
    return Unreadable("invalid_json", f"It is a {kind}, not an object.")
