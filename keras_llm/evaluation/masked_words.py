"""How well an encoder tells masked words, and beside what."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import keras_hub
import numpy as np

from keras_llm.datasets import EvaluationWindows, open_tokens
from keras_llm.datasets.masks import (
    VALIDATION_SEED,
    MaskedBatches,
    Masking,
    masked_signature,
    masking_of,
)
from keras_llm.datasets.tokens import TokenManifest, Tokens
from keras_llm.evaluation.loss import Evaluator
from keras_llm.models.loading import context_length

PSEUDO_TOKENS = 1024  # that are masked one at a time
READ_TOKENS = 2**20  # at once


@dataclass(frozen=True)
class MaskedEvaluation:
    """What an encoder makes of a text.

    Args:
        loss: Mean negative log-likelihood of what was masked, in nats per
            token. The masks are the same at every evaluation.
        accuracy: Share of masked tokens that were the likeliest, in [0, 1].
        num_tokens: Tokens that were masked.
        unigram_loss: On the same tokens, that of a model which knows only
            how common each token is in the train split (one is added to each
            count); `None` without that split.
        unigram_accuracy: Share of them that are the commonest token.
        pseudo_perplexity: `exp` of the mean negative log-likelihood of tokens
            that are masked one at a time, all others seen (Salazar et al.
            2020, https://arxiv.org/abs/1910.14659). No perplexity: these
            likelihoods do not make up a probability of the text.
        pseudo_bits_per_byte: The same in bits, over the bytes of a token:
            comparable between tokenizers, and never with a decoder's bits per
            byte, since each token sees what follows it.
        pseudo_tokens: Tokens that were masked so, evenly over the split.
    """

    loss: float
    accuracy: float
    num_tokens: int
    unigram_loss: float | None
    unigram_accuracy: float | None
    pseudo_perplexity: float
    pseudo_bits_per_byte: float
    pseudo_tokens: int

    def to_dict(self) -> dict:
        return asdict(self)


def masked_windows(
    tokens: Tokens, masking: Masking, sequence_length: int
) -> MaskedBatches:
    """Windows of a split in order, whose masks are always the same."""
    windows = EvaluationWindows(tokens, sequence_length)
    return MaskedBatches(windows, masking, VALIDATION_SEED)


class MaskedEvaluator:
    """Evaluates an encoder on splits of a token folder.

    Args:
        model: An encoder, whose tokenizer the folder was encoded with.
        tokens: The folder.
    """

    def __init__(self, model: keras_hub.models.MaskedLM, tokens: Path):
        self._tokens = tokens
        self._masking = masking_of(model.preprocessor.tokenizer)
        self._length = context_length(model)
        self._evaluator = Evaluator(model)
        self._counts = None
        if "train" in TokenManifest.load(tokens).splits:
            self._counts = token_counts(open_tokens(tokens, "train"))
            self._counts[~self._masking.is_text] = 0

    def evaluate(
        self, split: str, batch_size: int | None = None
    ) -> MaskedEvaluation:
        """Evaluates a split.

        Args:
            split: Its name.
            batch_size: Windows a batch.
        """
        held = open_tokens(self._tokens, split)
        masking, length = self._masking, self._length
        # The same for all, for masks are drawn by the batch.
        masked = masked_windows(held, masking, length)
        found = self._evaluator.evaluate(masked)
        rows = batch_size or masked.batch_size
        singly = OneByOne(held, masking, length, rows)
        pseudo = self._evaluator.evaluate(singly)
        # Of the text: no end tokens, which have no bytes.
        tokens_per_byte = (len(held) - held.documents) / held.text_bytes
        unigram_loss = unigram_accuracy = None
        if self._counts is not None:
            unigram_loss, unigram_accuracy = unigram(self._counts, masked)
        return MaskedEvaluation(
            loss=found.loss,
            accuracy=found.accuracy,
            num_tokens=found.num_tokens,
            unigram_loss=unigram_loss,
            unigram_accuracy=unigram_accuracy,
            pseudo_perplexity=pseudo.perplexity,
            pseudo_bits_per_byte=pseudo.loss / math.log(2) * tokens_per_byte,
            pseudo_tokens=pseudo.num_tokens,
        )


class OneByOne:
    """Rows of a split with one mask each, evenly over it.

    Each row is what lies around its mask, so many tokens before as after it.

    Args:
        tokens: Tokens of a split.
        masking: See `masking_of`; control tokens are not masked.
        sequence_length: Tokens a row.
        batch_size: Rows a batch.
        count: Most rows.
    """

    text_bytes = None

    def __init__(
        self,
        tokens: Tokens,
        masking: Masking,
        sequence_length: int,
        batch_size: int,
        count: int = PSEUDO_TOKENS,
    ):
        self._tokens, self._masking = tokens, masking
        self._length = min(sequence_length, len(tokens))
        self._size = batch_size
        places = np.linspace(0, len(tokens) - 1, min(count, len(tokens)))
        self._places = [
            place
            for place in places.astype(int)
            if masking.is_text[tokens.read(place, 1)[0]]
        ]

    def __len__(self) -> int:
        return -(-len(self._places) // self._size)

    @property
    def signature(self) -> tuple:
        return masked_signature(self._size, self._length, 1)

    def batch(self, k: int) -> tuple:
        """Batch `k`, in the form of `MaskedBatches` with one mask a row."""
        places = self._places[k * self._size : (k + 1) * self._size]
        token_ids = np.zeros((self._size, self._length), np.int32)
        positions, ids = np.zeros((2, self._size, 1), np.int32)
        weights = np.zeros((self._size, 1), np.float32)
        for row, place in enumerate(places):
            last = len(self._tokens) - self._length
            start = min(max(place - self._length // 2, 0), last)
            token_ids[row] = self._tokens.read(start, self._length)
            positions[row] = place - start
            ids[row] = token_ids[row, place - start]
            weights[row] = 1
            token_ids[row, place - start] = self._masking.mask_token_id
        features = {
            "token_ids": token_ids,
            "padding_mask": np.ones(token_ids.shape, bool),
            "mask_positions": positions,
        }
        return features, ids, weights

    def num_tokens(self, k: int) -> int:
        """Tokens of a batch."""
        return self._size * self._length


def token_counts(tokens: Tokens) -> np.ndarray:
    """int64 `(vocabulary_size,)`: how often each token is in a split."""
    counts = np.zeros(tokens.vocabulary_size, np.int64)
    for start in range(0, len(tokens), READ_TOKENS):
        read = tokens.read(start, min(READ_TOKENS, len(tokens) - start))
        counts += np.bincount(read, minlength=len(counts))
    return counts


def unigram(counts: np.ndarray, masked: MaskedBatches) -> tuple[float, float]:
    """Loss and accuracy of telling masked tokens by how common they are.

    Args:
        counts: int `(vocabulary_size,)`; one is added to each.
        masked: The masks.

    Returns:
        Nats per token, and the share of tokens that are the commonest.
    """
    nats = -np.log((counts + 1) / (counts + 1).sum())
    commonest = counts.argmax()
    loss = right = total = 0.0
    for k in range(len(masked)):
        _, ids, weights = masked.batch(k)
        loss += float((nats[ids] * weights).sum())
        right += float(((ids == commonest) * weights).sum())
        total += float(weights.sum())
    return loss / total, right / total
