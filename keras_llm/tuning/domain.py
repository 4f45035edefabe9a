"""Pretraining that goes on, on text of another domain.

A share of what the model knew is replayed, so that it does not forget.
"""

from collections.abc import Callable
from pathlib import Path

import keras_hub
import numpy as np

from keras_llm.datasets import (
    EvaluationWindows,
    TokenManifest,
    TrainingWindows,
    open_tokens,
)
from keras_llm.datasets.batches import token_batch, token_signature
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.models.loading import context_length
from keras_llm.recipes.checks import check
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.training import NextTokenLoss, TrainingRun
from keras_llm.training.pretrain import continuation


class ReplayedWindows:
    """Windows of new text, and in every batch some of the old.

    Args:
        new: Windows of the new text.
        old: Windows of the old, of the same length.
    """

    def __init__(self, new: TrainingWindows, old: TrainingWindows):
        self.new, self.old = new, old

    def __len__(self) -> int:
        """Batches an epoch of the new text."""
        return len(self.new)

    @property
    def signature(self) -> tuple:
        rows = self.new.batch_size + self.old.batch_size
        return token_signature(rows, self.new.sequence_length)

    def batch(self, k: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Batch `k`: rows of new text, then of old; see `TrainingWindows`."""
        parts = [windows.batch(k) for windows in (self.new, self.old)]
        token_ids, mask = (
            np.concatenate([features[name] for features, _ in parts])
            for name in ("token_ids", "padding_mask")
        )
        labels = np.concatenate([labels for _, labels in parts])
        return token_batch(token_ids, labels, padding_mask=mask)

    def num_tokens(self, k: int) -> int:
        return self.new.num_tokens(k) + self.old.num_tokens(k)


def domain_run(
    model: keras_hub.models.CausalLM,
    tokens: Path,
    recipe: TuningRecipe,
) -> TrainingRun:
    """What tuning to a domain has of its own.

    Args:
        model: What is tuned.
        tokens: Token shards of the new text.
        recipe: All settings; `replay.tokens` is a folder of token shards.
    """
    settings = recipe.training
    length = context_length(model)
    replayed, size = 0, settings.batch_size
    old = recipe.replay.tokens and Path(recipe.replay.tokens)
    if old:
        _check_same_tokenizer(tokens, old)
    if old and recipe.replay.share:
        expected = "at least 2, for rows of new text and of old"
        check(size >= 2, "training.batch_size", expected, size)
        # At least one row of each.
        replayed = min(max(round(recipe.replay.share * size), 1), size - 1)
    batches = TrainingWindows(
        open_tokens(tokens, "train"),
        length,
        size - replayed,
        recipe.seed,
    )
    if replayed:
        windows = TrainingWindows(
            open_tokens(old, "train"), length, replayed, recipe.seed
        )
        batches = ReplayedWindows(batches, windows)
    return TrainingRun(
        model,
        batches,
        NextTokenLoss(),
        validate=_validation(model, tokens, old, recipe, length),
        columns=("val_accuracy", "val_old_loss") if old else ("val_accuracy",),
        sample=continuation(model, settings, recipe.generation),
    )


def _check_same_tokenizer(tokens: Path, old: Path) -> None:
    new, known = (TokenManifest.load(path) for path in (tokens, old))
    if new.tokenizer_sha256 != known.tokenizer_sha256:
        raise InputError(
            "replay.tokens must be token ids of the model's own tokenizer. "
            f"Received: {old}, of another. Encode its text again with "
            "`keras-llm encode CORPUS PRESET`."
        )


def evaluate_domain(
    model: keras_hub.models.CausalLM, tokens: Path, recipe: TuningRecipe
) -> dict[str, dict[str, float]]:
    """What a tuned model makes of held-out text, new and old.

    The arguments are those of `domain_run`.

    Returns:
        An `Evaluation` of each held-out split; those of the text that was
        replayed have `old_` before their names.
    """
    evaluator, length = Evaluator(model), context_length(model)
    folders = {"": tokens}
    if recipe.replay.tokens:
        folders["old_"] = Path(recipe.replay.tokens)
    return {
        prefix + split: evaluator.evaluate(
            EvaluationWindows(open_tokens(folder, split), length)
        ).to_dict()
        for prefix, folder in folders.items()
        for split in TokenManifest.load(folder).splits
        if split != "train"
    }


def _validation(
    model: keras_hub.models.CausalLM,
    tokens: Path,
    old: Path | None,
    recipe: TuningRecipe,
    length: int,
) -> Callable[[], dict[str, float]] | None:
    """Loss and accuracy on the new text, and loss on the old."""
    held = {"new": tokens, "old": old}
    windows = {
        name: EvaluationWindows(open_tokens(folder, "validation"), length)
        for name, folder in held.items()
        if folder and "validation" in TokenManifest.load(folder).splits
    }
    if "new" not in windows:
        return None
    evaluator = Evaluator(model)

    def validate():
        limit = recipe.training.validation_batches
        found = {
            name: evaluator.evaluate(each, limit)
            for name, each in windows.items()
        }
        values = {"loss": found["new"].loss, "accuracy": found["new"].accuracy}
        if "old" in found:
            values["old_loss"] = found["old"].loss
        return values

    return validate
