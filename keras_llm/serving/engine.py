"""Continuous batching: many requests, one model, one thread.

A request waits, its prompt is read in chunks, and then its row is decoded with
all others that are as far. Rows join and leave between tokens. Knows nothing
of HTTP.
"""

import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.generation.text import TextGenerator
from keras_llm.models import ScratchCausalLM
from keras_llm.serving.columns import bias_of, ends_of, sampling_of
from keras_llm.serving.job import TokenJob
from keras_llm.serving.prefixes import MOST_BYTES, Prefixes
from keras_llm.serving.requests import Request
from keras_llm.serving.rows import (
    CHUNK,
    GRAIN,
    MANY_STEPS,
    Computer,
    Leaves,
    Rows,
    Scores,
)
from keras_llm.serving.worker import TokenWorker

SLOTS = 32
MOST_WAITING = 256


class Engine(TokenWorker):
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
        slots: int = SLOTS,
        most_waiting: int = MOST_WAITING,
        prefix_bytes: int = MOST_BYTES,
    ):
        self._computer = Computer(model)
        self._prefixes = Prefixes(self._computer.layout, prefix_bytes)
        self._turn = 0
        self._forget()
        super().__init__(TextGenerator(model), slots, most_waiting)

    def admitted(self) -> list[TokenJob]:
        return [*self._reading, *self._running]

    def _check(self, request: Request) -> None:
        self.generator.encode_prompt(request.prompt)
        size = self._computer.vocabulary_size
        for token in request.logit_bias:
            if not 0 <= token < size:
                raise InputError(
                    f"logit_bias must be of token ids in [0, {size}). "
                    f"Received: {token}"
                )

    def _admit(self, jobs: list[TokenJob]) -> None:
        self._reading += jobs

    def _forget(self) -> None:
        self._reading: list[TokenJob] = []
        self._running: list[TokenJob] = []
        self._rows = Rows(self._computer.layout)

    def _work(self) -> None:
        """A chunk of one prompt, and a token or a few of all answers."""
        self._reading = [job for job in self._reading if not job.is_over]
        if self._reading:
            self._read(self._next_to_read())
        self._leave()
        if self._running:
            self._decode()

    def _next_to_read(self) -> TokenJob:
        """The shortest and the oldest take turns, so that neither starves."""
        self._turn += 1
        if self._turn % 2:
            return min(self._reading, key=lambda job: job.num_unread)
        return self._reading[0]

    def _read(self, job: TokenJob) -> None:
        if job.leaves is None:
            self._begin(job)
        ids, start = job.prompt, job.num_read
        chunk = ids[start : start + CHUNK]
        count = min(len(chunk), len(ids) - 1 - start)
        if job.request.echo:
            # The last token is not read: decoding begins with it.
            targets = ids[start + 1 : start + 1 + count]
            if count:
                scores, job.leaves = self._computer.score(
                    [chunk[:count]], job.leaves, [start], [targets]
                )
                job.add_prompt_scores(targets, scores)
        elif count:
            chunk = chunk + [0] * self._padding(len(chunk), start)
            job.leaves = self._computer.read(chunk, job.leaves, start, count)
        job.num_read += count
        if count == CHUNK:
            self._prefixes.keep(ids[: job.num_read], job.leaves)
        if job.num_unread == 0:
            self._reading.remove(job)
            job.tell_prompt()
            if not job.is_over:
                self._join(job)

    def _padding(self, length: int, start: int) -> int:
        """To a power of two, as far as there is room in the context."""
        wide = min(1 << (length - 1).bit_length(), self.context - start)
        return max(0, wide - length)

    def _begin(self, job: TokenJob) -> None:
        layout, length = self._computer.layout, self._room(len(job.prompt))
        job.leaves = layout.empty(length)
        if job.request.echo:
            return  # its scores are wanted, and these are not kept
        job.num_read, parts = self._prefixes.find(job.prompt[:-1])
        if parts:
            job.leaves = layout.joined(parts, length)

    def _room(self, length: int) -> int:
        """The length of caches that hold so many tokens, and some more."""
        grains = -(-(length + MANY_STEPS) // GRAIN)
        return min(grains * GRAIN, self.context)

    def _join(self, job: TokenJob) -> None:
        length = max(self._rows.token_ids.shape[1], self._room(len(job.prompt)))
        if length > self._rows.token_ids.shape[1]:
            self._rows.keep(range(len(self._running)), length)
        self._rows.add(job.prompt, job.leaves, length)
        job.leaves = None
        self._running.append(job)
        self._tell_settings()

    def _leave(self) -> None:
        """Drops jobs that are over, and makes room for the others."""
        kept = [i for i, job in enumerate(self._running) if not job.is_over]
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
        rows, requests = self._rows, [job.request for job in self._running]
        rows.sampling = sampling_of(requests)
        limits = [job.limit for job in self._running]
        rows.limits = ops.convert_to_tensor(np.array(limits, "int32"))
        rows.ends = ends_of(requests)
        rows.bias = bias_of(requests, self._computer.vocabulary_size)

    def _decode(self) -> None:
        # One at a time where others wait to join.
        steps = 1 if self._reading or self._waiting else MANY_STEPS
        rows, before = self._rows, self._rows.lengths
        leaves = rows.leaves
        self._computer.advance(rows, steps)
        scores = self._scores(before, leaves)
        for place, job in enumerate(self._running):
            token_ids = rows.token_ids[place, : rows.lengths[place]].tolist()
            job.update(token_ids, bool(rows.finished[place]), scores.get(place))
            rows.finished[place] = job.is_over

    def _scores(self, before: np.ndarray, leaves: Leaves) -> dict[int, Scores]:
        """How likely the new tokens were, of rows that are asked that of.

        They are computed once more, several at once: decoding itself is the
        same for all.
        """
        rows = self._rows
        asked = [
            place
            for place, job in enumerate(self._running)
            if job.request.alternatives is not None
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
