"""The subcommands that tune a model on data, and on corrections."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.command import (
    ASKED,
    CLEANING,
    OUT,
    PRESET,
    SOURCE,
    Command,
)
from keras_llm.commands.showing import show
from keras_llm.errors import InputError
from keras_llm.quiet import import_keras

RECORDS = (
    "Records: files, folders or addresses of JSON, JSONL, CSV or Parquet, also "
    "compressed, or hf:NAME of a Hugging Face dataset. "
)
SHAPES = {
    "instructions": "Columns messages; conversations; prompt and completion; "
    "or instruction, input and output.",
    "preferences": "Columns prompt (or instruction), chosen and rejected; for "
    "--preferences.loss kto: prompt, completion and label.",
    "classifier": "Columns text and label, or two that --data.columns names.",
}
# What a model that was tuned is tried by.
NEXT = {"domain": ASKED["generate"], "classifier": ASKED["classify"]}
# Pages of them; `keras-llm inspect` and the folder's reports have it all.
DETAILS = (
    "calibration",
    "encode",
    "linear",
    "per_class",
    "prepare",
    "untrained",
)


def tune(kind: str, values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what became of the data, how the tuning went, what to do next."""
    from keras_llm import workflow

    result = workflow.TUNINGS[kind](
        values.preset,
        values.source if kind == "domain" else values.records,
        values.out,
        values.recipe,
        values.redo,
        console,
    )
    show(result if values.json else _brief(result), values)
    if not values.json:
        print(
            f"\nNext: keras-llm {NEXT.get(kind, 'chat {}').format(values.out)}"
            f"\n      keras-llm inspect {values.out}"
            f"\n      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def _brief(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _brief(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in DETAILS
    }


def improve(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what the corrections have changed; exits with 3 if not enough."""
    from keras_llm import workflow

    result = workflow.improve(
        values.preset,
        values.feedback,
        values.out or _default_out(values),
        values.export,
        values.recipe,
        values.general,
        values.held_back,
        values.max_loss_rise,
        values.system,
        console,
    )
    show(result, values)
    if result["improved"]:
        return result
    if values.json:
        print(json.dumps(result))
    raise SystemExit(3)


def _default_out(values: Namespace) -> Path:
    """A folder beside the run, another for other feedback or settings."""
    from keras_llm.files import file_digest
    from keras_llm.recipes.settings import to_dict

    if not Path(values.preset).is_dir():
        raise InputError(
            f"--out must be given, because {values.preset} is no folder."
        )
    if not values.feedback.is_file():
        raise InputError(f"--feedback {values.feedback} must be a file.")
    decided = [
        file_digest(values.feedback),
        to_dict(values.recipe),
        values.general,
        values.held_back,
        values.max_loss_rise,
    ]
    digest = hashlib.sha256(json.dumps(decided).encode()).hexdigest()
    return Path(f"{str(values.preset).rstrip('/')}-improved-{digest[:8]}")


def add_feedback(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the event that was added."""
    from keras_llm.tuning.feedback import Event, add_feedback

    if (values.better is None) == (values.thumb is None):
        raise InputError(
            "Either --better or --thumb must be given: what the answer should "
            "be, or whether it was good."
        )
    messages = []
    if values.system:
        messages.append({"role": "system", "content": values.system})
    messages.append({"role": "user", "content": values.prompt})
    prompt = messages if values.system else values.prompt
    answer = values.answer
    if answer is None and values.preset is not None:
        answer = _answer_of(values.preset, messages)
    if answer is None and values.thumb:
        raise InputError("--answer or --preset must be given with --thumb.")
    if values.thumb:
        event = Event(prompt, completion=answer, label=values.thumb == "up")
    elif answer is None:
        event = Event(prompt, completion=values.better, label=True)
    else:
        event = Event(prompt, chosen=values.better, rejected=answer)
    version = values.model_version or values.preset
    event = replace(event, model_version=version)
    add_feedback(values.file, event)
    return show(event.to_dict(), values)


def _answer_of(preset: str, messages: list[dict[str, str]]) -> str:
    """What the model answers now."""
    import_keras()
    from keras_llm.generation import TextGenerator
    from keras_llm.models.loading import load_causal_lm
    from keras_llm.recipes.settings import GenerationSettings

    generator = TextGenerator(load_causal_lm(preset))
    settings = GenerationSettings(sampler="greedy")
    return generator.chat(messages, settings).text.strip()


def list_feedback(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Shows the events of a file, and names lines that are damaged."""
    from keras_llm.tuning.feedback import read_feedback

    feedback = read_feedback(values.file)
    if not values.json:
        table = Table("prompt", "answer", "better answer or thumb", "time")
        for event in feedback.events:
            thumb = {True: "up", False: "down", None: event.chosen}[event.label]
            cells = (
                event.messages()[-1]["content"],
                event.rejected or event.completion or "-",  # may be empty
                thumb,
                event.time or "-",
            )
            table.add_row(*map(escape, cells))
        Console().print(table)
    for number, reason in feedback.damaged.items():
        console.print(f"Line {number} is damaged: {reason}", markup=False)
    return [event.to_dict() for event in feedback.events]


def export_feedback(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows how many events each file has."""
    from keras_llm.tuning.feedback import export_feedback, read_feedback

    feedback = read_feedback(values.file)
    return show(export_feedback(feedback, values.out), values)


def _redo(*stages: str) -> dict[str, dict[str, Any]]:
    return {
        "--redo": {
            "choices": stages,
            "help": "A stage to do again; those after it follow where it "
            "comes out differently.",
        }
    }


FEEDBACK = (
    "file",
    Path,
    "A file of feedback, feedback.jsonl say; it is only ever appended to.",
)
COMMANDS = {
    "tune domain": Command(
        partial(tune, "domain"),
        "Goes on pretraining a model on new text, and sees what it forgets.",
        [("preset", str, PRESET), ("source", list[str], SOURCE)],
        {
            **OUT,
            **CLEANING,
            **_redo("prepare", "encode", "tune", "evaluate"),
        },
        ["corpus", "replay", "adapter", "training", "generation"],
        "domain",
    ),
    "tune instructions": Command(
        partial(tune, "instructions"),
        "Tunes a model to answer; only answers count.",
        [
            ("preset", str, PRESET),
            ("records", list[str], RECORDS + SHAPES["instructions"]),
        ],
        {**OUT, **_redo("data", "tune", "evaluate")},
        ["data", "adapter", "training", "generation"],
        "instructions",
    ),
    "tune preferences": Command(
        partial(tune, "preferences"),
        "Tunes a model to prefer better answers to worse ones.",
        [
            ("preset", str, PRESET),
            ("records", list[str], RECORDS + SHAPES["preferences"]),
        ],
        {**OUT, **_redo("data", "reference", "tune", "evaluate")},
        ["data", "preferences", "adapter", "training", "generation"],
        "preferences",
    ),
    "tune classifier": Command(
        partial(tune, "classifier"),
        "Makes a classifier of a model, beside one that is much simpler.",
        [
            ("preset", str, PRESET),
            ("records", list[str], RECORDS + SHAPES["classifier"]),
        ],
        {
            **OUT,
            **_redo("data", "tune", "evaluate", "untrained", "learning_curve"),
        },
        ["data", "classifier", "adapter", "training"],
        "classifier",
    ),
    "feedback add": Command(
        add_feedback,
        "Writes down a better answer, or whether an answer was good.",
        [FEEDBACK],
        {
            "--prompt": {"required": True, "help": "What was asked."},
            "--system": {"help": "What the assistant was told before."},
            "--answer": {"help": "The answer that was given."},
            "--preset": {
                "help": "What gave the answer; it is asked again if --answer "
                "is omitted."
            },
            "--better": {"help": "What the answer should be."},
            "--thumb": {
                "choices": ("up", "down"),
                "help": "Whether the answer was good, instead of --better.",
            },
            "--model_version": {
                "help": "What gave the answer; --preset if omitted."
            },
        },
        needs_keras=False,  # unless there is a model to ask
    ),
    "feedback list": Command(
        list_feedback,
        "Lists what was written down.",
        [FEEDBACK],
        needs_keras=False,
    ),
    "feedback export": Command(
        export_feedback,
        "Writes corrections and thumbs as files for `tune preferences`.",
        [FEEDBACK],
        OUT,
        needs_keras=False,
    ),
    "improve": Command(
        improve,
        "Tunes a model on corrections, and exports it if it got better.",
        [("preset", str, PRESET)],
        {
            "--feedback": {
                "type": Path,
                "metavar": "FILE",
                "required": True,
                "help": "What `feedback add`, or the chat page, wrote.",
            },
            "--export": {
                "type": Path | None,
                "metavar": "DIR",
                "help": "Folder of versions, such as saved_models/NAME, that "
                "gets the next one.",
            },
            "--system": {
                "metavar": "TEXT",
                "help": "What the exported assistant is told before every "
                "conversation, as with `keras-llm export`.",
            },
            "--general": {
                "nargs": "+",
                "metavar": "SOURCE",
                "help": "Conversations that it should not forget, as `tune "
                "instructions` takes them; the run's own if omitted.",
            },
            "--held_back": {
                "type": float,
                "default": 0.1,
                "help": "Share of corrections that are not learned, to judge "
                "by.",
            },
            "--max_loss_rise": {
                "type": float,
                "default": 0.02,
                "help": "By which share the loss on general conversations may "
                "rise; 0.01 nats per token are always allowed.",
            },
            "--out": {
                "type": Path | None,
                "metavar": "DIR",
                "help": "Folder to write; PRESET-improved-… if omitted.",
            },
        },
        ["data", "replay", "preferences", "adapter", "training", "generation"],
        "improve",
    ),
}
