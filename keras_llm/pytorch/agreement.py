"""How far a model and its twin are apart, on the same batches.

Knows nothing of files. The Keras side runs on whichever backend Keras has.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import torch
from keras import ops
from torch import nn

from keras_llm.models import ScratchCausalLM, ScratchMaskedLM
from keras_llm.pytorch.optimizers import TwinTraining, twin_loss
from keras_llm.pytorch.weights import to_pytorch, weights_of
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.registration import register
from keras_llm.training import compile_for_training

# Token ids and labels; of an encoder, labels are `NOT_ASKED` but at masks.
Batch = tuple[np.ndarray, np.ndarray]
NOT_ASKED = -100  # what PyTorch's cross-entropy leaves out


@dataclass(frozen=True)
class Difference:
    """How far an array is from its twin.

    Args:
        greatest: Of the absolute differences.
        mean: Of the absolute differences.
        relative: Norm of the difference over the norm of the twin.
        norm: Norm of the twin.
    """

    greatest: float
    mean: float
    relative: float
    norm: float


def difference(ours, theirs, least_norm: float = 0.0) -> Difference:
    """The difference of two arrays of one shape.

    Args:
        ours, theirs: The array and its twin.
        least_norm: What the norm of the difference is at least divided by.

    Raises:
        ValueError: The shapes differ.
    """
    ours, theirs = (np.asarray(each, "float64") for each in (ours, theirs))
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.shape} is not the shape {theirs.shape}")
    apart = np.abs(ours - theirs)
    distance, norm = (float(np.linalg.norm(each)) for each in (apart, theirs))
    divisor = max(norm, float(least_norm))
    relative = distance / divisor if divisor else math.inf
    return Difference(
        float(apart.max()),
        float(apart.mean()),
        relative if distance else 0.0,
        norm,
    )


def compare_outputs(
    model: ScratchCausalLM, twin: nn.Module, token_ids: np.ndarray
) -> dict[str, Difference]:
    """Differences of every layer's outputs, the logits last.

    Args:
        model: The model.
        twin: Its twin.
        token_ids: int32 `(batch, length)`.
    """
    theirs = _twin_outputs(twin, token_ids)
    ours = _model_outputs(model, token_ids)
    return {name: difference(ours[name], theirs[name]) for name in ours}


def _model_outputs(model, token_ids):
    backbone = model.backbone
    x = backbone.embedding(ops.convert_to_tensor(token_ids, "int32"))
    outputs = {"embedding": x}
    for index, block in enumerate(backbone.blocks):
        x = outputs[f"blocks.{index}"] = block(x)
    outputs["final_norm"] = backbone.final_norm(x)
    outputs["logits"] = model(model_inputs(model, token_ids))
    return {
        name: ops.convert_to_numpy(output) for name, output in outputs.items()
    }


@torch.no_grad()
def _twin_outputs(twin, token_ids):
    outputs, hooks = {}, []

    def keep(name):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            outputs[name] = output.numpy()

        return hook

    for name, module in twin.named_modules():
        is_block = name.startswith("blocks.") and name.count(".") == 1
        if is_block or name in ("embedding", "final_norm"):
            hooks.append(module.register_forward_hook(keep(name)))
    try:
        outputs["logits"] = twin(torch.from_numpy(token_ids).long()).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def model_inputs(model: keras.Model, token_ids: np.ndarray):
    """What a model takes, with a mask of nothing.

    An encoder is asked at every position.
    """
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    if isinstance(model, ScratchMaskedLM):
        everywhere = np.arange(token_ids.shape[1], dtype="int32")
        positions = np.broadcast_to(everywhere, token_ids.shape)
        return inputs | {"mask_positions": positions}
    return inputs


def model_batch(model: keras.Model, batch: Batch) -> tuple:
    """A batch as `train_on_batch` takes it: an encoder is asked at masks."""
    token_ids, labels = batch
    inputs = model_inputs(model, token_ids)
    if not isinstance(model, ScratchMaskedLM):
        return inputs, labels
    asked = labels != NOT_ASKED
    # Those first, in their order; of rows with fewer the rest has no weight.
    most = max(1, int(asked.sum(axis=1).max()))
    positions = np.argsort(~asked, axis=1, kind="stable")[:, :most]
    told, weights = (
        np.take_along_axis(each, positions, axis=1) for each in (labels, asked)
    )
    inputs["mask_positions"] = positions.astype("int32")
    return inputs, np.where(weights, told, 0), weights.astype("float32")


@register
class GradientKeeper(keras.optimizers.Optimizer):
    """Keeps the gradients of a step, and changes no weight.

    So they are those of `fit`, on any backend.
    """

    def __init__(self, **kwargs):
        super().__init__(learning_rate=0.0, **kwargs)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.kept = self.add_optimizer_variables(variables, "gradient")

    def update_step(self, gradient, variable, learning_rate):
        kept = self.kept[self._get_variable_index(variable)]
        # Added, for a table's may be a list of rows with some tokens twice.
        self.assign(kept, ops.zeros(kept.shape, kept.dtype))
        self.assign_add(kept, gradient)


def model_gradients(
    model: keras.Model, batch: Batch
) -> tuple[float, list[np.ndarray]]:
    """The loss of a batch, and gradients in the order of `weights_of`."""
    settings = TrainingSettings(jit_compile=False)
    compile_for_training(model, settings)
    keeper = GradientKeeper()
    model.compile(
        optimizer=keeper,
        loss=model.loss,
        jit_compile=False,
    )
    loss = model.train_on_batch(*model_batch(model, batch))
    kept = {
        variable.path: ops.convert_to_numpy(gradient)
        for variable, gradient in zip(
            model.trainable_variables, keeper.kept, strict=True
        )
    }
    loss = float(np.ravel(loss)[0])
    return loss, [kept[each.variable.path] for each in weights_of(model)]


def compare_gradients(
    model: keras.Model, twin: nn.Module, batch: Batch, least_share: float
) -> tuple[tuple[float, float], dict[str, Difference]]:
    """Losses of one batch, ours first, and differences of all gradients.

    Args:
        model: The model; it is compiled anew.
        twin: Its twin.
        batch: `token_ids` and `labels`.
        least_share: A gradient is measured against its own norm, or against
            this share of the norm of all gradients if that is more: a key's
            bias, say, has a gradient of nothing but rounding errors, for a
            softmax does not see it.
    """
    loss, gradients = model_gradients(model, batch)
    twin.zero_grad(set_to_none=True)
    token_ids, labels = (torch.from_numpy(each).long() for each in batch)
    twin_value = twin_loss(twin, token_ids, labels)
    twin_value.backward()
    theirs = {
        name: weight.grad.numpy()
        for name, weight in twin.named_parameters()
        if weight.requires_grad
    }
    norm = np.sqrt(sum(np.square(each).sum() for each in theirs.values()))
    differences = {
        weight.name: difference(
            weight.to_pytorch(gradient), theirs[weight.name], least_share * norm
        )
        for weight, gradient in zip(weights_of(model), gradients, strict=True)
    }
    return (loss, float(twin_value.detach())), differences


@dataclass(frozen=True)
class Training:
    """Two runs on the same batches.

    Args:
        ours: Loss of every step, in nats per token.
        theirs: The same of the twin.
        parameters: Differences afterwards, by name.
        all_parameters: The same of all parameters together.
    """

    ours: list[float]
    theirs: list[float]
    parameters: dict[str, Difference]
    all_parameters: Difference


def compare_training(
    model: keras.Model,
    twin: nn.Module,
    settings: TrainingSettings,
    batches: Sequence[Batch],
) -> Training:
    """Trains both on the same batches from the same weights.

    Args:
        model: The model; afterwards it has the weights that it had.
        twin: Its twin, which is not changed.
        settings: How to train, one batch an update.
        batches: One a step.
    """
    before = model.get_weights()
    twin = copy.deepcopy(twin).train()
    compile_for_training(model, settings)
    training = TwinTraining(twin, settings)
    ours, theirs = [], []
    for batch in batches:
        loss = model.train_on_batch(*model_batch(model, batch))
        ours.append(float(np.ravel(loss)[0]))
        both = (torch.from_numpy(each).long() for each in batch)
        theirs.append(training.step(*both))
    trained, state = to_pytorch(model), twin.state_dict()
    parameters = {
        weight.name: difference(trained[weight.name], state[weight.name])
        for weight in weights_of(model)
    }
    together = difference(
        *(
            np.concatenate([each[name].numpy().ravel() for name in parameters])
            for each in (trained, state)
        )
    )
    model.set_weights(before)
    return Training(ours, theirs, parameters, together)
