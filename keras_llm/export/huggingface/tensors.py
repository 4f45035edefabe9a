"""A model's weights as the tensors of a file: names, shapes and layouts."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_llm.errors import InputError


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file, and the variables that are in it.

    Args:
        name: of the tensor.
        variables: Side by side along their last axis; none for a tensor of
            zeros, which a model here does not have.
        transposed: Whether the file has rows and columns the other way round,
            as `torch.nn.Linear` has.
        zeros: Shape, where there is no variable.
    """

    name: str
    variables: Sequence[keras.Variable] = ()
    transposed: bool = False
    zeros: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """In the file."""
        if not self.variables:
            return self.zeros
        *rest, _ = self.variables[0].shape
        width = sum(variable.shape[-1] for variable in self.variables)
        shape = (*rest, width)
        return shape[::-1] if self.transposed else shape

    @property
    def dtype(self) -> str:
        return self.variables[0].dtype if self.variables else "float32"

    def array(self) -> np.ndarray:
        """The values, as the file has them."""
        if not self.variables:
            return np.zeros(self.zeros, "float32")
        parts = [
            keras.ops.convert_to_numpy(variable.value)
            for variable in self.variables
        ]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
        return np.ascontiguousarray(array.T if self.transposed else array)

    def assign(self, first: int, rows: np.ndarray) -> None:
        """Gives the variables the values of some rows; of a vector, of all.

        In place, for a variable that is assigned as a whole takes its size in
        memory once more.

        Args:
            first: int. Number of the first row.
            rows: of the file, in a dtype of its own.

        Raises:
            InputError: There is no variable, and they are not zero.
        """
        if not self.variables and rows.any():
            raise InputError(
                f"{self.name} must be zero, for the model has no such "
                "weight. Remove keras_llm from config.json to give it one."
            )
        end = 0
        for variable in self.variables:
            start, end = end, end + variable.shape[-1]
            part = rows[..., start:end] if len(self.variables) > 1 else rows
            part = part.astype(variable.dtype)
            if rows.ndim == 1:
                variable.assign(part)
            elif self.transposed:
                _assign_part(variable, (0, first), part.T)
            else:
                _assign_part(variable, (first, 0), part)


@dataclass(frozen=True)
class Values:
    """A tensor of a file that is no variable.

    Args:
        name: of the tensor.
        values: float32.
    """

    name: str
    values: np.ndarray
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def array(self) -> np.ndarray:
        return np.ascontiguousarray(self.values, "float32")


def _assign_part(variable, begin, values) -> None:
    """Assigns a matrix from `begin` on.

    Not by `variable.value[...].assign`, whose slices stay in memory until
    the next garbage collection.
    """
    import tensorflow as tf

    tf.raw_ops.ResourceStridedSliceAssign(
        ref=variable.value.handle,
        begin=begin,
        end=[at + size for at, size in zip(begin, values.shape, strict=True)],
        strides=[1, 1],
        value=values,
    )


def linear(name: str, layer: keras.layers.Dense) -> list[Tensor]:
    """A `Dense` layer as a `torch.nn.Linear`."""
    tensors = [Tensor(f"{name}.weight", [layer.kernel], transposed=True)]
    if layer.bias is not None:
        tensors.append(Tensor(f"{name}.bias", [layer.bias]))
    return tensors
