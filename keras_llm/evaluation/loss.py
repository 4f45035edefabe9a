"""Loss, perplexity, bits per byte and accuracy over a whole split."""

import math
from dataclasses import asdict, dataclass
from itertools import islice

import keras
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.datasets import EvaluationWindows, Tokens


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a text.

    Args:
        loss: Mean negative log-likelihood, in nats per token.
        perplexity: `exp(loss)`.
        bits_per_byte: Total negative log-likelihood in bits, over the bytes
            of UTF-8 text: comparable between tokenizers. `None` where only a
            part of the split was read.
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
    """Reads a split in windows and sums over tokens, in one pass.

    Every token is predicted exactly once. Sums are kept in double precision
    and divided once, so that the batch size does not change the result.

    Args:
        model: a `keras_hub.models.CausalLM`.
        sequence_length: Tokens a window; the context a prediction may use.
        batch_size: Windows a batch; as many as make 4096 tokens if omitted.
    """

    def __init__(
        self,
        model: keras.Model,
        sequence_length: int,
        batch_size: int | None = None,
    ):
        self.sequence_length = sequence_length
        self.batch_size = batch_size or max(1, 4096 // sequence_length)

        def sums(token_ids, labels, weights):
            inputs = {"token_ids": token_ids, "padding_mask": weights > 0}
            logits = ops.cast(model(inputs, training=False), "float32")
            nats = keras.losses.sparse_categorical_crossentropy(
                labels, logits, from_logits=True
            )
            right = ops.equal(ops.cast(ops.argmax(logits, -1), "int32"), labels)
            right = ops.cast(right, "float32")
            return ops.sum(nats * weights), ops.sum(right * weights)

        self._sums = compile_function(sums, model)

    def evaluate(
        self, tokens: Tokens, max_batches: int | None = None
    ) -> Evaluation:
        """Evaluates a split, or its first `max_batches` batches.

        Args:
            tokens: The split's tokens.
            max_batches: Where to stop; at the end if omitted.
        """
        windows = EvaluationWindows(
            tokens, self.sequence_length, self.batch_size
        )
        nats = right = count = 0.0
        for index in islice(range(len(windows)), max_batches):
            batch = windows.batch(index)
            batch_nats, batch_right = self._sums(
                *map(ops.convert_to_tensor, batch)
            )
            nats += float(batch_nats)
            right += float(batch_right)
            count += float(np.sum(batch[2], dtype="float64"))
        whole = max_batches is None or max_batches >= len(windows)
        bits = nats / math.log(2)
        return Evaluation(
            loss=nats / count,
            perplexity=math.exp(min(nats / count, 700.0)),
            bits_per_byte=bits / tokens.text_bytes if whole else None,
            accuracy=right / count,
            num_tokens=int(count),
        )
