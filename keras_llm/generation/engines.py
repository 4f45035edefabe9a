"""Token ids to more token ids, with our models and with KerasHub's.

Knows nothing of text.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError
from keras_llm.generation.answers import Answers
from keras_llm.generation.decoding import (
    DecodingState,
    Sampling,
    decode,
    ends_with,
    prefill,
)
from keras_llm.generation.stock_decoding import decode_by_rows
from keras_llm.generation.stock_rules import rules_of
from keras_llm.models.loading import context_length
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.stock import exact_tokenizer

# Tokens decoded between looks at the text: the grain of streaming.
STREAM_STEPS = 4


class Engine(Protocol):
    """A model that continues prompts.

    Attributes:
        tokenizer: of this package, with the model's ids.
        start_token_id: int put before texts, or `None`.
        end_token_ids: tuple of int. Each ends a text.
        context: int. Tokens that prompt and answer may have together.
    """

    tokenizer: object
    start_token_id: int | None
    end_token_ids: tuple[int, ...]
    context: int

    def states(self, answers: Answers, seed: int) -> Iterator[DecodingState]:
        """Continues the prompts of `answers` until all are done.

        It yields after every few steps, or once. Whoever takes a state lets
        `answers` read it.
        """

    def search(
        self, prompt: list[int], answers: Answers, num_beams: int
    ) -> list[int]:
        """A prompt, and what a beam search finds to follow it."""


def engine_of(model: keras_hub.models.CausalLM) -> Engine:
    """The engine of a model, ours or KerasHub's.

    Raises:
        InputError: No causal language model with a preprocessor, or one that
            does not generate from text alone.
    """
    if getattr(model, "preprocessor", None) is not None:
        if hasattr(model, "initial_cache"):
            return _ScratchEngine(model)
        if isinstance(model, keras_hub.models.CausalLM):
            return _StockEngine(model)
    raise InputError(
        "Expected a keras_hub.models.CausalLM with a preprocessor. Received: "
        f"{type(model).__name__}"
    )


class _Beams:
    """KerasHub's beam search, which both kinds of models have."""

    def __init__(self, model):
        self.model = model
        self._searches: dict[tuple, Callable] = {}

    def search(self, prompt, answers, num_beams):
        ends = answers.ends.token_ids
        total = len(prompt) + answers.settings.max_new_tokens
        total = min(total, self.context)
        # KerasHub stops where it sees an end token, in padding as well.
        pad = next(token for token in range(len(ends) + 1) if token not in ends)
        token_ids = np.full((1, total), pad, "int32")
        token_ids[0, : len(prompt)] = prompt
        outputs = self._compiled(num_beams, ends)(
            {
                "token_ids": ops.convert_to_tensor(token_ids),
                "padding_mask": ops.arange(total)[None] < len(prompt),
            }
        )
        mask = ops.convert_to_numpy(outputs["padding_mask"])[0]
        tokens = ops.convert_to_numpy(outputs["token_ids"])[0]
        return tokens[mask.astype(bool)].tolist()

    def _compiled(self, num_beams, ends) -> Callable:
        """Compiled once for each number of beams and length."""
        key = num_beams, ends
        if key not in self._searches:
            beam_sampler = keras_hub.samplers.BeamSampler(num_beams=num_beams)

            def search(inputs):
                model = self.model
                before, model.sampler = model.sampler, beam_sampler
                try:
                    return model.generate_step(inputs, list(ends))
                finally:
                    model.sampler = before

            self._searches[key] = compile_function(search, self.model)
        return self._searches[key]


class _ScratchEngine(_Beams):
    """Reads prompts in one pass, then decodes a few tokens at a time."""

    def __init__(self, model):
        super().__init__(model)
        self.tokenizer = model.preprocessor.tokenizer
        self.start_token_id = self.tokenizer.start_token_id
        self.end_token_ids = tuple(self.tokenizer.end_token_ids)
        self.context = model.backbone.max_sequence_length
        self.compiled: dict[tuple, Callable] = {}

        def start(token_ids, lengths, new_slots):
            # The number of slots is the length of an unused tensor: a shape,
            # unlike a value, is known while compiling.
            max_length = token_ids.shape[1] + new_slots.shape[0]
            return prefill(model, token_ids, lengths, max_length)

        self.start = compile_function(start, model)

    def states(self, answers, seed):
        token_ids, lengths, total = batch_of(answers, self.context)
        sampling = _alike(answers, seed)
        state = self.start(
            ops.convert_to_tensor(token_ids),
            ops.convert_to_tensor(lengths),
            ops.zeros((total - token_ids.shape[1],)),
        )
        advance = self._advance(answers.ends.token_ids)
        while not all(answers.done):
            state = advance(
                state._replace(finished=ops.convert_to_tensor(answers.done)),
                sampling,
            )
            yield state

    def _advance(self, ends) -> Callable:
        if ends not in self.compiled:
            at_end = ends_with(ends)

            def advance(state, sampling):
                return decode(self.model, state, sampling, STREAM_STEPS, at_end)

            # A step is small operations, each of which TensorFlow would start.
            self.compiled[ends] = compile_function(
                advance, self.model, jit_compile=True
            )
        return self.compiled[ends]


class _StockEngine(_Beams):
    """Decodes by the model's own `generate_step`, all of it at once."""

    def __init__(self, model):
        super().__init__(model)
        self.tokenizer = exact_tokenizer(model.preprocessor.tokenizer)
        self.start_token_id, self.end_token_ids = rules_of(model)
        self.end_token_ids = self.end_token_ids or (
            self.tokenizer.end_token_id,
        )
        self.context = context_length(model)
        self._decoders: dict[tuple, Callable] = {}

    def states(self, answers, seed):
        token_ids, lengths, total = batch_of(answers, self.context)
        room = total - token_ids.shape[1]
        limits = np.minimum(
            lengths + answers.settings.max_new_tokens, self.context
        )
        token_ids, lengths = self._decoder(answers.ends.token_ids)(
            ops.convert_to_tensor(np.pad(token_ids, [[0, 0], [0, room]])),
            ops.convert_to_tensor(lengths),
            ops.convert_to_tensor(limits.astype("int32")),
            _alike(answers, seed),
        )
        finished = ops.ones_like(lengths, dtype="bool")
        yield DecodingState(token_ids, lengths, finished, None, None)

    def _decoder(self, ends) -> Callable:
        if ends not in self._decoders:
            stopped = ends_with(ends)

            def decode_all(token_ids, lengths, limits, sampling):
                return decode_by_rows(
                    self.model, token_ids, lengths, sampling, limits, stopped
                )

            self._decoders[ends] = compile_function(decode_all, self.model)
        return self._decoders[ends]


def batch_of(
    answers: Answers, context: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Prompts at the left of one array, and how long they may become.

    Both lengths are rounded up to powers of two, so that another prompt's
    length seldom compiles again.

    Returns:
        int32 `(batch, prompt_length)`, int32 `(batch,)`, and an int.
    """
    lengths = np.array([len(ids) for ids in answers.prompts], "int32")
    new = answers.settings.max_new_tokens
    total = min(context, bucket(max(lengths) + new))
    width = min(bucket(max(lengths)), total)
    token_ids = np.zeros((len(lengths), width), "int32")
    for row, ids in zip(token_ids, answers.prompts, strict=True):
        row[: len(ids)] = ids
    return token_ids, lengths, total


def _alike(answers: Answers, seed: int) -> Sampling:
    """The same settings and seed for every answer."""
    count = len(answers.prompts)
    return sampling_of([answers.settings] * count, [seed] * count)


def sampling_of(
    settings: Sequence[GenerationSettings], seeds: Sequence[int]
) -> Sampling:
    """Tensors of each row's settings and seed."""

    def column(values, dtype):
        return ops.convert_to_tensor(np.array(values, dtype))

    words = [[seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF] for seed in seeds]
    return Sampling(
        temperature=column([s.drawn_temperature for s in settings], "float32"),
        top_k=column([s.top_k for s in settings], "int32"),
        top_p=column([s.top_p for s in settings], "float32"),
        min_p=column([s.min_p for s in settings], "float32"),
        repetition_penalty=column(
            [s.repetition_penalty for s in settings], "float32"
        ),
        key=column(words, "uint32"),
    )


def bucket(length: int, least: int = 16) -> int:
    """The next power of two."""
    return max(least, 1 << (int(length) - 1).bit_length())
