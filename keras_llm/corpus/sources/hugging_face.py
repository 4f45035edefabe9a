"""Hugging Face datasets, streamed once into Parquet files of the cache.

So a dataset is read as any other files are: in tasks, the same each time,
and without a network.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_llm.corpus.sources.fetching import cache_folder
from keras_llm.corpus.sources.kinds import SPLIT_NAMES
from keras_llm.corpus.sources.texts import optional
from keras_llm.errors import InputError
from keras_llm.files import written_beside

PREFIX = "hf:"
ROWS = 1000  # a batch
FILE_BYTES = 64 * 2**20  # of a table, before it is compressed


def dataset_files(
    source: str, limit: int
) -> list[tuple[Path, str, str | None]]:
    """Copies a dataset's columns of texts and numbers into the cache.

    A copy stays as it is, whatever becomes of the dataset; that of a folder
    is made again when its files have changed.

    Args:
        source: `hf:NAME`, with `:CONFIGURATION` and `@SPLIT` after it if it
            has several; the name may be a folder, as `load_dataset` or
            `load_from_disk` take it.
        limit: Most bytes of text to copy.

    Returns:
        Path, id and split of every file. A dataset, or a choice, of one split
        has none.

    Raises:
        InputError: There is no such dataset, or it is larger than `limit`.
    """
    optional("pyarrow", "datasets")
    name, configuration, split = _parsed(source)
    if not name:
        raise InputError(
            f"{PREFIX} must be followed by the name of a dataset. Received: "
            f"{source!r}."
        )
    folder = cache_folder() / "datasets" / _key(name, configuration, split)
    if not folder.exists():
        _copy(source, _opened(name, configuration, split), folder, limit)
    splits = sorted(entry.name for entry in folder.iterdir())
    return [
        (path, f"{key}/{path.name}", _split(key) if len(splits) > 1 else None)
        for key in splits
        for path in sorted((folder / key).glob("*.parquet"))
    ]


def dataset_rows(source: str) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yields the rows of a dataset as they are, each with its split.

    Args:
        source: As `dataset_files` takes it.

    Raises:
        InputError: There is no such dataset, or it cannot be read.
    """
    splits = _opened(*_parsed(source))
    try:
        for key, data in splits.items():
            for row in data:
                yield _split(key), dict(row)
    except Exception as error:  # of the network, of the files, of their types
        raise _refused(source, error) from error


def _parsed(source: str) -> tuple[str, str | None, str | None]:
    """Name, configuration and split of a dataset."""
    rest = source.removeprefix(PREFIX)
    if os.path.exists(rest):
        return rest, None, None
    rest, _, split = rest.partition("@")
    if os.path.exists(rest):
        return rest, None, split or None
    name, _, configuration = rest.partition(":")
    return name, configuration or None, split or None


def _split(key: str) -> str | None:
    return SPLIT_NAMES.get(key.lower())


def _key(name: str, configuration: str | None, split: str | None) -> str:
    """A folder name for a choice, and for the state of a local dataset."""
    files = [
        (str(path.relative_to(name)), path.stat().st_size, path.stat().st_mtime)
        for path in sorted(Path(name).rglob("*"))
        if path.is_file()
    ]
    place = str(Path(name).resolve()) if files else name
    known = repr((place, configuration, split, files))
    return hashlib.sha256(known.encode("utf-8", "replace")).hexdigest()[:16]


def _opened(
    name: str, configuration: str | None, split: str | None
) -> Mapping[str, Any]:
    """The splits by name, as streams."""
    datasets = optional("datasets", "datasets")
    try:
        if _is_saved(Path(name)):
            found = datasets.load_from_disk(name)
        else:
            found = datasets.load_dataset(name, configuration, streaming=True)
    except Exception as error:  # dozens of kinds, of several libraries
        raise _refused(name, error) from error
    if not isinstance(found, dict):
        found = {"all": found}
    if split is None:
        return found
    if split not in found:
        raise InputError(
            f"The split of {name} must be one of {', '.join(found)}. "
            f"Received: {split}."
        )
    return {split: found[split]}


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    marks = ("dataset_dict.json", "state.json")
    return any((folder / mark).is_file() for mark in marks)


def _copy(
    source: str, splits: Mapping[str, Any], folder: Path, limit: int
) -> None:
    arrow = optional("pyarrow", "datasets")
    parquet = optional("pyarrow.parquet", "datasets")
    room = limit
    try:
        with written_beside(folder) as partial:
            for key, data in splits.items():
                (partial / key).mkdir()
                for number, batches in enumerate(_files(data)):
                    table = arrow.concat_tables(batches)
                    room -= table.nbytes
                    if room < 0:
                        raise InputError(
                            f"{source} is larger than {limit} bytes, the "
                            "most that is downloaded. Choose a split, or pass "
                            "files."
                        )
                    path = partial / key / f"{number:05d}.parquet"
                    parquet.write_table(table, path, row_group_size=ROWS)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of the network, of the files, of their types
        raise _refused(source, error) from error


def _files(data: Any) -> Iterator[list[Any]]:
    """Batches of the columns that can be text, as many as make a file."""
    types = optional("pyarrow", "datasets").types
    schema = None
    batches: list[Any] = []
    for table in data.with_format("arrow").iter(ROWS):
        if schema is None:  # all are to be of the first's types
            kept = [
                field.name
                for field in table.schema
                if types.is_string(field.type)
                or types.is_large_string(field.type)
                or types.is_primitive(field.type)
            ]
            schema = table.select(kept).schema.remove_metadata()
        batches.append(table.select(schema.names).cast(schema))
        if sum(batch.nbytes for batch in batches) >= FILE_BYTES:
            yield batches
            batches = []
    if batches:
        yield batches


def _refused(name: str, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(f"{name} could not be read as a dataset: {lines[0]}")
