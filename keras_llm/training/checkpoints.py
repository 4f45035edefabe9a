"""Everything a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoints/STEP` with `variables.npz` and
`checkpoint.json`. It is written beside and renamed, so that a folder with a
number for a name is whole, and its checksum tells if it has been damaged
since.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.files import file_digest

VARIABLES = "variables.npz"
STATE = "checkpoint.json"
VariableGroups = Mapping[str, list[keras.Variable]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and found whole.

    Args:
        path: Its folder.
        step: Optimizer updates done.
        state: What the callbacks keep.
        dtypes: Of every array, by its name in the file.
    """

    path: Path
    step: int
    state: dict
    dtypes: dict[str, str]

    def restore(self, groups: VariableGroups) -> None:
        """Assigns the saved values.

        Raises:
            InputError: The variables are not those that were saved.
        """
        with np.load(self.path / VARIABLES, allow_pickle=False) as arrays:
            for name, variable in _named(groups):
                shape = arrays[name].shape if name in arrays else "nothing"
                if shape != tuple(variable.shape):
                    raise InputError(
                        f"{self.path} does not fit this model: {name} has "
                        f"shape {tuple(variable.shape)}, the checkpoint has "
                        f"{shape}. Train into another folder."
                    )
                variable.assign(_from_bits(arrays[name], self.dtypes[name]))


def save_checkpoint(
    folder: Path, step: int, groups: VariableGroups, state: dict
) -> Path:
    """Writes `folder/STEP`, or nothing at all.

    Args:
        folder: Where the run keeps its checkpoints.
        step: Optimizer updates done.
        groups: Variables under a name each, e.g. model and optimizer.
        state: JSON-ready state of the callbacks.
    """
    final = folder / f"{step:08d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        arrays = {n: ops.convert_to_numpy(v) for n, v in _named(groups)}
        dtypes = {name: array.dtype.name for name, array in arrays.items()}
        with (partial / VARIABLES).open("wb") as file:
            np.savez(file, **{n: _to_bits(a) for n, a in arrays.items()})
            file.flush()
            os.fsync(file.fileno())
        record = {
            "format": 1,
            "step": step,
            "sha256": file_digest(partial / VARIABLES),
            "dtypes": dtypes,
            "state": state,
        }
        (partial / STATE).write_text(json.dumps(record, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint; damaged ones are named and passed over."""
    for path in reversed(checkpoint_paths(folder)):
        try:
            return read_checkpoint(path)
        except InputError as error:
            print(f"keras-llm: {error} Going back further.", file=sys.stderr)
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint's state and verifies its variables.

    Raises:
        InputError: It is damaged; the message names the file.
    """
    try:
        record = json.loads((path / STATE).read_text())
        digest = file_digest(path / VARIABLES)
        whole = digest == record["sha256"]
        checkpoint = Checkpoint(
            path, record["step"], record["state"], record["dtypes"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}).") from error
    if not whole:
        raise InputError(f"{path / VARIABLES} is damaged (wrong checksum).")
    return checkpoint


def checkpoint_paths(folder: Path) -> list[Path]:
    """Folders of complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdigit())


def remove_checkpoints(folder: Path, keep: set[int]) -> None:
    """Removes all checkpoints but those of the given steps, and halves."""
    for path in checkpoint_paths(folder):
        if int(path.name) not in keep:
            shutil.rmtree(path)
    for path in folder.glob(".*.partial"):  # of a killed run
        shutil.rmtree(path, ignore_errors=True)


def _named(groups: VariableGroups):
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            yield f"{group}/{index:04d}/{variable.name}", variable


def _to_bits(array: np.ndarray) -> np.ndarray:
    """NumPy cannot save bfloat16, but can save its bits."""
    return array.view("uint16") if array.dtype.name == "bfloat16" else array


def _from_bits(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return array
    import ml_dtypes  # comes with Keras

    return array.view(ml_dtypes.bfloat16)
