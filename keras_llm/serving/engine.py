"""Continuous batching: many requests, one model, one thread.

A request waits, its prompt is read in chunks, and then its row is decoded with
all others that are as far. Rows join and leave between tokens. Knows nothing
of HTTP.
"""

import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.generation.engines import sampling_of
from keras_llm.generation.text import TextGenerator
from keras_llm.models import ScratchCausalLM
from keras_llm.serving.columns import bias_of, ends_of
from keras_llm.serving.job import TokenJob
from keras_llm.serving.prefixes import MOST_BYTES, Prefixes
from keras_llm.serving.requests import Request
from keras_llm.serving.rows import (
    CHUNK,
    GRAIN,
    MANY_STEPS,
    Computer,
    Leaves,
    NewRow,
    Rows,
    stacked,
)
from keras_llm.serving.scores import Scores
from keras_llm.serving.worker import TokenWorker

SLOTS = 64
MOST_READ = 16  # prompts that are read together
READ_TOKENS = 512  # of prompts, about as many between two tokens of answers
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
        self._turn = self._num_read = 0
        self._forget()
        super().__init__(TextGenerator(model), slots, most_waiting)

    def admitted(self) -> list[TokenJob]:
        running = [job for job in self._running if not job.is_over]
        return [*self._reading, *self._ready, *running]

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
        self._ready: list[TokenJob] = []  # read, and not decoded yet
        self._running: list[TokenJob] = []
        self._rows = Rows(self._computer.layout)

    def _work(self) -> None:
        """A chunk of some prompts, and a token or a few of all answers."""
        self._reading = [job for job in self._reading if not job.is_over]
        self._read_for_a_while()
        self._arrange()
        if self._running:
            self._decode()

    def _read_for_a_while(self) -> None:
        """Reads chunks of prompts."""
        end = self._num_read + READ_TOKENS
        while self._reading and self._num_read < end:
            for job in self._read_some():
                if job.num_unread == 0:
                    self._reading.remove(job)
                    job.tell_prompt()
                    self._ready += [] if job.is_over else [job]

    def _read_some(self) -> list[TokenJob]:
        """Reads a chunk of a prompt, and of others that are as far."""
        first = self._next_to_read()
        for job in (first, *self._reading[:MOST_READ]):
            if job.leaves is None:
                self._begin(job)
        if first.request.echo:
            self._read_scored(first)
            return [first]
        others = [job for job in self._reading if job is not first]
        alike = [job for job in others if self._alike(first, job)]
        jobs = [first, *alike][:MOST_READ]
        self._read_together(jobs)
        return jobs

    def _next_to_read(self) -> TokenJob:
        """The shortest and the oldest take turns, so that neither starves."""
        self._turn += 1
        if self._turn % 2:
            return min(self._reading, key=lambda job: job.num_unread)
        return self._reading[0]

    def _alike(self, first: TokenJob, job: TokenJob) -> bool:
        """Whether chunks of both can be read in one batch."""
        return (
            job.leaves is not None
            and not job.request.echo
            and job.num_read == first.num_read
            and self._room(len(job.prompt)) == self._room(len(first.prompt))
        )

    def _read_together(self, jobs: list[TokenJob]) -> None:
        start = jobs[0].num_read
        chunks = [job.prompt[start : start + CHUNK] for job in jobs]
        # A prompt's last token is not read: decoding begins with it.
        counts = [min(CHUNK, job.num_unread) for job in jobs]
        if any(counts):
            leaves = stacked([job.leaves for job in jobs])
            width = self._width(max(map(len, chunks)), start)
            chunks = [chunk + [0] * (width - len(chunk)) for chunk in chunks]
            leaves = self._computer.read(chunks, leaves, start, counts)
            for place, job in enumerate(jobs):
                job.leaves = [leaf[place : place + 1] for leaf in leaves]
        for job, count in zip(jobs, counts, strict=True):
            self._has_read(job, count)

    def _read_scored(self, job: TokenJob) -> None:
        start, count = job.num_read, min(CHUNK, job.num_unread)
        if count:
            targets = job.prompt[start + 1 : start + 1 + count]
            scores, job.leaves = self._computer.score(
                [job.prompt[start : start + count]],
                job.leaves,
                [start],
                [targets],
            )
            job.add_prompt_scores(targets, scores.row(0))
        self._has_read(job, count)

    def _has_read(self, job: TokenJob, count: int) -> None:
        job.num_read += count
        self._num_read += count
        if count == CHUNK:
            self._prefixes.keep(job.prompt[: job.num_read], job.leaves)

    def _width(self, length: int, start: int) -> int:
        """A power of two, as far as there is room in the context."""
        wide = min(1 << (length - 1).bit_length(), self.context - start)
        return max(wide, length)

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

    def _arrange(self) -> None:
        """Puts those that are ready where others have left, and makes room.

        Each change copies the whole cache: places stay empty for a while
        where others are about to need them.
        """
        self._ready = ready = [job for job in self._ready if not job.is_over]
        running = zip(self._running, self._rows.lengths, strict=True)
        longest = [int(length) for job, length in running if not job.is_over]
        empty = len(self._running) - len(longest)
        longest += [len(job.prompt) for job in ready]
        room, has = self._room(max(longest)) if longest else 0, self._rows.room
        room = room if room > has or room <= has // 2 else has
        wait = self._reading and 4 * empty <= len(self._running)
        if not ready and room == has and (not empty or wait):
            return
        left, order = list(ready), []
        for place, job in enumerate(self._running):
            if not job.is_over:
                order.append((job, place))
            elif left:
                order.append((left.pop(0), None))
        order += [(job, None) for job in left]
        self._running, self._ready = [job for job, _ in order], []
        self._rows.arrange(
            [
                NewRow(job.prompt, job.leaves) if place is None else place
                for job, place in order
            ],
            room,
        )
        for job in ready:
            job.leaves = None
        if self._running:
            self._tell_settings()

    def _tell_settings(self) -> None:
        """Tensors of the settings of all rows."""
        rows, requests = self._rows, [job.request for job in self._running]
        rows.sampling = sampling_of(
            [request.settings for request in requests],
            [request.seed for request in requests],
        )
        limits = [job.limit for job in self._running]
        rows.limits = ops.convert_to_tensor(np.array(limits, "int32"))
        rows.ends = ends_of(requests)
        rows.bias = bias_of(requests, self._computer.vocabulary_size)

    def _decode(self) -> None:
        rows, before = self._rows, self._rows.lengths
        # One at a time where others wait to join, or for a first token.
        is_urgent = self._reading or self._waiting or not rows.steps.all()
        steps = 1 if is_urgent else MANY_STEPS
        leaves = rows.leaves
        # Those that are over have no room, where others are read meanwhile.
        rows.finished[:] = [job.is_over for job in self._running]
        self._computer.advance(rows, steps)
        scores = self._scores(before, leaves)
        for place, job in enumerate(self._running):
            if job.is_over:
                continue
            token_ids = rows.token_ids[place, : rows.lengths[place]].tolist()
            job.update(token_ids, bool(rows.finished[place]), scores.get(place))

    def _scores(self, before: np.ndarray, leaves: Leaves) -> dict[int, Scores]:
        """How likely the new tokens were, of rows that are asked that of.

        They are computed once more, several at once: decoding itself is the
        same for all.
        """
        rows = self._rows
        asked = [
            place
            for place, job in enumerate(self._running)
            if job.request.alternatives is not None and not job.is_over
        ]
        if not asked:
            return {}
        index = ops.convert_to_tensor(np.array(asked, "int32"))
        leaves = [ops.take(leaf, index, axis=0) for leaf in leaves]
        starts = before[asked] - 1
        width = int((rows.lengths - before)[asked].max())
        places = starts[:, None] + np.arange(width + 1)[None]
        places = np.minimum(places, rows.room - 1)
        ids = np.take_along_axis(rows.token_ids[asked], places, axis=1)
        scores, _ = self._computer.score(
            ids[:, :-1].tolist(), leaves, starts, ids[:, 1:].tolist()
        )
        return {place: scores.row(number) for number, place in enumerate(asked)}
