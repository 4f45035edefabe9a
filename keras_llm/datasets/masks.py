"""Batches in which words are masked, for a model to tell. Knows no model."""

from dataclasses import dataclass

import keras_hub
import numpy as np

from keras_llm.datasets.batches import ArraySpec, Batches, token_signature
from keras_llm.errors import InputError
from keras_llm.tokenizers.token_bytes import token_bytes

SHARE = 0.15  # of the tokens that are to be told,
MASKED, RANDOM = 0.8, 0.1  # and of these; the rest stay as they are
VALIDATION_SEED = 0
STREAM = 1  # other random numbers than the windows' of the same seed


@dataclass(frozen=True)
class Masking:
    """What a tokenizer's tokens are to masks.

    Args:
        mask_token_id: Stands in place of what is masked.
        is_text: bool `(vocabulary,)`. Which tokens may be masked, or drawn in
            place of others: those that are no control tokens.
        begins, ends: bool `(vocabulary,)`. Whether what a token writes begins
            or ends with a letter or digit. Two in a row that do are of one
            word.
    """

    mask_token_id: int
    is_text: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def words(self, token_ids: np.ndarray) -> np.ndarray:
        """int64, the shape of `token_ids` `(length,)`: each token's word."""
        joined = self.ends[token_ids[:-1]] & self.begins[token_ids[1:]]
        return np.concatenate([[0], np.cumsum(~joined)])


def masking_of(tokenizer: keras_hub.tokenizers.Tokenizer) -> Masking:
    """What masks need to know of a tokenizer.

    Raises:
        InputError: It has no mask token.
    """
    mask_token_id = getattr(tokenizer, "mask_token_id", None)
    if mask_token_id is None:
        raise InputError(
            "A masked language model needs a tokenizer with a mask token. "
            "Received: one without. Train it with --tokenizer.mask_token true."
        )
    written = [each.decode(errors="replace") for each in token_bytes(tokenizer)]
    is_text = np.ones(len(written), bool)
    control = {*tokenizer.control_tokens.values(), *tokenizer.special_token_ids}
    is_text[list(control)] = False
    return Masking(
        mask_token_id,
        is_text,
        is_text & [_is_letter(text[:1]) for text in written],
        is_text & [_is_letter(text[-1:]) for text in written],
    )


def _is_letter(character: str) -> bool:
    # A byte of a character is one of a letter, mostly.
    return character.isalnum() or character == "\ufffd"


class MaskedBatches:
    """Batches of whole words to tell, by the rule of BERT.

    Of each row, words are drawn until 15% of its tokens are to be told. Of
    these, 80% become the mask token, 10% another token and 10% stay (Devlin
    et al. 2019, https://arxiv.org/abs/1810.04805; whole words as in
    `create_pretraining_data.py` of https://github.com/google-research/bert).
    Batch `k` is a function of the seed, `k` and batch `k` of `batches`.

    Args:
        batches: Of unmasked tokens, all of one length; what they have for
            labels is not used.
        masking: See `masking_of`.
        seed: Decides the masks.
    """

    text_bytes = None  # only a part of the text is predicted

    def __init__(self, batches: Batches, masking: Masking, seed: int):
        self.batches = batches
        self.masking = masking
        self.seed = seed
        features, *_ = batches.signature
        self._size, self._length = features["token_ids"].shape
        self.most = _count(self._length)
        self._drawn = np.flatnonzero(masking.is_text)

    @property
    def batch_size(self) -> int:
        """Rows a batch."""
        return self._size

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def signature(self) -> tuple:
        return masked_signature(self._size, self._length, self.most)

    def batch(
        self, k: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Batch `k`, counted over all epochs.

        Returns:
            A dict of int32 `token_ids` and bool `padding_mask`, both
            `(batch_size, length)`, and int32 `mask_positions`; int32
            `mask_ids`, the tokens that were there; and float32
            `mask_weights`, 0 where a row has fewer masks. The last three are
            `(batch_size, masks)`.
        """
        features, *_ = self.batches.batch(k)
        token_ids = features["token_ids"].copy()
        sequence = np.random.SeedSequence([self.seed, int(k), STREAM])
        draw = np.random.Generator(np.random.Philox(sequence))
        positions = np.zeros((self._size, self.most), np.int32)
        ids = np.zeros_like(positions)
        weights = np.zeros(positions.shape, np.float32)
        for index, row in enumerate(token_ids):
            real = features["padding_mask"][index] & self.masking.is_text[row]
            chosen = self._choose(row, real, draw)
            positions[index, : len(chosen)] = chosen
            ids[index, : len(chosen)] = row[chosen]
            weights[index, : len(chosen)] = 1
            row[chosen] = self._replaced(row[chosen], draw)
        features = {
            "token_ids": token_ids,
            "padding_mask": features["padding_mask"],
            "mask_positions": positions,
        }
        return features, ids, weights

    def num_tokens(self, k: int) -> int:
        """Tokens of batch `k`, those that are masked included."""
        return self.batches.num_tokens(k)

    def _choose(self, row, real, draw) -> np.ndarray:
        """Positions of the words to tell, in order."""
        words = self.masking.words(row)
        sizes = np.bincount(words[real], minlength=1)
        left = room = _count(int(real.sum())) if real.any() else 0
        chosen = []
        for word in draw.permutation(np.flatnonzero(sizes)):
            if sizes[word] <= left:
                chosen.append(word)
                left -= sizes[word]
            if not left:
                break
        if not chosen:  # each word is too long: a part of one
            return np.flatnonzero(real)[:room]
        return np.flatnonzero(real & np.isin(words, chosen))

    def _replaced(self, token_ids, draw) -> np.ndarray:
        """What stands in place of tokens."""
        share = draw.random(len(token_ids))
        others = self._drawn[draw.integers(len(self._drawn), size=share.size)]
        kept = np.where(share < MASKED + RANDOM, others, token_ids)
        return np.where(share < MASKED, self.masking.mask_token_id, kept)


def masked_signature(batch_size: int, length: int, masks: int) -> tuple:
    """The signature of batches with so many masks a row."""
    features, *_ = token_signature(batch_size, length)
    shape = (batch_size, masks)
    ids = ArraySpec(shape, np.int32)
    weights = ArraySpec(shape, np.float32)
    return features | {"mask_positions": ids}, ids, weights


def _count(tokens: int) -> int:
    """Of so many tokens, those to tell."""
    return max(1, round(SHARE * tokens))
