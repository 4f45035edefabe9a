"""Writes what the site says of the code, from the code: at each build.

Help of commands, recipes, public names, and a diagram of the folders. They
come to be in `docs/reference/generated`, which is not kept.
"""

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
from pathlib import Path

from diagram import Box, draw

import keras_llm
from keras_llm.cli import main
from keras_llm.commands import COMMANDS
from keras_llm.recipes import load_recipe, recipe_names, tuning_recipe_names
from keras_llm.recipes.parameters import count_parameters

PACKAGE = Path(keras_llm.__file__).parent
DOCS = Path(__file__).parent
GENERATED = DOCS / "reference/generated"
# Those whose `__all__` is what users of the package import.
PUBLIC = {
    "keras_llm": "What most programs need",
    "keras_llm.layers": "Layers",
    "keras_llm.models": "Models",
    "keras_llm.corpus.sources": "Where text comes from",
    "keras_llm.corpus.rules": "Rules of cleaning",
    "keras_llm.executors": "Where documents are worked on",
    "keras_llm.tokenizers": "Tokenizers",
    "keras_llm.datasets": "Tokens and batches",
    "keras_llm.training": "Training",
    "keras_llm.evaluation": "Evaluation",
    "keras_llm.generation": "Generation",
    "keras_llm.export": "Export",
    "keras_llm.export.huggingface": "Hugging Face",
    "keras_llm.workflow": "Whole runs",
    "keras_llm.recipes": "Recipes",
}
SETTINGS = ("settings", "corpus_settings", "tuning_settings")
IMPORT = re.compile(r"^from (keras_llm[\w.]*) import (\([^)]*\)|.*)", re.M)
# Folders that everything uses, and that no text flows through.
GROUND = ("recipes", "pages")


def generate(app=None) -> None:
    """Writes all of it; of a file that would be the same, nothing."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    pages = {
        "commands.md": commands_page(),
        "recipes.md": recipes_page(),
        "api.rst": api_page(),
        "folders.svg": diagram(),
    }
    for name, text in pages.items():
        path = GENERATED / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def commands_page() -> str:
    """What `--help` says of every command."""
    parts = ["# Commands\n", "What `keras-llm COMMAND --help` prints.\n"]
    for name, command in COMMANDS.items():
        parts.append(f"## `{name}`\n\n{command.help}\n")
        parts.append(f"```text\n{_help_of(name)}```\n")
    return "\n".join(parts)


def _help_of(command: str) -> str:
    os.environ["COLUMNS"] = "78"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    return printed.getvalue()


def recipes_page() -> str:
    """Every recipe, as it is in its file."""
    parts = [
        "# Recipes\n",
        "Settings of a whole run by name: `keras-llm train TEXT --recipe NAME`."
        " What a recipe leaves out is as the [reference](api.rst) says.\n",
    ]
    for name in recipe_names():
        recipe = load_recipe(name)
        count = count_parameters(recipe.model, recipe.tokenizer.vocabulary_size)
        parts.append(f"## `{name}`\n\n{recipe.description}.\n")
        parts.append(
            f"{count:,} parameters, with all tokens that its vocabulary may "
            "have.\n"
        )
        parts.append(_yaml(PACKAGE / f"recipes/{name}.yaml"))
    parts.append("## Of tuning\n")
    for name in tuning_recipe_names():
        parts.append(f"### `{name}`\n")
        parts.append(_yaml(PACKAGE / f"recipes/tuning/{name}.yaml"))
    return "\n".join(parts)


def _yaml(path: Path) -> str:
    return f"```yaml\n{path.read_text(encoding='utf-8')}```\n"


def api_page() -> str:
    """Directives that take every public name's docstring, each once."""
    lines, seen = ["Public names", "============", ""], set()

    def add(title: str, module: str, names: list[str]) -> None:
        loaded = importlib.import_module(module)
        new = [name for name in names if id(getattr(loaded, name)) not in seen]
        seen.update(id(getattr(loaded, name)) for name in new)
        if new:
            lines.extend(_section(f"{title}: ``{module}``", module, new))

    for module, title in PUBLIC.items():
        add(title, module, importlib.import_module(module).__all__)
    for name in SETTINGS:
        module = f"keras_llm.recipes.{name}"
        add("Settings", module, _classes_of(importlib.import_module(module)))
    for module, names in sorted(imported_by_pages().items()):
        add("Used on these pages", module, sorted(names))
    return "\n".join(lines)


def _classes_of(module) -> list[str]:
    return [
        name
        for name, found in vars(module).items()
        if inspect.isclass(found) and found.__module__ == module.__name__
    ]


def imported_by_pages() -> dict[str, set[str]]:
    """Names that cells and examples import, by their modules."""
    found: dict[str, set[str]] = {}
    for page in DOCS.rglob("*.md"):
        for module, names in IMPORT.findall(page.read_text(encoding="utf-8")):
            found.setdefault(module, set()).update(re.findall(r"\w+", names))
    return found


def _section(title: str, module: str, names: list[str]) -> list[str]:
    lines = [title, "-" * len(title), "", f".. currentmodule:: {module}", ""]
    loaded = importlib.import_module(module)
    for name in names:
        found = getattr(loaded, name)
        if isinstance(found, tuple | dict):  # of names
            listed = ", ".join(f"``{each}``" for each in found)
            lines += [f".. data:: {name}", "", f"   {listed}", ""]
            continue
        is_class = inspect.isclass(found)
        lines.append(f".. auto{'class' if is_class else 'function'}:: {name}")
        if is_class:
            lines.append("   :members:")
        lines.append("")
    return lines


def diagram() -> str:
    """The folders of the package, what is used above what uses it."""
    folders = sorted(
        path.name
        for path in PACKAGE.iterdir()
        if (path / "__init__.py").is_file() and path.name not in GROUND
    )
    uses = {name: _imported_by(name, folders) for name in folders}
    boxes = [
        Box(name, _first_line(name), _direct(uses, name)) for name in folders
    ]
    return draw(boxes)


def _imported_by(folder: str, folders: list[str]) -> set[str]:
    """The other folders that the modules of a folder import from."""
    found = set()
    for module in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.removeprefix("keras_llm.").split(".")[0])
    return found & {*folders} - {folder}


def _direct(uses: dict[str, set[str]], name: str) -> set[str]:
    """What a folder uses, without what it would reach through another."""
    further = set().union(*(_reached(uses, each) for each in uses[name]))
    return uses[name] - further


def _reached(uses: dict[str, set[str]], name: str) -> set[str]:
    return uses[name].union(*(_reached(uses, each) for each in uses[name]))


def _first_line(folder: str) -> str:
    source = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).partition("\n")[0]


if __name__ == "__main__":
    generate()
