"""What the user names as sources, as a list of files on disk.

Everything from elsewhere has been fetched when the list is there, so that
reading needs no network, and reads the same each time.
"""

import functools
import glob
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keras_llm.corpus.catalogue import CATALOGUE, local_files
from keras_llm.corpus.downloads import DOWNLOAD_LIMIT
from keras_llm.corpus.sources.addresses import downloaded
from keras_llm.corpus.sources.hugging_face import PREFIX, dataset_files
from keras_llm.corpus.sources.kinds import (
    SPLIT_NAMES,
    SUPPORTED,
    Kind,
    kind_of,
    stem_of,
)
from keras_llm.errors import InputError
from keras_llm.files import file_digest
from keras_llm.recipes.loading import nearest

CUT_BYTES = 64 * 2**20
ADDRESSES = ("http://", "https://")
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class SourceFile:
    """A file, or a range of its bytes, to read documents from.

    Args:
        path: Where it is.
        id: Unique within the corpus, but for the ranges of one file; tells
            by its suffix what the file is.
        source: As the user named it.
        size: Bytes of the file.
        split: The split that the source gives it, if any.
        licence: Of the text, if known.
        start: First byte to read, of large uncompressed JSON Lines only.
        stop: The byte after the last to read; the end if omitted.
        trouble: Why a folder could not be looked into; it is listed as one
            document that cannot be read.
    """

    path: Path
    id: str
    source: str
    size: int
    split: str | None = None
    licence: str | None = None
    start: int = 0
    stop: int | None = None
    trouble: str = ""

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return (self.size if self.stop is None else self.stop) - self.start


def list_sources(
    sources: Sequence[str],
    stdin: Path | None = None,
    download_limit: int = DOWNLOAD_LIMIT,
) -> list[SourceFile]:
    """Finds the files of all sources, fetching what is not on this machine.

    Args:
        sources: Each a file, a folder, a pattern (`data/**/*.txt`), `-`, an
            address (`https://…/x.jsonl.gz#sha256=HEX`), a name of the
            catalogue, or a dataset (`hf:NAME`, `hf:NAME:CONFIGURATION@SPLIT`,
            where the name may be a folder). A path that exists wins.
        stdin: What `-` stands for, spooled to a file.
        download_limit: Most bytes of a download.

    Returns:
        The files in the order of the sources, each file once.

    Raises:
        InputError: A source cannot be used, or holds no text.
    """
    if not sources:
        raise InputError("At least one source is expected. Received: none.")
    found = (_named(source, download_limit, stdin) for source in sources)
    files = _without_repeats(itertools.chain.from_iterable(found))
    unique = _with_unique_ids(files)
    return list(itertools.chain.from_iterable(map(_cut, unique)))


def as_sources(given: str | Iterable[str]) -> list[str]:
    """Sources as a list, where one may be given alone."""
    return [given] if isinstance(given, str) else list(given)


def fingerprint(
    sources: Sequence[str],
    stdin: Path | None = None,
    download_limit: int = DOWNLOAD_LIMIT,
) -> str:
    """A hash of names, splits and contents of all files of the sources.

    The arguments are those of `list_sources`.
    """
    digest = hashlib.sha256()
    for file in list_sources(sources, stdin, download_limit):
        if file.start == 0:
            content = file.trouble or file_digest(file.path)
            digest.update(repr((file.id, file.split, content)).encode())
    return digest.hexdigest()


def contents_key(files: Iterable[SourceFile]) -> str:
    """A hash that changes with what is read, and with nothing else.

    Contents are told by size and time, but for standard input: its spooled
    copy is another file each time, so its bytes decide.

    Args:
        files: As `list_sources` returns them.
    """
    digest = hashlib.sha256()
    for file in files:
        entry = asdict(file)
        if file.source == STANDARD_INPUT:
            del entry["path"]
            entry["content"] = file_digest(file.path) if not file.start else ""
        elif not file.trouble:
            entry["changed"] = file.path.stat().st_mtime_ns
        digest.update(repr(entry).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _named(source: str, limit: int, stdin: Path | None) -> list[SourceFile]:
    """The files of one source."""
    if source == STANDARD_INPUT:
        return [_standard_input(stdin)]
    if source.lower().startswith(ADDRESSES):
        path = downloaded(source, limit)
        return [_file(path, path.name, source)]
    if source.startswith(PREFIX):
        return [
            _file(path, id, source, split)
            for path, id, split in dataset_files(source, limit)
        ]
    if source and os.path.exists(source):
        return _files_at(Path(source), _readable(source))
    if source in CATALOGUE:
        licence = CATALOGUE[source].licence
        return [
            replace(_file(path, path.name, source, split), licence=licence)
            for path, split in local_files(source)
        ]
    if glob.has_magic(source) and "\0" not in source:
        return _matching(source)
    raise InputError(
        "A source must be a file, a folder, a pattern, -, an http(s) address, "
        f"{PREFIX}DATASET or one of {', '.join(CATALOGUE)}. Received: "
        f"{source!r}, which does not exist.{nearest(source, list(CATALOGUE))}"
    )


def _file(
    path: Path, id: str, source: str, split: str | None = None
) -> SourceFile:
    size = path.stat().st_size
    return SourceFile(path, _readable(id), _readable(source), size, split)


def _files_at(path: Path, source: str) -> list[SourceFile]:
    try:
        if path.is_dir():
            return _files_in(path, source)
        if not path.is_file():
            raise InputError(
                f"{path} must be a file or a folder. Received: a device or a "
                "pipe. Pass - and redirect it to standard input."
            )
        if kind_of(path.name) is None:
            raise InputError(
                f"{path} must be of a known kind: {SUPPORTED}. If it is plain "
                "text, rename it to end in .txt."
            )
        # A lone file is not divided by its name: `test.txt` may be a trial.
        return [_file(path, path.name, source)]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _files_in(folder: Path, source: str) -> list[SourceFile]:
    found = [_found_in(folder, each, source) for each in _walk([folder])]
    if not found:
        raise InputError(
            f"The folder {folder} must hold files of a known kind: "
            f"{SUPPORTED}. Received: none that is not hidden, or in a corpus "
            "of ours, which must be named itself."
        )
    return _with_splits(found)


def _matching(pattern: str) -> list[SourceFile]:
    """The files that a pattern matches, and those in folders that it does."""
    fixed = Path(*_fixed_parts(Path(pattern).parts))
    rest = Path(pattern).relative_to(fixed) if fixed.parts else Path(pattern)
    is_ours = functools.cache(_is_corpus)
    try:
        # Unlike `glob.glob`, this does not follow links in circles.
        matches = sorted(
            match
            for match in fixed.glob(str(rest))
            if not _is_hidden(match.relative_to(fixed))
            and not any(map(is_ours, _reached(match, fixed, pattern)))
        )
        found = [_found_in(fixed, each, pattern) for each in _walk(matches)]
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{pattern} cannot be read: {error}") from error
    if not found:
        raise InputError(
            f"{pattern} must match files of a known kind: {SUPPORTED}. "
            f"Received: none among {len(matches)} matches."
        )
    return _with_splits(found)


def _fixed_parts(parts: Sequence[str]) -> Iterator[str]:
    """The folders of a pattern before its first wildcard."""
    return itertools.takewhile(
        lambda part: not glob.has_magic(part), parts[:-1]
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _reached(match: Path, fixed: Path, pattern: str) -> list[Path]:
    """Folders that wildcards have led to, which nobody has named."""
    below = []
    if glob.has_magic(Path(pattern).name):
        below.append(match)
    if "**" in pattern:
        below += match.parents[: len(match.relative_to(fixed).parts) - 1]
    return below


def _is_corpus(folder: Path) -> bool:
    """Whether a folder is what `prepare` writes, as far as one can see."""
    try:
        is_told_of = (folder / "report.json").is_file()
        return is_told_of and any((folder / "train").glob("*.jsonl"))
    except OSError:
        return False


def _walk(paths: Sequence[Path]) -> Iterator[Path | tuple[Path, OSError]]:
    """Supported files in order, each folder once whatever links lead to it.

    What cannot be looked at comes with the reason.
    """
    named = set(paths)
    seen: set[tuple[int, int]] = set()
    waiting = list(reversed(paths))
    while waiting:
        path = waiting.pop()
        try:
            if path.is_dir():
                status = path.stat()
                real = (status.st_dev, status.st_ino)
                if real not in seen:
                    seen.add(real)
                    waiting.extend(_entries(path, path in named))
            elif kind_of(path.name) and path.is_file():
                yield path
        except OSError as error:
            yield path, error


def _entries(folder: Path, is_named: bool) -> list[Path]:
    """What is in a folder, last first; of a corpus, what is text."""
    entries = [
        entry
        for entry in sorted(folder.iterdir(), reverse=True)
        if not entry.name.startswith(".")
    ]
    if _is_corpus(folder):
        return [
            entry for entry in entries if is_named and entry.name in SPLIT_NAMES
        ]
    return entries


def _found_in(
    folder: Path, found: Path | tuple[Path, OSError], source: str
) -> SourceFile:
    """What `_walk` has found, by its place in the folder that was named.

    Raises:
        OSError: It is that folder, which cannot be looked into.
    """
    path, error = found if isinstance(found, tuple) else (found, None)
    relative = path.relative_to(folder)
    if error is not None and not relative.parts:
        raise error
    by_folder = SPLIT_NAMES.get(relative.parts[0].lower())
    if error is not None:
        id, source = _readable(relative.as_posix()), _readable(source)
        trouble = f"It cannot be read: {error.strerror or error}."
        return SourceFile(path, id, source, 0, by_folder, trouble=trouble)
    by_name = SPLIT_NAMES.get(stem_of(path.name).split(".")[-1].lower())
    return _file(path, relative.as_posix(), source, by_folder or by_name)


def _with_splits(files: list[SourceFile]) -> list[SourceFile]:
    if any(file.split == "train" for file in files):
        return files
    # A lone `dev` or `notes.test.md` does not mean a split.
    return [replace(file, split=None) for file in files]


def _readable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _standard_input(path: Path | None) -> SourceFile:
    if path is None:
        raise InputError("- stands for standard input, which is not at hand.")
    with path.open("rb") as file:
        line = file.readline(2**20)
    try:
        is_record = isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        is_record = False
    return _file(path, "stdin.jsonl" if is_record else "stdin.txt", "-")


def _without_repeats(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Each file once, as it is found first."""
    first: dict[Path, SourceFile] = {}
    for file in files:
        first.setdefault(file.path.resolve(), file)
    return list(first.values())


def _with_unique_ids(files: list[SourceFile]) -> list[SourceFile]:
    """The files, with names of their sources before ids that would clash."""
    names = [file.source.rstrip("/") for file in files]
    last = [name.rpartition("/")[2] for name in names]
    ids = [file.id for file in files]
    for prefixes in (last, names, map(str, itertools.count())):
        if len(set(ids)) == len(ids):
            break
        pairs = zip(prefixes, files, strict=False)
        ids = [f"{prefix}/{file.id}" for prefix, file in pairs]
    return [replace(file, id=id) for file, id in zip(files, ids, strict=True)]


def _cut(file: SourceFile) -> Iterable[SourceFile]:
    """A large file of JSON Lines in ranges; any other file as it is."""
    if kind_of(file.id) != Kind("json_lines") or file.size <= CUT_BYTES:
        return [file]
    starts = range(0, file.size, CUT_BYTES)
    return [
        replace(file, start=start, stop=min(start + CUT_BYTES, file.size))
        for start in starts
    ]
