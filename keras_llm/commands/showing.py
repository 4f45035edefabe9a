"""How results are printed."""

import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from keras_llm.files import write_text

RESULTS, ANSWERS = "results.json", "answers.jsonl"  # of an evaluation


def show(result: dict[str, Any], values: Namespace) -> dict[str, Any]:
    """Prints nested values as indented lines, unless JSON was asked for."""
    if not values.json:
        _print_lines(result, "")
    return result


def write_json(path: Path, values: Any) -> None:
    """Writes a result; what JSON has no word for, as text."""
    write_text(path, json.dumps(values, indent=1, default=str))


def _print_lines(values: dict[str, Any], indent: str) -> None:
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        if value == []:
            continue
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print_lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and value:
            print(f"{indent}{name}")
            for item in value:
                print(f"{indent}  {_readable(item)}")
        else:
            print(f"{indent}{name:<{width}}  {_readable(value)}")


def _readable(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "  ".join(f"{k} {_readable(v)}" for k, v in value.items())
    return str(value)
