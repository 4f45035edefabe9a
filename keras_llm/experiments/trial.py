"""One trial of a sweep, in a process of its own.

Reads what to do from standard input, one line of JSON. Says each validation
on standard output, waits for an answer, and ends when nobody can give one.
"""

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.errors import InputError
from keras_llm.experiments.making import make_run
from keras_llm.experiments.runs import best_validation
from keras_llm.quiet import import_keras
from keras_llm.recipes.loading import recipe_from_dict
from keras_llm.training.log import read_log

GO_ON, STOP = "go on", "stop"
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"


class _Pruned(KeyboardInterrupt):
    """The trial is not worth more steps."""


def main() -> int:
    """Makes the run, and says how it ended."""
    # Nothing that a library prints gets between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    job = json.loads(sys.stdin.readline())
    answers: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(answers,), daemon=True).start()

    def watch(step: int, loss: float) -> None:
        say({"step": step, "loss": loss})
        if answers.get() == STOP:
            raise _Pruned

    try:
        say(_made(job, watch))
    except _Pruned:
        say({"state": PRUNED})
    except (InputError, MemoryError) as error:
        message = " ".join(str(error).split()) or "not enough memory"
        say({"state": FAILED, "error": message})
    except KeyboardInterrupt:
        return 130
    return 0


def _listen(answers: queue.Queue) -> None:
    for line in sys.stdin:
        answers.put(line.strip())
    os._exit(1)  # whoever asked for this is gone


def _made(job: dict[str, Any], watch) -> dict[str, Any]:
    import_keras()
    from keras_llm.training.watching import watched

    out = Path(job["out"])
    recipe = recipe_from_dict(job["recipe"], str(out))
    with watched(watch):
        make_run(
            job["kind"],
            job["sources"],
            job["preset"],
            recipe,
            out,
            Console(file=sys.stderr),
        )
    loss, _ = best_validation(read_log(out / "training" / "log.csv"))
    return {"state": COMPLETE, "loss": loss}


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread waits for standard input, and would be waited for
