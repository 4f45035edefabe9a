"""What artifacts and recipes hold."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from keras_llm.commands.command import Command
from keras_llm.commands.showing import show
from keras_llm.recipes import load_recipe, recipe_names
from keras_llm.recipes.parameters import count_parameters


def inspect(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what the artifact holds."""
    from keras_llm.inspection import inspect_artifact

    return show(inspect_artifact(values.path), values)


def recipes(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Shows a table of the recipes."""
    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        rows.append(
            {
                "name": name,
                "parameters": count_parameters(
                    recipe.model, recipe.tokenizer.vocabulary_size
                ),
                "minutes": recipe.expected_minutes,
                "description": recipe.description,
            }
        )
    if not values.json:
        table = Table("recipe", "parameters", "minutes", "description")
        for row in rows:
            millions = f"{row['parameters'] / 1e6:.1f}M"
            table.add_row(
                row["name"], millions, row["minutes"], row["description"]
            )
        Console().print(table)
        print("Minutes on two CPU cores unless said otherwise.")
    return rows


COMMANDS = {
    "inspect": Command(
        inspect,
        "Explains a corpus, tokenizer, tokens, run, sweep, preset or "
        "SavedModel.",
        [("path", Path, "What to explain.")],
    ),
    "recipes": Command(
        recipes,
        "Lists the recipes, with parameter count and expected time.",
        needs_keras=False,
    ),
}
