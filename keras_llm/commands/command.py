"""What a subcommand is, and what several of them have alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jsonargparse import Namespace
from rich.console import Console

from keras_llm.recipes.corpus_settings import Cleaning, CorpusSettings
from keras_llm.recipes.settings import (
    GenerationSettings,
    ModelSettings,
    TokenizerSettings,
    TrainingSettings,
)
from keras_llm.recipes.tuning_settings import (
    AdapterSettings,
    ClassifierSettings,
    DataSettings,
    PreferenceSettings,
    ReplaySettings,
)

SECTIONS = {
    "corpus": CorpusSettings,
    "tokenizer": TokenizerSettings,
    "model": ModelSettings,
    "data": DataSettings,
    "adapter": AdapterSettings,
    "preferences": PreferenceSettings,
    "classifier": ClassifierSettings,
    "replay": ReplaySettings,
    "training": TrainingSettings,
    "generation": GenerationSettings,
}


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        run: Does the work and prints; returns what `--json` prints.
        help: One sentence.
        positionals: Names, types and help of positional arguments.
        options: Keyword arguments of `add_argument` by option name.
        sections: Sections of the recipe that it reads.
        recipe: Name of the recipe whose settings it has unless others are
            given; the defaults if omitted.
        needs_keras: Whether it takes the seconds to import Keras.
        has_tasks: Whether it can run on several cores or machines.
        recipe_first: Whether its first argument is a recipe, all sections of
            which it reads.
    """

    run: Callable[[Namespace, Console], Any]
    help: str
    positionals: Sequence[tuple[str, type, str]] = ()
    options: dict[str, dict[str, Any]] | None = None
    sections: Sequence[str] = ()
    recipe: str | None = None
    needs_keras: bool = True
    has_tasks: bool = False
    recipe_first: bool = False


SOURCE = (
    "Files, folders, globs or addresses of text, HTML, JSONL, CSV, Parquet, "
    "WARC, EPUB or PDF, also compressed; hf:NAME of a Hugging Face dataset; or "
    "one of sotu, tinyshakespeare and wikitext2."
)
# Of the environment: the bearer token of a server.
KEY = "KERAS_LLM_KEY"
# What a model is tried by, of a preset.
ASKED = {
    "generate": "generate {} --prompt TEXT",
    "fill": 'fill {} "A [MASK]."',
    "classify": "classify {} TEXT",
}
PRESET = (
    "A preset folder, the run that has one, or what KerasHub downloads: "
    "gpt2_base_en, hf://USER/MODEL, kaggle://…"
)
OUT = {
    "--out": {
        "type": Path,
        "metavar": "DIR",
        "required": True,
        "help": "Folder to write.",
    }
}
CLEANING = {
    "--cleaning": {
        "choices": get_args(Cleaning),
        "help": "The same as --corpus.cleaning: light for texts of your own, "
        "web for crawled pages.",
    }
}
