"""Recipes by name or from a YAML file."""

import difflib
from collections import Counter
from dataclasses import is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from keras_llm.errors import InputError
from keras_llm.recipes.checks import matches, shown
from keras_llm.recipes.settings import Recipe, field_types
from keras_llm.recipes.tuning_settings import TuningRecipe

MOST_BYTES = 2**20  # of a recipe, before it is read
FOLDER = files("keras_llm.recipes")


def recipe_names() -> list[str]:
    """Names of the recipes that a model is made by."""
    return _names_in(FOLDER)


def tuning_recipe_names() -> list[str]:
    """Names of the recipes that a model is tuned by."""
    return _names_in(FOLDER / "tuning")


def _names_in(folder) -> list[str]:
    return sorted(
        Path(entry.name).stem
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load_recipe(
    name: str,
    overrides: dict[str, Any] | None = None,
    base: Recipe | TuningRecipe | None = None,
) -> Recipe | TuningRecipe:
    """A recipe that comes with the package, or that of a YAML file.

    Args:
        name: One of `recipe_names()` or `tuning_recipe_names()`, or the path
            of a file.
        overrides: Values by dotted name, e.g. `{"training.steps": 100}`.
        base: Has what is not given; the defaults if omitted.

    Raises:
        InputError: No such recipe, or a field that there is not.
    """
    settings = read_recipe(name)
    if base is None:
        is_tuning = name in tuning_recipe_names() or _tunes(settings)
        base = TuningRecipe() if is_tuning else Recipe()
    elif isinstance(base, TuningRecipe) and name in recipe_names():
        raise InputError(
            f"The recipe must be one that tunes a model: "
            f"{', '.join(tuning_recipe_names())}, or a YAML file. Received: "
            f"{name!r}, which makes one"
        )
    recipe = _filled(base, settings, name, "")
    return with_values(recipe, overrides or {}, "overrides")


def with_values(
    recipe: Recipe | TuningRecipe, values: dict[str, Any], name: str
) -> Recipe | TuningRecipe:
    """A recipe with other values.

    Args:
        recipe: Has what is not given.
        values: By dotted name.
        name: What to call them in a message.

    Raises:
        InputError: A field that there is not, or a value that it cannot have.
    """
    together: dict[str, Any] = {}  # for one may be valid with another only
    for dotted, value in values.items():
        for part in reversed(dotted.split(".")):
            value = {part: value}
        together = _merged(together, value)
    return _filled(recipe, together, name, "")


def _merged(first: Any, second: Any) -> Any:
    """Mappings within mappings as one; of other values, the second."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    return first | {k: _merged(first.get(k), v) for k, v in second.items()}


def read_recipe(name: str) -> dict[str, Any]:
    """The settings that a recipe names, nested, without the defaults."""
    known = recipe_names() + tuning_recipe_names()
    if name in known:
        folder = FOLDER if name in recipe_names() else FOLDER / "tuning"
        text = (folder / f"{name}.yaml").read_text("utf-8")
    elif Path(name).is_file():
        text = _read(Path(name))
    else:
        raise InputError(
            f"The recipe must be one of {', '.join(known)}, or a YAML "
            f"file. Received: {name!r}.{nearest(name, known)}"
        )
    try:
        settings = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{name} is not YAML of settings: {error}") from error
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply.") from error
    if not isinstance(settings, dict):
        received = shown(settings)
        raise InputError(f"{name} must hold settings. Received: {received}")
    return settings


def _read(path: Path) -> str:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise InputError(
            f"{path} must hold settings. Received: a file of {size:,} bytes"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses what means something else than it says at a glance."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "it has an alias", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        counts = Counter(str(key.value) for key, _ in node.value)
        for key, count in counts.items():
            if count > 1:
                problem, mark = f"it has {key} twice", node.start_mark
                raise yaml.MarkedYAMLError(None, None, problem, mark)
        return super().construct_mapping(node, deep)


def _tunes(settings: dict[str, Any]) -> bool:
    """Whether there are settings that only tuning has."""
    return not {*settings}.isdisjoint(
        {*get_type_hints(TuningRecipe)} - {*get_type_hints(Recipe)}
    )


def recipe_from_dict(
    settings: dict[str, Any], name: str
) -> Recipe | TuningRecipe:
    """Builds a recipe from nested settings; the rest keeps its defaults."""
    base = TuningRecipe() if _tunes(settings) else Recipe()
    return _filled(base, settings, name, "")


def nearest(name: str, known: list[str]) -> str:
    """ " Did you mean …?", or nothing; the section may be left out."""
    by_last_part = {full.split(".")[-1]: full for full in reversed(known)}
    found = difflib.get_close_matches(name, known, n=1) or [
        by_last_part[part]
        for part in difflib.get_close_matches(name, by_last_part, n=1)
    ]
    return f" Did you mean {found[0]}?" if found else ""


def _filled(defaults: Any, settings: dict[str, Any], name: str, prefix: str):
    if not isinstance(settings, dict):
        raise InputError(
            f"{name}: {prefix.rstrip('.')} must hold settings. "
            f"Received: {shown(settings)}"
        )
    hints = get_type_hints(type(defaults))
    changes = {}
    for field, value in settings.items():
        if field not in hints:
            unknown = f"{prefix}{field}"
            known = [prefix + each for each in hints]
            known += field_types(Recipe) | field_types(TuningRecipe)
            known = [each for each in known if each != unknown]
            raise InputError(
                f"{name} has the unknown field {unknown}."
                + nearest(unknown, known)
            )
        if is_dataclass(hints[field]):
            section = getattr(defaults, field)
            value = _filled(section, value or {}, name, f"{prefix}{field}.")
        elif matches(0.5, hints[field]):
            value = _number(value)
        changes[field] = value
    if "steps" in changes and "epochs" in hints:
        changes.setdefault("epochs", None)  # take the place of these
    return replace(defaults, **changes)


def _number(value: Any) -> Any:
    """YAML takes `3e-4`, without a point, for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
