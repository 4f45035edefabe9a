"""Masks are BERT's, of whole words, and a function of seed and step."""

import numpy as np
import pytest
from testing import tiny_tokenizer
from tiny_corpus import sample_text

from keras_llm.datasets.batches import token_batch, token_signature
from keras_llm.datasets.masks import MaskedBatches, masking_of
from keras_llm.errors import InputError

LENGTH, ROWS = 64, 32


class Rows:
    """Batches of a text's tokens, one the continuation of the other."""

    def __init__(self, token_ids, held=LENGTH):
        self._token_ids = np.array(token_ids, np.int32)
        self._held = held
        self.signature = token_signature(ROWS, LENGTH)

    def __len__(self):
        return len(self._token_ids) // (ROWS * LENGTH)

    def batch(self, k):
        size = ROWS * LENGTH
        rows = self._token_ids[k * size : (k + 1) * size]
        rows = rows.reshape(ROWS, LENGTH)
        mask = np.arange(LENGTH) < np.full((ROWS, 1), self._held)
        return token_batch(rows, rows, padding_mask=mask)

    def num_tokens(self, k):
        return ROWS * LENGTH


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer(mask_token=True)


@pytest.fixture(scope="module")
def rows(tokenizer):
    # The end token stands between documents.
    end = tokenizer.end_token_id
    texts = [sample_text(60, seed) for seed in range(40)]
    return Rows([id for text in texts for id in [*tokenizer(text), end]])


def told(batches, k):
    """The tokens before and after, bool where they are to be told."""
    features, ids, weights = batches.batch(k)
    before = batches.batches.batch(k)[0]["token_ids"]
    is_told = np.zeros(before.shape, bool)
    for row in range(ROWS):
        positions = features["mask_positions"][row][weights[row] > 0]
        assert len(set(positions)) == len(positions)
        is_told[row, positions] = True
        np.testing.assert_array_equal(
            before[row, positions], ids[row][weights[row] > 0]
        )
    return before, features["token_ids"], is_told


def test_a_batch_is_a_function_of_seed_and_step(rows, tokenizer):
    masking = masking_of(tokenizer)
    first, again = (MaskedBatches(rows, masking, 3) for _ in range(2))
    one = first.batch(2)
    for k in (5, 0):
        first.batch(k)
    for before, after in zip(one, again.batch(2), strict=True):
        np.testing.assert_equal(before, after)
    for k, seed in ((2, 4), (1, 3)):
        found = MaskedBatches(rows, masking, seed).batch(k)
        assert np.any(found[0]["mask_positions"] != one[0]["mask_positions"])


def test_of_what_is_told_most_is_masked_and_some_is_not(rows, tokenizer):
    batches = MaskedBatches(rows, masking_of(tokenizer), 0)
    masked = kept = other = tokens = all_told = 0
    for k in range(len(batches)):
        before, after, is_told = told(batches, k)
        np.testing.assert_array_equal(before[~is_told], after[~is_told])
        masked += (after[is_told] == tokenizer.mask_token_id).sum()
        kept += (after[is_told] == before[is_told]).sum()
        all_told += is_told.sum()
        tokens += before.size
    other = all_told - masked - kept
    assert all_told > 3000
    assert all_told / tokens == pytest.approx(0.15, abs=0.01)
    assert masked / all_told == pytest.approx(0.8, abs=0.03)
    assert kept / all_told == pytest.approx(0.1, abs=0.02)
    assert other / all_told == pytest.approx(0.1, abs=0.02)


def test_words_are_told_whole_and_control_tokens_never(rows, tokenizer):
    batches = MaskedBatches(rows, masking_of(tokenizer), 0)
    control = [*tokenizer.control_tokens.values()]
    in_parts = 0
    for k in range(len(batches)):
        before, after, is_told = told(batches, k)
        assert not np.isin(before[is_told], control).any()
        drawn = is_told & (after != before)
        drawn &= after != tokenizer.mask_token_id
        assert not np.isin(after[drawn], control).any()
        for row, marks in zip(before, is_told, strict=True):
            text, words = "", []  # each token's word, by the text it writes
            for token in row:
                piece = tokenizer.id_to_token(int(token)).replace("▁", " ")
                if token in control:
                    piece = "\n"
                joined = text[-1:].isalnum() and piece[:1].isalnum()
                words.append(words[-1] if joined else len(words))
                text += piece
            words = np.array(words)
            for word in np.unique(words):
                inside = marks[words == word]
                in_parts += len(inside) > 1
                assert inside.all() or not inside.any()
    assert in_parts > 100


def test_padding_is_never_told(rows, tokenizer):
    short = Rows(rows._token_ids, held=20)
    batches = MaskedBatches(short, masking_of(tokenizer), 0)
    for k in range(3):
        _, _, is_told = told(batches, k)
        assert not is_told[:, 20:].any()
        assert np.all(is_told.sum(axis=1) <= 3)
        assert np.all(is_told.sum(axis=1) >= 1)


def test_the_signature_is_that_of_the_batches(rows, tokenizer):
    batches = MaskedBatches(rows, masking_of(tokenizer), 0)
    for spec, array in zip(
        [*batches.signature[0].values(), *batches.signature[1:]],
        [*batches.batch(0)[0].values(), *batches.batch(0)[1:]],
        strict=True,
    ):
        assert spec.shape == array.shape and spec.dtype == array.dtype


def test_a_tokenizer_without_a_mask_token_is_refused():
    with pytest.raises(InputError, match="--tokenizer.mask_token true"):
        masking_of(tiny_tokenizer())
