"""A thread that answers requests with one model, in its own order.

What waits, what is dropped, and how it ends; not how answers are computed.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from keras_llm.generation.text import TextGenerator
from keras_llm.serving.job import Job, TokenJob
from keras_llm.serving.requests import Busy, Closed, Piece, Request, Ticket

log = logging.getLogger(__name__)
CLOSE_SECONDS = 10  # that what is computed at the end may take


class Worker(ABC):
    """Takes requests from any thread, and answers them in one.

    One that answers a batch at a time has it in `_jobs`.

    Args:
        slots: Requests that are worked on at once at most.
        most_waiting: Requests that may wait beside them.
    """

    def __init__(self, slots: int, most_waiting: int):
        self.slots, self.most_waiting = slots, most_waiting
        self._waiting: deque[Job] = deque()
        self._jobs: list[Job] = []
        self._calls: deque[tuple[Callable, Future]] = deque()
        self._state = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._run, name="engine", daemon=True
        )
        self._thread.start()

    def _job(self, ticket: Ticket) -> Job:
        """What is kept of a request."""
        return Job(ticket)

    def admitted(self) -> list[Job]:
        """The requests that are worked on."""
        return self._jobs

    @abstractmethod
    def _check(self, request: Request) -> None:
        """Raises `InputError` for a request that cannot be answered."""

    def _admit(self, jobs: list[Job]) -> None:
        """Takes jobs that have waited."""
        self._jobs += jobs

    @abstractmethod
    def _work(self) -> None:
        """Works for a moment on what was admitted; forgets what is over."""

    def _forget(self) -> None:
        """Forgets all that was admitted."""
        self._jobs = []

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and not self._is_closed

    @property
    def num_waiting(self) -> int:
        """Those that still want an answer."""
        waiting = list(self._waiting)
        return sum(not job.ticket.is_cancelled for job in waiting)

    def submit(self, request: Request, tell: Callable[[Piece], None]) -> Ticket:
        """Takes a request.

        Args:
            request: What is asked; its prompt has room for a token.
            tell: Called with every piece of the answer, from the thread: it
                must return at once.

        Raises:
            Busy: As many wait as may.
            Closed: It was closed.
            InputError: A prompt that fills the context, or something that the
                model cannot do.
        """
        self._check(request)
        ticket = Ticket(request, tell)
        job = self._job(ticket)
        with self._state:
            self._check_open()
            if self.num_waiting >= self.most_waiting:
                raise Busy(1 + self.num_waiting // self.slots)
            self._waiting.append(job)
            self._state.notify_all()
        return ticket

    def call(self, function: Callable[[], Any]) -> Future:
        """What a function returns that uses the model, between answers.

        Raises:
            Closed: It was closed.
        """
        future: Future = Future()
        with self._state:
            self._check_open()
            self._calls.append((function, future))
            self._state.notify_all()
        return future

    def close(self, seconds: float = 0.0) -> None:
        """Takes no more requests, and finishes for so long what it has."""
        end = time.monotonic() + seconds
        with self._state:
            self._is_closed = True
            self._state.notify_all()
            while self._all() and (left := end - time.monotonic()) > 0:
                self._state.wait(min(left, 0.05))
            for job in self._all():
                job.fail(Closed("The server is shutting down."))
            self._state.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("The server is shutting down.")

    def _all(self) -> list[Job]:
        return [*self._waiting, *self.admitted()]

    def _run(self) -> None:
        while True:
            with self._state:
                while not (self._all() or self._calls):
                    if self._is_closed:
                        return
                    self._state.wait()
                self._drop_the_lost()
                free = self.slots - len(self.admitted())
                count = min(free, len(self._waiting))
                self._admit([self._waiting.popleft() for _ in range(count)])
            try:
                self._answer_calls()
                self._work()
            except Exception as error:  # of the model: those at hand end
                log.exception("the model failed")
                for job in self.admitted():
                    job.fail(error)
                self._forget()

    def _drop_the_lost(self) -> None:
        """Ends those that nobody waits for, or that took too long."""
        now = time.monotonic()
        for job in self._all():
            if job.ticket.is_cancelled:
                job.is_over = True
            elif now > job.deadline:
                job.fail(TimeoutError("The request took too long."))
        self._waiting = deque(job for job in self._waiting if not job.is_over)

    def _answer_calls(self) -> None:
        # As many as there are now: others may come, and answers go on.
        for _ in range(len(self._calls)):
            function, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except Exception as error:  # whose it is
                future.set_exception(error)


class TokenWorker(Worker):
    """A worker whose answers come token by token.

    Args:
        generator: Of the model: prompts, templates, the context.
        slots: Requests that are worked on at once at most.
        most_waiting: Requests that may wait beside them.
    """

    def __init__(self, generator: TextGenerator, slots: int, most_waiting: int):
        self.generator = generator
        super().__init__(slots, most_waiting)

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.generator.context

    def _job(self, ticket: Ticket) -> TokenJob:
        return TokenJob(ticket, self.generator.tokenizer, self.context)
