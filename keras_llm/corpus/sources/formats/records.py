"""Records of whatever format has them: JSON, JSON Lines, tables."""

from collections.abc import Iterator
from typing import BinaryIO

from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.fields import Columns, Numbered
from keras_llm.corpus.sources.formats.json_lines import (
    json_line_records,
    json_records,
)
from keras_llm.corpus.sources.formats.parquet import parquet_records
from keras_llm.corpus.sources.formats.tables import csv_records, tsv_records

RECORD_FORMATS = ("json", "json_lines", "csv", "tsv", "parquet")


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
        Unreadable: The file is damaged from here on, or has no such columns.
        InputError: A library that it needs is not installed.
    """
    if format == "json":
        return json_records(stream)
    if format == "json_lines":
        return json_line_records(stream, *span)
    if format == "parquet":
        return parquet_records(stream, wanted)
    read = csv_records if format == "csv" else tsv_records
    return read(stream, wanted, decoder)
