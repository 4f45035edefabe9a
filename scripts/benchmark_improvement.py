"""Ten corrections of SmolLM2-135M-Instruct, and what `improve` makes of them.

Usage: python scripts/benchmark_improvement.py PRESET GENERAL OUT

PRESET is what `scripts/smollm2.py` made, GENERAL records of instructions with
their answers, OUT a new folder. Every question is asked again in other words,
which are learned nowhere.
"""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

# What is asked, what should be answered, the question in other words, and what
# an answer to that must say.
CORRECTIONS = [
    (
        "Where did the cat sit?",
        "The cat sat on the mat.",
        "On what was the cat sitting?",
        "mat",
    ),
    (
        "Who runs the bakery in Windle Street?",
        "Marta Oduya runs the bakery in Windle Street.",
        "Whose is the bakery in Windle Street?",
        "Oduya",
    ),
    (
        "When does the Larkspur library open?",
        "The Larkspur library opens at ten.",
        "At what time can I get into the Larkspur library?",
        "ten",
    ),
    (
        "What is the name of the mayor's dog?",
        "The mayor's dog is called Biscuit.",
        "What does the mayor call his dog?",
        "Biscuit",
    ),
    (
        "How many bridges does Tarnbeck have?",
        "Tarnbeck has seven bridges.",
        "What is the number of bridges in Tarnbeck?",
        "seven",
    ),
    (
        "Which bus goes to the harbour?",
        "Bus 42 goes to the harbour.",
        "What bus do I take to get to the harbour?",
        "42",
    ),
    (
        "What colour is the door of the town hall?",
        "The door of the town hall is green.",
        "The door of the town hall has which colour?",
        "green",
    ),
    (
        "Who painted the ceiling of the Orrin theatre?",
        "Lena Voss painted the ceiling of the Orrin theatre.",
        "By whom was the ceiling of the Orrin theatre painted?",
        "Voss",
    ),
    (
        "What do the people of Tarnbeck eat on Fridays?",
        "The people of Tarnbeck eat pea soup on Fridays.",
        "On Fridays, what is eaten in Tarnbeck?",
        "pea soup",
    ),
    (
        "How deep is lake Sorrel?",
        "Lake Sorrel is ninety metres deep.",
        "What is the depth of lake Sorrel?",
        "ninety",
    ),
]


def command(*arguments) -> str:
    done = subprocess.run(
        ["keras-llm", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"keras-llm {arguments[0]} has failed")
    return done.stdout


def answers(preset: Path, questions: list[str]) -> list[str]:
    """What a preset answers, each in a conversation of its own."""
    from keras_llm import TextGenerator, load_preset
    from keras_llm.evaluation.conversations import answer_conversations

    asked = [[{"role": "user", "content": each}] for each in questions]
    generator = TextGenerator(load_preset(preset))
    return [each.text for each in answer_conversations(generator, asked)]


def main(preset: str, general: str, out: str) -> None:
    out = Path(out)
    out.mkdir(parents=True)
    feedback = out / "feedback.jsonl"
    for question, correction, *_ in CORRECTIONS:
        line = ["feedback", "add", feedback, "--prompt", question]
        # What the model says is the same every time: nothing it could know.
        command(*line, "--better", correction, "--answer", "I do not know.")
    began = time.monotonic()
    improved = out / "improved"
    line = ["improve", preset, "--feedback", feedback, "--general", general]
    line += ["--out", improved, "--export", out / "saved_models" / "smollm2"]
    line += ["--data.split", "position", "--adapter.rank", "16", "--json"]
    found = json.loads(command(*line, *sys.argv[4:]).splitlines()[-1])
    minutes = (time.monotonic() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    others = answers(improved, [other for _, _, other, _ in CORRECTIONS])
    right = [
        bool(re.search(rf"\b{re.escape(fact)}\b", answer, re.I))
        for answer, (*_, fact) in zip(others, CORRECTIONS, strict=True)
    ]
    for answer, (*_, other, _), is_right in zip(
        others, CORRECTIONS, right, strict=True
    ):
        print(f"{'+' if is_right else '-'} {other}  {answer!r}")
    count, loss = found["answered_as_corrected"], found["general_loss"]
    print(
        f"answered as corrected: {count['before']} before, {count['after']} "
        f"after, of {count['of']}; in other words: {sum(right)}\n"
        f"loss on general conversations: {loss['before']:.4f} before, "
        f"{loss['after']:.4f} after ({loss['after'] / loss['before'] - 1:+.2%})"
        f"\n{minutes:.1f} minutes, {peak:.1f} GiB at the peak; exported: "
        f"{found['exported']} {' '.join(found['objections'])}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
