"""Files in files: archives as streams of their members, never on disk.

Hand-written around `zipfile` and `tarfile`, which believe what they read:
"""

import io
import re
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from keras_llm.corpus.sources.folders import NOT_INCLUDED, is_included
from keras_llm.corpus.sources.kinds import Kind, kind_of
from keras_llm.corpus.sources.streams import (
    BUFFER,
    DAMAGED,
    Budget,
    Disk,
    Guarded,
    chunks_of,
    decompressed,
)
from keras_llm.corpus.sources.unreadable import Unreadable
from keras_llm.errors import InputError

MOST_DIRECTORY = 32 * 2**20  # bytes of a zip's list of members
MOST_HEADER = 2**20  # bytes of a member's name and attributes in a tar
_ZIP_END = struct.Struct("<4s8xLL")  # signature, size and offset of the list
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1  # bit of a zip member's flags
_DRIVE = re.compile("[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """A file within a file.

    Args:
        name: As the archive calls it; empty for a file that is no archive.
        kind: What it holds.
        stream: Its content, decompressed; of use until the next member.
        error: Why there is no content.
        skipped: Why it is not read, as it is counted; empty if it is.
    """

    name: str
    kind: Kind | None = None
    stream: BinaryIO | None = None
    error: Unreadable | None = None
    skipped: str = ""


def members(
    disk: Disk,
    kind: Kind,
    include: Sequence[str] = (),
    repaired: Counter[str] | None = None,
) -> Iterator[Member]:
    """Yields what a file holds: its members, or itself.

    Hidden members are left out, as they are in a folder. A damaged archive
    yields what was whole before.

    Args:
        disk: The file, from its begin.
        kind: What it is.
        include: Patterns, as `list_sources` takes them, for members.
        repaired: Counts what was passed over.

    Raises:
        Unreadable: The archive is damaged from here on.
        InputError: What decompresses it is not installed.
    """
    budget = Budget(lambda: disk.furthest, repaired)
    buffered = io.BufferedReader(disk, BUFFER)
    if kind.archive == "zip":
        if kind.compression:
            raise _nested()
        found = _in_zip(buffered, budget, include)
    elif kind.archive == "tar":
        stream = decompressed(buffered, kind.compression, budget)
        found = _in_tar(stream, budget, include)
    else:
        stream = decompressed(buffered, kind.compression, budget)
        found = iter([Member("", kind, stream)])
    yield from found


def _opened_zip(stream: BinaryIO) -> zipfile.ZipFile:
    _check_directory(stream)
    try:
        return zipfile.ZipFile(stream)
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # BadZipFile, and whatever else it meets
        raise Unreadable.of(error, DAMAGED) from error


def _in_zip(
    stream: BinaryIO, budget: Budget, include: Sequence[str]
) -> Iterator[Member]:
    names = _Names()
    with _opened_zip(stream) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_hidden(info.filename):
                continue
            name = names.unique(info.filename)
            if _is_unsafe(info.filename):
                yield Member(name, error=_unsafe("leads out of the archive"))
            elif not is_included(info.filename, include):
                yield Member(name, skipped=NOT_INCLUDED)
            elif info.flag_bits & _ENCRYPTED:
                error = Unreadable("encrypted", "It needs a password.")
                yield Member(name, error=error)
            else:
                yield _zip_member(archive, info, name, budget)


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, budget: Budget
) -> Member:
    # Python does not bound what bzip2 and LZMA members expand to at a time.
    if info.compress_type not in _ZIP_METHODS:
        detail = "It is compressed by a method other than deflate."
        return Member(name, error=Unreadable("unsupported", detail))
    try:
        opened = archive.open(info)
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # each kind of damage has its own
        return Member(name, error=Unreadable.of(error, DAMAGED))
    return _member(name, info.filename, opened, budget)


def _check_directory(stream: BinaryIO) -> None:
    """Raises `Unreadable` for a list of members that would fill the memory."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 2**16 - 22))
    tail = stream.read()
    stream.seek(0)
    found = tail.rfind(b"PK\5\6")
    if found < 0 or len(tail) < found + 20:
        return  # ZipFile says what is wrong
    length = _ZIP_END.unpack_from(tail, found)[1]
    if length == 2**32 - 1:  # then the size is in an earlier record
        length = size
    if length > MOST_DIRECTORY:
        raise Unreadable(
            "too_large",
            f"Its list of members has {length} bytes. Unpack it first.",
        )


class _Header(tarfile.TarInfo):
    """A header that fails aloud, where `tarfile` takes damage for the end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        # `tarfile` reads the attributes that follow a header as a whole.
        if not self.isreg() and self.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)


def _in_tar(
    stream: BinaryIO, budget: Budget, include: Sequence[str]
) -> Iterator[Member]:
    names = _Names()
    try:
        with tarfile.open(
            fileobj=stream, mode="r|", tarinfo=_Header, errors="replace"
        ) as archive:
            while info := archive.next():
                archive.members = []  # it would keep them all
                if not (info.isdir() or _is_hidden(info.name)):
                    name = names.unique(info.name)
                    yield _tar_member(archive, info, name, budget, include)
        while stream.read(BUFFER):
            pass  # checksums of compressed streams come at their end
    except (MemoryError, Unreadable, InputError):
        raise
    except Exception as error:  # TarError, and whatever else it meets
        raise Unreadable.of(error, DAMAGED) from error


def _tar_member(
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    name: str,
    budget: Budget,
    include: Sequence[str],
) -> Member:
    if _is_unsafe(info.name):
        return Member(name, error=_unsafe("leads out of the archive"))
    if info.issym() or info.islnk():
        return Member(name, skipped="link in an archive")
    if not info.isreg():
        return Member(name, skipped="device or pipe")
    if info.issparse():
        return Member(name, error=_unsafe("is of a sparse file"))
    if not is_included(info.name, include):
        return Member(name, skipped=NOT_INCLUDED)
    opened = archive.extractfile(info)
    return _member(name, info.name, opened, budget)


def _member(name: str, path: str, stream: BinaryIO, budget: Budget) -> Member:
    kind = kind_of(path)
    if kind.archive:
        return Member(name, error=_nested())
    guarded = Guarded(chunks_of(stream), budget)
    buffered = io.BufferedReader(guarded, BUFFER)
    return Member(name, kind, decompressed(buffered, kind.compression, budget))


class _Names:
    """Makes names unique; of each it keeps a number only."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeated: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """The name, with `#2` and so on where it was there before."""
        name = name.encode("utf-8", "backslashreplace").decode()
        key = hash(name)
        if key not in self._seen:
            self._seen.add(key)
            return name
        self._repeated[name] = self._repeated.get(name, 1) + 1
        return f"{name}#{self._repeated[name]}"


def _is_unsafe(name: str) -> bool:
    path = name.replace("\\", "/")
    return (
        path.startswith("/")
        or ".." in path.split("/")
        or _DRIVE.match(path) is not None
    )


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(p.startswith(".") and p not in (".", "..") for p in parts)


def _unsafe(what: str) -> Unreadable:
    return Unreadable("unsafe_name", f"The name {what}.")


def _nested() -> Unreadable:
    return Unreadable(
        "nested_archive", "It is an archive in an archive. Unpack the outer."
    )
