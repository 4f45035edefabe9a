"""Folders that are either complete or not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_llm.errors import InputError


@contextmanager
def written_beside(out: Path, marker: str) -> Iterator[Path]:
    """Yields a new folder, renamed to `out` when the block ends well.

    Args:
        out: The folder to make. One that a former run made is replaced.
        marker: Name of a file by which such a folder is known.

    Raises:
        InputError: `out` holds something else.
    """
    out = Path(out).absolute()
    _check_replaceable(out, marker)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(out: Path, marker: str) -> None:
    if not out.exists() or (out / marker).is_file():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise InputError(
            f"{out} holds something other than this stage's output "
            f"(no {marker}). Pass another --out."
        )
