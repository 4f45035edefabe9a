"""Preference tuning: better answers become likelier, worse ones less."""

from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.datasets.examples import ComparisonBatches, Examples
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.files import written_beside
from keras_llm.layers.cross_entropy import cross_entropy, lean_cross_entropy
from keras_llm.recipes.tuning_settings import (
    PreferenceSettings,
    TuningRecipe,
)
from keras_llm.tokenizers.chat_templates import ChatTemplate
from keras_llm.training import TrainingRun
from keras_llm.tuning.data import held_out
from keras_llm.tuning.instructions import answer_sample
from keras_llm.tuning.preference_losses import (
    preference_loss,
    preference_metrics,
)

MEANS = ("ipo", "simpo")  # compare means over tokens, not sums


class AnswerScorer(keras.Model):
    """Log-likelihoods of answers, by a causal language model.

    Args:
        causal_lm: a `keras_hub.models.CausalLM`, whose weights are shared.
        mean: Whether to divide by the answer's tokens.

    Call arguments:
        inputs: dict of int32 `token_ids` and `labels`, float32 `weights` and
            bool `padding_mask`, each `(batch, rows, length)`.

    Returns:
        float32 `(batch, rows)`, in nats; 0 where a row has no answer.
    """

    def __init__(
        self, causal_lm: keras_hub.models.CausalLM, mean: bool = False
    ):
        super().__init__()
        self.causal_lm = causal_lm
        self.backbone = causal_lm.backbone
        self.mean = mean

    def call(self, inputs, training=None):
        batch, rows, length = ops.shape(inputs["token_ids"])
        token_ids, labels, weights, mask = (
            ops.reshape(inputs[name], (batch * rows, length))
            for name in ("token_ids", "labels", "weights", "padding_mask")
        )
        logits = self.causal_lm(
            {"token_ids": token_ids, "padding_mask": mask}, training=training
        )
        nats_of = lean_cross_entropy if training else cross_entropy
        nats = nats_of(labels, logits)
        scores = -ops.sum(nats * weights, axis=-1)
        if self.mean:
            scores = scores / ops.maximum(ops.sum(weights, axis=-1), 1)
        return ops.reshape(scores, (batch, rows))


def preference_run(
    model: keras_hub.models.CausalLM,
    data: Path,
    reference: Path,
    recipe: TuningRecipe,
    template: ChatTemplate,
) -> TrainingRun:
    """What preference tuning has of its own.

    Args:
        model: What is tuned.
        data: Folder of examples of two rows each.
        reference: Folder of the reference's scores, as `score_reference`
            leaves them; not looked at if the loss needs none.
        recipe: All settings.
        template: How a question is put to the model; for samples.
    """
    settings = recipe.preferences
    scorer = AnswerScorer(model, settings.loss in MEANS)
    metrics = preference_metrics(settings)
    names = tuple(metric.name for metric in metrics)
    batches = _batches("train", data, reference, recipe, recipe.seed)
    needed = batches.examples.vocabulary_size
    check_vocabulary(data, needed, model.backbone.vocabulary_size)
    held = _batches("validation", data, reference, recipe)
    return TrainingRun(
        scorer,
        batches,
        preference_loss(settings),
        metrics,
        validate=None if held is None else _validation(scorer, held, settings),
        columns=(*names, *(f"val_{name}" for name in names)),
        sample=answer_sample(model, recipe, template),
    )


def evaluate_preferences(
    model: keras_hub.models.CausalLM,
    data: Path,
    reference: Path,
    recipe: TuningRecipe,
) -> dict[str, dict[str, float]]:
    """Loss, rewards and accuracy of a tuned model on what was held out.

    The arguments are those of `preference_run`.
    """
    settings = recipe.preferences
    scorer = AnswerScorer(model, settings.loss in MEANS)
    split = held_out(data)
    held = _batches(split, data, reference, recipe)
    return {split: _validation(scorer, held, settings)()}


def score_reference(
    model: keras_hub.models.CausalLM,
    data: Path,
    out: Path,
    recipe: TuningRecipe,
) -> dict[str, int]:
    """Writes what the model as it is makes of every answer, once.

    Args:
        model: The reference.
        data: Folder of examples.
        out: Folder to write, with a file of each split: float32
            `(examples, rows)`, in nats.
        recipe: All settings.

    Returns:
        Examples by split.
    """
    scorer = AnswerScorer(model, recipe.preferences.loss in MEANS)
    score = compile_function(lambda features: scorer(features), scorer)
    counts = {}
    with written_beside(out) as folder:
        for split in sorted(path.name for path in data.glob("*/")):
            examples = Examples(data / split)
            scores = np.zeros((len(examples), examples.rows), np.float32)
            batches = ComparisonBatches(
                examples, scores, recipe.training.batch_size
            )
            for k in range(len(batches)):
                features, *_ = _tensors(batches.batch(k))
                indices = batches.order.indices(k)
                found = ops.convert_to_numpy(score(features))
                scores[indices] = found[: len(indices)]
            np.save(folder / f"{split}.npy", scores)
            counts[split] = len(examples)
    return counts


def _batches(
    split: str,
    data: Path,
    reference: Path,
    recipe: TuningRecipe,
    seed: int | None = None,
) -> ComparisonBatches | None:
    """The batches of a split, if there is one."""
    if not (data / split).is_dir():
        return None
    examples = Examples(data / split)
    targets = np.zeros((len(examples), examples.rows), np.float32)
    if recipe.preferences.loss != "simpo":
        targets = _scores(reference / f"{split}.npy", targets.shape)
    if recipe.preferences.loss == "kto":
        if examples.labels is None:
            raise InputError(
                f"{data / split} must hold examples with labels, for kto. Make "
                "them again with `--redo data`."
            )
        labels = examples.labels.astype(np.float32)
        targets = np.concatenate([targets, labels[:, None]], axis=1)
    return ComparisonBatches(
        examples, targets, recipe.training.batch_size, seed
    )


def _scores(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        # Mapped, so that nothing is held of what the file only claims.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if (found.shape, found.dtype) != (shape, np.float32):
            raise ValueError(f"shape {found.shape} instead of {shape}")
        return np.array(found)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} must hold the reference's scores: {error}. Make them "
            "again with `--redo reference`."
        ) from error


def _tensors(batch: tuple) -> tuple:
    return keras.tree.map_structure(ops.convert_to_tensor, batch)


def _validation(
    scorer: AnswerScorer,
    batches: ComparisonBatches,
    settings: PreferenceSettings,
) -> Callable[[], dict[str, float]]:
    loss, metrics = preference_loss(settings), preference_metrics(settings)
    score = compile_function(lambda features: scorer(features), scorer)

    def validate():
        for metric in metrics:
            metric.reset_state()
        total = count = 0.0
        for k in range(len(batches)):
            features, targets, weights = _tensors(batches.batch(k))
            scores = score(features)
            rows = float(ops.sum(weights))
            total += rows * float(loss(targets, scores, weights))
            count += rows
            for metric in metrics:
                metric.update_state(targets, scores, weights)
        found = {metric.name: float(metric.result()) for metric in metrics}
        return {"loss": total / count, **found}

    return validate
