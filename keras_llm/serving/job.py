"""A request on its way: what was read of it, and told of its answer."""

import logging
import time

from keras_llm.generation.answers import Answers
from keras_llm.serving.requests import Piece, Ticket, Token
from keras_llm.serving.rows import Leaves
from keras_llm.serving.scores import Scores

log = logging.getLogger(__name__)


class Job:
    """A request on its way.

    Args:
        ticket: The request, and who waits for it.

    Attributes:
        deadline: When it has taken too long, in seconds of a clock.
        is_over: Whether nothing more is told.
    """

    def __init__(self, ticket: Ticket):
        self.ticket, self.request = ticket, ticket.request
        self.deadline = time.monotonic() + self.request.seconds
        self.is_over = False

    def fail(self, error: Exception) -> None:
        self.is_over = True
        self.tell(Piece(error=error))

    def tell(self, piece: Piece) -> None:
        try:
            self.ticket.tell(piece)
        except Exception:  # whoever asked is gone; others are not
            log.exception("a piece could not be told")
            self.ticket.cancel()


class TokenJob(Job):
    """A request whose answer comes token by token.

    Args:
        ticket: The request, and who waits for it.
        tokenizer: of the model.
        context: Tokens that prompt and answer may have together.
    """

    def __init__(self, ticket: Ticket, tokenizer, context: int):
        super().__init__(ticket)
        self.prompt = list(self.request.prompt)
        most = self.request.settings.max_new_tokens
        if self.request.only_prompt:
            most = 0
        self.limit = min(len(self.prompt) + most, context)
        self.leaves: Leaves | None = None
        self.num_read = 0
        self.prompt_tokens: list[Token] = []
        if self.request.echo:
            self.prompt_tokens.append(Token(self.prompt[0]))
        self._answers = Answers(
            tokenizer, [self.prompt], self.request.settings, self.request.ends
        )
        self._told_text = self._told_tokens = 0
        self._tokens: list[Token] = []

    @property
    def num_unread(self) -> int:
        """Tokens left to read; the prompt's last is left to decoding."""
        return len(self.prompt) - 1 - self.num_read

    def add_prompt_scores(self, token_ids: list[int], scores: Scores) -> None:
        """Takes in some of the prompt's tokens, and those of one row."""
        count = self.request.alternatives
        self.prompt_tokens += scores.tokens(token_ids, count)

    def tell_prompt(self) -> None:
        """Tells of the prompt's tokens, if that was asked."""
        self.is_over = self.request.only_prompt
        if self.prompt_tokens or self.is_over:
            reason = "length" if self.is_over else None
            self.tell(Piece("", tuple(self.prompt_tokens), reason))

    def update(
        self, token_ids: list[int], finished: bool, scores: Scores | None
    ) -> None:
        """Takes in all tokens so far, and tells what is new."""
        known = len(self.prompt) + len(self._tokens)
        new = token_ids[known:]
        if scores is None:
            self._tokens += map(Token, new)
        else:
            self._tokens += scores.tokens(new, self.request.alternatives)
        answers = self._answers
        answers.update(0, token_ids, finished)
        safe = answers.safe_length(0)
        text = answers.texts[0][self._told_text : safe]
        self.is_over = bool(answers.done[0])
        [found] = answers.generations()
        tokens = tuple(self._tokens[self._told_tokens : found.num_tokens])
        reason = found.finish_reason if self.is_over else None
        if text or tokens or reason:
            self.tell(Piece(text, tokens, reason))
        self._told_text = max(self._told_text, safe)
        self._told_tokens = max(self._told_tokens, found.num_tokens)
