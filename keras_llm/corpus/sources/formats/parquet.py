"""Parquet, row by row, in small batches."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from keras_llm.corpus.sources.fields import Columns, Numbered
from keras_llm.corpus.sources.optional import optional
from keras_llm.corpus.sources.streams import held
from keras_llm.corpus.sources.unreadable import Unreadable

BATCH_ROWS = 256
BUFFER_BYTES = 2**20  # of a column, instead of all of it in a row group


def parquet_records(stream: BinaryIO, wanted: Columns) -> Iterator[Numbered]:
    """Yields the rows of a table; their numbers begin with 1.

    Args:
        stream: Binary stream, from its begin.
        wanted: Which columns are read.

    Raises:
        Unreadable: The file is damaged from here on.
        InputError: pyarrow is not installed.
    """
    number = 0
    for columns in _batches(stream, wanted):
        for row in range(len(next(iter(columns.values()), ()))):
            number += 1
            try:
                record = _record(columns, row)
            except UnicodeDecodeError as error:
                record = Unreadable("not_text", f"{error}.")
            yield number, record


def _record(columns: dict[str, Any], row: int) -> dict[str, Any]:
    return {name: column[row].as_py() for name, column in columns.items()}


def _batches(stream: BinaryIO, wanted: Columns) -> Iterator[dict[str, Any]]:
    """Columns by name, of a few rows at a time."""
    arrow = optional("pyarrow", "tables")
    parquet = optional("pyarrow.parquet", "tables")
    try:
        with parquet.ParquetFile(
            held(stream), buffer_size=BUFFER_BYTES, pre_buffer=False
        ) as file:
            there = file.schema_arrow.names
            if missing := wanted.missing(there):
                raise missing
            names = wanted.names or there
            for batch in file.iter_batches(
                BATCH_ROWS, columns=names, use_threads=False
            ):
                yield {name: batch.column(name) for name in names}
    except (Unreadable, UnicodeDecodeError):
        raise
    except arrow.ArrowException as error:  # some are MemoryErrors, of nonsense
        raise Unreadable.of(error) from error
    except MemoryError:
        raise
    except Exception as error:  # OSError, and whatever else it meets
        raise Unreadable.of(error) from error
