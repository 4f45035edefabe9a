"""Texts with masks in, and what may stand there out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError
from keras_llm.models.loading import context_length
from keras_llm.recipes.checks import check, check_unicode

WRITTEN = "[MASK]"  # how a mask is typed
SPACES = " \u2581\u0120"  # as tokenizers write it


@dataclass(frozen=True)
class Candidate:
    """A token for a mask.

    Args:
        token: What it writes, the space before it included.
        token_id: Its id.
        probability: Among all tokens that are no control tokens.
    """

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class Filled:
    """A text and what may stand at its masks.

    Args:
        text: With the likeliest token at each mask.
        masks: The likeliest tokens of each mask, best first. Each is told
            with all masks there, so that two side by side need not fit.
    """

    text: str
    masks: list[list[Candidate]]


class MaskFiller:
    """Tells what may stand at `[MASK]` in texts.

    A mask is one token. A space before it is of the token, where tokens
    begin with spaces.

    Args:
        model: any `keras_hub.models.MaskedLM` with a preprocessor.

    Attributes:
        context: int. Tokens that a text may have, those at its ends included.
        pattern: str. What is replaced by a mask token, a regular expression.
        is_control: bool `(vocabulary,)`. Which tokens are no candidates.

    Raises:
        InputError: Another model.

    Example:
        >>> MaskFiller(model).fill(["The cat [MASK] on the mat."])[0].text
        'The cat sat on the mat.'
    """

    def __init__(self, model: keras_hub.models.MaskedLM):
        is_masked = isinstance(model, keras_hub.models.MaskedLM)
        if not is_masked or model.preprocessor is None:
            raise InputError(
                "Masks are filled by a keras_hub.models.MaskedLM with a "
                f"preprocessor. Received: {type(model).__name__}"
            )
        self.model = model
        self.tokenizer = model.preprocessor.tokenizer
        self.context = context_length(model)
        vocabulary = self.tokenizer.get_vocabulary()
        has_spaces = any(
            len(token) > 1 and token[0] in SPACES for token in vocabulary
        )
        self.pattern = " ?" * has_spaces + re.escape(WRITTEN)
        control = {*self.tokenizer.special_token_ids}
        control |= {*getattr(self.tokenizer, "control_tokens", {}).values()}
        unknown = getattr(self.tokenizer, "oov_token", None)
        if unknown is not None:
            control.add(self.tokenizer.token_to_id(unknown))
        self.is_control = np.isin(np.arange(len(vocabulary)), [*control])

        def logits(features):
            return ops.cast(model(features, training=False), "float32")

        self._logits = compile_function(logits, model)

    def fill(self, texts: Sequence[str], top_k: int = 5) -> list[Filled]:
        """What may stand at the masks of each text.

        Args:
            texts: Each with at least one `[MASK]`.
            top_k: Candidates for each mask.

        Raises:
            InputError: A text without a mask, or longer than the context.
        """
        check(top_k >= 1, "top_k", "at least 1", top_k)
        rows = [self.encode(text) for text in texts]
        return [self._filled(*row, top_k) for row in rows]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids with masks, and the positions of these.

        Args:
            text: As it is typed: only `[MASK]` becomes the mask token.

        Raises:
            InputError: No mask, or more tokens than the context.
        """
        check_unicode("A text", text)
        parts = re.split(self.pattern, text)
        if len(parts) == 1:
            raise InputError(
                f"The text must have a {WRITTEN}, where a token is to be "
                f"told. Received: {text[:200]!r}"
            )
        tokenizer = self.tokenizer
        ids, positions = [tokenizer.start_token_id], []
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            if part:
                ids += [int(token) for token in tokenizer(part)]
            if not is_last:
                positions.append(len(ids))
                ids.append(tokenizer.mask_token_id)
        ids.append(tokenizer.end_token_id)
        if len(ids) > self.context:
            raise InputError(
                f"The text has {len(ids)} tokens, the one at its start and "
                f"the one at its end included; the model takes {self.context}."
                " Pass a shorter text."
            )
        return ids, positions

    def probabilities(
        self, ids: Sequence[int], positions: Sequence[int]
    ) -> np.ndarray:
        """Of each token at each position; 0 of control tokens.

        Returns:
            float32 `(len(positions), vocabulary_size)`.
        """
        # Powers of two, so that another text is seldom compiled anew.
        length = min(self.context, 1 << (len(ids) - 1).bit_length())
        masks = 1 << (len(positions) - 1).bit_length()
        features = {
            name: np.zeros((1, length), "int32") for name in self.model.input
        }
        features["token_ids"][0, : len(ids)] = ids
        features["padding_mask"][0, : len(ids)] = 1
        features["mask_positions"] = np.zeros((1, masks), "int32")
        features["mask_positions"][0, : len(positions)] = positions
        inputs = {k: ops.convert_to_tensor(v) for k, v in features.items()}
        logits = np.array(ops.convert_to_numpy(self._logits(inputs)))
        logits = logits[0, : len(positions)]
        logits[:, self.is_control] = -np.inf
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return odds / odds.sum(axis=-1, keepdims=True)

    @property
    def written(self) -> list[str]:
        """What each token writes, by id; of control tokens nothing."""
        rows = [[token] for token in range(len(self.is_control))]
        texts = self.tokenizer.detokenize(rows)
        pairs = zip(texts, self.is_control, strict=True)
        return ["" if is_control else str(text) for text, is_control in pairs]

    def _filled(self, ids, positions, top_k) -> Filled:
        found = self.probabilities(ids, positions)
        masks = []
        for position, row in zip(positions, found, strict=True):
            best = np.argsort(-row, kind="stable")[:top_k]
            masks.append([self._candidate(token, row) for token in best])
            ids[position] = masks[-1][0].token_id
        text = self.tokenizer.detokenize(ids[1:-1])
        return Filled(str(text), masks)

    def _candidate(self, token: int, row: np.ndarray) -> Candidate:
        token = int(token)
        written = str(self.tokenizer.detokenize([token]))
        return Candidate(written, token, float(row[token]))
