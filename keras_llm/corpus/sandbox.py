"""A process of its own for code that hostile files may hang or crash.

Hand-written, for datatrove's outlives a parent that is killed, has no limit
of memory, and counts its own start as the first document's time. Knows
nothing of what it runs.
"""

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

SECONDS_TO_START = 120  # imports, on a machine that is busy
MOST_BYTES = 2**31  # of memory, beyond what the process begins with
_PR_SET_PDEATHSIG = 1


class Sandbox:
    """Calls a function in another process, which ends with this one.

    Args:
        function: Called with each value; what it returns or raises comes back.
        seconds: That a call may take.
        warm_up: Value of a first call, which nobody waits for in vain.
    """

    def __init__(
        self, function: Callable[[Any], Any], seconds: float, warm_up: Any
    ) -> None:
        self.process = None
        self._function = function
        self._seconds = seconds
        self._warm_up = warm_up
        self._connection: Connection | None = None

    def call(self, value: Any) -> Any:
        """The function of a value.

        Raises:
            TimeoutError: It took too long; the process was ended.
            EOFError: The process has died, or did not start.
            Exception: What the function raised.
        """
        try:
            if self.process is None or not self.process.is_alive():
                self._start()
            self._connection.send(value)
            answer = self._answer(self._seconds)
        except TimeoutError:
            self.close()
            raise
        except (EOFError, OSError) as error:
            self.close()
            raise EOFError("the process has died") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process, if there is one; the next call starts another."""
        if self.process is not None:
            self._connection.close()
            self.process.kill()
            self.process.join()
            self.process = None

    def _start(self) -> None:
        self.close()
        # Not the default context: within a worker that is the executor's.
        context = get_context("fork" if sys.platform == "linux" else "spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(theirs, os.getpid(), self._function, self._warm_up),
            daemon=True,
        )
        self.process.start()
        theirs.close()
        self._answer(SECONDS_TO_START)

    def _answer(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            raise TimeoutError(f"no answer within {seconds} seconds")
        return self._connection.recv()


def _serve(
    connection: Connection,
    parent: int,
    function: Callable[[Any], Any],
    warm_up: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to act on
    if sys.platform == "linux":
        _end_with(parent)
        _limit_memory()
    connection.send(_result(function, warm_up))
    while True:
        try:
            value = connection.recv()
        except EOFError:
            return
        connection.send(_result(function, value))


def _result(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except Exception as error:  # whatever it is, it is the caller's
        try:
            return pickle.loads(pickle.dumps(error))
        except Exception:  # it is not made to leave its process
            return RuntimeError(repr(error))


def _end_with(parent: int) -> None:
    """Has the kernel end this process when its parent ends, however."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # the first to go where memory is short


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    most = used + MOST_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
