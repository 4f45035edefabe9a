"""The graph from prompt to answer: tokenizer, decoding loop, detokenizer.

Holds only what a stock TensorFlow Serving runs: no Python, no XLA, and no
custom operation but TensorFlow Text's.
"""

import re

import tensorflow as tf
import tensorflow_text as tf_text

from keras_llm.generation.decoding import Sampling, decode, prefill
from keras_llm.generation.text import sampling_of
from keras_llm.models import ScratchCausalLM
from keras_llm.recipes.settings import GenerationSettings


class TextGraph:
    """Answers prompts as `TextGenerator` does, all of it in one graph.

    Args:
        model: a `ScratchCausalLM` with a preprocessor.
        settings: How tokens are chosen, and when to stop.
        seed: Decides the random numbers of every row alike.

    Attributes:
        trackable: a `tf.Module` of what the graph needs (weights, vocabulary
            and the function `answer`), to be saved.
    """

    def __init__(
        self, model: ScratchCausalLM, settings: GenerationSettings, seed: int
    ):
        tokenizer = model.preprocessor.tokenizer
        self.model, self.settings, self.seed = model, settings, seed
        self.tokenizer = tf_text.SentencepieceTokenizer(tokenizer.proto)
        self.start_token_id = tokenizer.start_token_id
        self.end_token_id = tokenizer.end_token_id
        self.trackable = tf.Module()
        self.trackable.weights = [weight.value for weight in model.weights]
        self.trackable.tokenizer = self.tokenizer
        self.trackable.answer = tf.function(
            self.answer,
            input_signature=[tf.TensorSpec([None], tf.string, name="prompt")],
            autograph=False,
        )

    def answer(self, prompt: tf.Tensor) -> dict[str, tf.Tensor]:
        """The new text of each row.

        Args:
            prompt: string `(batch,)`.

        Returns:
            dict of `text`, string `(batch,)`.
        """
        prompts = self.encode(prompt)
        tokens = self.generate(prompts)
        known = self.text_of(prompts)
        text = _without_prefix(self.text_of(tokens), known)
        return {"text": _cut_at_stop(text, self.settings.stop)}

    def encode(self, prompt: tf.Tensor) -> tf.RaggedTensor:
        """int32 `(batch, length)`: the start token and the prompt's tokens.

        Of those that leave no room for an answer, the last ones.
        """
        # Replaces invalid bytes by U+FFFD.
        prompt = tf.strings.unicode_transcode(prompt, "UTF-8", "UTF-8")
        tokens = self.tokenizer.tokenize(prompt)
        start = tf.fill([tf.shape(prompt)[0], 1], self.start_token_id)
        tokens = tf.concat([start, tokens], axis=1)
        longest = self.model.backbone.max_sequence_length
        room = min(self.settings.max_new_tokens, longest // 2)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        surplus = tf.where(lengths < longest, 0, lengths - (longest - room))
        positions = tf.ragged.range(lengths)
        return tf.ragged.boolean_mask(tokens, positions >= surplus[:, None])

    def generate(self, prompts: tf.RaggedTensor) -> tf.RaggedTensor:
        """int32 `(batch, length)`: prompts and what follows them."""
        settings = self.settings
        lengths = tf.cast(prompts.row_lengths(), tf.int32)
        batch = prompts.to_tensor()
        longest = self.model.backbone.max_sequence_length
        # No longer than this batch needs.
        max_length = tf.shape(batch)[1] + settings.max_new_tokens
        state = prefill(
            self.model, batch, lengths, tf.minimum(max_length, longest)
        )
        state = decode(
            self.model,
            state,
            self._sampling(tf.shape(batch)[0]),
            settings.max_new_tokens,
            [self.end_token_id],
        )
        return tf.RaggedTensor.from_tensor(state.token_ids, state.lengths)

    def _sampling(self, batch_size: tf.Tensor) -> Sampling:
        one = sampling_of(self.settings, [self.seed])
        return Sampling(*(tf.repeat(row, batch_size, axis=0) for row in one))

    def text_of(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """string `(batch,)`: valid UTF-8, whatever the tokens are."""
        kept = tf.ragged.boolean_mask(tokens, tokens != self.end_token_id)
        return self.tokenizer.detokenize(kept)


def _without_prefix(text: tf.Tensor, prefix: tf.Tensor) -> tf.Tensor:
    """What follows the first characters of each text, as many as prefix's."""
    unit = "UTF8_CHAR"
    length = tf.strings.length(text, unit)
    start = tf.minimum(tf.strings.length(prefix, unit), length)
    return tf.strings.substr(text, start, length - start, unit)


def _cut_at_stop(text: tf.Tensor, stops: list[str]) -> tf.Tensor:
    """What comes before the first of the stop strings."""
    if not stops:
        return text
    first = "|".join(re.escape(stop) for stop in stops)
    return tf.strings.regex_replace(text, f"(?s)(?:{first}).*", "")
