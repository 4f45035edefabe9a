"""Weights between Keras and PyTorch, both ways, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers import RecurrentLayer
from keras_llm.layers.linear_recurrence import LinearRecurrence
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchMaskedLM,
)
from keras_llm.pytorch.require import require_torch

if TYPE_CHECKING:
    from torch import Tensor, nn


# Projections of linear recurrences; each kind has some of them.
LINEAR_LAYERS = (
    "input_projection",
    "query",
    "key",
    "value",
    "output_gate",
    "gates",
    "memory_output",
)


@dataclass(frozen=True)
class Weight:
    """A variable of Keras, and the tensor of PyTorch that holds the same.

    Args:
        name: Of the tensor.
        variable: The variable.
        is_kernel: Whether the tensor is its transpose.
        is_gru: Whether its gates change places: Keras has update, reset, new
            and PyTorch reset, update, new.
        second: Name of a second tensor that is added to the first, and is
            zero in ours: PyTorch's recurrences have two biases.
    """

    name: str
    variable: keras.Variable
    is_kernel: bool = False
    is_gru: bool = False
    second: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        shape = tuple(self.variable.shape)
        return shape[::-1] if self.is_kernel else shape

    def to_pytorch(self, value: np.ndarray) -> np.ndarray:
        """Values of the tensor from those of the variable, or its gradient."""
        value = value.T if self.is_kernel else value
        return np.ascontiguousarray(self._swapped(value))

    def from_pytorch(self, value: np.ndarray) -> np.ndarray:
        """Values of the variable from those of the tensor."""
        value = self._swapped(value)
        return np.ascontiguousarray(value.T if self.is_kernel else value)

    def _swapped(self, value):
        if not self.is_gru:
            return value
        first, second, new = np.split(value, 3)
        return np.concatenate([second, first, new])


def config_of(model: keras.Model) -> dict[str, Any]:
    """The arguments of the twin of a model.

    Raises:
        InputError: A model that has no twin, or an option that it lacks.
    """
    if isinstance(model, ScratchCausalLM | ScratchMaskedLM):
        model = model.backbone
    if isinstance(model, ScratchBackbone):
        return _backbone_config(model)
    raise _no_twin(model)


def _backbone_config(backbone):
    from keras_llm.pytorch.twins import Config

    known = {field.name for field in fields(Config)}
    # Keras makes dicts and lists that are attributes into its own kinds.
    config = dict(backbone._config)
    for name, value in config.items():
        for kind in (dict, list):
            if isinstance(value, kind):
                config[name] = kind(value)
    unknown = {
        name: value
        for name, value in config.items()
        if name not in known and value is not None
    }
    if (config["rope_scaling"] or {}).get("rope_type") == "yarn":
        unknown["rope_scaling"] = config["rope_scaling"]
    if unknown:
        raise InputError(
            "The model must have options that its twin in PyTorch has too. "
            f"Received: {unknown}"
        )
    return {name: config[name] for name in config if name in known}


def make_twin(model: keras.Model) -> nn.Module:
    """The same model in PyTorch, with the same weights.

    Args:
        model: A `ScratchCausalLM`, a `ScratchMaskedLM` or a
            `ScratchBackbone`.

    Returns:
        The twin, in the dtype of the weights, not training.

    Raises:
        InputError: Another model, or PyTorch is not installed.
    """
    require_torch()
    from keras_llm.pytorch import masked_twin, twins

    config, state = config_of(model), to_pytorch(model)
    if isinstance(model, ScratchCausalLM):
        twin = twins.CausalLM(**config)
    elif isinstance(model, ScratchMaskedLM):
        twin = masked_twin.MaskedLM(**config)
    else:
        twin = twins.Backbone(**config)
    dtype = next(iter(state.values())).dtype
    twin.to(dtype).load_state_dict(state)
    return twin.eval()


def to_pytorch(model: keras.Model) -> dict[str, Tensor]:
    """The state dict that the twin of a model loads.

    Args:
        model: See `make_twin`. Weights that were quantised have no twin.

    Raises:
        InputError: Another model, or PyTorch is not installed.
    """
    torch = require_torch()
    state = {}
    for weight in weights_of(model):
        dtype = getattr(
            torch, keras.backend.standardize_dtype(weight.variable.dtype)
        )
        value = ops.convert_to_numpy(ops.cast(weight.variable, "float32"))
        value = torch.from_numpy(weight.to_pytorch(value).copy()).to(dtype)
        state[weight.name] = value
        if weight.second:
            state[weight.second] = torch.zeros_like(value)
    return state


def from_pytorch(state: Mapping[str, Tensor], model: keras.Model) -> None:
    """Sets the weights of a model to those of a state dict of its twin.

    Args:
        state: Tensors by name.
        model: See `make_twin`.

    Raises:
        InputError: The names and shapes are not those of the twin. All that
            differ are listed, and no weight is changed.
    """
    weights = weights_of(model)
    _check(state, weights)
    for weight in weights:
        value = state[weight.name].detach().float()
        if weight.second:
            value = value + state[weight.second].detach().float()
        weight.variable.assign(weight.from_pytorch(value.cpu().numpy()))


def _check(state, weights):
    expected = {weight.name: weight.shape for weight in weights}
    expected |= {each.second: each.shape for each in weights if each.second}
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    wrong += [
        f"{name} must be {expected[name]}, and is {found[name]}"
        for name in expected.keys() & found.keys()
        if expected[name] != found[name]
    ]
    if wrong:
        raise InputError(
            "The weights must have the names and shapes of the model. "
            f"Received: {'; '.join(sorted(wrong))}. Make the model with the "
            "options that the weights were trained with."
        )


def weights_of(model: keras.Model) -> list[Weight]:
    """All weights of a model, in the order of its layers.

    Raises:
        InputError: A model that has no twin, or quantised weights.
    """
    if isinstance(model, ScratchCausalLM):
        weights = [*_backbone(model.backbone), *_head(model.backbone)]
        if model.backbone.output_bias:
            bias = model.backbone.embedding.output_bias
            weights.append(Weight("head_bias", bias))
    elif isinstance(model, ScratchMaskedLM):
        weights = [*_backbone(model.backbone), *_masked_lm_head(model)]
    elif isinstance(model, ScratchBackbone):
        weights = list(_backbone(model))
    else:
        raise _no_twin(model)
    _check_floats(weights)
    return weights


def _check_floats(weights):
    for weight in weights:
        dtype = keras.backend.standardize_dtype(weight.variable.dtype)
        if dtype not in ("float32", "float16", "bfloat16"):
            raise InputError(
                "The weights must be float32, float16 or bfloat16. Received: "
                f"{weight.name} in {dtype}. Pass the model from before it "
                "was quantised."
            )


def _no_twin(model) -> InputError:
    return InputError(
        "The model must be a ScratchCausalLM, a ScratchMaskedLM or a "
        f"ScratchBackbone. Received: a {type(model).__name__}"
    )


def _backbone(backbone) -> Iterator[Weight]:
    embedding = backbone.embedding
    tokens = embedding.token_embedding.embeddings
    yield Weight("embedding.token_embedding.weight", tokens)
    if embedding.max_sequence_length is not None:
        positions = embedding.position_embedding
        yield Weight("embedding.position_embedding", positions)
    yield from _norm("embedding.norm.", embedding.norm)
    for index, block in enumerate(backbone.blocks):
        yield from _block(f"blocks.{index}.", block)
    yield from _norm("final_norm.", backbone.final_norm)


def _head(backbone) -> Iterator[Weight]:
    if not backbone.tie_word_embeddings:
        matrix = backbone.token_embedding.reverse_embeddings
        yield Weight("head.weight", matrix, is_kernel=True)


def _masked_lm_head(model) -> Iterator[Weight]:
    head = model.masked_lm_head
    yield from _dense("head_dense.", head._intermediate_dense)
    yield from _norm("head_norm.", head._intermediate_layer_norm)
    yield from _head(model.backbone)
    yield Weight("head_bias.bias", head._bias)


def _block(name, block) -> Iterator[Weight]:
    yield from _norm(name + "mixer_norm.", block.mixer_norm)
    mixer, inner = block.mixer, name + "mixer."
    if isinstance(mixer, RecurrentLayer):
        yield from _recurrence(inner, mixer)
    elif isinstance(mixer, LinearRecurrence):
        yield from _linear_recurrence(inner, mixer)
    else:
        for each in ("query", "key", "value", "attention_output"):
            yield from _dense(f"{inner}{each}.", getattr(mixer, each))
        if mixer.query_key_norm:
            yield from _norm(inner + "query_norm.", mixer.query_norm)
            yield from _norm(inner + "key_norm.", mixer.key_norm)
    if block.intermediate_dim:
        yield from _norm(name + "feed_forward_norm.", block.feed_forward_norm)
        layers, inner = block.feed_forward, name + "feed_forward."
        for each in ("intermediate", "gate", "feed_forward_output"):
            if hasattr(layers, each):
                yield from _dense(f"{inner}{each}.", getattr(layers, each))


def _recurrence(name, layer) -> Iterator[Weight]:
    name += "loop."
    is_gru = layer.cell_type == "gru"
    shared = {"is_gru": is_gru}
    projection, recurrent = layer.input_projection, layer.cell.recurrent
    kernels = {"weight_ih_l0": projection, "weight_hh_l0": recurrent}
    for each, dense in kernels.items():
        yield Weight(name + each, dense.kernel, is_kernel=True, **shared)
    second = name + "bias_hh_l0"
    if is_gru:
        yield Weight(name + "bias_ih_l0", projection.bias, **shared)
        yield Weight(second, recurrent.bias, **shared)
    else:
        yield Weight(name + "bias_ih_l0", projection.bias, second=second)


def _linear_recurrence(name, layer) -> Iterator[Weight]:
    for each in LINEAR_LAYERS:
        if hasattr(layer, each):
            yield from _dense(f"{name}{each}.", getattr(layer, each))
    if hasattr(layer, "memory_norm"):
        yield from _norm(f"{name}memory_norm.", layer.memory_norm)
    for each in ("convolution", "log_rate"):
        if hasattr(layer, each):
            yield Weight(name + each, getattr(layer, each))


def _dense(name, layer) -> Iterator[Weight]:
    yield Weight(name + "weight", layer.kernel, is_kernel=True)
    if layer.use_bias:
        yield Weight(name + "bias", layer.bias)


def _norm(name, layer) -> Iterator[Weight]:
    if not layer.weights:  # no normalisation
        return
    scale = getattr(layer, "gamma", None)
    yield Weight(name + "weight", layer.scale if scale is None else scale)
    if getattr(layer, "beta", None) is not None:
        yield Weight(name + "bias", layer.beta)
