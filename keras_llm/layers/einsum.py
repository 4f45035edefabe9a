"""The kernel of an `EinsumDense` as a matrix of inputs by outputs."""

import math
import string

from keras import ops


class EinsumAxes:
    """Which axes of a kernel are inputs, and which are outputs.

    Args:
        equation: str. As `keras.layers.EinsumDense` takes it.

    Attributes:
        inputs, outputs: str. The axes of the kernel that are summed over, and
            those that it adds, in the order of the kernel.
        shared: str. Those that are neither, which no matrix has.

    Example:
        >>> EinsumAxes("abc,cde->abde").matrix_shape((8, 2, 4))
        (8, 8)
    """

    def __init__(self, equation: str):
        self.sources, rest = equation.replace(" ", "").split(",")
        self.kernel, self.results = rest.split("->")
        self.inputs = "".join(
            axis for axis in self.kernel if axis not in self.results
        )
        self.outputs = "".join(
            axis for axis in self.kernel if axis not in self.sources
        )
        self.shared = "".join(
            axis
            for axis in self.kernel
            if axis not in self.inputs + self.outputs
        )

    def factored(self) -> tuple[str, str]:
        """Equations of the product by one factor, and then by the other."""
        used = self.sources + self.kernel + self.results
        rank = next(x for x in string.ascii_letters if x not in used)
        between = "".join(x for x in self.sources if x not in self.inputs)
        between += rank
        return (
            f"{self.sources},{self.inputs}{rank}->{between}",
            f"{between},{rank}{self.outputs}->{self.results}",
        )

    def factor_shapes(self, shape, rank: int) -> tuple[tuple, tuple]:
        """Shapes of both factors in these equations, for a kernel's shape."""
        inputs, outputs = self._sizes(shape)
        return (*inputs, rank), (rank, *outputs)

    def matrix_shape(self, shape) -> tuple[int, int]:
        """Inputs and outputs, each as one axis."""
        inputs, outputs = self._sizes(shape)
        return math.prod(inputs), math.prod(outputs)

    def as_kernel(self, matrix, shape):
        """A matrix `(inputs, outputs)` as a kernel of that shape."""
        inputs, outputs = self._sizes(shape)
        order = self.inputs + self.outputs
        matrix = ops.reshape(matrix, (*inputs, *outputs))
        return ops.transpose(matrix, [order.index(x) for x in self.kernel])

    def _sizes(self, shape) -> tuple[list[int], list[int]]:
        size = dict(zip(self.kernel, shape, strict=True))
        return (
            [size[axis] for axis in self.inputs],
            [size[axis] for axis in self.outputs],
        )
