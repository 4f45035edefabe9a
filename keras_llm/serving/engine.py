"""Continuous batching: many requests, one model, one thread.

A request waits, its prompt is read in chunks, and then its row is decoded with
all others that are as far. Rows join and leave between tokens. Knows nothing
of HTTP.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.generation.decoding import Sampling
from keras_llm.generation.text import TextGenerator
from keras_llm.models import ScratchCausalLM
from keras_llm.serving.job import Job
from keras_llm.serving.prefixes import Prefixes
from keras_llm.serving.requests import (
    Busy,
    Closed,
    Piece,
    Request,
    Ticket,
)
from keras_llm.serving.rows import (
    CHUNK,
    GRAIN,
    MANY_STEPS,
    Computer,
    Leaves,
    Rows,
    Scores,
)

log = logging.getLogger(__name__)


class Engine:
    """Answers requests to a model of this package.

    Args:
        model: a `ScratchCausalLM` with a preprocessor.
        slots: Rows that are decoded together at most.
        most_waiting: Requests that may wait beside them.
        prefix_bytes: What may be kept of prompts, see `Prefixes`.

    Attributes:
        generator: a `TextGenerator` of the model, for prompts and templates.
    """

    def __init__(
        self,
        model: ScratchCausalLM,
        slots: int = 32,
        most_waiting: int = 256,
        prefix_bytes: int | None = None,
    ):
        self.generator = TextGenerator(model)
        self.slots, self.most_waiting = slots, most_waiting
        self._computer = Computer(model)
        given = () if prefix_bytes is None else (prefix_bytes,)
        self._prefixes = Prefixes(self._computer.layout, *given)
        self._waiting: deque[Job] = deque()
        self._reading: list[Job] = []
        self._running: list[Job] = []
        self._rows = Rows(self._computer.layout)
        self._turn = 0
        self._state = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._run, name="engine", daemon=True
        )
        self._thread.start()

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.generator.context

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._reading) + len(self._running)

    def submit(self, request: Request, tell: Callable[[Piece], None]) -> Ticket:
        """Takes a request.

        Args:
            request: What is asked; its prompt has room for a token.
            tell: Called with every piece of the answer, from the engine's
                thread: it must return at once.

        Raises:
            Busy: As many wait as may.
            Closed: The engine was closed.
            InputError: A prompt that fills the context, or a bias of a token
                that there is not.
        """
        self._check(request)
        ticket = Ticket(request, tell)
        row = Job(ticket, self.generator.tokenizer, self.context)
        with self._state:
            if self._is_closed:
                raise Closed("The server is shutting down.")
            if len(self._waiting) >= self.most_waiting:
                raise Busy(1 + len(self._waiting) // self.slots)
            self._waiting.append(row)
            self._state.notify()
        return ticket

    def close(self, seconds: float = 0.0) -> None:
        """Takes no more requests, and finishes for so long what it has."""
        end = time.monotonic() + seconds
        with self._state:
            self._is_closed = True
            self._state.notify()
            while self._all() and (left := end - time.monotonic()) > 0:
                self._state.wait(min(left, 0.05))
            for row in self._all():
                row.ticket.cancel()
            self._state.notify()
        self._thread.join(timeout=60)

    def _check(self, request: Request) -> None:
        self.generator.encode_prompt(request.prompt)
        size = self._computer.vocabulary_size
        for token in request.logit_bias:
            if not 0 <= token < size:
                raise InputError(
                    f"logit_bias must be of token ids in [0, {size}). "
                    f"Received: {token}"
                )

    def _all(self) -> list[Job]:
        return [*self._waiting, *self._reading, *self._running]

    def _run(self) -> None:
        while True:
            with self._state:
                while not self._all():
                    if self._is_closed:
                        return
                    self._state.wait()
                self._drop_the_lost()
                self._admit()
            try:
                self._work()
            except Exception as error:  # of the model: those at hand end
                log.exception("the model failed")
                self._fail(error)

    def _drop_the_lost(self) -> None:
        """Lets go of rows that nobody waits for, or that took too long."""
        now = time.monotonic()
        for row in self._all():
            if row.ticket.is_cancelled:
                row.is_over = True
            elif now > row.deadline:
                row.fail(TimeoutError("The request took too long."))
        self._waiting = deque(row for row in self._waiting if not row.is_over)
        self._reading = [row for row in self._reading if not row.is_over]

    def _admit(self) -> None:
        while self._waiting and self.num_running < self.slots:
            self._reading.append(self._waiting.popleft())

    def _fail(self, error: Exception) -> None:
        for row in [*self._reading, *self._running]:
            row.fail(error)
        self._reading, self._running = [], []
        self._rows = Rows(self._computer.layout)

    def _work(self) -> None:
        """A chunk of one prompt, and a token or a few of all answers."""
        if self._reading:
            self._read(self._next_to_read())
        self._leave()
        if self._running:
            self._decode()

    def _next_to_read(self) -> Job:
        """The shortest and the oldest take turns, so that neither starves."""
        self._turn += 1
        if self._turn % 2:
            return min(self._reading, key=lambda row: row.num_unread)
        return self._reading[0]

    def _read(self, row: Job) -> None:
        if row.leaves is None:
            self._begin(row)
        ids, start = row.prompt, row.num_read
        chunk = ids[start : start + CHUNK]
        count = min(len(chunk), len(ids) - 1 - start)
        if row.request.echo and row.request.alternatives is not None:
            # The last token is not read: decoding begins with it.
            targets = ids[start + 1 : start + 1 + count]
            if count:
                scores, row.leaves = self._computer.score(
                    [chunk[:count]], row.leaves, [start], [targets]
                )
                row.add_prompt_scores(targets, scores)
        elif count:
            chunk = chunk + [0] * self._padding(len(chunk), start)
            row.leaves = self._computer.read(chunk, row.leaves, start, count)
        row.num_read += count
        if count == CHUNK:
            self._prefixes.keep(ids[: row.num_read], row.leaves)
        if row.num_unread == 0:
            self._reading.remove(row)
            self._join(row)

    def _padding(self, length: int, start: int) -> int:
        """To a power of two, as far as there is room in the context."""
        wide = min(1 << (length - 1).bit_length(), self.context - start)
        return max(0, wide - length)

    def _begin(self, row: Job) -> None:
        layout, length = self._computer.layout, self._room(len(row.prompt))
        row.leaves = layout.empty(length)
        if row.request.echo:
            return  # its scores are wanted, and these are not kept
        row.num_read, parts = self._prefixes.find(row.prompt[:-1])
        if parts:
            row.leaves = layout.joined(parts, length)

    def _room(self, length: int) -> int:
        """The length of caches that hold so many tokens, and some more."""
        grains = -(-(length + MANY_STEPS) // GRAIN)
        return min(grains * GRAIN, self.context)

    def _join(self, row: Job) -> None:
        if row.prompt_tokens:
            row.tell(Piece(tokens=tuple(row.prompt_tokens)))
        length = max(self._rows.token_ids.shape[1], self._room(len(row.prompt)))
        if length > self._rows.token_ids.shape[1]:
            self._rows.keep(range(len(self._running)), length)
        self._rows.add(row.prompt, row.leaves, length)
        row.leaves = None
        self._running.append(row)
        self._tell_settings()

    def _leave(self) -> None:
        """Drops rows that are over, and makes room for the others."""
        kept = [i for i, row in enumerate(self._running) if not row.is_over]
        longest = max((self._rows.lengths[i] for i in kept), default=0)
        room = self._room(int(longest)) if kept else 0
        has = self._rows.token_ids.shape[1]
        if len(kept) == len(self._running) and room <= has:
            return
        # Smaller only where much is saved, for each change is a copy.
        room = room if room > has or room <= has // 2 else has
        self._rows.keep(kept, room)
        self._running = [self._running[i] for i in kept]
        if kept:
            self._tell_settings()

    def _tell_settings(self) -> None:
        """Tensors of the settings of all rows."""
        rows, requests = self._rows, [row.request for row in self._running]
        rows.sampling = _sampling(requests)
        limits = [row.limit for row in self._running]
        rows.limits = ops.convert_to_tensor(np.array(limits, "int32"))
        rows.ends = ops.convert_to_tensor(_ends(requests))
        rows.bias = None
        if any(request.logit_bias for request in requests):
            shape = len(requests), self._computer.vocabulary_size
            bias = np.zeros(shape, "float32")
            for place, request in enumerate(requests):
                for token, value in request.logit_bias.items():
                    bias[place, token] = value
            rows.bias = ops.convert_to_tensor(bias)

    def _decode(self) -> None:
        # One at a time where others wait to join.
        steps = 1 if self._reading or self._waiting else MANY_STEPS
        rows, before = self._rows, self._rows.lengths
        leaves = rows.leaves
        self._computer.advance(rows, steps)
        scores = self._scores(before, leaves)
        for place, row in enumerate(self._running):
            token_ids = rows.token_ids[place, : rows.lengths[place]].tolist()
            row.update(token_ids, bool(rows.finished[place]), scores.get(place))
            rows.finished[place] = row.is_over

    def _scores(self, before: np.ndarray, leaves: Leaves) -> dict[int, Scores]:
        """How likely the new tokens were, of rows that are asked that of.

        They are computed once more, several at once: decoding itself is the
        same for all.
        """
        rows = self._rows
        asked = [
            place
            for place, row in enumerate(self._running)
            if row.request.alternatives is not None
        ]
        if not asked:
            return {}
        index = ops.convert_to_tensor(np.array(asked, "int32"))
        leaves = [ops.take(leaf, index, axis=0) for leaf in leaves]
        starts = before[asked] - 1
        width = int((rows.lengths - before)[asked].max())
        places = starts[:, None] + np.arange(width + 1)[None]
        places = np.minimum(places, rows.token_ids.shape[1] - 1)
        ids = np.take_along_axis(rows.token_ids[asked], places, axis=1)
        scores, _ = self._computer.score(
            ids[:, :-1].tolist(), leaves, starts, ids[:, 1:].tolist()
        )
        return {
            place: Scores(*(part[number] for part in scores))
            for number, place in enumerate(asked)
        }


def _sampling(requests: list[Request]) -> Sampling:
    """Settings of each row."""

    def column(values, dtype):
        return ops.convert_to_tensor(np.array(values, dtype))

    each = [request.settings for request in requests]
    greedy = [settings.sampler == "greedy" for settings in each]
    pairs = zip(each, greedy, strict=True)
    words = [
        [request.seed & 0xFFFFFFFF, request.seed >> 32 & 0xFFFFFFFF]
        for request in requests
    ]
    return Sampling(
        column([0.0 if g else s.temperature for s, g in pairs], "float32"),
        column([s.top_k for s in each], "int32"),
        column([s.top_p for s in each], "float32"),
        column([s.min_p for s in each], "float32"),
        column([s.repetition_penalty for s in each], "float32"),
        column(words, "uint32"),
    )


def _ends(requests: list[Request]) -> np.ndarray:
    """int32 `(batch, count)`: what ends each row, filled up with -1."""
    rows = [request.ends.token_ids for request in requests]
    ends = np.full((len(rows), max(map(len, rows))), -1, "int32")
    for row, token_ids in zip(ends, rows, strict=True):
        row[: len(token_ids)] = token_ids
    return ends
