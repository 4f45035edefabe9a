"""Cross-entropy and its gradient beside Keras' own, without and with XLA.

Usage: python scripts/benchmark_loss.py [--tokens 4096] [--vocabulary 4096]
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from benchmark_blocks import in_turns

from keras_llm.layers.cross_entropy import lean_cross_entropy


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tokens", type=int, default=4096)
    options.add_argument("--vocabulary", type=int, default=4096)
    options.add_argument("--rounds", type=int, default=9)
    values = options.parse_args()
    draw = np.random.default_rng(0)
    shape = (values.tokens, values.vocabulary)
    logits = tf.constant(draw.normal(size=shape), "float32")
    labels = tf.constant(draw.integers(0, shape[1], shape[0]), "int32")
    steps = {
        f"{name}{', XLA' if jit_compile else ''}": step_of(
            function, labels, logits, jit_compile
        )
        for jit_compile in (False, True)
        for name, function in (("Keras", kerases), ("ours", lean_cross_entropy))
    }
    for name, seconds in in_turns(steps, values.rounds).items():
        print(f"{name:<12} {1000 * seconds:6.1f} ms")


def kerases(labels, logits):
    return keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )


def step_of(function, labels, logits, jit_compile: bool):
    """A function that computes mean and gradient."""

    @tf.function(jit_compile=jit_compile)
    def step(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_mean(function(labels, logits))
        return loss, tape.gradient(loss, logits)

    return lambda: step(logits)[0].numpy()


if __name__ == "__main__":
    main()
