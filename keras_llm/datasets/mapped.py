"""Arrays in a folder, memory-mapped, with a manifest of their checksums."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_llm.artifacts import inside
from keras_llm.errors import InputError
from keras_llm.files import file_digest

MANIFEST = "manifest.json"
MAKE_AGAIN = "Make them again with `--redo data`."


class Manifest(Protocol):
    """A dataclass that says what is in a folder.

    Attributes:
        sha256: Of each array's file, by name.
    """

    sha256: dict[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array."""


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> dict:
    """Writes arrays into a folder, made if missing; returns `sha256`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: file_digest(folder / f"{name}.npy") for name in arrays}


def save_manifest(folder: Path, manifest: Any) -> None:
    """Writes a manifest beside its arrays."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))


def load_array(
    folder: Path, name: str, dtype: type, manifest: Manifest
) -> np.ndarray:
    """One of the arrays, mapped.

    Raises:
        InputError: It is missing or damaged; the message names the file.
    """
    path = inside(folder, folder / f"{name}.npy")
    try:
        # Mapped, so that nothing is held of what the file only claims.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = manifest.shape(name)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"it has shape {array.shape} and dtype {array.dtype} instead "
                f"of {shape} and {np.dtype(dtype)}"
            )
        if file_digest(path) != manifest.sha256[name]:
            raise ValueError("its checksum is not the manifest's")
        return array
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, reason: str | Exception) -> InputError:
    """What to raise of a file that is not as it was written."""
    return InputError(f"{path} is damaged: {reason}. {MAKE_AGAIN}")
