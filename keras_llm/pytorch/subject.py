"""What a certificate is about: a model, its batches, how it is trained."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_llm.datasets import TrainingWindows, open_tokens
from keras_llm.datasets.batches import token_batch, token_signature
from keras_llm.datasets.masks import MaskedBatches, Masking, masking_of
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchMaskedLM,
)
from keras_llm.models.loading import load_language_model
from keras_llm.pytorch.agreement import NOT_ASKED, Batch
from keras_llm.pytorch.weights import config_of, weights_of
from keras_llm.recipes import load_recipe, recipe_names
from keras_llm.recipes.checks import check
from keras_llm.recipes.memory import check_memory
from keras_llm.recipes.parameters import count_parameters
from keras_llm.recipes.settings import Recipe, TrainingSettings, to_dict
from keras_llm.training.run import is_accelerated

# What both learn by where the recipe says nothing that both have.
RATES = {"adamw": 1e-3, "sgd": 0.05}
MOST_TOKENS = 100_000_000  # of all batches, which are in memory at once


@dataclass(frozen=True)
class Sizes:
    """How much is compared.

    Args:
        steps: Optimizer steps of each training.
        batch_size: Rows a batch; the recipe's if omitted.
        sequence_length: Tokens a row; the model's context if omitted.
    """

    steps: int = 100
    batch_size: int | None = None
    sequence_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(
                    f"{name} must be at least 1. Received: {value}"
                )


@dataclass(frozen=True)
class Subject:
    """A model in float32, without dropout, and what it is compared on.

    Args:
        name: As the user named it.
        is_trained: Whether its weights are those of a preset.
        model: The model.
        settings: The recipe's training settings.
        batches: One a step, and one more; of an encoder with masks.
        text: What the batches are made of, in words.
    """

    name: str
    is_trained: bool
    model: ScratchCausalLM | ScratchMaskedLM
    settings: TrainingSettings
    batches: list[Batch]
    text: str

    def training(self, optimizer: str) -> TrainingSettings:
        """The recipe's settings, as far as both sides have them."""
        recipe = self.settings
        is_its_own = recipe.optimizer == optimizer
        steps = len(self.batches) - 1
        return replace(
            recipe,
            optimizer=optimizer,
            learning_rate=(
                recipe.learning_rate if is_its_own else RATES[optimizer]
            ),
            steps=steps,
            warmup_steps=min(recipe.warmup_steps, steps // 10),
            gradient_accumulation_steps=1,
            dtype="float32",
            jit_compile=False,
        )


def open_subject(
    name: str, sizes: Sizes, tokens: Path | None = None, seed: int = 0
) -> Subject:
    """The model of a preset, a run or a recipe, and batches for it.

    Args:
        name: A preset folder, a run that has one, a recipe's name, or a YAML
            file. A recipe gives a new model.
        sizes: How much is compared.
        tokens: Folder of token shards; the run's if omitted, or else a chain
            of tokens drawn by chance.
        seed: Decides new weights and the order of the batches.

    Raises:
        InputError: No such preset or recipe, a model that has no twin, or
            tokens that are not of its vocabulary.
    """
    path = Path(name)
    is_trained = path.is_dir()
    if is_trained:
        recipe = _recipe_of(path)
        loaded = _scratch(load_language_model(path))
        model = _in_float32(loaded)
    else:
        recipe = _named_recipe(name)
        model = _new_model(recipe, seed)
    if tokens is None and is_trained and (path / "tokens").is_dir():
        tokens = path / "tokens"
    backbone = model.backbone
    length = sizes.sequence_length or backbone.max_sequence_length
    if length > backbone.max_sequence_length:
        raise InputError(
            "sequence_length must be at most the model's max_sequence_length, "
            f"{backbone.max_sequence_length}. Received: {length}"
        )
    rows, count = sizes.batch_size or recipe.training.batch_size, sizes.steps
    held = count * rows * length
    expected = f"at most {MOST_TOKENS:,}"
    amount = "steps * batch_size * sequence_length"
    check(held <= MOST_TOKENS, amount, expected, held)
    shape = (rows, length)
    vocabulary = backbone.vocabulary_size
    if tokens is None:
        batches = _chain(count + 1, shape, vocabulary, seed)
        text = "a chain of tokens drawn by chance"
    else:
        batches = _of_tokens(tokens, count + 1, shape, vocabulary, seed)
        text = f"the train split of {tokens}"
    if isinstance(model, ScratchMaskedLM):
        tokenizer = loaded.preprocessor.tokenizer if is_trained else None
        batches = _masked(batches, vocabulary, tokenizer, seed)
    settings = recipe.training
    return Subject(name, is_trained, model, settings, batches, text)


def _recipe_of(path: Path) -> Recipe:
    """That of the run that a preset is in, or the defaults."""
    for folder in (path, path.parent):
        if (folder / "recipe.yaml").is_file():
            return load_recipe(str(folder / "recipe.yaml"))
    return Recipe()


def _named_recipe(name: str) -> Recipe:
    if name in recipe_names() or Path(name).is_file():
        recipe = load_recipe(name)
        if isinstance(recipe, Recipe):
            return recipe
        name += ", which tunes a model"
    raise InputError(
        "PRESET_OR_RECIPE must be a preset, a run that has one, one of "
        f"{', '.join(recipe_names())}, or a YAML file. Received: {name!r}"
    )


def _scratch(model) -> ScratchCausalLM | ScratchMaskedLM:
    if isinstance(model, ScratchCausalLM | ScratchMaskedLM):
        return model
    raise InputError(
        "The model must be a ScratchCausalLM or a ScratchMaskedLM to have a "
        f"twin in PyTorch. Received: a {type(model).__name__}"
    )


def _new_model(recipe: Recipe, seed: int) -> ScratchCausalLM | ScratchMaskedLM:
    keras.utils.set_random_seed(seed)
    size = recipe.tokenizer.vocabulary_size
    parameters = count_parameters(recipe.model, size)
    check_memory(recipe.training, parameters, parameters, 0, is_accelerated)
    config = to_dict(recipe.model) | {"vocabulary_size": size}
    return _without_dropout(config)


def _in_float32(model):
    """A copy; what was rounded to another dtype stays so."""
    copy = _without_dropout(config_of(model))
    pairs = zip(weights_of(model), weights_of(copy), strict=True)
    for weight, other in pairs:
        other.variable.assign(ops.cast(weight.variable, "float32"))
    return copy


def _without_dropout(config) -> ScratchCausalLM | ScratchMaskedLM:
    config = config | {"dropout": 0.0, "dtype": "float32"}
    backbone = ScratchBackbone(**config)
    kind = ScratchCausalLM if backbone.causal else ScratchMaskedLM
    return kind(backbone)


def _of_tokens(tokens, count, shape, vocabulary, seed) -> list[Batch]:
    rows, length = shape
    train = open_tokens(tokens, "train")
    check_vocabulary(tokens, train.vocabulary_size, vocabulary)
    windows = TrainingWindows(train, length, rows, seed)
    batches = map(windows.batch, range(count))
    return [(features["token_ids"], labels) for features, labels in batches]


def _chain(count, shape, vocabulary, seed) -> list[Batch]:
    """Each token has four followers; low ids are the commonest, as in text."""
    rows, length = shape
    draw = np.random.default_rng(seed)
    followers = vocabulary * draw.random((vocabulary, 4)) ** 3
    followers = followers.astype("int32")
    ids = np.zeros((count, rows, length + 1), "int32")
    choices = draw.integers(0, 4, ids.shape)
    ids[..., 0] = draw.integers(0, vocabulary, (count, rows))
    for index in range(1, length + 1):
        ids[..., index] = followers[ids[..., index - 1], choices[..., index]]
    return [(each[:, :-1], each[:, 1:]) for each in ids]


class _Given:
    """Token ids as batches to be masked."""

    def __init__(self, batches: list[Batch]):
        self._batches = batches
        self.signature = token_signature(*batches[0][0].shape)

    def __len__(self) -> int:
        return len(self._batches)

    def batch(self, k: int) -> tuple:
        token_ids, labels = self._batches[k]
        mask = np.ones(token_ids.shape, bool)
        return token_batch(token_ids, labels, padding_mask=mask)


def _masked(batches, vocabulary, tokenizer, seed) -> list[Batch]:
    """The same tokens with some of them masked, which are the labels.

    Without a tokenizer each token is a word, and the last one the mask.
    """
    words = np.zeros(vocabulary, bool)
    is_text = np.arange(vocabulary) < vocabulary - 1
    masking = Masking(vocabulary - 1, is_text, words, words)
    if tokenizer is not None:
        masking = masking_of(tokenizer)
    masked, found = MaskedBatches(_Given(batches), masking, seed), []
    for k in range(len(batches)):
        features, ids, weights = masked.batch(k)
        labels = np.full(features["token_ids"].shape, NOT_ASKED, np.int32)
        rows, places = np.nonzero(weights)
        at = features["mask_positions"][rows, places]
        labels[rows, at] = ids[rows, places]
        found.append((features["token_ids"], labels))
    return found
