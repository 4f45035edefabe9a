"""The files of a folder or a pattern, those too that are not read."""

import functools
import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from keras_llm.corpus.sources.kinds import (
    SPLIT_NAMES,
    kind_of,
    label_of,
    stem_of,
)
from keras_llm.errors import InputError

NOT_INCLUDED = "not in corpus.include"


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
        skipped: Why it is not read, as it is counted; empty if it is.
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
    skipped: str = ""

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        if self.skipped:
            return 0
        return (self.size if self.stop is None else self.stop) - self.start


def file_of(
    path: Path, id: str, source: str, split: str | None = None
) -> SourceFile:
    """The file at a path, all of it."""
    size = path.stat().st_size
    return SourceFile(path, readable(id), readable(source), size, split)


def files_in(
    folder: Path, source: str, include: Sequence[str]
) -> list[SourceFile]:
    """The files in a folder, in order.

    Raises:
        InputError: There is none, or none of them is included.
        OSError: It cannot be looked into.
    """
    found = _files(folder, [folder], source, include)
    if not found:
        raise InputError(
            f"The folder {folder} must hold files. Received: none that is not "
            "hidden, or in a corpus of ours, which must be named itself."
        )
    return found


def files_matching(pattern: str, include: Sequence[str]) -> list[SourceFile]:
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
        found = _files(fixed, matches, pattern, include)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{pattern} cannot be read: {error}") from error
    if not found:
        raise InputError(
            f"{pattern} must match files. Received: none among "
            f"{len(matches)} matches."
        )
    return found


def is_included(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path or its last part matches a pattern, if there are any.

    Archives do: patterns are for what they hold.
    """
    names = (path, path.rpartition("/")[2])
    return (
        not patterns
        or bool(kind_of(path).archive)
        or any(fnmatchcase(name, each) for name in names for each in patterns)
    )


def _files(
    base: Path, paths: Sequence[Path], source: str, patterns: Sequence[str]
) -> list[SourceFile]:
    """The files of paths below a folder, each with its split if it has one."""
    files = [_found_in(base, *each, source) for each in _walk(paths)]
    if not any(file.split == "train" for file in files):
        # A lone `dev` or `notes.test.md` does not mean a split.
        files = [replace(file, split=None) for file in files]
    chosen = [
        file
        if file.skipped or is_included(file.id, patterns)
        else replace(file, skipped=NOT_INCLUDED)
        for file in files
    ]
    if files and all(file.skipped == NOT_INCLUDED for file in chosen):
        names = ", ".join(dict.fromkeys(label_of(file.id) for file in files))
        raise InputError(
            f"corpus.include must match files of {files[0].source}. Received: "
            f"{', '.join(patterns)}, which match none of {len(files)} files "
            f"({names[:100]})."
        )
    return chosen


def _fixed_parts(parts: Sequence[str]) -> Iterator[str]:
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


def _walk(
    paths: Sequence[Path],
) -> Iterator[tuple[Path, OSError | str | None]]:
    """Files in order, each folder once whatever links lead to it.

    What cannot be looked at, or is no file, comes with the reason.
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
            elif path.is_file():
                yield path, None
            else:
                is_link = path.is_symlink()
                yield path, "broken link" if is_link else "device or pipe"
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
    folder: Path, path: Path, error: OSError | str | None, source: str
) -> SourceFile:
    """What `_walk` has found, by its place in the folder that was named."""
    relative = path.relative_to(folder)
    id, named = readable(relative.as_posix()), readable(source)
    if isinstance(error, str):
        return SourceFile(path, id, named, 0, skipped=error)
    if error is not None and not relative.parts:
        raise error
    by_folder = SPLIT_NAMES.get(relative.parts[0].lower())
    if error is not None:
        trouble = f"It cannot be read: {error.strerror or error}."
        return SourceFile(path, id, named, 0, by_folder, trouble=trouble)
    by_name = SPLIT_NAMES.get(stem_of(path.name).split(".")[-1].lower())
    return file_of(path, relative.as_posix(), source, by_folder or by_name)


def readable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
