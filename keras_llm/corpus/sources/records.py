"""Records: JSON, JSON Lines and tables, for a corpus and for tuning.

JSON Lines are hand-written, for ranges of a large file are read apart: a line
is known by where it begins, and one that is wrong costs itself only.
"""

import codecs
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from keras_llm.corpus.sources.archives import members
from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.fields import Columns, Numbered
from keras_llm.corpus.sources.folders import SourceFile
from keras_llm.corpus.sources.hugging_face import PREFIX, dataset_rows
from keras_llm.corpus.sources.kinds import UNKNOWN
from keras_llm.corpus.sources.listing import list_sources
from keras_llm.corpus.sources.tables import (
    arrow_records,
    csv_records,
    tsv_records,
)
from keras_llm.corpus.sources.texts import Unreadable

LINE_BYTES = 64 * 2**20
FILE_BYTES = 2**29
SKIP_BYTES = 2**20
TABLES = {"csv": csv_records, "arrow": arrow_records, "tsv": tsv_records}
RECORD_FORMATS = ("json", "json_lines", *TABLES)


class Record(NamedTuple):
    """A record, or why there is none.

    Args:
        id: Names the file and the place in it.
        values: By column or key; `None` if it could not be read.
        split: The split that the source gives it, if any.
        trouble: Why it could not be read; empty if it could.
    """

    id: str
    values: dict[str, Any] | None
    split: str | None = None
    trouble: str = ""


def read_records(
    sources: Sequence[str], columns: Sequence[str] = ()
) -> Iterator[Record]:
    """Yields the records of JSON, JSON Lines, CSV, TSV and Parquet.

    Args:
        sources: As `list_sources` takes them: files, folders, patterns,
            addresses, also compressed; `hf:NAME` of a dataset.
        columns: Which columns of a table are read, by name or, of a table
            without a header, by number from 1; all of them if omitted.

    Raises:
        InputError: A source cannot be used.
    """
    for source in sources:
        if source.startswith(PREFIX):
            for number, (split, row) in enumerate(dataset_rows(source), 1):
                yield Record(f"{source}@{number}", row, split)
            continue
        for file in list_sources([source]):
            for id, values in _of_file(file, Columns(columns)):
                if isinstance(values, Unreadable):
                    yield Record(id, None, file.split, str(values))
                else:
                    yield Record(id, values, file.split)


def _of_file(
    file: SourceFile, wanted: Columns
) -> Iterator[tuple[str, dict[str, Any] | Unreadable]]:
    if file.skipped:
        return
    for member in members(file):
        id = f"{file.id}/{member.name}" if member.name else file.id
        format = member.kind.format if member.kind else UNKNOWN
        try:
            if member.error:
                raise member.error
            if format in RECORD_FORMATS:
                span = file.start, file.stop
                decoder = Decoder()
                for number, values in records_in(
                    member.stream, format, wanted, decoder, span
                ):
                    yield f"{id}@{number}", values
            elif format != UNKNOWN:
                names = "JSON, JSON Lines, CSV, TSV and Parquet files"
                detail = f"It has no records, as {names} have."
                raise Unreadable("no_records", detail)
        except Unreadable as error:
            yield id, error


def records_in(
    stream: BinaryIO,
    format: str,
    wanted: Columns,
    decoder: Decoder,
    span: tuple[int, int | None] = (0, None),
) -> Iterator[Numbered]:
    """Yields the records of a file, each with its number in it.

    Args:
        stream: Binary stream, from its begin.
        format: One of `RECORD_FORMATS`.
        wanted: Which columns of a table are read.
        decoder: What decodes CSV and TSV.
        span: First byte, and the byte after the last, of JSON Lines.

    Raises:
        Unreadable: The file is damaged from here on, or has no such
            columns.
        InputError: A library that it needs is not installed.
    """
    if format == "json":
        return _json_records(stream)
    if format == "json_lines":
        return _json_line_records(stream, *span)
    return TABLES[format](stream, wanted, decoder)


def _json_line_records(
    stream: io.BufferedReader, start: int, stop: int | None
) -> Iterator[Numbered]:
    """The records of lines that begin in a range of bytes, by their offsets."""
    head = stream.peek(4)[:4]
    if b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        if start:
            return  # what begins at 0 tells
        raise Unreadable("not_text", "JSON Lines must be UTF-8.")
    for offset, line in _lines(stream, start, stop):
        if line is None:
            detail = f"The line is longer than {LINE_BYTES} bytes."
            yield offset, Unreadable("too_large", detail)
        elif line.strip():
            yield offset, _object(line)


def _json_records(stream: BinaryIO) -> Iterator[Numbered]:
    """The objects of one JSON array, or the one that a file is."""
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


def _object(line: bytes) -> dict[str, Any] | Unreadable:
    try:
        value = _parsed(line)
    except Unreadable as error:
        return error
    return value if isinstance(value, dict) else _no_object(value)


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
