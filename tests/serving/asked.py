"""Requests to an engine in this process, and whole answers."""

import queue
from dataclasses import dataclass, field

from keras_llm.generation.answers import Ends
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.requests import Request, Token

WAIT = 120  # seconds for a piece

SAMPLE = GenerationSettings(max_new_tokens=12, temperature=1.2)


@dataclass
class Answered:
    """What an engine has told of a request."""

    pieces: queue.Queue = field(default_factory=queue.Queue)
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish_reason: str | None = None

    def whole(self):
        """Itself, once the answer is done; raises its error."""
        while self.finish_reason is None:
            piece = self.pieces.get(timeout=WAIT)
            if piece.error is not None:
                raise piece.error
            self.text += piece.text
            self.tokens += piece.tokens
            self.finish_reason = piece.finish_reason
        return self


def request_of(engine, prompt, settings=SAMPLE, seed=0, **options):
    """Of a text or of token ids."""
    ids = engine.generator.encode_prompt(prompt)
    ends = Ends(engine.generator.end_token_ids)
    return Request(ids, settings, ends, seed, **options)


def ask(engine, prompt, settings=SAMPLE, seed=0, **options):
    """Submits a request."""
    answered = Answered()
    request = request_of(engine, prompt, settings, seed, **options)
    answered.ticket = engine.submit(request, answered.pieces.put)
    return answered
