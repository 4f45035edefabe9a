"""What the user names as sources, as a list of files on disk.

Everything from elsewhere has been fetched when the list is there, so that
reading needs no network, and reads the same each time.
"""

import glob
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from keras_llm.corpus.sources.catalogue import CATALOGUE, local_files
from keras_llm.corpus.sources.encodings import looks_like_text
from keras_llm.corpus.sources.fetching import downloaded
from keras_llm.corpus.sources.folders import (
    SourceFile,
    file_of,
    files_in,
    files_matching,
    readable,
)
from keras_llm.corpus.sources.hugging_face import PREFIX, dataset_files
from keras_llm.corpus.sources.kinds import (
    UNKNOWN,
    Kind,
    kind_of,
)
from keras_llm.corpus.sources.streams import BUFFER
from keras_llm.errors import InputError
from keras_llm.files import file_digest
from keras_llm.recipes.loading import nearest

CUT_BYTES = 64 * 2**20
TWICE = "same as another"
ADDRESSES = ("http://", "https://")
STANDARD_INPUT = "-"


def list_sources(
    sources: Sequence[str],
    stdin: Path | None = None,
    include: Sequence[str] = (),
) -> list[SourceFile]:
    """Finds the files of all sources, fetching what is not on this machine.

    Args:
        sources: Each a file, a folder, a pattern (`data/**/*.txt`), `-`, an
            address (`https://…/x.jsonl.gz#sha256=HEX`), a name of the
            catalogue, or a dataset (`hf:NAME`, `hf:NAME:CONFIGURATION@SPLIT`,
            where the name may be a folder). A path that exists wins.
        stdin: What `-` stands for, spooled to a file.
        include: Patterns of names (`*.txt`) or of paths (`docs/*`), of which
            a file that was not named itself must match one; any if omitted.

    Returns:
        The files in the order of the sources, those too that are not read.

    Raises:
        InputError: A source cannot be used, or holds no text.
    """
    if not sources:
        raise InputError("At least one source is expected. Received: none.")
    found = (_named(source, stdin, include) for source in sources)
    files = _without_repeats(itertools.chain.from_iterable(found))
    unique = _with_unique_ids(files)
    return list(itertools.chain.from_iterable(map(_cut, unique)))


def as_sources(given: str | Iterable[str]) -> list[str]:
    """Sources as a list, where one may be given alone."""
    return [given] if isinstance(given, str) else list(given)


def fingerprint(sources: Sequence[str], include: Sequence[str] = ()) -> str:
    """A hash of names, splits and contents of all files that are read."""
    digest = hashlib.sha256()
    for file in list_sources(sources, include=include):
        if file.start == 0 and not file.skipped:
            content = file.trouble or _digest(file)
            digest.update(repr((file.id, file.split, content)).encode())
    return digest.hexdigest()


def _digest(file: SourceFile) -> str:
    """Of a file's content, if there is text in it: films may be beside it."""
    if kind_of(file.id) == Kind(UNKNOWN):
        with file.path.open("rb") as stream:
            if not looks_like_text(stream.read(BUFFER)):
                return ""
    return file_digest(file.path)


def contents_key(files: Iterable[SourceFile]) -> str:
    """A hash that changes with what is read, and with nothing else.

    Contents are told by size and time, but for standard input: its spooled copy
    is another file each time, so its bytes decide.
    """
    digest = hashlib.sha256()
    for file in files:
        entry = dict(vars(file))
        if file.source == STANDARD_INPUT:
            del entry["path"]
            entry["content"] = file_digest(file.path) if not file.start else ""
        elif not (file.trouble or file.skipped):
            entry["changed"] = file.path.stat().st_mtime_ns
        digest.update(repr(entry).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _named(
    source: str, stdin: Path | None, include: Sequence[str]
) -> list[SourceFile]:
    if source == STANDARD_INPUT:
        return [_standard_input(stdin)]
    if source.lower().startswith(ADDRESSES):
        path = downloaded(source)
        return [file_of(path, path.name, source)]
    if source.startswith(PREFIX):
        return [
            file_of(path, id, source, split)
            for path, id, split in dataset_files(source)
        ]
    if source and os.path.exists(source):
        return _files_at(Path(source), readable(source), include)
    if source in CATALOGUE:
        licence = CATALOGUE[source].licence
        return [
            replace(file_of(path, id, source, split), licence=licence)
            for path, id, split in local_files(source)
        ]
    if glob.has_magic(source) and "\0" not in source:
        return files_matching(source, include)
    where = "" if os.path.isabs(source) else f" in {os.getcwd()}"
    raise InputError(
        "A source must be a file, a folder, a pattern, -, an http(s) address, "
        f"{PREFIX}DATASET or one of {', '.join(CATALOGUE)}. Received: "
        f"{source!r}, which does not exist{where}."
        f"{nearest(source, list(CATALOGUE))}"
    )


def _files_at(
    path: Path, source: str, include: Sequence[str]
) -> list[SourceFile]:
    try:
        if path.is_dir():
            return files_in(path, source, include)
        if not path.is_file():
            raise InputError(
                f"{path} must be a file or a folder. Received: a device or a "
                "pipe. Pass - and redirect it to standard input."
            )
        # A lone file is not divided by its name: `test.txt` may be a trial.
        return [file_of(path, path.name, source)]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _standard_input(path: Path | None) -> SourceFile:
    if path is None:
        raise InputError("- stands for standard input, which is not at hand.")
    with path.open("rb") as file:
        line = file.readline(2**20)
    try:
        is_record = isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        is_record = False
    return file_of(path, "stdin.jsonl" if is_record else "stdin.txt", "-")


def _without_repeats(files: Iterable[SourceFile]) -> list[SourceFile]:
    """The files; all but one of the same are skipped, links before others."""
    files = list(files)
    first: dict[Path, tuple[bool, int]] = {}
    for number, file in enumerate(files):
        if not file.skipped:
            path = file.path.resolve()
            rank = (path != Path(os.path.abspath(file.path)), number)
            first[path] = min(rank, first.get(path, rank))
    kept = {number for _, number in first.values()}
    return [
        file if file.skipped or number in kept else replace(file, skipped=TWICE)
        for number, file in enumerate(files)
    ]


def _with_unique_ids(files: list[SourceFile]) -> list[SourceFile]:
    """The files, with names of their sources before ids that would clash."""
    read = [file for file in files if not file.skipped]
    names = [file.source.rstrip("/") for file in read]
    last = [name.rpartition("/")[2] for name in names]
    unique = read
    for prefixes in (last, names, itertools.count()):
        if len({file.id for file in unique}) == len(unique):
            break
        unique = [
            replace(file, id=f"{prefix}/{file.id}")
            for prefix, file in zip(prefixes, read, strict=False)
        ]
    left = iter(unique)
    return [file if file.skipped else next(left) for file in files]


def _cut(file: SourceFile) -> Iterable[SourceFile]:
    """A large file of JSON Lines in ranges; any other file as it is."""
    if (
        file.skipped
        or kind_of(file.id) != Kind("json_lines")
        or file.size <= CUT_BYTES
    ):
        return [file]
    starts = range(0, file.size, CUT_BYTES)
    return [
        replace(file, start=start, stop=min(start + CUT_BYTES, file.size))
        for start in starts
    ]
