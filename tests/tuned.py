"""Tiny models and data to tune them on, in seconds."""

import functools
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from testing import tiny_model

from keras_llm import workflow
from keras_llm.models import save_preset
from keras_llm.recipes import load_recipe
from keras_llm.training.log import TIMINGS, read_log

QUIET = Console(quiet=True)
WORDS = ("war", "peace", "law", "hope", "justice", "the people")
PAIRS = [
    {
        "prompt": f"What of {word}?",
        "chosen": f"It is {'good' if index % 2 else 'bad'}.",
        "rejected": "Nobody knows",
    }
    for index, word in enumerate(WORDS * 4)
]
# What each kind of tuning reads: columns of `PAIRS`, or text.
DATA = {
    "instructions": [
        {"prompt": pair["prompt"], "completion": pair["chosen"]}
        for pair in PAIRS
    ],
    "preferences": PAIRS,
    "classifier": [
        {"text": pair["prompt"], "label": ("calm", "angry")[index % 2]}
        for index, pair in enumerate(PAIRS)
    ],
    "domain": "\n".join(f"{p['prompt']} {p['chosen']}" for p in PAIRS * 3),
}
TUNE = {
    "classifier": workflow.tune_classifier,
    "instructions": workflow.tune_instructions,
    "preferences": workflow.tune_preferences,
    "domain": workflow.tune_domain,
}


def tiny_recipe(kind: str, **training):
    """The recipe of a kind, for seconds."""
    recipe = load_recipe(kind)
    settings = {
        "steps": 6,
        "epochs": None,
        "batch_size": 3,
        "learning_rate": 1e-2,
        "log_interval": 2,
        "validation_interval": 2,
        "warmup_steps": 1,
        "sample_prompt": "What of war?",
        "sample_tokens": 4,
    }
    return replace(
        recipe,
        data=replace(recipe.data, split="position", validation=0.2, test=0.2),
        training=replace(recipe.training, **(settings | training)),
        generation=replace(recipe.generation, max_new_tokens=4),
    )


def write_data(kind: str, folder: Path, data=None) -> str:
    """A file with what a kind of tuning reads."""
    data = DATA[kind] if data is None else data
    if isinstance(data, str):
        path = folder / f"{kind}.txt"
        path.write_text(data, encoding="utf-8")
    else:
        path = folder / f"{kind}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


@functools.cache
def _model(block_types: tuple[str, ...], hidden_dim: int, dropout: float):
    return tiny_model(
        list(block_types),
        max_sequence_length=64,
        hidden_dim=hidden_dim,
        dropout=dropout,
    )


def tiny_preset(
    folder: Path, block_types=("gru", "attention"), hidden_dim=16, dropout=0.1
) -> Path:
    """A preset of a model of ours with random weights."""
    model = _model(tuple(block_types), hidden_dim, dropout)
    save_preset(model, folder / "tiny")
    return folder / "tiny"


def rows_without_timings(run: Path) -> list[dict]:
    """The log of a run, but for the times."""
    rows = read_log(run / "training" / "log.csv")
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
