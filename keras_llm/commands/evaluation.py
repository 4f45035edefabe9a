"""The subcommands that ask a model, and that tell how good it is."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.classifying import evaluate_labelled
from keras_llm.commands.command import Command
from keras_llm.commands.showing import ANSWERS, RESULTS, show, write_json
from keras_llm.errors import InputError
from keras_llm.files import (
    check_free,
    write_json_lines,
    written_beside,
)

PAIRS = (
    "JSON, JSON Lines, CSV, TSV or Parquet with columns prompt and "
    "completion, question and answer, instruction and output, or input and "
    "output; or with messages of a question and its answer."
)
EVALUATE_OPTIONS = {
    "--split": {
        "type": str | None,
        "help": "One split of TOKENS; all held out ones if omitted.",
    },
    "--batch_size": {
        "type": int | None,
        "help": "Rows a batch; does not change the result, but how many "
        "streams there are with --stateful (10 if omitted).",
    },
    "--stride": {
        "type": int | None,
        "metavar": "TOKENS",
        "help": "Tokens from one window to the next, those of a window if "
        "omitted: fewer give each token more context, and take longer.",
    },
    "--stateful": {
        "action": "store_true",
        "help": "Carry a recurrent state from window to window, as "
        "--training.stateful does.",
    },
    "--tasks": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "Tasks, groups or tags of EleutherAI's lm_eval.",
    },
    "--num_fewshot": {
        "type": int | None,
        "help": "Examples before each question of a task; the task's own "
        "number if omitted.",
    },
    "--limit": {
        "type": int | None,
        "help": "The first so many questions of each task.",
    },
    "--include_path": {
        "type": Path | None,
        "metavar": "DIR",
        "help": "Folder with YAML files of tasks of your own.",
    },
    "--references": {
        "type": str | None,
        "metavar": "FILE",
        "help": "Prompts with the answers wanted: BLEU, chrF, ROUGE and exact "
        "match. " + PAIRS,
    },
    "--prompt": {
        "type": str | None,
        "metavar": "COLUMN",
        "help": "Another column of prompts; a number, from 1, of a table "
        "without a header.",
    },
    "--completion": {
        "type": str | None,
        "metavar": "COLUMN",
        "help": "Another column of the answers wanted.",
    },
    "--max_new_tokens": {
        "type": int | None,
        "help": "Most tokens of an answer; 128 if omitted.",
    },
    "--stop": {
        "nargs": "+",
        "metavar": "TEXT",
        "help": "Strings that end an answer, besides the end token.",
    },
    "--chat": {
        "action": "store_true",
        "help": "Put prompts as a user's message, by the chat template, to a "
        "model that was tuned on conversations.",
    },
    "--labelled": {
        "type": str | None,
        "metavar": "DATA",
        "help": "Texts with labels, which a classifier is judged by as its "
        "run does.",
    },
    "--data.columns": {
        "type": list[str],
        "metavar": "[TEXT,LABEL]",
        "help": "Their columns, where they have other names; by number, from "
        "1, in a table without a header.",
    },
    "--out": {
        "type": Path | None,
        "metavar": "DIR",
        "help": "Folder for the results, and for what was answered.",
    },
}
ASK_OPTIONS = {
    "--shots": {
        "type": str | None,
        "metavar": "FILE",
        "help": "Questions with their answers that stand before it. " + PAIRS,
    },
    "--choices": {
        "nargs": "+",
        "metavar": "TEXT",
        "help": "The answers to choose from; it may say anything if omitted.",
    },
    "--instruction": {
        "type": str,
        "default": "",
        "metavar": "TEXT",
        "help": "What stands before all of it.",
    },
    "--max_new_tokens": {
        "type": int,
        "default": 64,
        "help": "Most tokens of an answer that is not one of the choices.",
    },
    "--show_prompt": {
        "action": "store_true",
        "help": "Print what the model reads, too.",
    },
}
# Options that only one way of evaluating has.
OPTIONS_OF = {
    "TOKENS": ("split", "stride", "stateful"),
    "--tasks": ("num_fewshot", "limit", "include_path"),
    "--references": (
        "prompt",
        "completion",
        "max_new_tokens",
        "stop",
        "chat",
    ),
    "--labelled": ("data.columns",),
}


def evaluate(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the metrics of splits, of tasks, or of answers to prompts."""
    ways = {
        "TOKENS": (values.tokens, _evaluate_tokens),
        "--tasks": (values.tasks, _evaluate_tasks),
        "--references": (values.references, _evaluate_references),
        "--labelled": (values.labelled, evaluate_labelled),
    }
    given = [name for name, (value, _) in ways.items() if value]
    if len(given) != 1:
        raise InputError(
            f"One of {', '.join(ways)} must be given: what is evaluated. "
            f"Received: {' and '.join(given) or 'none'}"
        )
    for way, options in OPTIONS_OF.items():
        for option in options:
            if values[option] not in (None, False, []) and way not in given:
                raise InputError(f"--{option} needs {way}.")
    if values.out is not None:
        if "TOKENS" in given:
            raise InputError("--out needs --tasks, --references or --labelled.")
        check_free(values.out)
    return ways[given[0]][1](values, console)


def _evaluate_tokens(values: Namespace, console: Console) -> dict[str, Any]:
    from keras_llm.workflow import evaluate_preset, held_out_splits

    splits = [values.split] if values.split else held_out_splits(values.tokens)
    if not splits:
        raise InputError(
            f"{values.tokens} has no split that was held out. Pass --split."
        )
    if values.stateful and values.stride is not None:
        raise InputError(
            "--stride must be left out with --stateful, whose windows do not "
            f"overlap. Received: {values.stride}"
        )
    result = evaluate_preset(
        values.preset,
        values.tokens,
        splits,
        console,
        values.batch_size,
        values.stride,
        values.stateful,
    )
    return show(result, values)


def _evaluate_tasks(values: Namespace, console: Console) -> dict[str, Any]:
    from keras_llm.evaluation.harness import require_lm_eval, run_tasks
    from keras_llm.models import load_preset

    require_lm_eval()  # before seconds of loading
    model = load_preset(values.preset)
    with console.status(f"evaluating {', '.join(values.tasks)}"):
        found = run_tasks(
            model,
            values.tasks,
            values.num_fewshot,
            values.limit,
            values.include_path,
            values.batch_size,
            log_samples=values.out is not None,
        )
    rows = task_rows(found)
    if values.out is not None:
        samples = found.pop("samples", {})
        with written_beside(values.out) as folder:
            write_json(folder / RESULTS, found)
            for task, answers in samples.items():
                write_json_lines(folder / f"samples_{task}.jsonl", answers, str)
    if not values.json:
        table = Table("task", "examples", "questions", "metric", "value", "±")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        Console().print(table)
    return {"tasks": rows}


def task_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a metric, of what `lm_eval` found.

    Args:
        found: What `run_tasks` returns.

    Returns:
        The task, the examples before each question, the questions, the metric
        (with the name of its filter, where there are several), its value and
        its standard error or `None`.
    """
    rows = []
    for task, metrics in found["results"].items():
        counts = found["n-samples"].get(task, {})
        for key, value in metrics.items():
            metric, _, kind = key.partition(",")
            if not kind or metric.endswith("_stderr"):
                continue
            error = metrics.get(f"{metric}_stderr,{kind}")
            rows.append(
                {
                    "task": task,
                    "num_fewshot": found["n-shot"].get(task),
                    "num_questions": counts.get("effective"),
                    "metric": metric if kind == "none" else f"{metric}, {kind}",
                    "value": value,
                    "stderr": error if isinstance(error, float) else None,
                }
            )
    return rows


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evaluate_references(values: Namespace, console: Console) -> dict[str, Any]:
    from keras_llm.evaluation.pairs import read_pairs
    from keras_llm.evaluation.references import evaluate_references
    from keras_llm.models import load_preset

    pairs = read_pairs(values.references, values.prompt, values.completion)
    with console.status(f"answering {len(pairs)} prompts"):
        result, rows = evaluate_references(
            load_preset(values.preset),
            pairs,
            values.max_new_tokens,
            values.stop or (),
            values.batch_size,
            values.chat,
        )
    if values.out is not None:
        with written_beside(values.out) as folder:
            write_json(folder / RESULTS, result)
            write_json_lines(folder / ANSWERS, rows)
    return show(result, values)


def ask(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the answer, and how likely each choice is."""
    from keras_llm.evaluation.pairs import read_pairs
    from keras_llm.evaluation.questions import ask
    from keras_llm.models import load_preset

    shots = read_pairs(values.shots) if values.shots else []
    answer = ask(
        load_preset(values.preset),
        values.question,
        shots,
        values.choices or [],
        values.instruction,
        values.max_new_tokens,
    )
    if not values.json:
        if values.show_prompt:
            print(answer.prompt, end="\n\n")
        print(answer.answer)
        if answer.choices:
            table = Table("choice", "probability", "nats", "nats per byte")
            for choice in answer.choices:
                table.add_row(
                    escape(choice.text),
                    f"{choice.probability:.1%}",
                    f"{choice.log_likelihood:.3f}",
                    f"{choice.log_likelihood_per_byte:.3f}",
                )
            Console().print(table)
    return answer.to_dict()


COMMANDS = {
    "evaluate": Command(
        evaluate,
        "Loss, perplexity, bits per byte and accuracy of a preset, of an "
        "encoder on masked words beside a unigram model; or its "
        "score in tasks of lm_eval; or how close its answers are to given "
        "ones; or how well a classifier tells labelled texts.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("tokens", Path | None, "Folder that `encode` wrote."),
        ],
        EVALUATE_OPTIONS,
        recipe="classifier",
    ),
    "ask": Command(
        ask,
        "Asks a preset a question, after examples or none.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("question", str, "The question."),
        ],
        ASK_OPTIONS,
    ),
}
