"""What a sweep tries: values of a recipe's fields, checked before it starts.

Knows nothing of Optuna until a value is drawn.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from keras_llm.errors import InputError
from keras_llm.recipes.checks import matches
from keras_llm.recipes.loading import with_values
from keras_llm.recipes.settings import Recipe, field_types, to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import flat

AnyRecipe = Recipe | TuningRecipe
FORMS = (
    "NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=VALUE,VALUE,…, such as "
    "training.learning_rate=1e-4..3e-3:log"
)


@dataclass(frozen=True)
class Axis:
    """One field, and what is tried of it.

    Args:
        name: Dotted name of the field.
        choices: Values; empty if it is a range.
        low: Least value of a range.
        high: Greatest.
        log: Whether a range is even in the logarithm.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Whether the axis could have come up with a value."""
        if self.choices:
            return value in self.choices
        return matches(value, type(self.low)) and self.low <= value <= self.high

    def draw(self, trial: Any) -> Any:
        """The value that an Optuna trial takes, now or when asked before."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        suggest = (
            trial.suggest_int
            if isinstance(self.low, int)
            else trial.suggest_float
        )
        return suggest(self.name, self.low, self.high, log=self.log)


def parse_space(over: Sequence[str], recipe: AnyRecipe) -> list[Axis]:
    """What `--over` says, checked against the recipe.

    Args:
        over: Each is one field; see `FORMS`.
        recipe: Has the fields, and every other value.

    Raises:
        InputError: A field that there is not, a value that it cannot have, or
            a field twice.
    """
    axes = [_parse(text, recipe) for text in over]
    names = [axis.name for axis in axes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--over must name a field once. Received: {twice[0]}")
    return axes


def own_value(recipe: AnyRecipe, name: str) -> Any:
    """The recipe's own value of a field, by its dotted name."""
    value = flat(to_dict(recipe))[name]
    if isinstance(value, list) and len(value) == 1:
        if matches(value[0], field_types(type(recipe))[name]):
            return value[0]  # as a choice says it: one type of all blocks
    return value


def _parse(text: str, recipe: AnyRecipe) -> Axis:
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise InputError(f"--over must be {FORMS}. Received: {text!r}")
    types = field_types(type(recipe))
    if name not in types:  # says which one is meant, if it is not a section
        with_values(recipe, {name: {}}, "--over")
        raise InputError(f"--over: {name} has no value of its own.")
    found = re.fullmatch(r"(.+?)\.\.(.+?)(:log)?", rest)
    axis = (
        _range(name, found, types[name], text)
        if found
        else _choices(name, rest, types[name], text)
    )
    for value in axis.choices or (axis.low, axis.high):
        _try(recipe, name, value)
    return axis


def _try(recipe: AnyRecipe, name: str, value: Any) -> None:
    try:
        with_values(recipe, {name: value}, "--over")
    except InputError as error:
        message = str(error)
        if name not in message:  # of the two, only together are they wrong
            message = f"{name}={value} cannot be: {message}"
        raise InputError(f"--over: {message}") from error


def _range(name: str, found: re.Match, hint: Any, text: str) -> Axis:
    is_whole = matches(1, hint) and not matches(1.5, hint)
    ends = [_value(each, hint) for each in found.groups()[:2]]
    wanted = int if is_whole else float
    if not all(matches(end, wanted) for end in ends) or not matches(1, hint):
        what = "whole numbers" if is_whole else "numbers"
        raise InputError(
            f"--over {name} must be a range of {what}, or values separated by "
            f"commas. Received: {text!r}"
        )
    low, high = (wanted(end) for end in ends)
    log = found[3] is not None
    if not low < high or (log and low <= 0):
        above = ", both above 0" if log else ""
        raise InputError(
            f"--over {name} must be LOW..HIGH, LOW below HIGH{above}. "
            f"Received: {text!r}"
        )
    return Axis(name, low=low, high=high, log=log)


def _choices(name: str, rest: str, hint: Any, text: str) -> Axis:
    values = tuple(_value(each, hint) for each in rest.split(","))
    if len(values) < 2 or len({*map(repr, values)}) < len(values):
        raise InputError(
            f"--over {name} must be two values or more, each once. Received: "
            f"{text!r}. To set a field for all trials, pass --{name} VALUE."
        )
    return Axis(name, values)


def _value(text: str, hint: Any) -> Any:
    """As YAML reads it; `3e-4`, which it takes for text, is a number."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if matches(1.5, hint):
            return float(value)
        if matches("", hint) and not matches(1, hint):
            return text
    return value
