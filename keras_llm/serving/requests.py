"""What is asked of an engine, and what it tells of the answer.

Knows nothing of how requests come, or of how they are computed.
"""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field

from keras_llm.generation.answers import Ends
from keras_llm.recipes.settings import GenerationSettings

MOST_ALTERNATIVES = 20


class Busy(Exception):
    """As many requests wait as may wait.

    Args:
        retry_after: Seconds after which it may be worth to ask again.
    """

    def __init__(self, retry_after: int):
        super().__init__(
            f"Too many requests are waiting. Ask again in {retry_after} s."
        )
        self.retry_after = retry_after


class Closed(Exception):
    """The engine takes no more requests."""


class Unavailable(Exception):
    """The server that was asked does not answer as it should."""


@dataclass(frozen=True)
class Request:
    """One prompt to continue.

    Args:
        prompt: Token ids, at least one.
        settings: How tokens are chosen, and when to stop.
        ends: What else ends the answer.
        seed: Decides its random numbers.
        alternatives: How many of the likeliest tokens are told of every token,
            up to `MOST_ALTERNATIVES`, with its log-probability; `None` for
            neither.
        echo: Whether they are told of the prompt's tokens, too; with
            `alternatives`.
        only_prompt: Whether nothing is generated.
        logit_bias: What is added to the logits of token ids.
        seconds: How long it may take, waiting included.
    """

    prompt: list[int]
    settings: GenerationSettings
    ends: Ends
    seed: int = 0
    _: KW_ONLY
    alternatives: int | None = None
    echo: bool = False
    only_prompt: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seconds: float = math.inf


@dataclass(frozen=True)
class Token:
    """A token, and how likely the model found it.

    Args:
        token_id: int.
        log_probability: In nats, by the model itself: at temperature 1,
            without penalties and biases. `None` of a text's first token, or
            where it was not asked for.
        alternatives: The likeliest tokens in its place and their
            log-probabilities, the likeliest first.
    """

    token_id: int
    log_probability: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What is new of an answer.

    Args:
        text: New text, which no later token can change.
        tokens: New tokens, those of the prompt first where it is echoed.
        finish_reason: `"stop"` or `"length"` of the last piece, else `None`.
        error: Why there is no more of it, if it was broken off.
        untold: How many more tokens are new, which are not told.
    """

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    error: Exception | None = None
    untold: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.tokens) + self.untold

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None or self.error is not None


class Ticket:
    """A request that an engine has taken.

    Args:
        request: The request.
        tell: Called with every `Piece`, from the engine's thread.
    """

    def __init__(self, request: Request, tell: Callable[[Piece], None]):
        self.request, self.tell = request, tell
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Nobody waits for the answer any more; what it uses becomes free."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()
