"""`keras-llm STAGE …`: parse, call one function, print."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from rich.console import Console

from keras_llm import __version__, commands
from keras_llm.errors import InputError
from keras_llm.quiet import quiet_native_code
from keras_llm.recipes.loading import load_recipe, nearest, read_recipe
from keras_llm.recipes.settings import (
    CorpusSettings,
    GenerationSettings,
    ModelSettings,
    Recipe,
    TokenizerSettings,
    TrainingSettings,
    field_names,
)

SECTIONS = {
    "corpus": CorpusSettings,
    "tokenizer": TokenizerSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "generation": GenerationSettings,
}
EPILOG = (
    "Any field of a recipe can be set on the line, e.g. "
    "`--training.learning_rate 3e-4`."
)


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        run: Does the work and prints; returns what `--json` prints.
        help: One sentence.
        positionals: Names, types and help of positional arguments.
        options: Keyword arguments of `add_argument` by option name.
        sections: Sections of the recipe that it reads.
        needs_keras: Whether it takes the seconds to import Keras.
    """

    run: Callable[[Namespace, Console], Any]
    help: str
    positionals: Sequence[tuple[str, type, str]] = ()
    options: dict[str, dict[str, Any]] | None = None
    sections: Sequence[str] = ()
    needs_keras: bool = True


OUT = {"--out": {"type": Path, "required": True, "help": "Folder to write."}}
COMMANDS = {
    "train": Command(
        commands.train,
        "All stages, from raw text to an evaluated preset.",
        [("source", str, "A .txt or .md file, a folder of them, or a name.")],
        {
            **OUT,
            "--redo": {
                "choices": list(commands.STAGES),
                "help": "A stage to do again, with those after it.",
            },
        },
        list(SECTIONS),
    ),
    "prepare": Command(
        commands.prepare,
        "Raw text to split documents, with a report.",
        [("source", str, "A .txt or .md file, a folder of them, or a name.")],
        OUT,
        ["corpus"],
        needs_keras=False,
    ),
    "tokenizer": Command(
        commands.tokenizer,
        "Documents to a SentencePiece tokenizer.",
        [("corpus", Path, "Folder that `prepare` wrote.")],
        OUT,
        ["tokenizer"],
    ),
    "encode": Command(
        commands.encode,
        "Documents to token shards.",
        [
            ("corpus", Path, "Folder that `prepare` wrote."),
            ("tokenizer", Path, "Folder that `tokenizer` wrote, or a .model."),
        ],
        OUT,
    ),
    "pretrain": Command(
        commands.pretrain,
        "Token shards to a trained preset.",
        [
            ("tokens", Path, "Folder that `encode` wrote."),
            ("tokenizer", Path, "The tokenizer it was encoded with."),
        ],
        OUT,
        ["model", "training", "generation"],
    ),
    "evaluate": Command(
        commands.evaluate,
        "Loss, perplexity, bits per byte and accuracy of a preset.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("tokens", Path, "Folder that `encode` wrote."),
        ],
        {
            "--split": {"help": "One split; all held out ones if omitted."},
            "--batch_size": {"type": int, "default": 32},
        },
    ),
    "generate": Command(
        commands.generate,
        "Continues prompts with a preset.",
        [("preset", Path, "A preset, or the run that has one.")],
        {
            "--prompt": {
                "nargs": "+",
                "default": [""],
                "help": "One or several texts to continue.",
            }
        },
        ["generation"],
    ),
    "export": Command(
        commands.export,
        "A preset to a SavedModel that answers text with text.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("out", Path, "Folder of the model, e.g. saved_models/NAME."),
        ],
        {"--format": {"choices": ["saved_model"], "default": "saved_model"}},
        ["generation"],
    ),
    "inspect": Command(
        commands.inspect,
        "Explains a corpus, tokenizer, tokens, run, preset or SavedModel.",
        [("path", Path, "What to explain.")],
    ),
    "recipes": Command(
        commands.recipes,
        "Lists the recipes, with parameter count and expected time.",
        needs_keras=False,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    0 for success, 2 for input that cannot be used, 130 for Ctrl-C.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    try:
        command, values = _parse(arguments)
        if COMMANDS[command].needs_keras:
            with quiet_native_code():
                import keras_hub  # noqa: F401
        result = COMMANDS[command].run(values, console)
        if values.json:
            print(json.dumps(result))
        return 0
    except (InputError, ArgumentError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"keras-llm: {message}", file=sys.stderr)
        if os.environ.get("KERAS_LLM_TRACEBACK"):
            traceback.print_exc()
        return 2
    except KeyboardInterrupt as error:
        print(f"keras-llm: {error or 'interrupted'}", file=sys.stderr)
        return 130


def _parse(arguments: list[str]) -> tuple[str, Namespace]:
    """The command's name, and its arguments with `recipe` built."""
    parser = _Parser(
        prog="keras-llm",
        description="From a folder of text to a language model that answers.",
        exit_on_error=False,
        version=__version__,
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    parsers = {}
    for name, command in COMMANDS.items():
        parsers[name] = _parser_of(name, command)
        subcommands.add_subcommand(name, parsers[name], help=command.help)
    recipe = _recipe_option(arguments)
    if arguments and arguments[0] in COMMANDS and recipe is not None:
        sections = COMMANDS[arguments[0]].sections
        _set_defaults(parsers[arguments[0]], recipe, sections)
    parsed = parser.parse_args(arguments)
    name = parsed.command
    values = parser.instantiate_classes(parsed)[name]
    if COMMANDS[name].sections:
        given = {key: values[key] for key in COMMANDS[name].sections}
        base = load_recipe(recipe) if recipe is not None else Recipe()
        seed = base.seed if values.seed is None else values.seed
        fields = vars(base) | given | {"seed": seed}
        values["recipe"] = Recipe(**fields)
    return name, values


class _Parser(ArgumentParser):
    """Raises what it has to say, in our words."""

    def error(self, message, ex=None):
        raise InputError(_in_our_words(str(message))) from ex


def _in_our_words(message: str) -> str:
    """An error of the parser, with the nearest option for an unknown one."""
    message = re.sub(r'Parser key "([^"]+)":', r"--\1:", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    message = message.replace("Expected a one of", "expected one of")
    message = message.replace("Expected a", "expected a")
    message = message.replace("Got value:", "Received:")
    unknown = re.match(r"unrecognized arguments: --([\w.]+)", message)
    if unknown:
        message += "." + nearest(unknown[1], field_names(Recipe))
    return message


def _parser_of(name: str, command: Command) -> ArgumentParser:
    positionals = " ".join(each[0].upper() for each in command.positionals)
    out = "--out DIR " if "--out" in (command.options or {}) else ""
    parser = _Parser(
        description=command.help,
        epilog=EPILOG if command.sections else None,
        exit_on_error=False,
        usage=f"keras-llm {name} {positionals} {out}[options]",
    )
    for positional, kind, text in command.positionals:
        parser.add_argument(positional, type=kind, help=text)
    for option, options in (command.options or {}).items():
        parser.add_argument(option, **options)
    if command.sections:
        parser.add_argument(
            "--recipe", type=str, help="A recipe's name, or a YAML file."
        )
        parser.add_argument(
            "--seed", type=int | None, help="Decides every random number."
        )
    for section in command.sections:
        parser.add_class_arguments(SECTIONS[section], section)
    parser.add_argument(
        "--json", action="store_true", help="Print the result as JSON."
    )
    return parser


def _recipe_option(arguments: list[str]) -> str | None:
    """What follows `--recipe`, which decides the other options' defaults."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--recipe="):
            return argument.removeprefix("--recipe=")
        if argument == "--recipe" and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def _set_defaults(
    parser: ArgumentParser, recipe: str, sections: Sequence[str]
) -> None:
    load_recipe(recipe)  # names a wrong field better than the parser would
    settings = read_recipe(recipe)
    for section in sections:
        for field, value in settings.get(section, {}).items():
            parser.set_defaults({f"{section}.{field}": value})
