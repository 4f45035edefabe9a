"""Files and folders that are either complete or not there."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError, Interrupted

MADE = "made"  # what is to be put in place, in the folder of resumable work
MOST_OF_A_COMMAND = 200  # characters shown


@contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """Yields a new folder, renamed to `out` when the block ends well.

    Args:
        out: The folder to make; may exist if it is empty, but for hidden
            entries, which stay.

    Raises:
        InputError: `out` holds something, or reading or writing failed.
    """
    out = Path(out).absolute()
    check_free(out)
    partial = out.with_name(f".{out.name}.partial")
    with _locked(out):
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of a killed run
            partial.mkdir(parents=True)
            yield partial
            put_in_place(partial, out)
        except OSError as error:
            raise InputError(f"{out} was not written: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def put_in_place(made: Path, out: Path) -> None:
    """Renames a folder, at once; `out` may hold hidden entries, which stay.

    Raises:
        Interrupted: `out` cannot be written, or has been by now.
    """
    try:
        _check_empty(out)
        if out.exists():
            for hidden in out.iterdir():
                hidden.rename(made / hidden.name)
            out.rmdir()
        made.rename(out)
    except InputError as error:
        raise Interrupted(str(error)) from error
    except OSError as error:
        raise Interrupted(
            f"{out} was not written: {error.strerror or error}. Put that "
            "right, and run the same command again."
        ) from error


@contextmanager
def resumable_work(out: Path, key: str) -> Iterator[Path]:
    """Yields a folder beside `out` that outlives an interruption.

    Args:
        out: Where its folder `MADE` is put when the block ends well.
        key: Digest of all that the work depends on. What was left by work
            with another key is deleted.

    Yields:
        The folder, with what an interrupted run left in it. It is deleted
        when the block has ended well, or because of the input.

    Raises:
        InputError: `out` is not free, cannot be written, or another command
            is at it.
        Interrupted: The block failed to read or write a file.
    """
    with _locked(out):
        work = _work_folder(out, key)
        try:
            yield work
            put_in_place(work / MADE, out)
        except Interrupted:
            raise
        except InputError:
            _clear(work)
            raise
        except OSError as error:
            raise Interrupted(
                f"{out} was not written: {error}. The same command goes on "
                "from there."
            ) from error
        _clear(work)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Within, no other command writes `out`, which is free at first."""
    with one_command(_lock_beside(out), out):
        check_free(out)
        yield


def _lock_beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.lock")


@contextmanager
def one_command(path: Path, out: Path) -> Iterator[None]:
    """Within, no other command writes `out`.

    The lock is the operating system's: it is gone with the process that held
    it, and holds between machines where the file system passes `flock` on,
    as NFS does. Where there is none, the file itself is the lock, and one
    that was left on another machine has to be deleted by hand.

    Args:
        path: The lock's file, hidden, and deleted at the end, with the
            folders that were made for it if they are empty.
        out: What errors call it.

    Raises:
        InputError: Another command holds it, or it cannot be written.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock = FileLock(path)
    made = [each for each in path.parents if not each.exists()]
    with _refusing(out):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            reason = os.strerror(errno.ENOTDIR)
            raise NotADirectoryError(errno.ENOTDIR, reason) from error
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"{out} must be written by one command at a time. Received: "
                f"another that is writing it{_holder(path)}. Wait until that "
                "has ended, or pass another path."
            ) from error
    try:
        if not isinstance(lock, SoftFileLock):  # which writes its own
            _write_holder(path)
        yield
    finally:
        # While it is held: whoever waits for it sees that its file is gone.
        with suppress(OSError):  # Windows deletes no open file
            path.unlink()
        lock.release()
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _write_holder(path: Path) -> None:
    holder = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
    }
    with suppress(OSError):  # a full disk; Windows, which locks the content
        path.write_text(json.dumps(holder), encoding="utf-8")


def _holder(path: Path) -> str:
    """Who holds a lock, for the end of a sentence; empty if unknown."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        command = holder["command"][:MOST_OF_A_COMMAND]
        return (
            f": `{command}`, process {holder['process']} on {holder['host']}, "
            f"since {holder['since']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _refusing(out: Path) -> Iterator[None]:
    """Within, that a file cannot be written says so of `out`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror or error}. Pass "
            "another path."
        ) from error


def _work_folder(out: Path, key: str) -> Path:
    """The folder of the work with this key, as it was left."""
    work = out.with_name(f".{out.name}.work")
    with _refusing(out):
        if not _can_go_on(work, key):
            _clear(work)
            (work / MADE).mkdir(parents=True)
            write_text(work / "key", key)
    return work


def _can_go_on(work: Path, key: str) -> bool:
    """Whether all is there that its marks of what is done stand for."""
    path = work / "key"
    if not path.is_file() or not (work / MADE).is_dir():  # as it moved
        return False
    return path.read_text(encoding="utf-8").strip() == key


def _clear(work: Path) -> None:
    """Deletes a work folder, of which a part alone is never gone on with."""
    (work / "key").unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Deletes what a command left that was killed when it had made `out`."""
    lock = _lock_beside(out)
    if not lock.exists():
        return
    work = out.with_name(f".{out.name}.work")
    with suppress(InputError), one_command(lock, out):
        if work.is_dir() and not (work / MADE).exists():
            _clear(work)


def check_free(out: Path) -> None:
    """Raises `InputError` unless `is_free(out)`, and it can be made."""
    _check_empty(out)
    with _refusing(out):
        _check_parent(out)


def _check_empty(out: Path) -> None:
    with _refusing(out):
        free = is_free(out)
    if not free:
        _sweep(out)
        raise InputError(
            f"{out} must be a new or empty folder. Received: {_kind(out)}. "
            "Pass another path, or delete it."
        )


def _check_parent(out: Path) -> None:
    """Raises `OSError` if no folder can be made there."""
    there = next(p for p in out.absolute().parents if os.path.lexists(p))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder with files"
    return "a file" if path.exists() else "a link to nothing"


def is_free(path: Path) -> bool:
    """Whether there is nothing, or a folder of hidden entries at most.

    A killed run leaves hidden entries, and so do file managers.
    """
    if path.is_dir():
        return all(entry.name.startswith(".") for entry in path.iterdir())
    return not os.path.lexists(path)  # a link to nothing is something


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_json_lines(
    path: Path,
    rows: Iterable[Any],
    default: Callable[[Any], Any] | None = None,
) -> None:
    """Writes a line of JSON for each row, whole or not at all.

    Args:
        path: The file.
        rows: What `json.dumps` takes.
        default: As `json.dumps` takes it.
    """
    lines = [
        json.dumps(row, ensure_ascii=False, default=default) for row in rows
    ]
    write_text(path, "\n".join(lines))


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, with a line end after the text."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
