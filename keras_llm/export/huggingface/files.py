"""Folders of safetensors, a tensor at a time. Never pickle."""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_llm.artifacts import is_file_name, picked, read_object
from keras_llm.errors import InputError
from keras_llm.export.huggingface.tensors import Tensor, Values
from keras_llm.recipes.checks import check

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
READ_VALUES = 2**20  # at once
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Index:
    """What `model.safetensors.index.json` says: each tensor's file."""

    weight_map: dict[str, str]

    def __post_init__(self) -> None:
        for name in self.weight_map.values():
            expected = "made of names of files in this folder"
            check(is_file_name(name), "weight_map", expected, name)


class TensorFiles:
    """The tensors of a model folder, in one file or in several shards.

    Args:
        files: of `safetensors.safe_open`, open.

    Attributes:
        shapes: dict of the name of each tensor to its shape.
    """

    def __init__(self, files: Iterable):
        self._file_of = {name: file for file in files for name in file.keys()}
        self.shapes = {
            name: tuple(file.get_slice(name).get_shape())
            for name, file in self._file_of.items()
        }

    def read(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the first row and the rows of one part after the other."""
        shape = self.shapes[name]
        rows = self._file_of[name].get_slice(name)
        step = max(1, READ_VALUES // max(1, math.prod(shape[1:])))
        for start in range(0, shape[0], step):
            yield start, rows[start : min(start + step, shape[0])]

    def array(self, name: str) -> np.ndarray:
        """A whole tensor, in float32."""
        return self._file_of[name].get_tensor(name).astype("float32")


def open_tensors(folder: Path):
    """Opens the weights of a folder; see `open_files`.

    Raises:
        InputError: None there, or a shard is missing.
    """
    return open_files(_shards(folder))


@contextmanager
def open_files(paths: Iterable[Path]) -> Iterator[TensorFiles]:
    """Opens files of safetensors.

    Raises:
        InputError: One is missing or damaged, or the package that reads them.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise InputError(
            f"Weights of Hugging Face need safetensors: {error}. Install it "
            "with `pip install 'keras-llm[huggingface]'`."
        ) from error
    with ExitStack() as stack:
        files = []
        for path in paths:
            try:
                files.append(stack.enter_context(safe_open(path, "np")))
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"{path} cannot be read: {error}. Download it again."
                ) from error
        yield TensorFiles(files)


def _shards(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt*"))
        reason = (
            ""
            if not pickled
            else (
                f", but has {pickled[0].name}, which may run code and is not "
                "read: save the model with safe_serialization=True"
            )
        )
        raise InputError(f"{folder} must have {WEIGHTS} or {INDEX}{reason}.")
    try:
        index = picked(Index, read_object(folder / INDEX))
    except ValueError as error:
        raise InputError(f"{folder / INDEX} cannot be read: {error}") from error
    names = sorted(set(index.weight_map.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} must have every shard that {INDEX} names. Missing: "
            f"{', '.join(missing)}. Download them again."
        )
    return [folder / name for name in names]


def write_tensors(path: Path, tensors: Sequence[Tensor | Values]) -> None:
    """Writes a safetensors file, with one tensor in memory at a time.

    The format: the header's length in eight bytes, the header as JSON, the
    values (https://huggingface.co/docs/safetensors).
    """
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        size = 4 if tensor.dtype == "float32" else 2
        start, end = end, end + size * math.prod(tensor.shape)
        header[tensor.name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for tensor in tensors:
            file.write(tensor.array().tobytes())
