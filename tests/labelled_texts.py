"""Texts of three classes, and how they are read."""

from dataclasses import replace

from tuned import tiny_recipe, write_data

from keras_llm.tuning.labelled_data import read_labelled

WORDS = ("war", "peace", "law", "hope", "justice", "the people", "a", "an")
WORDS += tuple(f"{word} of the union" for word in WORDS)
TEXTS = [
    {"text": f"{word} is {mood}.", "label": mood}
    for word in WORDS
    for mood in ("good", "bad", "new")
]


def recipe_of(classifier=None, data=None, **training):
    recipe = tiny_recipe("classifier", **training)
    return replace(
        recipe,
        classifier=replace(recipe.classifier, **(classifier or {})),
        data=replace(recipe.data, **(data or {})),
    )


def data_of(records, folder, multi_label=False, **data):
    """The texts by split, and the report."""
    source = write_data("classifier", folder, records)
    return read_labelled([source], recipe_of(data=data).data, multi_label)
