"""The JSON that describes an artifact, read in one way.

Every file of JSON that this package wrote and opens again becomes a dataclass
here: types are checked by its annotations, values where it is built. What is
wrong is one error that names the file and the field.
"""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from keras_llm.errors import InputError
from keras_llm.recipes.checks import UNIONS, check, described, matches

T = TypeVar("T")
MOST_BYTES = 2**28  # of a file, before it is read


def read_artifact(path: Path, kind: type[T], what: str, advice: str = "") -> T:
    """What a JSON file holds, as a value of a type.

    Args:
        path: The file.
        kind: As `from_record` takes it.
        what: What the file must be, e.g. `"a token manifest"`.
        advice: A sentence: how to get a whole one.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    try:
        return from_record(kind, read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} must be {what}. It is damaged, or of another version: "
            f"{error}. {advice}".rstrip()
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file of another program holds.

    Raises:
        InputError: There is no such file, or it holds no object.
    """
    try:
        return from_record(dict, read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: There is no such file, or only a pipe or a device.
        ValueError: It is not JSON, or too large.
    """
    check_regular(path)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_regular(path: Path) -> None:
    """Raises `OSError` for a folder, and for what may never end."""
    if path.exists() and not path.is_file():
        raise OSError("it is a folder, a pipe or a device, and no file")


def from_record(kind: type[T], record: Any, name: str = "") -> T:
    """The value of a type that a parsed JSON value stands for.

    Args:
        kind: A dataclass, `list[...]`, `tuple[..., ...]`, `dict[str, ...]`,
            one of these or `None`, or a plain type. A field that is `None` by
            default may be left out.
        record: What `json.loads` returned.
        name: What to call it in the message.

    Raises:
        ValueError: The record has other fields, types or values.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or (record is None and NoneType in arguments):
        return record
    if origin in UNIONS:  # of one type and `None`
        inner = next(each for each in arguments if each is not NoneType)
        return from_record(inner, record, name)
    if is_dataclass(kind):
        return _from_mapping(kind, record, name)
    if origin in (list, tuple):
        _check(list, record, name)
        return origin(
            from_record(arguments[0], item, f"{name}[{i}]")
            for i, item in enumerate(record)
        )
    if origin is dict:
        _check(dict, record, name)
        return {
            key: from_record(arguments[1], value, _within(name, key))
            for key, value in record.items()
        }
    _check(kind, record, name)
    return record


def _from_mapping(kind: type[T], record: Any, name: str) -> T:
    _check(dict, record, name)
    hints = get_type_hints(kind)
    optional = {field.name for field in fields(kind) if field.default is None}
    for said, names in (
        ("lacks", hints.keys() - optional - record.keys()),
        ("has unknown", record.keys() - hints.keys()),
    ):
        if names:
            raise ValueError(
                f"{name or 'it'} {said} {', '.join(sorted(names))}"
            )
    values = {
        key: from_record(hints[key], value, _within(name, key))
        for key, value in record.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(_within(name, str(error))) from error


def picked(kind: type[T], record: dict[str, Any], name: str = "") -> T:
    """As `from_record`, of a mapping that holds more than is asked for.

    Raises:
        ValueError: It holds other types or values.
    """
    hints = get_type_hints(kind)
    known = {key: record[key] for key in hints if key in record}
    return from_record(kind, known, name)


def _within(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _check(kind: Any, record: Any, name: str) -> None:
    check(matches(record, kind), name or "it", described(kind), record)


def is_file_name(name: str) -> bool:
    """Whether a name in an artifact is that of a file in its own folder."""
    return name not in ("", ".", "..") and not {*name} & {*"/\\\0"}


def inside(folder: Path, path: Path) -> Path:
    """The path, which links do not lead out of the folder.

    Raises:
        InputError: They do.
    """
    try:
        if path.resolve().is_relative_to(folder.resolve()):
            return path
        reason = f"it is a link to {path.resolve()}"
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle
        reason = str(error)
    raise InputError(f"{path} must be a file inside {folder}: {reason}.")
