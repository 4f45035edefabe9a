"""Tiny models of four kinds, and adapters of random values for them."""

import keras
import numpy as np
from stock_models import stock_model
from testing import tiny_model

from keras_llm.models import add_adapter
from keras_llm.models.lora import adapted_layers

KINDS = {
    "GPT2": lambda: stock_model.__wrapped__("GPT2"),
    "Llama3": lambda: stock_model.__wrapped__("Llama3"),
    "gru": lambda: tiny_model("gru", use_bias=True, activation="swiglu"),
    "mixed": lambda: tiny_model(["gru", "attention"]),
}
IDS = np.random.default_rng(0).integers(8, 200, (2, 12), "int32")


def outputs(model, ids=IDS):
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    return keras.ops.convert_to_numpy(model(inputs))


def adapted(model, seed=1, deviation=0.2, **options):
    """A model with an adapter, whose every weight is random."""
    plain = outputs(model)
    add_adapter(model, **{"rank": 2, "alpha": 3.0, **options})
    draw = np.random.default_rng(seed)
    for layer in adapted_layers(model).values():
        for factor in (layer.lora_kernel_a, layer.lora_kernel_b):
            factor.assign(draw.normal(0, deviation, factor.shape))
    for weight in model.trainable_weights:
        if "lora_kernel" not in weight.path:
            noise = draw.normal(0, 0.1, weight.shape)
            weight.assign_add(noise.astype("float32"))
    assert np.abs(outputs(model) - plain).max() > 0.1
    return model


def fit(model, learning_rate=1e-2, epochs=6):
    model.preprocessor, preprocessor = None, model.preprocessor
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sampler="greedy",
        run_eagerly=True,
    )
    inputs = {"token_ids": IDS[:, :-1], "padding_mask": IDS[:, 1:] >= 0}
    history = model.fit(inputs, IDS[:, 1:], epochs=epochs, verbose=0)
    model.preprocessor = preprocessor
    return history.history["loss"]


def values(model):
    """All weights of a model but factors, by path."""
    return {
        weight.path: keras.ops.convert_to_numpy(weight)
        for weight in model.weights
        if "lora_kernel" not in weight.path
    }
