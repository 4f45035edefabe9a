"""The graph from text to text: tokenizer, decoding loop, detokenizer.

Holds only what a stock TensorFlow Serving runs: no Python, no XLA, and no
custom operation but TensorFlow Text's. Knows neither which tokenizer it has
nor which model.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_llm.export import request_settings
from keras_llm.export.chat_prompts import ChatPrompts
from keras_llm.export.decoders import GraphDecoder
from keras_llm.export.graph_tokenizers import GraphTokenizer
from keras_llm.export.ragged import between, kept, with_first
from keras_llm.export.request_settings import checked_rows, request_sampling
from keras_llm.export.scoring import score_texts
from keras_llm.export.server_files import MAX_TEXT_TOKENS
from keras_llm.export.stop_strings import StopStrings, text_after
from keras_llm.generation.decoding import Sampling, ends_with
from keras_llm.generation.engines import sampling_of
from keras_llm.recipes.settings import GenerationSettings

# Where the mean is beyond, perplexity is what float32 can still hold.
MOST_NATS = 88.0
# What is told of an answer.
ANSWER = ("text", "num_tokens", "finish_reason", "prompt_truncated")


class TextGraph(tf.Module):
    """Answers, scores and tokenizes texts, all of it in one graph.

    Args:
        tokenizer: a `GraphTokenizer`.
        decoder: a `GraphDecoder`.
        settings: How `serving_default` chooses tokens; stop strings count for
            `generate` too.
        seed: Decides the random numbers of every row of `serving_default`
            alike.
        chat: a `ChatPrompts`, or `None` for a graph without `chat`.
        max_text_tokens: int. Most tokens of a text that `score` and
            `tokenize` look at, for others wait meanwhile.

    Attributes:
        signatures: dict of the name of each to its concrete function.
    """

    def __init__(
        self,
        tokenizer: GraphTokenizer,
        decoder: GraphDecoder,
        settings: GenerationSettings,
        seed: int,
        chat: ChatPrompts | None = None,
        max_text_tokens: int = MAX_TEXT_TOKENS,
    ):
        super().__init__(name="text_graph")
        self.tokenizer, self.decoder = tokenizer, decoder
        self.settings, self.seed = settings, seed
        self.chat_prompts = chat
        self.max_text_tokens = max_text_tokens
        self.weights = decoder.variables
        self.stop_strings = StopStrings(settings.stop, self.text_of)
        # Functions, so that the signatures that answer share their graphs.
        limit = _rows("limit", tf.int32)
        self._continue = _function(
            self._continue_rows,
            tf.RaggedTensorSpec([None, None], tf.int32),
            limit,
            request_settings.SPEC,
            _rows("ends", tf.int32),
        )
        prompt, text = _texts("prompt"), _texts("text")
        self._answer = _function(
            self._answer_rows, prompt, limit, request_settings.SPEC
        )
        settings = (
            _rows("max_new_tokens", tf.int32),
            _rows("temperature", tf.float32),
            _rows("top_k", tf.int32),
            _rows("top_p", tf.float32),
            _rows("repetition_penalty", tf.float32),
            _rows("seed", tf.int64),
        )
        self._signatures = {
            "serving_default": _function(self.serving_default, prompt),
            "generate": _function(self.generate, prompt, *settings),
            "score": _function(self.score, text),
            "tokenize": _function(self.tokenize, text),
        }
        if chat is not None:
            turns = tf.TensorSpec([None, None], tf.string, name="turns")
            function = _function(self.chat, turns, *settings)
            self._signatures["chat"] = function

    @property
    def signatures(self) -> dict[str, Callable]:
        """The concrete function of each signature, by its name."""
        return dict(self._signatures)

    def serving_default(self, prompt: tf.Tensor) -> dict[str, tf.Tensor]:
        """`text`, string `(batch,)`: the new text, as the export decides."""
        rows = tf.shape(prompt)[0]
        one = sampling_of([self.settings], [self.seed])
        sampling = Sampling(*(tf.repeat(row, rows, axis=0) for row in one))
        limit = tf.fill([rows], self.settings.max_new_tokens)
        return {"text": self._answer(prompt, limit, sampling)["text"]}

    def generate(
        self,
        prompt: tf.Tensor,
        max_new_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        repetition_penalty: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The new text of each row, by that row's own settings.

        Args:
            prompt: string `(batch,)`. Invalid UTF-8 becomes U+FFFD. Of one
                that leaves no room for an answer the end is kept.
            max_new_tokens: int32 `(batch,)`; less than 0 is 0, and the
                context is the most.
            temperature, top_k, top_p, repetition_penalty, seed: `(batch,)`,
                see `request_sampling`.

        Returns:
            dict of `text`, `num_tokens`, `finish_reason` and
            `prompt_truncated`.
        """
        settings = checked_rows(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        prompt, limit = settings.pop("prompt"), settings.pop("max_new_tokens")
        answers = self._answer(prompt, limit, request_sampling(**settings))
        return {name: answers[name] for name in ANSWER}

    def chat(
        self,
        turns: tf.Tensor,
        max_new_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        repetition_penalty: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The assistant's next message of each conversation.

        Args:
            turns: string `(batch, turns)`, see `ChatPrompts.encode`.
            max_new_tokens, temperature, top_k, top_p, repetition_penalty,
                seed: `(batch,)`, as for `generate`.

        Returns:
            dict of what `generate` returns.
        """
        settings = checked_rows(
            turns=turns,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        turns, limit = settings.pop("turns"), settings.pop("max_new_tokens")
        rows, prompts = tf.shape(turns)[0], self.chat_prompts
        limit, sampling = self._filled(limit, request_sampling(**settings))
        tokens, truncated = prompts.encode(_with_a_row(turns), limit)
        ends = tf.constant(prompts.end_token_ids, tf.int32)
        answers = self._continue(tokens, limit, sampling, ends)
        answers["text"] = prompts.inner(answers["text"])
        answers["prompt_truncated"] = truncated
        return {name: answers[name][:rows] for name in ANSWER}

    def score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """How likely each text is to the model, after its start token.

        Args:
            text: string `(batch,)`. Of a long one the beginning is scored.

        Returns:
            dict of `log_likelihood` float32 in nats, `num_tokens` int32,
            `perplexity` float32, and `truncated` bool, each `(batch,)`.
            Without a start token the first token is not scored.
        """
        tokens, truncated = self._first_tokens(text)
        token_ids = self._with_start(tokens)
        nats = score_texts(self.decoder, token_ids)
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        count = tf.maximum(lengths - 1, 0)
        mean = -nats / tf.cast(tf.maximum(count, 1), tf.float32)
        return {
            "log_likelihood": nats,
            "num_tokens": count,
            "perplexity": tf.exp(tf.minimum(mean, MOST_NATS)),
            "truncated": truncated,
        }

    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The tokens of each text, without special ones.

        Args:
            text: string `(batch,)`. A long one's first tokens are given.

        Returns:
            dict of `token_ids` int32 `(batch, length)`, 0 after the `lengths`
            int32 of each, and `truncated` bool, both `(batch,)`.
        """
        token_ids, truncated = self._first_tokens(text)
        return {
            "token_ids": token_ids.to_tensor(),
            "lengths": tf.cast(token_ids.row_lengths(), tf.int32),
            "truncated": truncated,
        }

    def greedy_tokens(
        self, prompts: list[str], max_new_tokens: int
    ) -> list[tuple[list[int], list[int]]]:
        """Ids of each prompt, as far as it fits, and of its greedy answer."""
        rows = tf.zeros([len(prompts)])
        whole = tf.cast(rows, tf.int32)
        seeds = tf.cast(rows, tf.int64)
        answers = self._answer(
            tf.constant(prompts),
            whole + max_new_tokens,
            request_sampling(rows, whole, rows + 1, rows + 1, seeds),
        )
        rows = zip(
            answers["token_ids"].numpy().tolist(),
            answers["prompt_length"].numpy(),
            answers["num_tokens"].numpy(),
            strict=True,
        )
        return [(ids[:at], ids[at : at + count]) for ids, at, count in rows]

    def text_of(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """string `(batch,)`: the text, without hidden tokens."""
        hidden = tf.constant(self.tokenizer.hidden_token_ids, tf.int32)
        shown = tf.reduce_all(
            token_ids.flat_values[:, None] != hidden[None], axis=1
        )
        return self.tokenizer.detokenize(kept(token_ids, shown))

    def _answer_rows(
        self, prompt: tf.Tensor, limit: tf.Tensor, sampling: Sampling
    ) -> dict[str, tf.Tensor]:
        rows = tf.shape(prompt)[0]
        limit, sampling = self._filled(limit, sampling)
        prompts, truncated = self._prompts(_with_a_row(prompt), limit)
        ends = tf.constant(self.tokenizer.end_token_ids, tf.int32)
        answers = self._continue(prompts, limit, sampling, ends)
        answers["prompt_truncated"] = truncated
        return {name: answer[:rows] for name, answer in answers.items()}

    def _filled(
        self, limit: tf.Tensor, sampling: Sampling
    ) -> tuple[tf.Tensor, Sampling]:
        """Settings in range, of at least a row."""
        limit = tf.clip_by_value(limit, 0, self.decoder.max_length)
        return _with_a_row(limit), Sampling(*map(_with_a_row, sampling))

    def _continue_rows(
        self,
        prompts: tf.RaggedTensor,
        limit: tf.Tensor,
        sampling: Sampling,
        ends: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        lengths = tf.cast(prompts.row_lengths(), tf.int32)
        at_end = ends_with(ends)

        def stopped(token_ids, so_far):
            reached = self.stop_strings.reached(token_ids, so_far, lengths)
            return at_end(token_ids, so_far) | reached

        new = self.decoder.generate(prompts, sampling, limit, stopped)
        whole = tf.concat([prompts, new], axis=1)
        token_ids = whole.to_tensor()
        text = text_after(self.text_of, whole, prompts)
        text, cut = self.stop_strings.cut(text)
        count = tf.cast(new.row_lengths(), tf.int32)
        ended = at_end(token_ids, lengths + count) & (count > 0)
        return {
            "text": text,
            "num_tokens": count,
            "finish_reason": tf.where(ended | cut, "stop", "length"),
            "token_ids": token_ids,
            "prompt_length": lengths,
        }

    def _prompts(
        self, prompt: tf.Tensor, limit: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Start and prompt tokens, and whether the prompt was too long.

        Of one too long the last tokens stay: as many as leave room for the
        answer, but at least half the context.
        """
        longest = self.decoder.max_length
        tokens = self._tokens(prompt)
        own = tf.cast(tokens.row_lengths(), tf.int32)
        lengths = own + tf.cast(self._starts(tokens), tf.int32)
        too_long = lengths >= longest
        room = tf.clip_by_value(limit, 1, longest // 2)
        surplus = tf.where(too_long, lengths - (longest - room), 0)
        return self._with_start(between(tokens, surplus, own)), too_long

    def _first_tokens(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Tokens up to `max_text_tokens`, and whether there are more."""
        tokens = self._tokens(text)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        end = tf.minimum(lengths, self.max_text_tokens)
        tokens = between(tokens, tf.zeros_like(end), end)
        return tokens, lengths > self.max_text_tokens

    def _starts(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """bool `(batch,)`: which rows get a start token."""
        if self.tokenizer.start_token_id is not None:
            return tf.ones_like(tokens.row_lengths(), tf.bool)
        return tokens.row_lengths() == 0

    def _with_start(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """Every row begins with the start token, or at least with a token."""
        start = self.tokenizer.start_token_id
        if start is None:
            start = self.tokenizer.end_token_ids[0]
        return with_first(tokens, start, self._starts(tokens))

    def _tokens(self, text: tf.Tensor) -> tf.RaggedTensor:
        # Replaces invalid bytes by U+FFFD.
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
        return self.tokenizer.tokenize(text)


def _texts(name: str) -> tf.TensorSpec:
    return _rows(name, tf.string)


def _rows(name: str, dtype: tf.DType) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name=name)


def _with_a_row(field: tf.Tensor) -> tf.Tensor:
    """With a row of zeros if there is none, which loops of models need."""
    missing = tf.cast(tf.shape(field)[0] == 0, tf.int32)
    shape = tf.concat([[missing], tf.shape(field)[1:]], axis=0)
    zeros = tf.zeros(shape, field.dtype)
    return tf.concat([field, zeros], axis=0)


def _function(method: Callable, *inputs: tf.TensorSpec) -> Callable:
    function = tf.function(method, input_signature=inputs, autograph=False)
    # Concrete, for the saver traces others a second time.
    return function.get_concrete_function()
