"""Typed settings of a whole run, and the named recipes."""

from keras_llm.recipes.loading import load_recipe, read_recipe, recipe_names
from keras_llm.recipes.settings import Recipe

__all__ = ["Recipe", "load_recipe", "read_recipe", "recipe_names"]
