"""Folders that are either complete or not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_llm.errors import InputError


@contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """Yields a new folder, renamed to `out` when the block ends well.

    Args:
        out: The folder to make; may exist if it is empty.

    Raises:
        InputError: `out` holds something, or the disk does not take it.
    """
    out = Path(out).absolute()
    check_free(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed run
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error}. Nothing was left there."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path) -> None:
    """Raises `InputError` unless `out` is new or an empty folder."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out} must be a new or empty folder. Received: "
            f"{'a folder with files' if out.is_dir() else 'a file'}. Pass "
            "another path, or delete it."
        )
