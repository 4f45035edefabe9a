"""Adapters as the tensors of a file of PEFT, both ways. Reads no files.

A module there may be several projections here: GPT-2's `c_attn` is query, key
and value side by side. Their factors become those of one matrix exactly, with
as many columns as they have together:

    [x Aq Bq, x Ak Bk, x Av Bv] = x [Aq, Ak, Av] diag(Bq, Bk, Bv)

and back, each takes the first factor, and its own columns of the second.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import keras_hub
import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.export.huggingface.architecture import HEAD, Architecture
from keras_llm.export.huggingface.importing import ARCHITECTURES
from keras_llm.export.huggingface.stock import seen_as_ours
from keras_llm.export.huggingface.tensors import Tensor
from keras_llm.models import ScratchCausalLM
from keras_llm.models.adapters import Adapter, Factors
from keras_llm.models.lora import (
    Projection,
    as_kernel,
    matrix_shape,
    projections,
    without_factors,
)

FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class Layout:
    """Where the weights of a model are in a file.

    Args:
        architecture: That has them; `None` where no architecture of Hugging
            Face is that model, and weights have the names they have here.
        tensors: All of the file.
        layers: Projections by the paths of their kernels.
        tied: Name of the token embedding, if the output projection is tied.
    """

    architecture: Architecture | None
    tensors: list[Tensor]
    layers: dict[str, Projection]
    tied: str | None = None

    def modules(self) -> dict[str, list[str]]:
        """Paths of the kernels in each module that can have factors."""
        found = {}
        for tensor in self.tensors:
            paths = [variable.path for variable in tensor.variables]
            if paths and all(path in self.layers for path in paths):
                found[tensor.name.removesuffix(".weight")] = paths
        return found

    @property
    def inputs_first(self) -> bool:
        """Whether kernels in files of the architecture are as Keras has them.

        PEFT calls it `fan_in_fan_out`.
        """
        modules = self.modules()
        return self.architecture is not None and not any(
            tensor.transposed
            for tensor in self.tensors
            if tensor.name.removesuffix(".weight") in modules
        )

    def to_tensors(
        self, adapter: Adapter
    ) -> tuple[dict[str, np.ndarray], dict[str, Factors]]:
        """Values by name, and the factors of each module."""
        values, factors = {}, {}
        for name, paths in self.modules().items():
            parts = [adapter.factors.get(path) for path in paths]
            if any(parts):
                widths = [matrix_shape(self.layers[path])[1] for path in paths]
                both = _side_by_side(parts, widths)
                factors[name] = both
                values[f"{name}.lora_A.weight"] = both.a.T
                values[f"{name}.lora_B.weight"] = both.b.T
        whole = {
            _module(tensor)
            for tensor in self.tensors
            for variable in tensor.variables
            if variable.path in adapter.weights
        }
        for tensor in self.tensors:
            if _module(tensor) in whole:
                values[tensor.name] = _value(tensor, adapter.weights)
        if self.tied in values:
            # PEFT replaces the modules one by one, and unties them so.
            values[HEAD] = values[self.tied]
        return values, factors

    def from_tensors(
        self, values: Mapping[str, np.ndarray], scales: Mapping[str, float]
    ) -> tuple[dict[str, Factors], dict[str, np.ndarray]]:
        """Factors by path, and weights by path.

        Args:
            values: By name.
            scales: Of the modules that have factors.

        Raises:
            InputError: A tensor that the model has no place for.
        """
        modules, factors, weights = self.modules(), {}, {}
        for name, scale in scales.items():
            if name not in modules:
                raise InputError(
                    "The adapter must be of projections that the model has. "
                    f"Received: {name}. There are: "
                    f"{', '.join(sorted(leaves(modules)))}"
                )
            factors |= self._split(name, modules[name], values, scale)
        tensors = {tensor.name: tensor for tensor in self.tensors}
        for name, value in values.items():
            if FACTOR.fullmatch(name):
                continue
            if name == HEAD and self.tied:
                _check_tied(values, self.tied)
                continue
            if name not in tensors:
                raise InputError(
                    "The adapter must have weights that the model has. "
                    f"Received: {name}"
                )
            weights |= self._whole(tensors[name], value)
        return factors, weights

    def _split(self, name, paths, values, scale) -> dict[str, Factors]:
        """The factors of a module's projections, by path."""
        shapes = [matrix_shape(self.layers[path]) for path in paths]
        inputs, outputs = shapes[0][0], sum(shape[1] for shape in shapes)
        a = values[f"{name}.lora_A.weight"]
        b = values[f"{name}.lora_B.weight"]
        rank = a.shape[0]
        if a.shape != (rank, inputs) or b.shape != (outputs, rank):
            raise InputError(
                "The adapter must fit the model. Received: factors of "
                f"{a.shape} and {b.shape} for {name}, which has {inputs} "
                f"inputs and {outputs} outputs"
            )
        found, end = {}, 0
        for path, (_, width) in zip(paths, shapes, strict=True):
            start, end = end, end + width
            part = b[start:end].T
            # What other projections of the module use alone.
            used = part.any(axis=1) if len(paths) > 1 else np.ones(rank, bool)
            if used.any():
                found[path] = Factors(a.T[:, used], part[used], scale)
        return found

    def _whole(self, tensor: Tensor, value) -> dict[str, np.ndarray]:
        if not tensor.variables and not value.any():
            return {}
        if len(tensor.variables) != 1:
            raise InputError(
                f"{tensor.name} cannot be replaced: the model has "
                f"{'several weights' if tensor.variables else 'none'} in its "
                "place. Tune without it."
            )
        [variable] = tensor.variables
        value = value.T if tensor.transposed else value
        if variable.path in self.layers:
            layer = self.layers[variable.path]
            if value.shape == matrix_shape(layer):
                value = ops.convert_to_numpy(as_kernel(layer, value))
        return {variable.path: value}


def layout_of(model: keras_hub.models.CausalLM) -> Layout:
    """Where the weights of a model are in a file of PEFT.

    Raises:
        InputError: Another kind of model.
    """
    if not isinstance(model, keras_hub.models.CausalLM):
        raise InputError(
            "Expected a keras_hub.models.CausalLM, such as a ScratchCausalLM. "
            f"Received: {type(model).__name__}"
        )
    with without_factors(model):
        layers = projections(model.backbone)
        architecture, seen = _seen(model)
        if architecture is None:
            return Layout(None, _own_tensors(model, layers), layers)
        tensors = architecture.all_tensors_of(seen)
    is_tied = all(tensor.name != HEAD for tensor in tensors)
    tied = architecture.embedding if is_tied else None
    return Layout(architecture, tensors, layers, tied)


def leaves(modules) -> set[str]:
    """The last parts of the names of modules."""
    return {name.rpartition(".")[2] for name in modules}


def _seen(model):
    """The architecture that a model is, and what its `tensors_of` takes."""
    if not isinstance(model, ScratchCausalLM):
        return seen_as_ours(model) or (None, None)
    for architecture in ARCHITECTURES.values():
        if not architecture.obstacles_of(model.backbone):
            return architecture, model
    return None, None


def _own_tensors(model, layers: dict[str, Projection]) -> list[Tensor]:
    """The weights under the names they have here."""
    factors = ("lora_kernel_a", "lora_kernel_b")
    return [
        Tensor(
            (
                weight.path.removesuffix("/kernel") + ".weight"
                if weight.path in layers
                else weight.path
            ).replace("/", "."),
            [weight],
        )
        for weight in model.weights
        if weight.path.rpartition("/")[2] not in factors
    ]


def _module(tensor: Tensor) -> str:
    return tensor.name.rpartition(".")[0]


def _value(tensor: Tensor, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The new value of a tensor of one weight; zeros, if it has none."""
    if not tensor.variables:
        return tensor.array()
    [variable] = tensor.variables
    value = weights[variable.path]
    return value.T if tensor.transposed else value


def _side_by_side(parts: list[Factors | None], widths: list[int]) -> Factors:
    """The factors of matrices side by side, where some may have none."""
    present = [part for part in parts if part is not None]
    scale = present[0].scale
    # As PEFT trains them: one first factor for all.
    is_shared = all(
        part.scale == scale and np.array_equal(part.a, present[0].a)
        for part in present
    )
    if is_shared:
        rows = [
            np.zeros((present[0].rank, width), "float32")
            if part is None
            else part.b
            for part, width in zip(parts, widths, strict=True)
        ]
        return Factors(present[0].a, np.concatenate(rows, axis=1), scale)
    a = np.concatenate([part.a for part in present], axis=1)
    b = np.zeros((a.shape[1], sum(widths)), "float32")
    row = column = 0
    for part, width in zip(parts, widths, strict=True):
        if part is not None:
            block = part.b * np.float32(part.scale / scale)
            b[row : row + part.rank, column : column + width] = block
            row += part.rank
        column += width
    return Factors(a, b, scale)


def _check_tied(values: Mapping[str, np.ndarray], embedding: str) -> None:
    same = embedding in values and np.array_equal(
        values[HEAD], values[embedding]
    )
    if not same:
        raise InputError(
            f"{HEAD} must be the same as {embedding}, for they are one weight "
            "of this model. Received: an adapter that changed it alone. Tune "
            "with ensure_weight_tying, or untie the model."
        )
