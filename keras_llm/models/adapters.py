"""Adapters: what tuning changed, apart from the model that it changed.

Knows nothing of files; see `export/huggingface/adapters.py`.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import keras
import keras_hub
import ml_dtypes
import numpy as np
from keras import ops

from keras_llm.errors import InputError, first_of
from keras_llm.models.lora import (
    Factored,
    Projection,
    adapted_layers,
    as_kernel,
    enable_factors,
    lora_scale,
    matrix_shape,
    merge_factors,
    projections,
)
from keras_llm.recipes.checks import check

CausalLM = keras_hub.models.CausalLM
MOST_RANK = 10_000


@dataclass(frozen=True)
class Factors:
    """What is added to a kernel: `scale * a @ b`.

    Args:
        a: float32 `(inputs, rank)`.
        b: float32 `(rank, outputs)`.
        scale: `alpha / rank`.
    """

    a: np.ndarray
    b: np.ndarray
    scale: float

    @property
    def rank(self) -> int:
        return self.a.shape[1]


@dataclass(frozen=True)
class Adapter:
    """What tuning changed.

    Args:
        factors: By the path of the kernel they are for.
        weights: New values of weights that were trained themselves, by path.
        base: Digest of the model that it is for; `None` if unknown.
    """

    factors: dict[str, Factors]
    weights: dict[str, np.ndarray]
    base: str | None = None


@dataclass
class _Loaded:
    """Adapters of one model, by name.

    Args:
        base: Digest of the model with none of them.
        adapters: All that were loaded.
        kept: What the weights that one changed were before, by path.
    """

    base: str
    adapters: dict[str, Adapter] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)


# Beside the models, for Keras would save what is put into them.
_trained_from: WeakKeyDictionary[CausalLM, str] = WeakKeyDictionary()
_loaded: WeakKeyDictionary[CausalLM, _Loaded] = WeakKeyDictionary()


def add_adapter(
    model: CausalLM,
    rank: int,
    alpha: float | None = None,
    targets: Sequence[str] = (),
    embeddings: bool = False,
    norms: bool = False,
) -> float:
    """Freezes a model, and puts thin factors beside its projections.

    Args:
        model: Any causal model of KerasHub. Compile it afterwards.
        rank: Width of the factors.
        alpha: Their product is multiplied by `alpha / rank`; `2 * rank` if
            omitted.
        targets: Names of projections (`query`), or regular expressions of
            their paths (`block_[01]/.*`); every projection if empty.
        embeddings: Whether token embeddings are trained too, and the output
            projection with them.
        norms: Whether normalisation layers are trained too.

    Returns:
        The share of the weights that is trained.

    Raises:
        InputError: A rank or target that cannot be, a model that has an
            adapter, or whose weights are quantized.

    Example:
        >>> model = keras_llm.load_preset("runs/mini")
        >>> share = keras_llm.add_adapter(model, rank=8)
        >>> keras_llm.save_adapter(model, "adapters/fresh")
    """
    check(0 < rank <= MOST_RANK, "rank", f"in [1, {MOST_RANK:,}]", rank)
    finite = alpha is None or 0 < alpha < math.inf
    check(finite, "alpha", "a finite number above 0", alpha)
    found = projections(model.backbone)
    if adapted_layers(model) or model in _loaded:
        raise InputError(
            f"{model.name} has an adapter already. Put it into the weights "
            "with merge_adapter(model) if add_adapter or load_adapter has "
            "made it. Load the model again otherwise."
        )
    chosen = _chosen(found, targets) if targets else list(found.values())
    for layer in chosen:
        if layer.quantization_mode is not None:
            raise InputError(
                f"{layer.path} must have a kernel of floats. Received: "
                f"{layer.quantization_mode}. Load the preset from before it "
                "was quantized."
            )
    _trained_from[model] = weights_digest(model)
    for weight in model.weights:
        weight.trainable = False
    for layer in chosen:
        enable_factors(layer, rank, alpha or 2 * rank)
    for weight in _trained_themselves(model, embeddings, norms):
        weight.trainable = True
    trained = sum(math.prod(each.shape) for each in model.trainable_weights)
    return trained / model.count_params()


def check_targets(model: CausalLM, targets: Sequence[str]) -> None:
    """Raises `InputError` unless all are targets of `add_adapter`."""
    _chosen(projections(model.backbone), targets)


def merge_adapter(model: CausalLM) -> None:
    """Puts the adapter of a model into its weights, for good.

    That of `add_adapter`, and then all weights can be trained again; or the
    one that is on, of `load_adapter`, and the others are forgotten.
    """
    for layer in adapted_layers(model).values():
        merge_factors(layer)
    if _trained_from.pop(model, None) is not None:
        for weight in model.weights:
            weight.trainable = True
    _loaded.pop(model, None)


def trained_adapter(model: CausalLM) -> Adapter:
    """What was trained of a model since `add_adapter`.

    Raises:
        InputError: The model has no adapter, or one of Keras's own form.
    """
    layers = adapted_layers(model)
    if model not in _trained_from or not all(
        isinstance(layer, Factored) for layer in layers.values()
    ):
        raise InputError(
            f"{model.name} must have an adapter of its own: "
            "add_adapter(model, rank) before it is trained."
        )
    own, factors = set(), {}
    for path, layer in layers.items():
        a, b = layer.lora_kernel_a, layer.lora_kernel_b
        own |= {id(a), id(b)}
        factors[path] = Factors(_numpy(a), _numpy(b), lora_scale(layer))
    weights = {
        weight.path: _numpy(weight)
        for weight in model.trainable_weights
        if id(weight) not in own
    }
    return Adapter(factors, weights, _trained_from[model])


def keep_adapter(model: CausalLM, adapter: Adapter, name: str) -> None:
    """Keeps an adapter beside a model, for `set_adapter` to put on.

    Raises:
        InputError: It is of another model, or the model is being tuned.
    """
    if adapted_layers(model):
        raise InputError(
            f"{model.name} is being tuned. Call merge_adapter(model) before "
            "adapters are loaded."
        )
    loaded = _loaded.get(model) or _Loaded(weights_digest(model))
    if adapter.base not in (None, loaded.base):
        raise InputError(
            "The adapter must be of this model. Received: one of the model "
            f"{adapter.base}, and this is {loaded.base}."
        )
    _check_shapes(model, adapter)
    if loaded.kept and name in loaded.adapters:
        set_adapter(model, None)
    loaded.adapters[name] = adapter
    _loaded[model] = loaded


def set_adapter(model: CausalLM, name: str | None) -> None:
    """Puts one of the loaded adapters on, in place of any other.

    Args:
        model: What adapters were loaded for.
        name: As it was loaded; `None` for the model as it was, to the bit.

    Raises:
        InputError: There is no such adapter.

    Example:
        >>> keras_llm.load_adapter(model, "runs/law/adapter", "law")
        >>> keras_llm.set_adapter(model, "law")
        >>> keras_llm.set_adapter(model, None)
    """
    loaded = _loaded.get(model)
    known = list(loaded.adapters) if loaded else []
    if name is not None and name not in known:
        raise InputError(
            f"The adapter must be one of: {', '.join(known) or 'none'}. "
            f"Received: {name!r}. Load it with load_adapter(model, path, name)."
        )
    if loaded is None:
        return
    variables = {weight.path: weight for weight in model.weights}
    for path, value in loaded.kept.items():
        variables[path].assign(value)
    loaded.kept = {}
    if name is None:
        return
    adapter, layers = loaded.adapters[name], projections(model.backbone)
    for path in [*adapter.factors, *adapter.weights]:
        loaded.kept[path] = ops.convert_to_numpy(variables[path])
    for path, factors in adapter.factors.items():
        update = factors.scale * (factors.a @ factors.b)
        variables[path].assign_add(as_kernel(layers[path], update))
    for path, value in adapter.weights.items():
        variables[path].assign(value)


def weights_digest(model: CausalLM) -> str:
    """A sha256 of a model's weights without factors, hexadecimal.

    Of the weights rounded to bfloat16, so that a model is the same in every
    precision that it is loaded in.
    """
    own = {
        id(factor)
        for layer in adapted_layers(model).values()
        for factor in (layer.lora_kernel_a, layer.lora_kernel_b)
    }
    weights = [weight for weight in model.weights if id(weight) not in own]
    digest = hashlib.sha256()
    for weight in sorted(weights, key=lambda weight: weight.path):
        values = _numpy(weight).astype(ml_dtypes.bfloat16)
        digest.update(f"{weight.path} {tuple(weight.shape)}\n".encode())
        digest.update(values.view(np.uint16).astype("<u2").tobytes())
    return digest.hexdigest()


def _numpy(variable: keras.Variable) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(variable, "float32"))


def _check_shapes(model: CausalLM, adapter: Adapter) -> None:
    layers = projections(model.backbone)
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    wrong = []
    for path, factors in adapter.factors.items():
        found = factors.a.shape[0], factors.b.shape[1]
        expected = matrix_shape(layers[path]) if path in layers else "none"
        if found != expected or factors.b.shape[0] != factors.rank:
            wrong.append(
                f"{path} is {expected}, the adapter's factors are "
                f"{factors.a.shape} and {factors.b.shape}"
            )
    for path, value in adapter.weights.items():
        expected = shapes.get(path, "none")
        if value.shape != expected:
            wrong.append(f"{path} is {expected}, the adapter's {value.shape}")
    if wrong:
        raise InputError(
            f"The adapter must fit the model. Received: {first_of(wrong, 3)}"
        )


def _chosen(
    found: dict[str, Projection], targets: Sequence[str]
) -> list[Projection]:
    """The projections that targets name: by name, or by a pattern of paths."""
    chosen = {}
    for target in targets:
        matching = {
            path: layer
            for path, layer in found.items()
            if layer.name == target or _matches(target, layer.path)
        }
        if not matching:
            names = sorted({layer.name for layer in found.values()})
            raise InputError(
                "adapter.targets must be names of projections, or regular "
                f"expressions of their paths. Received: {target!r}. There "
                f"are: {', '.join(names)}"
            )
        chosen |= matching
    return list(chosen.values())


def _matches(pattern: str, path: str) -> bool:
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error as error:
        raise InputError(
            "adapter.targets must be names or regular expressions. Received: "
            f"{pattern!r} ({error})"
        ) from error


def _trained_themselves(
    model: CausalLM, embeddings: bool, norms: bool
) -> list[keras.Variable]:
    layers = [model.backbone.token_embedding] if embeddings else []
    if norms:
        layers += [
            layer
            for layer in model.backbone._flatten_layers()
            if "norm" in type(layer).__name__.lower()
        ]
    return [weight for layer in layers for weight in layer.weights]
