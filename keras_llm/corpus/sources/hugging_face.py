"""Hugging Face datasets, in the Arrow files that `datasets` keeps of them.

So a dataset is read as any other files are: in tasks, the same each time,
and without a network once it is there.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_llm.corpus.sources.kinds import SPLIT_NAMES
from keras_llm.corpus.sources.texts import optional
from keras_llm.errors import InputError

PREFIX = "hf:"


def dataset_files(source: str) -> list[tuple[Path, str, str | None]]:
    """The files of a dataset, which `datasets` downloads into its cache.

    Args:
        source: `hf:NAME`, with `:CONFIGURATION` and `@SPLIT` after it if it
            has several; the name may be a folder, as `load_dataset` or
            `load_from_disk` take it.

    Returns:
        Path, id and split of every file. A dataset, or a choice, of one split
        has none.

    Raises:
        InputError: There is no such dataset.
    """
    splits = _opened(source)
    return [
        (
            Path(file["filename"]),
            f"{key}/{number:05d}.arrow",
            SPLIT_NAMES.get(key.lower()) if len(splits) > 1 else None,
        )
        for key, data in sorted(splits.items())
        for number, file in enumerate(data.cache_files)
    ]


def dataset_rows(source: str) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yields the rows of a dataset as they are, each with its split.

    Args:
        source: As `dataset_files` takes it.

    Raises:
        InputError: There is no such dataset, or it cannot be read.
    """
    for key, data in _opened(source).items():
        try:
            for row in data:
                yield SPLIT_NAMES.get(key.lower()), dict(row)
        except Exception as error:  # of the files, of their types
            raise _refused(source, error) from error


def _opened(source: str) -> Mapping[str, Any]:
    """The splits by name."""
    datasets = optional("datasets", "datasets")
    name, configuration, split = source.removeprefix(PREFIX), None, None
    if not os.path.exists(name):
        name, _, split = name.partition("@")
    if not os.path.exists(name):
        name, _, configuration = name.partition(":")
    if not name:
        raise InputError(
            f"{PREFIX} must be followed by the name of a dataset. Received: "
            f"{source!r}."
        )
    marks = ("dataset_dict.json", "state.json")
    try:
        if any(Path(name, mark).is_file() for mark in marks):
            found = datasets.load_from_disk(name)
        else:
            found = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # dozens of kinds, of several libraries
        raise _refused(source, error) from error
    if not isinstance(found, dict):
        found = {"all": found}
    if split and split not in found:
        raise InputError(
            f"The split of {name} must be one of {', '.join(found)}. "
            f"Received: {split}."
        )
    return {split: found[split]} if split else found


def _refused(name: str, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(f"{name} could not be read as a dataset: {lines[0]}")
