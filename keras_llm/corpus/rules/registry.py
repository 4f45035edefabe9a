"""The cleaning rules by name, and the presets `light` and `web`.

A rule is one of `BLOCKS`, or any other filter or formatter with datatrove's
interface, by its name in datatrove or by the path that it is imported from.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

from datatrove.pipeline import filters, formatters
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters.base import BaseFormatter

from keras_llm.corpus.rules.boilerplate import Boilerplate
from keras_llm.corpus.rules.html import Html
from keras_llm.corpus.rules.language import Language
from keras_llm.corpus.rules.mojibake import Mojibake
from keras_llm.corpus.rules.repetition import GopherRepetition
from keras_llm.corpus.rules.rule import Rule
from keras_llm.corpus.rules.text import (
    ControlCharacters,
    Hyphens,
    Newlines,
    Nfc,
    RepeatedLines,
    Whitespace,
)
from keras_llm.corpus.rules.words import WORDS
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check, described, matches
from keras_llm.recipes.corpus_settings import CorpusSettings
from keras_llm.recipes.loading import nearest

BLOCKS: dict[str, type[PipelineStep]] = {
    "newlines": Newlines,
    "html": Html,
    "mojibake": Mojibake,
    "control_characters": ControlCharacters,
    "nfc": Nfc,
    "hyphens": Hyphens,
    "boilerplate": Boilerplate,
    "personal_data": formatters.PIIFormatter,
    "repeated_lines": RepeatedLines,
    "whitespace": Whitespace,
    "c4_quality": filters.C4QualityFilter,
    "language": Language,
    "gopher_repetition": GopherRepetition,
    "gopher_quality": filters.GopherQualityFilter,
    "fineweb_quality": filters.FineWebQualityFilter,
}

# Removing a character may bring two together that compose, removing a line
# may leave two empty ones, and what C4's rule leaves of a page is what the
# filters must judge, which change nothing themselves.
PRESETS: dict[str, list[str | dict]] = {
    "light": [
        "newlines",
        "html",
        "mojibake",
        "control_characters",
        "nfc",
        "whitespace",
    ],
    "web": [
        "newlines",
        {"html": {"favor_precision": True}},
        "mojibake",
        "control_characters",
        "nfc",
        "repeated_lines",
        "whitespace",
        # As in FineWeb: lines that end no sentence are a third of the text.
        {"c4_quality": {"filter_no_terminal_punct": False}},
        {"language": {"languages": ["en"]}},
        "fineweb_quality",  # before Gopher's, for it is 30 times as fast
        "gopher_repetition",
        "gopher_quality",
    ],
}


def build_rules(settings: CorpusSettings) -> list[Rule]:
    """The rules of a recipe, in order, with nothing counted yet.

    Args:
        settings: `rules` if given, else those of the preset `cleaning`.

    Raises:
        InputError: A rule or a setting has no such name, a setting has a
            wrong value, or a package is not installed.
    """
    entries = settings.rules
    if entries is None:
        entries = PRESETS[settings.cleaning]
    rules: dict[str, Rule] = {}
    for place, entry in enumerate(entries):
        where = f"corpus.rules[{place}]"
        name, arguments = _parse(entry, where)
        block = _built(_found(name, where), arguments, f"{where}.{name}")
        name = name.rpartition(".")[2]
        times = sum(each.partition(" ")[0] == name for each in rules)
        name = f"{name} {times + 1}" if times else name
        rules[name] = Rule(name, block)
    return list(rules.values())


def _parse(entry: str | dict, where: str) -> tuple[str, dict[str, Any]]:
    """The name of a rule and its settings."""
    name, arguments = entry, None
    if isinstance(entry, dict):
        expected = "a name, or one name with its settings: {name: {...}}"
        check(len(entry) == 1, where, expected, entry)
        ((name, arguments),) = entry.items()
        check(isinstance(arguments, dict | None), where, expected, entry)
    return str(name), arguments or {}


def _found(name: str, where: str) -> type[PipelineStep]:
    """The class that a name or a path stands for."""
    if name in BLOCKS:
        return BLOCKS[name]
    path, _, last = name.rpartition(".")
    try:
        modules = [import_module(path)] if path else [filters, formatters]
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{where} must be a rule, or the path of a filter or formatter "
            f"that can be imported. Received: {name!r} ({error})"
        ) from error
    for block in (getattr(module, last, None) for module in modules):
        if inspect.isclass(block) and not inspect.isabstract(block):
            if issubclass(block, BaseFilter | BaseFormatter):
                return block
    raise InputError(
        f"{where} must be one of {', '.join(BLOCKS)}, or a filter or formatter "
        "of datatrove such as RegexFilter, or the path of one. Received: "
        f"{name!r}.{nearest(name, list(BLOCKS))}"
    )


def _built(
    block: type[PipelineStep], arguments: dict[str, Any], where: str
) -> PipelineStep:
    """The block with its settings, and our word splitter where it needs one."""
    known = inspect.signature(block).parameters.keys() - {"exclusion_writer"}
    hints = get_type_hints(block.__init__)
    settings = {"language": WORDS} if "language" in known else {}
    for setting, value in arguments.items():
        if setting not in known:
            names = ", ".join(sorted(known)) or "no settings"
            raise InputError(
                f"{where} must have settings among {names}. Received: "
                f"{setting!r}.{nearest(str(setting), list(known))}"
            )
        hint = hints.get(setting, Any)
        settings[setting] = _value(value, hint, f"{where}.{setting}")
    try:
        return block(**settings)
    except InputError:
        raise
    except Exception as error:  # of datatrove or whoever wrote the block
        kind = type(error).__name__
        raise InputError(
            f"{where} cannot be used with {arguments} ({kind}: {error})."
        ) from error


def _value(value: Any, hint: Any, where: str) -> Any:
    """A setting as the block wants it: YAML has no tuples and functions."""
    kinds = [get_origin(each) or each for each in (hint, *get_args(hint))]
    if isinstance(value, list) and tuple in kinds:
        return tuple(value)
    if isinstance(value, str) and Callable in kinds:
        path, _, name = value.rpartition(".")
        try:
            return getattr(import_module(path), name)
        except (ImportError, AttributeError, ValueError) as error:
            expected = "the path of a function that can be imported"
            raise InputError(
                f"{where} must be {expected}. Received: {value!r} ({error})"
            ) from error
    try:
        is_valid = hint is Any or matches(value, hint)
    except TypeError:  # a type that has no instances, such as `dict[str, int]`
        is_valid = True
    check(is_valid, where, described(hint) if not is_valid else "", value)
    return value
