"""Records of any source, one after the other: what a model is tuned on."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_llm.corpus.sources.containers import members
from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.fields import Columns
from keras_llm.corpus.sources.formats.records import (
    RECORD_FORMATS,
    records_in,
)
from keras_llm.corpus.sources.hugging_face import PREFIX, dataset_rows
from keras_llm.corpus.sources.kinds import UNKNOWN, kind_of
from keras_llm.corpus.sources.listing import SourceFile, list_sources
from keras_llm.corpus.sources.streams import Disk, nothing
from keras_llm.corpus.sources.unreadable import Unreadable


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
            yield from _records(file, Columns(columns))


def _records(file: SourceFile, wanted: Columns) -> Iterator[Record]:
    def unreadable(id: str, error: Unreadable) -> Record:
        return Record(id, None, file.split, str(error))

    if file.trouble:
        yield Record(file.id, None, file.split, file.trouble)
        return
    id = file.id
    try:
        stop = file.start + file.bytes
        with Disk(file.path, nothing, file.start, stop) as disk:
            for member in members(disk, kind_of(file.id)):
                id = f"{file.id}/{member.name}" if member.name else file.id
                is_known = member.kind and member.kind.format != UNKNOWN
                if member.skipped or not (member.error or is_known):
                    continue
                if member.error:
                    yield unreadable(id, member.error)
                    continue
                if member.kind.format not in RECORD_FORMATS:
                    detail = f"It has no records, as {_NAMES} have."
                    yield unreadable(id, Unreadable("no_records", detail))
                    continue
                found = records_in(
                    member.stream,
                    member.kind.format,
                    wanted,
                    Decoder(),
                    span=(file.start, file.stop),
                )
                for number, values in found:
                    here = f"{id}@{number}"
                    if isinstance(values, Unreadable):
                        yield unreadable(here, values)
                    else:
                        yield Record(here, values, file.split)
    except Unreadable as error:
        yield unreadable(id, error)


_NAMES = "JSON, JSON Lines, CSV, TSV and Parquet files"
