"""How likely a model finds texts: continuations of contexts, whole texts.

Counted as EleutherAI's `lm_eval` does with its `hf` models, so that figures
can be compared. Knows nothing of tasks or questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError
from keras_llm.evaluation.encoding import TextEncoder
from keras_llm.generation.engines import bucket
from keras_llm.layers.cross_entropy import cross_entropy

# Tokens in the model at once: what their logits take in memory.
CHUNK_TOKENS = 2048


@dataclass(frozen=True)
class Likelihood:
    """How likely some tokens are, after those before them.

    Args:
        log_likelihood: Of all of them together, in nats.
        num_tokens: How many they are.
        is_greedy: Whether each was the likeliest token at its place.
    """

    log_likelihood: float
    num_tokens: int
    is_greedy: bool


class LikelihoodScorer:
    """Scores texts with a model, many at once.

    Rows are sorted by length and padded at the right; each token counts once,
    and sums are kept in double precision, so that a row's company does not
    change its result.

    Args:
        model: a `keras_hub.models.CausalLM` with a preprocessor.
        batch_size: Rows at once; as many as make 2048 tokens if omitted.

    Example:
        >>> scorer = LikelihoodScorer(model)
        >>> scorer.score([("The capital of France is", " Paris")])
    """

    def __init__(
        self, model: keras_hub.models.CausalLM, batch_size: int | None = None
    ):
        self.encoder = TextEncoder(model)
        self.max_length = self.encoder.max_length
        self.batch_size = batch_size

        def of_tokens(token_ids, labels, lengths):
            places = ops.arange(ops.shape(token_ids)[1], dtype="int32")
            inputs = {
                "token_ids": token_ids,
                "padding_mask": places[None] < lengths[:, None],
            }
            logits = model(inputs, training=False)
            nats = cross_entropy(labels, logits)
            likeliest = ops.cast(ops.argmax(logits, axis=-1), "int32")
            return nats, ops.equal(likeliest, labels)

        self._of_tokens = compile_function(of_tokens, model)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context.

        Args:
            pairs: Contexts, which may be empty, and continuations. See
                `TextEncoder.encode_pairs` for where tokens are divided.

        Raises:
            InputError: A continuation of no token, or of more than the
                model's context.
        """
        return self.score_tokens(self.encoder.encode_pairs(pairs))

    def score_rolling(self, texts: Sequence[str]) -> list[Likelihood]:
        """How likely each whole text is, however long it is.

        Every token is scored once, in windows of the model's context; see
        `rolling_windows`. As in `lm_eval`, the start token that the model's
        tokenizer puts before texts is scored too, after another one.

        Args:
            texts: The texts; an empty one is its start token alone, and has
                0 nats if there is none.
        """
        windows = [
            rolling_windows(ids, self.encoder.prefix_token_id, self.max_length)
            for ids in self.encoder.encode(texts)
        ]
        flat = [window for row in windows for window in row]
        parts = iter(self.score_tokens(flat))
        return [_joined([next(parts) for _ in row]) for row in windows]

    def score_tokens(
        self, rows: Sequence[tuple[list[int], list[int]]]
    ) -> list[Likelihood]:
        """How likely tokens are after others.

        What does not fit the model's context is left out at the left, as
        `lm_eval` does.

        Args:
            rows: Ids before, at least one, and ids to score.
        """
        for before, scored in rows:
            self._check(before, scored)
        wholes = [
            (before + scored)[-(self.max_length + 1) :]
            for before, scored in rows
        ]
        longest_first = sorted(
            range(len(rows)), key=lambda index: -len(wholes[index])
        )
        found: list[Likelihood | None] = [None] * len(rows)
        begin = 0
        while begin < len(rows):
            length = len(wholes[longest_first[begin]]) - 1
            width = min(bucket(length), self.max_length)
            size = self.batch_size or max(1, CHUNK_TOKENS // width)
            chosen = longest_first[begin : begin + size]
            begin += size
            counts = [len(rows[index][1]) for index in chosen]
            batch = self._batch([wholes[index] for index in chosen], width)
            scores = zip(chosen, self._scores(batch, counts), strict=True)
            for index, likelihood in scores:
                found[index] = likelihood
        return found

    def _batch(self, wholes, width):
        """int32 ids and labels `(rows, width)`, and lengths `(rows,)`.

        There are a power of two of rows, so that few sizes are compiled.
        """
        size = bucket(len(wholes), least=1)
        token_ids = np.zeros((size, width), "int32")
        labels = np.zeros((size, width), "int32")
        lengths = np.ones(size, "int32")
        for row, ids in enumerate(wholes):
            lengths[row] = len(ids) - 1
            token_ids[row, : len(ids) - 1] = ids[:-1]
            labels[row, : len(ids) - 1] = ids[1:]
        return token_ids, labels, lengths

    def _scores(self, batch, counts):
        """Yields the likelihood of the last tokens of each row."""
        outputs = self._of_tokens(*map(ops.convert_to_tensor, batch))
        nats, likeliest = map(ops.convert_to_numpy, outputs)
        for row, count in enumerate(counts):
            end = batch[2][row]
            places = slice(end - count, end)
            total = nats[row, places].sum(dtype="float64")
            greedy = bool(likeliest[row, places].all())
            yield Likelihood(-float(total), count, greedy)

    def _check(self, before, scored):
        if not 0 < len(scored) <= self.max_length:
            raise InputError(
                "A text to score must have at least one token of its own, and "
                f"no more than the model's context, {self.max_length}. "
                f"Received: one of {len(scored)} tokens"
            )
        if not before:
            raise InputError(
                "A text can be scored after at least one token. Received: none"
            )


def rolling_windows(
    token_ids: list[int], prefix_token_id: int, max_length: int
) -> list[tuple[list[int], list[int]]]:
    """Cuts a text into windows that score every token once.

    The windows of `lm_eval`: the first begins with the prefix token; those
    after it are full too, the last one with tokens that were scored already.

    Args:
        token_ids: The text.
        prefix_token_id: What stands before it.
        max_length: Tokens that the model takes at once.

    Returns:
        Ids before, and ids to score, of each window.

    Example:
        >>> rolling_windows([1, 2, 3, 4, 5], 0, 3)
        [([0], [1, 2, 3]), ([2, 3], [4, 5])]
    """
    windows = []
    for begin in range(0, len(token_ids), max_length):
        end = min(begin + max_length, len(token_ids))
        before = token_ids[max(end - max_length - 1, 0) : begin]
        windows.append((before or [prefix_token_id], token_ids[begin:end]))
    return windows


def _joined(parts: list[Likelihood]) -> Likelihood:
    return Likelihood(
        math.fsum(part.log_likelihood for part in parts),
        sum(part.num_tokens for part in parts),
        all(part.is_greedy for part in parts),
    )
