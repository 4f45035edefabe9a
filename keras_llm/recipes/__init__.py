"""Typed settings of a whole run, and the named recipes."""

from keras_llm.recipes.loading import (
    load_recipe,
    read_recipe,
    recipe_names,
    tuning_recipe_names,
)
from keras_llm.recipes.settings import Recipe
from keras_llm.recipes.tuning_settings import TuningRecipe

__all__ = [
    "Recipe",
    "TuningRecipe",
    "load_recipe",
    "read_recipe",
    "recipe_names",
    "tuning_recipe_names",
]
