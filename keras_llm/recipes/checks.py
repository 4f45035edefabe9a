"""Whether a setting is what its annotation says, and how to say it.

Knows nothing of which settings there are.
"""

import sys
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from keras_llm.errors import InputError

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    dict: "a mapping of names to values",
    list: "a list",
    NoneType: "null",
    list[str]: 'a list such as ["a", "b"]',
    list[str | dict]: "a list of rules, each a name or {name: settings}",
}

MOST_SHOWN = 200  # characters of a value that was received

# `Literal[...] | None` is not the same kind of union as `int | None`.
UNIONS = (UnionType, Union)

RANGES = {
    "above 0": lambda value: value > 0,
    "at least 0": lambda value: value >= 0,
    "at least 1": lambda value: value >= 1,
    "at least 2": lambda value: value >= 2,
    "at least 16": lambda value: value >= 16,
    # Beyond what is of use; there to be refused before anything is made.
    "at most 10,000": lambda value: value <= 10_000,
    "at most 1,000,000": lambda value: value <= 1_000_000,
    "at most 10,000,000": lambda value: value <= 10_000_000,
    "at most 100,000,000": lambda value: value <= 100_000_000,
    "in [0, 0.5)": lambda value: 0 <= value < 0.5,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in [0.1, 1]": lambda value: 0.1 <= value <= 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
    "in [0, 100)": lambda value: 0 <= value < 100,
    "in (0, 100)": lambda value: 0 < value < 100,
}


def check(condition: bool, name: str, expected: str, received: Any) -> None:
    """Raises `InputError` unless the setting `name` is as expected."""
    if not condition:
        raise InputError(
            f"{name} must be {expected}. Received: {shown(received)}"
        )


def shown(value: Any) -> str:
    """A value for the end of a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of 4,300 digits
        text = f"a number of {value.bit_length():,} bits"
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def check_types(settings: Any, section: str = "") -> None:
    """Raises `InputError` unless all fields have their annotated types.

    Args:
        settings: A dataclass object.
        section: Name of the section of the recipe, for the message.
    """
    prefix = f"{section}." if section else ""
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        check(matches(value, hint), prefix + name, described(hint), value)


def check_ranges(
    settings: Any, section: str, ranges: dict[str, Sequence[str]]
) -> None:
    """Raises `InputError` unless numbers are in range, or `None`.

    Args:
        settings: A dataclass object.
        section: Name of the section of the recipe, for the message.
        ranges: Names of fields by a key of `RANGES`.
    """
    for expected, names in ranges.items():
        for name in names:
            value = getattr(settings, name)
            is_valid = value is None or RANGES[expected](value)
            check(is_valid, f"{section}.{name}".lstrip("."), expected, value)


def check_looks_ahead(causal: bool, block_types: list[str], name: str) -> None:
    """Raises `InputError` if blocks that read forward should look ahead."""
    recurrent = [kind for kind in block_types if kind != "attention"]
    expected = "attention where causal is false, for others only look back"
    check(causal or not recurrent, name, expected, block_types)


def check_stateful(block_types: list[str], positions: str, name: str) -> None:
    """Raises `InputError` if no state goes on from window to window.

    Args:
        block_types: Of the model.
        positions: Its position embedding.
        name: The setting that asks for it.
    """
    expected = "false with attention, which has no state to carry"
    check("attention" not in block_types, name, expected, True)
    expected = "false with learned positions, which end with the window"
    check(positions != "learned", name, expected, True)


def check_unicode(name: str, text: str) -> None:
    """Checks that a text has no half characters.

    JSON may hold such, and what is typed in another encoding than UTF-8
    becomes such.

    Raises:
        InputError: It has.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} must be Unicode text (in UTF-8, on the command line). "
            f"Received: {text!r:.60}"
        ) from error


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; an int is also a float."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind in UNIONS:
        return any(matches(value, part) for part in parts)
    if kind is list:
        return isinstance(value, list) and all(
            matches(item, parts[0]) for item in value
        )
    if hint in (int, float):
        allowed = (int, float) if hint is float else int
        is_number = isinstance(value, allowed) and not isinstance(value, bool)
        # Neither infinite nor no number nor beyond what a float can be.
        return is_number and (hint is int or abs(value) <= sys.float_info.max)
    return isinstance(value, hint)


def described(hint: Any) -> str:
    """An annotated type in words, to follow "must be"."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if get_origin(hint) in UNIONS:
        return " or ".join(described(part) for part in get_args(hint))
    return WORDS.get(hint) or f"of type {hint.__name__}"
