"""Files in files: archives as streams of their members, never on disk.

Hand-written around `zipfile` and `tarfile`, which believe what they read.
"""

import io
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from keras_llm.corpus.sources.folders import (
    NOT_INCLUDED,
    SourceFile,
    is_included,
)
from keras_llm.corpus.sources.kinds import Kind, kind_of
from keras_llm.corpus.sources.streams import (
    BUFFER,
    DAMAGED,
    Disk,
    Guarded,
    decompressed,
    nothing,
)
from keras_llm.corpus.sources.texts import Unreadable
from keras_llm.errors import InputError

MOST_DIRECTORY = 32 * 2**20  # bytes of a zip's list of members
MOST_HEADER = 2**20  # bytes of a member's name and attributes in a tar
_ZIP_END = struct.Struct("<4s8xLL")  # signature, size and offset of the list
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1  # bit of a zip member's flags


@dataclass
class Member:
    """A file within a file.

    Args:
        name: As the archive calls it, each once; empty for a file that is no
            archive, and where the rest of an archive cannot be read.
        open: Opens its content.
        error: Why there is no content.
        skipped: Why it is not read, as it is counted; empty if it is.
        kind: What it holds.
        stream: Its content, decompressed; of use until the next member.
    """

    name: str
    open: Callable[[], BinaryIO] | None = None
    error: Unreadable | None = None
    skipped: str = ""
    kind: Kind | None = None
    stream: BinaryIO | None = None


def members(
    file: SourceFile,
    include: Sequence[str] = (),
    repaired: Counter[str] | None = None,
    progress: Callable[[int], None] = nothing,
) -> Iterator[Member]:
    """Yields what a file holds: its members, or itself, or why it cannot.

    Hidden members are left out, as in a folder. A damaged archive yields what
    was whole before. Members must match `include`; `repaired` counts what was
    passed over, `progress` is told of bytes read.

    Raises:
        InputError: What decompresses it is not installed.
    """
    if file.trouble:
        yield Member("", error=Unreadable("unavailable", file.trouble))
        return
    span = file.start, file.start + file.bytes
    repaired = Counter() if repaired is None else repaired
    try:
        disk = Disk(file.path, progress, *span, repaired)
    except (OSError, ValueError) as error:
        progress(file.bytes)
        yield Member("", error=Unreadable("unavailable", f"{error}."))
        return
    with disk:
        try:
            yield from _members(disk, kind_of(file.id), include)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # whatever a library meets
            yield Member("", error=Unreadable.of(error, DAMAGED))
        disk.finish()


def _members(
    disk: Disk, kind: Kind, include: Sequence[str]
) -> Iterator[Member]:
    buffered = io.BufferedReader(disk, BUFFER)
    if kind.archive == "zip":
        if kind.compression:
            raise _nested()
        entries = _in_zip(buffered)
    else:
        stream = decompressed(buffered, kind.compression, disk)
        if not kind.archive:
            yield Member("", kind=kind, stream=stream)
            return
        entries = _in_tar(stream)
    names: Counter[int] = Counter()  # of each a number only
    for member in entries:
        if not _is_hidden(member.name):
            _prepare(member, disk, include)
            name = member.name.encode("utf-8", "backslashreplace").decode()
            names[hash(name)] += 1
            times = names[hash(name)]
            member.name = name if times == 1 else f"{name}#{times}"
            yield member


def _prepare(member: Member, disk: Disk, include: Sequence[str]) -> None:
    kind = member.kind = kind_of(member.name)
    if member.skipped:
        return
    if not is_included(member.name, include):
        member.skipped = NOT_INCLUDED
    elif kind.archive:
        member.error = member.error or _nested()
    elif member.error is None:
        try:
            opened = member.open()
        except MemoryError:
            raise
        except Exception as error:  # each kind of damage has its own
            member.error = Unreadable.of(error, DAMAGED)
            return
        chunks = iter(partial(opened.read1, BUFFER), b"")
        raw = io.BufferedReader(Guarded(chunks, disk), BUFFER)
        member.stream = decompressed(raw, kind.compression, disk)


def _in_zip(stream: BinaryIO) -> Iterator[Member]:
    _check_directory(stream)
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            error = None
            if info.flag_bits & _ENCRYPTED:
                error = Unreadable("encrypted", "It needs a password.")
            # Python does not bound what others expand to at a time.
            elif info.compress_type not in _ZIP_METHODS:
                detail = "It is compressed by a method other than deflate."
                error = Unreadable("unsupported", detail)
            if not info.is_dir():
                open_it = partial(archive.open, info)
                yield Member(info.filename, open_it, error)


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


def _in_tar(stream: BinaryIO) -> Iterator[Member]:
    with tarfile.open(
        fileobj=stream, mode="r|", tarinfo=_Header, errors="replace"
    ) as archive:
        while info := archive.next():
            archive.members = []  # it would keep them all
            if not info.isdir():
                yield _tar_entry(archive, info)
    while stream.read(BUFFER):
        pass  # checksums of compressed streams come at their end


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    error, skipped = None, ""
    if info.issym() or info.islnk():
        skipped = "link in an archive"
    elif not info.isreg():
        skipped = "device or pipe"
    elif info.issparse():
        error = Unreadable("unsupported", "It is a sparse file.")
    return Member(info.name, partial(archive.extractfile, info), error, skipped)


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(p.startswith(".") and p not in (".", "..") for p in parts)


def _nested() -> Unreadable:
    return Unreadable(
        "nested_archive", "It is an archive in an archive. Unpack the outer."
    )
