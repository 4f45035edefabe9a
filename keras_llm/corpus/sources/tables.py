"""CSV, TSV, Parquet and Arrow, row by row.

Hand-written around `csv` and pyarrow for limits: no row may fill the memory,
and one that is wrong costs itself only. Rows have the numbers from 1 that
people count.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, count
from typing import Any, BinaryIO

from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.fields import Columns, Numbered
from keras_llm.corpus.sources.texts import Unreadable, optional

ROW_CHARACTERS = 64 * 2**20
DELIMITERS = (",", ";", "\t", "|")
MOST_HELD = 64 * 2**20  # bytes of a Parquet file that is in an archive
BATCH_ROWS = 256  # of Parquet
BUFFER_BYTES = 2**20  # of a column, instead of all of it in a row group
_LINE_END = re.compile("\r\n|\n|\r(?=[^\n])")


def csv_records(
    stream: BinaryIO, wanted: Columns, decoder: Decoder
) -> Iterator[Numbered]:
    """Yields the rows of a table with quoting rules (RFC 4180), by number from
    1 after the header.

    Cells are divided by whichever of `DELIMITERS` makes the columns that are
    asked for, or the most columns.

    Raises:
        Unreadable: There are no such columns.
    """
    csv.field_size_limit(ROW_CHARACTERS)
    lines = _Lines(decoder.characters(stream))
    first = lines.first()
    delimiter = max(DELIMITERS, key=lambda mark: _fit(first, mark, wanted))
    yield from _records(csv.reader(lines, delimiter=delimiter), lines, wanted)


def tsv_records(
    stream: BinaryIO, wanted: Columns, decoder: Decoder
) -> Iterator[Numbered]:
    """Yields the rows of a table of lines and tabs, without quoting."""
    lines = _Lines(decoder.characters(stream))
    rows = map(lambda line: line.rstrip("\r\n").split("\t"), lines)
    yield from _records(rows, lines, wanted)


def arrow_records(
    stream: BinaryIO, wanted: Columns, decoder: Decoder
) -> Iterator[Numbered]:
    """Yields the rows of a Parquet file, or of a stream of Arrow.

    Raises:
        Unreadable: The file is damaged from here on.
        InputError: pyarrow is not installed.
    """
    numbers = count(1)
    for columns in _batches(stream, wanted):
        for row in range(len(next(iter(columns.values()), ()))):
            try:
                record = {
                    name: column[row].as_py()
                    for name, column in columns.items()
                }
            except UnicodeDecodeError as error:
                record = Unreadable("not_text", f"{error}.")
            yield next(numbers), record


class _Lines:
    """Lines of a text, with their ends; goes on after one that is too long.

    `length` counts the characters since it was last set to 0.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self.length = 0
        self._lines = _lines(pieces)

    def first(self) -> str:
        """The first line, which is still to be read; empty if there is none.

        Raises:
            Unreadable: It is too long.
        """
        first = next(self._lines, "")
        if first is None:
            raise _too_large()
        self._lines = chain([first] if first else [], self._lines)
        return first

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.length += ROW_CHARACTERS + 1 if line is None else len(line)
        if self.length > ROW_CHARACTERS:
            raise _too_large()
        return line


def _lines(pieces: Iterator[str]) -> Iterator[str | None]:
    """Lines with their ends; `None` for one that is too long to hold."""
    held = ""
    is_skipping = False
    for piece in pieces:
        held += piece
        begin = 0
        for end in _LINE_END.finditer(held):
            if not is_skipping:
                yield held[begin : end.end()]
            begin = end.end()
            is_skipping = False
        held = held[begin:]
        if len(held) > ROW_CHARACTERS:
            if not is_skipping:
                yield None
            is_skipping = True
        if is_skipping:
            held = held[-1:]  # may be half of a line end
    if held and not is_skipping:
        yield held


def _fit(line: str, delimiter: str, wanted: Columns) -> tuple[bool, int]:
    """How well a delimiter suits a table: its columns, or else many."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return False, 0
    fits = not wanted.missing(_columns(cells, wanted))
    return fits, 0 if fits and wanted.names else len(cells)


def _columns(cells: list[str], wanted: Columns) -> list[str]:
    if wanted.has_header:
        return [cell.strip() for cell in cells]
    return [str(number) for number in range(1, len(cells) + 1)]


def _records(
    rows: Iterator[list[str]], lines: _Lines, wanted: Columns
) -> Iterator[Numbered]:
    columns, begin = None, 0
    for number, row in _rows(rows, lines):
        if columns is None:
            if isinstance(row, Unreadable):
                raise row
            columns = _columns(row, wanted)
            if missing := wanted.missing(columns):
                raise missing
            if wanted.has_header:
                begin = number
                continue
        if not isinstance(row, Unreadable):
            row = dict(zip(columns, row, strict=False))
        yield number - begin, row


def _rows(
    rows: Iterator[list[str]], lines: _Lines
) -> Iterator[tuple[int, list[str] | Unreadable]]:
    """Rows that are not blank, or why one could not be read, by number.

    Blank rows count, as they do where people look at tables.
    """
    for number in count(1):
        lines.length = 0
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, Unreadable("invalid_csv", f"{error}.")
        except Unreadable as error:
            yield number, error
        else:
            if any(row):
                yield number, row


def _too_large() -> Unreadable:
    return Unreadable(
        "too_large", f"The row is longer than {ROW_CHARACTERS} characters."
    )


def _batches(stream: BinaryIO, wanted: Columns) -> Iterator[dict[str, Any]]:
    """Columns by name, of a few rows at a time."""
    arrow = optional("pyarrow", "tables")
    parquet = optional("pyarrow.parquet", "tables")
    try:
        stream = _held(stream)
        head = stream.read(6)
        is_parquet = head[:4] == b"PAR1"
        stream.seek(0)
        if is_parquet:
            file = parquet.ParquetFile(
                stream, buffer_size=BUFFER_BYTES, pre_buffer=False
            )
            there = file.schema_arrow.names
        elif head == b"ARROW1":
            file = arrow.ipc.open_file(stream)
            there = file.schema.names
            file = map(file.get_batch, range(file.num_record_batches))
        else:
            file = arrow.ipc.open_stream(stream)
            there = file.schema.names
        if missing := wanted.missing(there):
            raise missing
        names = wanted.names or there
        if is_parquet:
            file = file.iter_batches(
                BATCH_ROWS, columns=names, use_threads=False
            )
        for batch in file:
            yield {name: batch.column(name) for name in names}
    except (Unreadable, UnicodeDecodeError):
        raise
    except arrow.ArrowException as error:  # some are MemoryErrors, of nonsense
        raise Unreadable.of(error) from error
    except MemoryError:
        raise
    except Exception as error:  # OSError, and whatever else it meets
        raise Unreadable.of(error) from error


def _held(stream: BinaryIO) -> BinaryIO:
    """The stream, if it can seek; else its content, in memory."""
    if stream.seekable():
        return stream
    content = stream.read(MOST_HELD + 1)
    if len(content) > MOST_HELD:
        raise Unreadable(
            "too_large",
            f"It is longer than {MOST_HELD} bytes, within an archive. Unpack "
            "it first.",
        )
    return io.BytesIO(content)
