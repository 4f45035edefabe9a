"""Optimizers from settings."""

from collections.abc import Callable

import keras

from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training.muon import BatchedMuon
from keras_llm.training.schedules import WarmupSchedule
from keras_llm.training.summed_gradients import SGD, Adam, AdamW

Schedule = Callable[
    [TrainingSettings, float], keras.optimizers.schedules.LearningRateSchedule
]


def warmup_schedule(settings: TrainingSettings, peak: float) -> WarmupSchedule:
    """The learning rate over a run, as the settings say."""
    return WarmupSchedule(
        peak,
        settings.steps,
        warmup_steps=settings.warmup_steps,
        shape=settings.schedule,
        decay_share=settings.decay_share,
        final_share=settings.final_learning_rate_share,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
    )


def make_optimizer(
    settings: TrainingSettings,
    model: keras.Model,
    schedule: Schedule = warmup_schedule,
) -> keras.optimizers.Optimizer:
    """The optimizer that the settings describe.

    Weight decay is left out of everything but matrices, and of embeddings.
    """
    peak = settings.learning_rate
    shared = {
        "global_clipnorm": settings.global_clipnorm or None,
        "gradient_accumulation_steps": (
            settings.gradient_accumulation_steps
            if settings.gradient_accumulation_steps > 1
            else None
        ),
    }
    betas = {"beta_1": settings.beta_1, "beta_2": settings.beta_2}
    decay = {"weight_decay": settings.weight_decay or None}
    if settings.optimizer == "muon":
        optimizer = BatchedMuon(
            schedule(settings, settings.muon_learning_rate),
            adam_lr_ratio=peak / settings.muon_learning_rate,
            adam_beta_1=settings.beta_1,
            adam_beta_2=settings.beta_2,
            adam_weight_decay=settings.weight_decay or None,
            **decay,
            **shared,
        )
    elif settings.optimizer == "sgd":
        optimizer = SGD(
            schedule(settings, peak),
            momentum=settings.beta_1,
            **decay,
            **shared,
        )
    elif settings.optimizer == "adam":
        optimizer = Adam(schedule(settings, peak), **betas, **shared)
    else:
        optimizer = AdamW(
            schedule(settings, peak),
            **betas,
            weight_decay=settings.weight_decay,
            **shared,
        )
    optimizer.exclude_from_weight_decay(
        var_list=[
            variable
            for variable in model.trainable_variables
            if len(variable.shape) != 2 or "embedding" in variable.path
        ]
    )
    return optimizer


def current_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate of the next update; for Muon, that of AdamW's part."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return float(inner.learning_rate) * getattr(inner, "adam_lr_ratio", 1.0)
