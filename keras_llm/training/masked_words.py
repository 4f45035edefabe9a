"""What pretraining an encoder by masked words has of its own."""

from collections.abc import Callable
from pathlib import Path

from keras_llm.datasets import TokenManifest, TrainingWindows, open_tokens
from keras_llm.datasets.masks import MaskedBatches, masking_of
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.evaluation.masked_words import masked_windows
from keras_llm.generation.filling import WRITTEN, MaskFiller
from keras_llm.models import ScratchMaskedLM
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training.run import TrainingRun, next_token_loss


def masked_words(
    model: ScratchMaskedLM, tokens: Path, settings: TrainingSettings, seed: int
) -> TrainingRun:
    """A run in which an encoder learns to tell masked words.

    Args:
        model: The model to train, with its preprocessor.
        tokens: Folder of token shards, as `encode` writes it.
        settings: How to train.
        seed: Decides the order of the windows, and the masks.

    Raises:
        InputError: Text shorter than a window, damaged tokens, a tokenizer
            without a mask token, or a sample that the model cannot take.
    """
    train = open_tokens(tokens, "train")
    length = model.backbone.max_sequence_length
    size = model.backbone.vocabulary_size
    check_vocabulary(tokens, train.vocabulary_size, size)
    windows = TrainingWindows(train, length, settings.batch_size, seed)
    masking = masking_of(model.preprocessor.tokenizer)
    return TrainingRun(
        model,
        MaskedBatches(windows, masking, seed),
        next_token_loss(),  # per masked token, which the weights choose
        validate=_validation(model, tokens, settings),
        columns=("val_accuracy",),
        sample=filled_masks(model, settings),
    )


def filled_masks(
    model: ScratchMaskedLM, settings: TrainingSettings
) -> Callable[[], str] | None:
    """How a run is sampled: `training.sample_prompt`, with its masks filled.

    A prompt without a mask gets one at its end.

    Raises:
        InputError: A prompt that the model cannot take.
    """
    prompt = settings.sample_prompt
    if not prompt:
        return None
    text = prompt if WRITTEN in prompt else f"{prompt} {WRITTEN}"
    filler = MaskFiller(model)
    try:  # before steps are done that would be lost
        filler.encode(text)
    except InputError as error:
        raise InputError(f"training.sample_prompt: {error}") from error

    def sample():
        (filled,) = filler.fill([text])
        shown = [
            ", ".join(f"{c.token!r} {c.probability:.1%}" for c in candidates)
            for candidates in filled.masks
        ]
        return "\n".join([filled.text, *shown])

    return sample


def _validation(
    model: ScratchMaskedLM, tokens: Path, settings: TrainingSettings
) -> Callable[[], dict[str, float]] | None:
    if "validation" not in TokenManifest.load(tokens).splits:
        return None
    evaluator = Evaluator(model)
    masked = masked_windows(
        open_tokens(tokens, "validation"),
        masking_of(model.preprocessor.tokenizer),
        model.backbone.max_sequence_length,
    )

    def validate():
        found = evaluator.evaluate(masked, settings.validation_batches)
        return {"loss": found.loss, "accuracy": found.accuracy}

    return validate
