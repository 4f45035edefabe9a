"""Instruction tuning: of a conversation, only the answers are learned."""

from collections.abc import Callable
from pathlib import Path

import keras_hub

from keras_llm.datasets.examples import AnswerBatches, Examples
from keras_llm.evaluation import Evaluator
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.training import TrainingRun, next_token_loss


def instruction_run(
    model: keras_hub.models.CausalLM, data: Path, recipe: TuningRecipe
) -> TrainingRun:
    """What instruction tuning has of its own.

    Args:
        model: What is tuned.
        data: Folder of examples of one row each.
        recipe: All settings.
    """
    batches = AnswerBatches(
        Examples(data / "train"), recipe.training.batch_size, recipe.seed
    )
    return TrainingRun(
        model,
        batches,
        next_token_loss(),
        validate=answer_validation(model, data, recipe),
        columns=("val_accuracy",),
    )


def answer_validation(
    model: keras_hub.models.CausalLM, data: Path, recipe: TuningRecipe
) -> Callable[[], dict[str, float]] | None:
    """Loss and accuracy on the answers of the validation split."""
    if not (data / "validation").is_dir():
        return None
    evaluator = Evaluator(model)
    batches = AnswerBatches(
        Examples(data / "validation"), recipe.training.batch_size
    )

    def validate():
        limit = recipe.training.validation_batches
        found = evaluator.evaluate(batches, limit)
        return {"loss": found.loss, "accuracy": found.accuracy}

    return validate
