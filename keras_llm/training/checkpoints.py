"""Everything a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoints/STEP` with `variables.npz` and
`checkpoint.json`. It is written beside and renamed, so that a folder with a
number for a name is whole, and its checksum tells if it has been damaged
since.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import keras
import numpy as np
from keras import ops

from keras_llm.artifacts import read_artifact
from keras_llm.errors import InputError
from keras_llm.files import file_digest
from keras_llm.recipes.checks import check
from keras_llm.training.state import RunState

VARIABLES = "variables.npz"
STATE = "checkpoint.json"
FORMAT = 2
BITS = "uint16"  # what bfloat16 is saved as
VariableGroups = Mapping[str, list[keras.Variable]]


@dataclass(frozen=True)
class Record:
    """What a file `checkpoint.json` holds.

    Args:
        format: Version of the folder.
        step: Optimizer updates done.
        sha256: Of the variables' file.
        dtypes: Of every array, by its name in the file.
        state: What the callbacks keep.
        checksum: Of all that is above.
    """

    format: int
    step: int
    sha256: str
    dtypes: dict[str, str]
    state: RunState
    checksum: str

    def __post_init__(self) -> None:
        check(self.format == FORMAT, "format", str(FORMAT), self.format)
        expected = "that of the other fields"
        is_whole = self.checksum == checksum(asdict(self))
        check(is_whole, "checksum", expected, self.checksum)


def checksum(record: dict) -> str:
    """sha256 of a record, but for its own."""
    text = json.dumps(record | {"checksum": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
    state: RunState
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
    folder: Path, step: int, groups: VariableGroups, state: RunState
) -> Path:
    """Writes `folder/STEP`, or nothing at all.

    Args:
        folder: Where the run keeps its checkpoints.
        step: Optimizer updates done.
        groups: Variables under a name each, e.g. model and optimizer.
        state: What the callbacks keep.
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
            "format": FORMAT,
            "step": step,
            "sha256": file_digest(partial / VARIABLES),
            "dtypes": dtypes,
            "state": asdict(state),
        }
        record["checksum"] = checksum(record)
        (partial / STATE).write_text(json.dumps(record, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path, accumulation: int = 1) -> Checkpoint | None:
    """The newest whole checkpoint; damaged ones are named and passed over.

    Args:
        folder: Where the run keeps its checkpoints.
        accumulation: Batches a step.
    """
    for path in reversed(checkpoint_paths(folder)):
        try:
            checkpoint = read_checkpoint(path)
            step = checkpoint.state.clock.batch // accumulation
            if step == checkpoint.step:
                return checkpoint
            error = f"{path / STATE} is damaged: it is of step {step}."
        except InputError as damage:
            error = damage
        print(f"keras-llm: {error} Going back further.", file=sys.stderr)
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint's state and verifies its variables.

    Raises:
        InputError: It is damaged; the message names the file.
    """
    record = read_artifact(path / STATE, Record, "the state of a checkpoint")
    if record.step != int(path.name):
        raise InputError(f"{path / STATE} is damaged: it is of another step.")
    try:
        _check_arrays(path / VARIABLES, record.dtypes)
        if file_digest(path / VARIABLES) != record.sha256:
            raise ValueError("wrong checksum")
    except (OSError, ValueError, BadZipFile) as error:
        raise InputError(f"{path / VARIABLES} is damaged ({error}).") from error
    return Checkpoint(path, record.step, record.state, record.dtypes)


def _check_arrays(path: Path, dtypes: dict[str, str]) -> None:
    """Compares what the file claims with its size, before it is read."""
    size = path.stat().st_size
    with ZipFile(path) as archive:
        entries = {e.filename.removesuffix(".npy"): e for e in archive.filelist}
        if entries.keys() != dtypes.keys():
            raise ValueError(f"its arrays are not those of {STATE}")
        for name, entry in entries.items():
            with archive.open(entry) as file:
                np.lib.format.read_magic(file)
                header = np.lib.format.read_array_header_1_0(file)
                begins = file.tell()
            shape, _, dtype = header
            saved = BITS if dtypes[name] == "bfloat16" else dtypes[name]
            claimed = begins + math.prod(shape) * dtype.itemsize
            if dtype.name != saved or not claimed == entry.file_size <= size:
                raise ValueError(f"{name} is not what it claims to be")


def checkpoint_paths(folder: Path) -> list[Path]:
    """Folders of complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal())


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
    return array.view(BITS) if array.dtype.name == "bfloat16" else array


def _from_bits(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return array
    import ml_dtypes  # comes with Keras

    return array.view(ml_dtypes.bfloat16)
