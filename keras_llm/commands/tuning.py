"""The subcommands that tune a model on data, and on corrections."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from keras_llm.commands import show
from keras_llm.commands.command import CLEANING, OUT, PRESET, SOURCE, Command

RECORDS = (
    "Records: files, folders or addresses of JSON, JSONL, CSV or Parquet, also "
    "compressed, or hf:NAME of a Hugging Face dataset. "
)
SHAPES = {
    "instructions": "Columns messages; conversations; prompt and completion; "
    "or instruction, input and output.",
    "preferences": "Columns prompt (or instruction), chosen and rejected; for "
    "--preferences.loss kto: prompt, completion and label.",
}


def tune(kind: str, values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what became of the data, how the tuning went, what to do next."""
    from keras_llm import workflow

    functions: dict[str, Callable] = {
        "domain": workflow.tune_domain,
        "instructions": workflow.tune_instructions,
        "preferences": workflow.tune_preferences,
    }
    result = functions[kind](
        values.preset,
        values.source if kind == "domain" else values.records,
        values.out,
        values.recipe,
        values.redo,
        console,
    )
    show(result, values)
    if not values.json:
        use = "generate" if kind == "domain" else "chat"
        prompt = " --prompt TEXT" if kind == "domain" else ""
        print(
            f"\nNext: keras-llm {use} {values.out}{prompt}\n"
            f"      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def _redo(*stages: str) -> dict[str, dict[str, Any]]:
    return {
        "--redo": {
            "choices": stages,
            "help": "A stage to do again; those after it follow where it "
            "comes out differently.",
        }
    }


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
}
