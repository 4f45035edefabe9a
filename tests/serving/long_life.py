"""Short requests to an engine, many of them; prints the memory it takes.

    python tests/serving/long_life.py COUNT

Prints MiB that are resident, ten times. TensorFlow's oneDNN keeps what it has
prepared for each shape, up to a number of them: without it
(TF_ENABLE_ONEDNN_OPTS=0) what grows is ours.
"""

import random
import resource
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from asked import SAMPLE, ask  # noqa: E402
from testing import tiny_model  # noqa: E402

from keras_llm.serving.engine import Engine  # noqa: E402

TOGETHER = 24
WORDS = "the people of war and union states president congress".split()


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def options_of(number):
    """What some of them ask for beside text."""
    if number % 13 == 0:
        return {"alternatives": 1, "echo": True}
    if number % 11 == 0:
        return {"logit_bias": {3: -1.0}}
    return {"alternatives": 2} if number % 7 == 0 else {}


def live(count):
    model = tiny_model(["gru", "attention"], max_sequence_length=256)
    engine = Engine(model, prefix_bytes=2**20)
    chance, waiting = random.Random(0), []
    for number in range(1, count + 1):
        words = chance.choices(WORDS, k=chance.choice((1, 2, 5, 20, 40)))
        settings = replace(
            SAMPLE,
            max_new_tokens=chance.choice((1, 2, 4, 8)),
            stop=chance.choice(([], ["x"])),
        )
        prompt = " ".join(words)
        asked = ask(engine, prompt, settings, number, **options_of(number))
        if number % 17 == 0:
            asked.ticket.cancel()
        else:
            waiting.append(asked)
        if len(waiting) > TOGETHER:
            waiting.pop(0).whole()
        if number % (count // 10) == 0:
            print(resident(), flush=True)
    computer = engine._computer
    for function in (computer._read, *computer._advance.values()):
        assert function.experimental_get_tracing_count() <= 1
    engine.close()


if __name__ == "__main__":
    live(int(sys.argv[1]))
