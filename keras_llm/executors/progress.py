"""How far tasks are, through files: a cluster shares nothing else."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 0.5
FOLDER = "progress"
DIGITS = 20  # of every number, so that a shorter one leaves nothing behind


class _Report:
    """What the task of this process has done, on disk twice a second."""

    def __init__(self, folder: Path, rank: int):
        self._path = folder / FOLDER / f"{rank:05d}"
        self._path.parent.mkdir(exist_ok=True)
        self._done = 0
        self.write()

    def add(self, size: int) -> None:
        self._done += size
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.write(file, b"%0*d" % (DIGITS, self._done))
        finally:
            os.close(file)


_report: _Report | None = None


def advance(size: int) -> None:
    """Adds to what the task at hand has done; without a task, nothing.

    Args:
        size: What was done since the last call, in bytes.
    """
    if _report is not None:
        _report.add(size)


@contextmanager
def reporting(folder: Path, rank: int) -> Iterator[None]:
    """Within, `advance` counts for a task."""
    global _report
    _report = _Report(folder, rank)
    try:
        yield
        _report.write()
    finally:
        _report = None


@contextmanager
def watched(
    folder: Path, progress: Callable[[int], None] | None
) -> Iterator[None]:
    """Within, `progress` is told the total of all tasks now and then."""
    if progress is None:
        yield
        return
    totals, stop = _Totals(folder), threading.Event()

    def poll() -> None:
        while not stop.wait(SECONDS):
            progress(totals.read())

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    progress(totals.read())


class _Totals:
    """Reads the files of running tasks; remembers those of finished ones."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._final: dict[str, int] = {}

    def read(self) -> int:
        finished = set(_names(self._folder / "completions"))
        running = 0
        for name in _names(self._folder / FOLDER):
            if name in self._final:
                continue
            value = _number(self._folder / FOLDER / name)
            if name in finished:
                self._final[name] = value
            else:
                running += value
        return running + sum(self._final.values())


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _number(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return 0  # being made, or on a file system that is slow to share
