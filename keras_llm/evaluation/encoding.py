"""Texts to the token ids that a model is scored with.

They are those of `AutoTokenizer` on the exported model: start token, byte
pairs as published, and contexts divided from continuations as `lm_eval` does.
"""

from collections.abc import Sequence

import keras_hub

from keras_llm.errors import InputError
from keras_llm.models.loading import context_of
from keras_llm.recipes.checks import check_unicode

TEXTS_AT_ONCE = 1024


class TextEncoder:
    """The tokenizer of a model, with what stands before texts.

    Args:
        model: a `keras_hub.models.CausalLM` with a preprocessor.

    Attributes:
        max_length: int. Tokens that the model takes at once.
        start_token_id: int put before every text, or `None`.
        end_token_id: int. Ends texts.
        prefix_token_id: int. Stands before a text that has no context.
    """

    def __init__(self, model: keras_hub.models.CausalLM):
        if getattr(model, "preprocessor", None) is None:
            raise InputError(
                "Expected a model with a preprocessor, which has a tokenizer. "
                f"Received: {type(model).__name__} without"
            )
        tokenizer = model.preprocessor.tokenizer
        packed = model.preprocessor.sequence_length
        self.max_length = int(context_of(model.backbone) or packed)
        has_start = getattr(model.preprocessor, "add_start_token", True)
        start = getattr(tokenizer, "start_token_id", None)
        self.start_token_id = start if has_start else None
        self.end_token_id = int(tokenizer.end_token_id)
        self.prefix_token_id = self.end_token_id
        if self.start_token_id is not None:
            self.prefix_token_id = int(self.start_token_id)
        self._tokenize = _exact(tokenizer)

    def encode(
        self, texts: Sequence[str], with_start: bool = True
    ) -> list[list[int]]:
        """Token ids of each text.

        Args:
            texts: The texts.
            with_start: Whether they begin with the model's start token, if it
                has one.
        """
        has_start = with_start and self.start_token_id is not None
        start = [int(self.start_token_id)] if has_start else []
        found = []
        for text in texts:
            check_unicode("A text to score", text)
        for begin in range(0, len(texts), TEXTS_AT_ONCE):
            rows = self._tokenize(list(texts[begin : begin + TEXTS_AT_ONCE]))
            found += [start + [int(token) for token in row] for row in rows]
        return found

    def encode_pairs(
        self, pairs: Sequence[tuple[str, str]]
    ) -> list[tuple[list[int], list[int]]]:
        """Token ids of contexts and of what continues them.

        Both are encoded as one text, and divided where the context's own
        tokens end. Spaces at the end of a context count to the continuation,
        because most tokens begin with theirs. After an empty context stands
        the prefix token.
        """
        moved = [_spaces_moved(*pair) for pair in pairs]
        contexts = self.encode([context for context, _ in moved])
        wholes = self.encode([context + text for context, text in moved])
        divided = [
            (context, whole[len(context) :])
            for context, whole in zip(contexts, wholes, strict=True)
        ]
        bare = [row for row, (context, _) in enumerate(moved) if not context]
        texts = self.encode([moved[row][1] for row in bare], with_start=False)
        for row, ids in zip(bare, texts, strict=True):
            if ids[:1] == [self.prefix_token_id]:
                divided[row] = ids[:1], ids[1:]
            else:
                divided[row] = [self.prefix_token_id], ids
        return divided


def _spaces_moved(context: str, continuation: str) -> tuple[str, str]:
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _exact(tokenizer):
    """From texts to ids; KerasHub's own byte pairs are not as published."""
    if not isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        return tokenizer.tokenize
    from keras_llm.tokenizers.byte_pair import outside_graphs
    from keras_llm.tokenizers.byte_pair_files import from_keras_hub

    exact = outside_graphs(from_keras_hub(tokenizer))
    return lambda texts: exact.tokenize(texts).to_list()
