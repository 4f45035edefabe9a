"""A stand-in for a model that types what it is told to."""

from types import SimpleNamespace

import keras
import numpy as np
from keras import ops
from testing import tiny_ids, tiny_tokenizer


class Typist:
    """After a prompt of so many tokens it types a text."""

    def __init__(self):
        self.preprocessor = SimpleNamespace(tokenizer=tiny_tokenizer())
        self.backbone = SimpleNamespace(max_sequence_length=512)
        self.size = self.preprocessor.tokenizer.vocabulary_size()
        self.script = keras.Variable(np.zeros(512), dtype="int32")
        self.variables = [self.script]
        self.new_ids = []

    def will_type(self, text, end=False, after=1):
        """Sets the text; whether the end token, or which, follows it."""
        token = tiny_tokenizer().end_token_id if end is True else end
        self.new_ids = tiny_ids(text) + ([token] if token else [])
        script = [0] * after + self.new_ids
        self.script.assign(script + tiny_ids(".") * (512 - len(script)))

    def initial_cache(self, batch_size, max_length):
        return [ops.zeros((batch_size,))]

    def call_with_cache(self, token_ids, cache, index, padding_mask=None):
        positions = ops.arange(ops.shape(token_ids)[1])[None] + index[:, None]
        following = ops.take(self.script, positions + 1)
        return 9.0 * ops.one_hot(following, self.size), None, cache
