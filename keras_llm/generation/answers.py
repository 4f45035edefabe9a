"""Tokens of answers to text: what is shown, and when an answer is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_llm.generation.decoding import DecodingState
from keras_llm.recipes.settings import GenerationSettings


@dataclass(frozen=True)
class Generation:
    """The answer to one prompt.

    Args:
        text: The new text only.
        num_tokens: Tokens generated, a stop token included.
        finish_reason: `"stop"` (end token or stop string) or `"length"`.
    """

    text: str
    num_tokens: int
    finish_reason: str


class Ends(NamedTuple):
    """What is around an answer's text.

    Args:
        token_ids: Each ends an answer.
        prefix: Left out where an answer begins with it.
        suffix: Left out where an answer ends with it.
    """

    token_ids: tuple[int, ...]
    prefix: str = ""
    suffix: str = ""


class Answers:
    """Turns the tokens of each row into text, and decides when it is done.

    Args:
        tokenizer: of this package.
        prompts: Their token ids.
        settings: How many tokens, and which strings end a text.
        ends: What else does.

    Attributes:
        done: bool `(batch,)`.
        texts: list of str, of the answers so far.
    """

    def __init__(
        self,
        tokenizer,
        prompts: Sequence[list[int]],
        settings: GenerationSettings,
        ends: Ends,
    ):
        self.settings, self.ends, self.prompts = settings, ends, prompts
        self._detokenize = tokenizer.detokenize
        self._hidden = set(tokenizer.control_tokens.values())
        self._prompt_texts = [self._decode(ids) for ids in prompts]
        self.texts = [""] * len(prompts)
        self._counts = [0] * len(prompts)
        self._reasons = ["length"] * len(prompts)
        self.done = np.zeros(len(prompts), bool)

    def read(self, state: DecodingState) -> None:
        """Takes in the rows of a decoding state."""
        token_ids = ops.convert_to_numpy(state.token_ids)
        lengths = ops.convert_to_numpy(state.lengths)
        finished = ops.convert_to_numpy(state.finished)
        for row in np.flatnonzero(~self.done):
            tokens = token_ids[row, : lengths[row]].tolist()
            self.update(row, tokens, bool(finished[row]))

    def update(self, row: int, tokens: list[int], finished: bool) -> None:
        """Takes in all tokens of a row, prompt included."""
        start = len(self.prompts[row])
        limit = start + self.settings.max_new_tokens
        finished = finished or len(tokens) >= limit
        tokens = tokens[:limit]
        text, stopped = self._new_text(row, tokens)
        # The first token that completes a stop string is the last to count.
        end = start
        while stopped and not self._new_text(row, tokens[:end])[1]:
            end += 1
        if stopped:
            tokens = tokens[:end]
            text, _ = self._new_text(row, tokens)
        if stopped or not set(self.ends.token_ids).isdisjoint(tokens[start:]):
            self._reasons[row] = "stop"
        self.done[row] = finished or stopped
        self.texts[row] = self._inner(text, self.done[row])
        self._counts[row] = len(tokens) - start

    def safe_length(self, row: int) -> int:
        """How much of a row's text no later token can change."""
        text = self.texts[row]
        if self.done[row]:
            return len(text)
        held = [*self.settings.stop, *filter(None, [self.ends.suffix])]
        return safe_length(text, held)

    def generations(self) -> list[Generation]:
        """The answers, once they are done."""
        rows = zip(self.texts, self._counts, self._reasons, strict=True)
        return [Generation(*row) for row in rows]

    def _inner(self, text: str, is_done: bool) -> str:
        """The text within prefix and suffix."""
        if text.startswith(self.ends.prefix):
            text = text.removeprefix(self.ends.prefix)
        elif not is_done and self.ends.prefix.startswith(text):
            return ""
        return text.removesuffix(self.ends.suffix) if is_done else text

    def _new_text(self, row, tokens):
        """Text after the prompt up to a stop string, and whether one came."""
        # Decoded with the prompt, because the first piece of a text may lose
        # its space.
        text = self._decode(tokens)[len(self._prompt_texts[row]) :]
        return _cut_at_stop(text, self.settings.stop)

    def _decode(self, tokens):
        return self._detokenize([t for t in tokens if t not in self._hidden])


def safe_length(text: str, stops: list[str]) -> int:
    """How much of a text no later token can change.

    Args:
        text: so far.
        stops: strings that may end it, and are not part of it.
    """
    text = text.rstrip("\ufffd")  # bytes of an unfinished character
    safe = len(text.rstrip())  # a "word" model may yet drop spaces
    for stop in stops:
        for length in range(min(len(stop), len(text)), 0, -1):
            if text.endswith(stop[:length]):
                safe = min(safe, len(text) - length)
                break
    return safe


def _cut_at_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """Cuts at the first stop string to be complete, or the longer of two."""
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, False
    _, start = min((start + len(stop), start) for start, stop in found)
    return text[:start], True
