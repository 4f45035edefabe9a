"""Training whose state goes on from batch to batch."""

import keras
from keras import ops

from keras_llm.evaluation.loss import check_carries
from keras_llm.models import ScratchCausalLM


class StatefulCausalLM(keras.Model):
    """What `fit` trains where the state is carried from window to window.

    Row `i` of a batch begins with the state that row `i` of the one before
    ended with, and gradients end where the batch begins: truncated
    back-propagation through time (Williams and Peng 1990,
    https://doi.org/10.1162/neco.1990.2.4.490). The weights are those of the
    model, which knows nothing of it.

    Args:
        model: a `ScratchCausalLM` without attention or learned positions.
        batch_size: int. Rows of every batch.

    Call arguments:
        inputs: dict of int32 `token_ids` `(batch_size, length)`; without
            padding.

    Returns:
        float logits `(batch_size, length, vocabulary_size)`.

    Attributes:
        states: list of variables, zero before the first batch.

    Raises:
        InputError: a model that has no such state.
    """

    def __init__(self, model: ScratchCausalLM, batch_size: int):
        super().__init__(name=model.name, dtype=model.dtype_policy)
        check_carries(model)
        self.backbone = model.backbone
        self._caches = model.initial_cache(batch_size, 1)
        self.states = [
            self.add_weight(
                shape=each.shape,
                initializer="zeros",
                dtype=keras.backend.standardize_dtype(each.dtype),
                trainable=False,
                autocast=False,
                name="state",
            )
            for each in keras.tree.flatten(self._caches)
        ]
        self.built = True

    def call(self, inputs, training=None):
        # Copies, for PyTorch writes into what its gradients need.
        states = [ops.copy(state) for state in self.states]
        caches = keras.tree.pack_sequence_as(self._caches, states)
        x = self.backbone.embedding(inputs["token_ids"], training=training)
        after = []
        for block, cache in zip(self.backbone.blocks, caches, strict=True):
            x, cache = block(x, cache=cache, training=training)
            after.append(cache)
        for state, value in zip(
            self.states, keras.tree.flatten(after), strict=True
        ):
            state.assign(value)
        x = self.backbone.final_norm(x)
        return self.backbone.embedding(x, reverse=True)
