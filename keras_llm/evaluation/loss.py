"""Loss, perplexity, bits per byte and accuracy over a whole split."""

import math
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Protocol

import keras
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.datasets import Batches
from keras_llm.layers.cross_entropy import cross_entropy
from keras_llm.recipes.checks import check_stateful


class EvaluationBatches(Batches, Protocol):
    """Weighted batches, those of an epoch.

    Args:
        text_bytes: UTF-8 bytes of the text that they hold, where all of it
            counts, or `None`.
    """

    text_bytes: int | None


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a text.

    Args:
        loss: Mean negative log-likelihood, in nats per token.
        perplexity: `exp(loss)`.
        bits_per_byte: Total negative log-likelihood in bits, over the bytes
            of UTF-8 text: comparable between tokenizers. `None` where only a
            part of the text was read or counts.
        accuracy: Share of tokens that were the likeliest, in [0, 1].
        num_tokens: Tokens predicted, each document's end token included.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    accuracy: float
    num_tokens: int

    def to_dict(self) -> dict:
        return asdict(self)


class Evaluator:
    """Sums over the tokens of all batches, in one pass.

    Sums are kept in double precision and divided once, so that the batch size
    does not change the result.

    Args:
        model: a `keras_hub.models.CausalLM`.
    """

    def __init__(self, model: keras.Model):
        def sums(features, labels, weights):
            return _sums(model(features, training=False), labels, weights)

        self._sums = compile_function(sums, model)

    def evaluate(
        self, batches: EvaluationBatches, max_batches: int | None = None
    ) -> Evaluation:
        """Evaluates a split, or its first `max_batches` batches.

        Args:
            batches: Of the split; every token that counts is a label once.
            max_batches: Where to stop; at the end if omitted.
        """
        nats = right = count = 0.0
        for index in islice(range(len(batches)), max_batches):
            batch = batches.batch(index)
            batch_nats, batch_right = self._of_batch(
                *keras.tree.map_structure(ops.convert_to_tensor, batch)
            )
            nats += float(batch_nats)
            right += float(batch_right)
            count += float(np.sum(batch[-1], dtype="float64"))
        whole = max_batches is None or max_batches >= len(batches)
        text_bytes = batches.text_bytes if whole else None
        bits = nats / math.log(2)
        return Evaluation(
            loss=nats / count,
            perplexity=math.exp(min(nats / count, 700.0)),
            bits_per_byte=bits / text_bytes if text_bytes else None,
            accuracy=right / count,
            num_tokens=int(count),
        )

    def _of_batch(self, features, labels, weights):
        return self._sums(features, labels, weights)


class StatefulEvaluator(Evaluator):
    """An `Evaluator` that carries the state of each row to the next batch.

    Args:
        model: a `ScratchCausalLM` without attention or learned positions.

    Raises:
        InputError: a model that has no such state.
    """

    def __init__(self, model: keras.Model):
        check_carries(model)

        def sums(cache, features, labels, weights):
            logits, _, cache = model.call_with_cache(
                features["token_ids"], cache, None, features["padding_mask"]
            )
            return _sums(logits, labels, weights), cache

        self._model = model
        self._sums = compile_function(sums, model)

    def evaluate(
        self, batches: EvaluationBatches, max_batches: int | None = None
    ) -> Evaluation:
        """See `Evaluator.evaluate`; takes `EvaluationStreams`."""
        self._cache = self._model.initial_cache(batches.batch_size, 1)
        return super().evaluate(batches, max_batches)

    def _of_batch(self, features, labels, weights):
        sums, self._cache = self._sums(self._cache, features, labels, weights)
        return sums


def check_carries(model: keras.Model) -> None:
    """Raises `InputError` if a model has no state that goes on."""
    backbone = model.backbone
    types = getattr(backbone, "block_types", ["attention"])
    positions = getattr(backbone, "position_embedding", "learned")
    check_stateful(types, positions, "stateful")


def _sums(logits, labels, weights):
    """Nats, and right guesses, of a batch."""
    nats = cross_entropy(labels, logits)
    right = ops.equal(ops.cast(ops.argmax(logits, -1), "int32"), labels)
    right = ops.cast(right, "float32")
    return ops.sum(nats * weights), ops.sum(right * weights)
