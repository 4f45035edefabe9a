"""Training a language model from scratch: a decoder, or an encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from keras_llm.datasets import (
    EvaluationStreams,
    EvaluationWindows,
    TokenManifest,
    TrainingStreams,
    TrainingWindows,
    open_tokens,
)
from keras_llm.datasets.batches import Batches
from keras_llm.datasets.masks import (
    VALIDATION_SEED,
    MaskedBatches,
    masking_of,
)
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.evaluation.loss import StatefulEvaluator
from keras_llm.generation import TextGenerator
from keras_llm.models import ScratchCausalLM, ScratchMaskedLM
from keras_llm.recipes.settings import GenerationSettings, TrainingSettings
from keras_llm.training.loss import NextTokenLoss
from keras_llm.training.masked_words import filled_masks
from keras_llm.training.run import TrainingResult, TrainingRun
from keras_llm.training.stateful import StatefulCausalLM


def pretrain(
    model: ScratchCausalLM | ScratchMaskedLM,
    tokens: Path,
    out: Path,
    settings: TrainingSettings,
    generation: GenerationSettings | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> TrainingResult:
    """Trains on token shards; goes on where an earlier call stopped.

    Args:
        model: The model to train, with its preprocessor. A fresh one of the
            same settings and seed where a run is resumed. An encoder learns
            to tell masked words.
        tokens: Folder of token shards, as `encode` writes it.
        out: Folder of this run.
        settings: How to train.
        generation: How samples are drawn.
        seed: Decides the order of the windows, and the masks.
        console: Where progress is shown; the terminal if omitted.

    Raises:
        InputError: Text shorter than a window, damaged tokens; or as
            `TrainingRun.train` raises it.
        TrainingInterrupted: Ctrl-C, after a checkpoint.
    """
    run = pretraining_run(model, Path(tokens), settings, generation, seed)
    return run.train(out, settings, console)


def pretraining_run(
    model: ScratchCausalLM | ScratchMaskedLM,
    tokens: Path,
    settings: TrainingSettings,
    generation: GenerationSettings | None = None,
    seed: int = 0,
) -> TrainingRun:
    """What pretraining has of its own; the arguments are those of `pretrain`.

    Raises:
        InputError: Text shorter than a window, damaged tokens, an encoder
            whose tokenizer has no mask token, a sample that the model cannot
            take, or a state to carry where there is none.
    """
    length = model.backbone.max_sequence_length
    train, held = open_tokens(tokens, "train"), None
    size = model.backbone.vocabulary_size
    check_vocabulary(tokens, train.vocabulary_size, size)
    windows, held_windows = TrainingWindows, EvaluationWindows
    trained, evaluator = model, Evaluator
    if settings.stateful:
        windows, held_windows = TrainingStreams, EvaluationStreams
        trained = StatefulCausalLM(model, settings.batch_size)
        evaluator = StatefulEvaluator
    batches = windows(train, length, settings.batch_size, seed)
    if "validation" in TokenManifest.load(tokens).splits:
        held = held_windows(open_tokens(tokens, "validation"), length)
    if isinstance(model, ScratchMaskedLM):
        masking = masking_of(model.preprocessor.tokenizer)
        batches = MaskedBatches(batches, masking, seed)
        if held is not None:
            held = MaskedBatches(held, masking, VALIDATION_SEED)
        sample = filled_masks(model, settings)
    else:
        sample = continuation(model, settings, generation)
    return TrainingRun(
        trained,
        batches,
        NextTokenLoss(),  # of an encoder, per masked token: by the weights
        validate=_validation(evaluator(model), held, settings),
        columns=("val_accuracy",),
        sample=sample,
    )


def continuation(
    model: ScratchCausalLM,
    settings: TrainingSettings,
    generation: GenerationSettings | None = None,
) -> Callable[[], str] | None:
    """How a run is sampled: `training.sample_prompt`, and how it goes on.

    Raises:
        InputError: A prompt that the model cannot take.
    """
    prompt = settings.sample_prompt
    if not prompt:
        return None
    generator = TextGenerator(model)
    try:  # before steps are done that would be lost
        generator.encode_prompt(prompt)
    except InputError as error:
        raise InputError(f"training.sample_prompt: {error}") from error
    generation = replace(
        generation or GenerationSettings(),
        max_new_tokens=settings.sample_tokens,
    )
    return lambda: prompt + generator.generate([prompt], generation)[0].text


def _validation(
    evaluator: Evaluator, held: Batches | None, settings: TrainingSettings
) -> Callable[[], dict[str, float]] | None:
    if held is None:
        return None

    def validate():
        found = evaluator.evaluate(held, settings.validation_batches)
        return {"loss": found.loss, "accuracy": found.accuracy}

    return validate
