"""`keras-llm STAGE …`: parse, call one function, print."""

import functools
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
)
from rich.console import Console

from keras_llm import __version__
from keras_llm.commands import COMMANDS
from keras_llm.commands.command import SECTIONS, Command
from keras_llm.errors import InputError
from keras_llm.quiet import import_keras
from keras_llm.recipes.checks import described
from keras_llm.recipes.corpus_settings import ExecutionSettings
from keras_llm.recipes.loading import load_recipe, nearest
from keras_llm.recipes.settings import Recipe, TrainingSettings, field_types
from keras_llm.recipes.tuning_settings import TuningRecipe

EPILOG = (
    "Any field of a recipe can be set on the line, e.g. "
    "`--training.learning_rate 3e-4`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    0 for success, 2 for input that cannot be used, 130 for Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    try:
        command, values = _parse(arguments)
        if COMMANDS[command].needs_keras:
            import_keras()
        result = COMMANDS[command].run(values, console)
        if values.json:
            print(json.dumps(result))
        return 0
    except (InputError, ArgumentError, OSError, MemoryError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, MemoryError):
            message = f"This machine has not enough memory. {message}"
        print(f"keras-llm: {message}", file=sys.stderr)
        if os.environ.get("KERAS_LLM_TRACEBACK"):
            traceback.print_exc()
        return 2
    except KeyboardInterrupt as error:
        message = str(error) or "interrupted"
        print(f"keras-llm: {message}", file=sys.stderr)
        return 130


def _parse(arguments: list[str]) -> tuple[str, Namespace]:
    """The command's name, and its arguments with `recipe` built."""
    name, rest = _command_of(arguments)
    command = COMMANDS[name]
    recipe = _recipe_of(name, command, rest)
    if command.recipe_first:
        sections = [each for each in SECTIONS if hasattr(recipe, each)]
        command = replace(command, sections=sections)
    if missing := [s for s in command.sections if not hasattr(recipe, s)]:
        raise InputError(
            f"keras-llm {name} must have a recipe that makes a model, with "
            f"settings of {', '.join(missing)}. Received: one that tunes it."
        )
    parser = _parser_of(name, command)
    for field in _options(command):
        if "." in field:
            parser.set_defaults({field: _value(recipe, field)})
    parsed = parser.parse_args(_with_lists(rest, _options(command)))
    values = parser.instantiate_classes(parsed)
    if command.has_tasks:
        given = field_types(ExecutionSettings)
        values["execution"] = ExecutionSettings(
            **{field: values[field] for field in given}
        )
    if cleaning := values.get("cleaning"):
        values["corpus"] = replace(values.corpus, cleaning=cleaning)
    if command.sections:
        given = {section: values[section] for section in command.sections}
        if "training" in given:
            given["training"] = _counted(given["training"], rest)
        seed = recipe.seed if values.seed is None else values.seed
        values["recipe"] = replace(recipe, **given, seed=seed)
    return name, values


def _command_of(arguments: list[str]) -> tuple[str, list[str]]:
    """The command's name, which may be of two words, and what follows it."""
    for words in (1, 2):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    _answer_without_command(arguments)


def _answer_without_command(arguments: list[str]) -> NoReturn:
    """Prints help or version and exits; or says that it is no command."""
    name = arguments[0] if arguments else ""
    kinds = [each for each in COMMANDS if each.startswith(f"{name} ")]
    if kinds:
        name, known = " ".join(arguments[:2]), kinds
    else:
        known = list(COMMANDS)
    if name.split(" ")[-1].startswith("-"):
        parser = _Parser(
            usage="keras-llm COMMAND ...",
            description="From text to a language model that answers.",
            version=__version__,
            **PARSER_OPTIONS,
        )
        subcommands = parser.add_subcommands(required=True, metavar="COMMAND")
        for each in known:
            help = COMMANDS[each].help
            subcommands.add_subcommand(each, _Parser(), help=help)
        parser.parse_args(arguments[-1:])
    raise InputError(
        f"The command must be one of {', '.join(known)}. "
        f"Received: {name!r}.{nearest(name, known)}"
    )


class _Parser(ArgumentParser):
    """Says what is wrong in our words, and raises it."""

    command: Command | None = None

    def error(self, message, ex=None):
        if self.command is not None:
            message = _in_our_words(str(message), self.command, self.usage)
        raise InputError(message) from ex


class _Help(DefaultHelpFormatter):
    """Leaves out the types, which names and choices tell."""

    def _get_type_str(self, action):
        return None


# Commands that have the settings of the run that they are given.
OF_A_RUN = ("chat", "generate", "export", "probe", "serve")
PARSER_OPTIONS = {
    "prog": "keras-llm",
    "exit_on_error": False,
    "allow_abbrev": False,
    "formatter_class": _Help,
}


def _in_our_words(message: str, command: Command, usage: str) -> str:
    """An error of the parser, in terms of what one types."""
    types = _options(command)
    if unknown := re.match(r"unrecognized arguments: --([^ =]+)", message):
        suggestion = nearest(unknown[1], list(types)).replace(
            "mean ", "mean --"
        )
        return f"{message}.{suggestion}"
    if missing := re.match(r".* arguments are required: (.*)", message):
        names = [
            f"--{name}" if name in types else name.upper()
            for name in missing[1].split(", ")
        ]
        return f"{' and '.join(names)} must be given. Usage: {usage}"
    key = re.match(r'Parser key "(.*?)"', message)
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    if key and value and key[1] in types:
        expected = described(types[key[1]])
        return f"--{key[1]} must be {expected}. Received: {value[1]}"
    if key and key[1] in SECTIONS:
        return (
            f"--{key[1]} must be a YAML file of {key[1]} settings. To set "
            f"one of them, pass --{key[1]}.NAME."
        )
    return message


def _options(command: Command) -> dict[str, Any]:
    """Types of a command's options by name, dashes left out."""
    types = {"help": None, "json": bool}
    for name, options in (command.options or {}).items():
        types[name.removeprefix("--")] = options.get("type", str)
    if command.sections:
        types |= {"recipe": str, "seed": int}
    if command.has_tasks:
        types |= field_types(ExecutionSettings)
    for section in command.sections:
        types |= field_types(SECTIONS[section], f"{section}.")
    return types


def _with_lists(arguments: list[str], types: dict[str, Any]) -> list[str]:
    """The arguments, with the words after a list's option as one list.

    `--data.columns 1 2` is `--data.columns=["1", "2"]`, which the parser
    takes; a list that is written as such stays as it is.
    """
    found: list[str] = []
    rest = list(arguments)
    while rest:
        found.append(rest.pop(0))
        name = found[-1].removeprefix("--")
        if "." not in name or types.get(name) != list[str]:
            continue
        words = []
        is_list = rest and rest[0].startswith("[")
        while rest and not is_list and not rest[0].startswith("--"):
            words.append(rest.pop(0))
        if words:
            found[-1] += f"={json.dumps(words)}"
    return found


# How many of a positional argument there may be, and how usage writes it.
_COUNTS = {list[str]: "+", list[str] | None: "*"}
_COUNTS |= dict.fromkeys([Path | None, str | None], "?")
_WRITTEN = {"+": "{}… ", "*": "[{}…] ", "?": "[{}] "}


def _parser_of(name: str, command: Command) -> ArgumentParser:
    positionals = "".join(
        _WRITTEN.get(_COUNTS.get(kind), "{} ").format(each.upper())
        for each, kind, _ in command.positionals
    )
    needed = (command.options or {}).get("--out", {}).get("required")
    out = "--out DIR " if needed else ""
    parser = _Parser(
        description=command.help,
        epilog=EPILOG if command.sections else None,
        usage=f"keras-llm {name} {positionals}{out}[options]",
        **PARSER_OPTIONS,
    )
    parser.command = command
    for positional, kind, text in command.positionals:
        count = {"nargs": _COUNTS[kind]} if kind in _COUNTS else {}
        kind = str if count.get("nargs") in ("+", "*") else kind
        parser.add_argument(positional, type=kind, help=text, **count)
    for option, options in (command.options or {}).items():
        parser.add_argument(option, **options)
    if command.sections:
        if not command.recipe_first:
            parser.add_argument(
                "--recipe", type=str, help="A recipe's name, or a YAML file."
            )
        parser.add_argument(
            "--seed", type=int | None, help="Decides every random number."
        )
    if command.has_tasks:
        parser.add_class_arguments(ExecutionSettings)
    for section in command.sections:
        parser.add_class_arguments(SECTIONS[section], section)
    parser.add_argument(
        "--json", action="store_true", help="Print the result as JSON."
    )
    return parser


def _recipe_of(
    name: str, command: Command, arguments: list[str]
) -> Recipe | TuningRecipe:
    """The recipe that the line names, or that of the run that is used."""
    if command.recipe_first:
        named = arguments and not arguments[0].startswith("-")
        return load_recipe(arguments[0]) if named else Recipe()
    base = load_recipe(command.recipe) if command.recipe else None
    for index, argument in enumerate(arguments):
        if argument.startswith("--recipe="):
            return load_recipe(argument.removeprefix("--recipe="), base=base)
        if argument == "--recipe" and index + 1 < len(arguments):
            return load_recipe(arguments[index + 1], base=base)
    if name in OF_A_RUN and arguments:
        of_the_run = Path(arguments[0]) / "recipe.yaml"
        if of_the_run.is_file():
            return load_recipe(str(of_the_run))
    return base or Recipe()


def _counted(training: TrainingSettings, line: list[str]) -> TrainingSettings:
    """Steps that are given take the place of a recipe's epochs."""
    given = {argument.partition("=")[0] for argument in line}
    if "--training.steps" in given and "--training.epochs" not in given:
        return replace(training, epochs=None)
    return training


def _value(recipe: Recipe, field: str) -> Any:
    """The value of a field by its dotted name."""
    return functools.reduce(getattr, field.split("."), recipe)
