"""Streams that count what is read, and fail in one way only.

Whatever goes wrong below, a stream from here raises `Unreadable`: so nothing
above needs to know which library decompresses, or how it complains.
"""

import bz2
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from keras_llm.corpus.sources.texts import Unreadable, optional

# What a file decompresses to is free up to GRACE, and then at most RATIO
# times its size: text that repeats itself a lot reaches 100, bombs 1,000.
GRACE = 64 * 2**20
RATIO = 200
BUFFER = 2**18
DAMAGED = "damaged_archive"  # the reason, however it was found
CUT_SHORT = "compressed files cut short"
LOG_2_WINDOW = 27  # of zstd, 128 MiB: what `zstd -d` takes without asking
XZ_MEMORY = 2**27 + 2**20  # `xz -9` takes half of it


def nothing(bytes_read: int) -> None:
    """Tells nobody of progress."""


class Disk(io.FileIO):
    """A file that tells `progress` how far it is read, no byte twice.

    Only bytes from `start` to `stop` count. `repaired` counts files that were
    not as they should be.
    """

    def __init__(
        self,
        path: Path,
        progress: Callable[[int], None],
        start: int,
        stop: int,
        repaired: Counter[str],
    ) -> None:
        self.furthest, self._stop = start, stop
        self._progress = progress
        self.repaired = repaired
        self._spent = 0
        super().__init__(path)

    def readinto(self, buffer: memoryview) -> int:
        count = super().readinto(buffer)
        self._tell(count)  # whichever they are: archives are read to and fro
        return count

    def finish(self) -> None:
        """Tells that all bytes that count are done."""
        self._tell(self._stop - self.furthest)

    def _tell(self, count: int) -> None:
        count = min(count, self._stop - self.furthest)
        if count > 0:
            self.furthest += count
            self._progress(count)

    def spend(self, count: int) -> None:
        """Raises `Unreadable` where more is decompressed than a file can hold.

        What is unread does not count, so that a bomb in front of much else is
        found.
        """
        self._spent += count
        if self._spent > GRACE and self._spent > RATIO * self.furthest:
            raise Unreadable(
                "archive_bomb",
                f"{self.furthest} bytes decompress to {self._spent} and more.",
            )


class Guarded(io.RawIOBase):
    """Chunks from a disk as a stream, whose every failure is `Unreadable`.

    What was read before the failure is read first.
    """

    def __init__(self, chunks: Iterator[bytes], disk: Disk) -> None:
        super().__init__()
        self._chunks = chunks
        self._disk = disk
        self._held = b""
        self._error: Unreadable | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer, unless the stream ends or fails before."""
        filled = 0
        while filled < len(buffer):
            self._held = self._held or self._next()
            if not self._held:
                break
            part = self._held[: len(buffer) - filled]
            self._held = self._held[len(part) :]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        if self._error and not filled:
            raise self._error
        return filled

    def _next(self) -> bytes:
        if self._error:
            return b""
        try:
            chunk = next(self._chunks, b"")
            self._disk.spend(len(chunk))
            return chunk
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            self._error = Unreadable.of(error, DAMAGED)
        return b""

    def readable(self) -> bool:
        return True


def decompressed(
    stream: BinaryIO, compression: str, disk: Disk
) -> io.BufferedReader:
    """The stream of a disk, decompressed as it is read.

    Raises:
        InputError: What decompresses it is not installed.
    """
    if not compression:
        return stream
    begin = _decompressor(compression)
    chunks = _unpacked(stream, begin, disk.repaired)
    return io.BufferedReader(Guarded(chunks, disk), BUFFER)


def _decompressor(compression: str) -> Callable[[], Any]:
    if compression == "gzip":
        return _Gzip
    if compression == "bzip2":
        return bz2.BZ2Decompressor
    if compression == "xz":
        return partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY)
    zstd = optional("backports.zstd", "zstd")
    limit = {zstd.DecompressionParameter.window_log_max: LOG_2_WINDOW}
    return partial(zstd.ZstdDecompressor, options=limit)


def _unpacked(
    stream: BinaryIO, begin: Callable[[], Any], repaired: Counter[str]
) -> Iterator[bytes]:
    """What compressed streams hold, one after the other.

    Hand-written, for with the files of Python's modules a stream is lost where
    anything but another follows it or it is cut short, and that of `lzma` has
    no bounds.
    """
    data = stream.read1(BUFFER)
    is_first = True
    while data:
        current = begin()
        has_begun = False
        try:
            while not current.eof:
                if current.needs_input and not data:
                    data = stream.read1(BUFFER)
                    if not data and has_begun:
                        repaired[CUT_SHORT] += 1
                        return
                    if not data:
                        raise EOFError("It is cut short.")
                piece = current.decompress(data, BUFFER)
                data = b""
                if piece:
                    has_begun = True
                    yield piece
        except (MemoryError, Unreadable):
            raise
        except Exception:  # each library has its own
            if is_first or has_begun:
                raise
            repaired["files with something behind their end"] += 1
            return
        is_first = False
        data = current.unused_data.lstrip(b"\0")  # as padding is
        while not data and (more := stream.read1(BUFFER)):
            data = more.lstrip(b"\0")


class _Gzip:
    """zlib's decompressor, with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        data = self._zlib.unconsumed_tail + data
        found = self._zlib.decompress(data, size)
        self.needs_input = len(found) < size and not self._zlib.unconsumed_tail
        return found
