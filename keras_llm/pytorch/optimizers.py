"""The optimizers of Keras in PyTorch, step for step.

Three details differ between the libraries, each enough to part two runs: where
AdamW's epsilon stands, whether SGD's momentum holds the learning rate, and how
the norm is clipped.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from keras_llm.errors import InputError
from keras_llm.recipes.settings import TrainingSettings

EPSILON = 1e-7  # Keras's default; PyTorch's is 1e-8


class KerasAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` with the epsilon where Keras puts it.

    Keras adds it to the root of the second moment before that is corrected
    for its bias, PyTorch afterwards.

    Args:
        params: Parameters, or groups of them.
        **kwargs: forwarded to `torch.optim.AdamW`.
    """

    def __init__(self, params: Iterable, **kwargs):
        super().__init__(params, **kwargs)
        self.updates = 0

    def step(self, closure=None):
        self.updates += 1
        for group in self.param_groups:
            correction = 1 - group["betas"][1] ** self.updates
            group["eps"] = EPSILON / math.sqrt(correction)
        return super().step(closure)


class KerasSGD(torch.optim.Optimizer):
    """`keras.optimizers.SGD`: the momentum is of steps, not of gradients.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Decay of the momentum.
        weight_decay: Decoupled from the gradient.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            rate = group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - rate * group["weight_decay"])
                state = self.state[weight]
                step = state.setdefault("step", torch.zeros_like(weight))
                step.mul_(group["momentum"]).sub_(weight.grad * rate)
                weight.add_(step)


def make_twin_optimizer(
    settings: TrainingSettings, twin: nn.Module
) -> torch.optim.Optimizer:
    """What `make_optimizer` makes, for a twin.

    Raises:
        InputError: An optimizer that has no twin.
    """
    decayed, rest = [], []
    for name, weight in twin.named_parameters():
        if weight.requires_grad:
            is_table = "embedding" in name or name == "head.weight"
            is_decayed = weight.dim() == 2 and not is_table
            (decayed if is_decayed else rest).append(weight)
    decay = settings.weight_decay if settings.optimizer != "adam" else 0.0
    groups = [
        {"params": decayed, "weight_decay": decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer in ("adamw", "adam"):
        betas = (settings.beta_1, settings.beta_2)
        return KerasAdamW(groups, lr=settings.learning_rate, betas=betas)
    if settings.optimizer == "sgd":
        rate, momentum = settings.learning_rate, settings.beta_1
        return KerasSGD(groups, lr=rate, momentum=momentum)
    raise InputError(
        "The optimizer must be adamw, adam or sgd to have a twin in PyTorch. "
        f"Received: {settings.optimizer!r}"
    )


def learning_rate(settings: TrainingSettings, update: int) -> float:
    """The rate of an update, counted from 0: what `WarmupSchedule` gives."""
    warmup = min(1.0, (update + 1) / max(1, settings.warmup_steps))
    peak = settings.learning_rate * warmup
    if settings.schedule == "constant":
        return peak
    begin = settings.warmup_steps
    if settings.schedule == "warmup_stable_decay":
        stable = round(settings.steps * (1 - settings.decay_share))
        begin = max(begin, stable)
    progress = (update - begin) / max(1, settings.steps - begin)
    progress = min(1.0, max(0.0, progress))
    if settings.schedule == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return peak * (1 - progress * (1 - settings.final_learning_rate_share))


def clip_by_global_norm(gradients: list[Tensor], greatest: float) -> None:
    """Scales gradients together, in place, as Keras does."""
    norm = torch.sqrt(sum(each.square().sum() for each in gradients))
    for gradient in gradients:
        gradient.mul_(greatest / norm.clamp(min=greatest))


class TwinTraining:
    """Trains a twin as `compile_for_training` and `fit` train the original.

    Args:
        twin: The model; its weights are changed.
        settings: How to train; `gradient_accumulation_steps` is 1.
    """

    def __init__(self, twin: nn.Module, settings: TrainingSettings):
        self.twin, self.settings = twin, settings
        self.optimizer = make_twin_optimizer(settings, twin)
        self.updates = 0
        self.weights = [w for w in twin.parameters() if w.requires_grad]

    def step(self, token_ids: Tensor, labels: Tensor) -> float:
        """One update; returns the loss before it, in nats per token.

        Args:
            token_ids: int64 `(batch, length)`.
            labels: int64 `(batch, length)`, or `(batch,)` for a model of the
                last step.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = twin_loss(self.twin, token_ids, labels)
        loss.backward()
        if self.settings.global_clipnorm:
            gradients = [w.grad for w in self.weights if w.grad is not None]
            clip_by_global_norm(gradients, self.settings.global_clipnorm)
        rate = learning_rate(self.settings, self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.updates += 1
        return float(loss.detach())


def twin_loss(twin: nn.Module, token_ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of all labels that are no -100, in nats."""
    logits = twin(token_ids)
    return nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten().long()
    )
