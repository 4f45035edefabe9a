"""What is known to be wrong before anything is made, and is said then."""

from pathlib import Path

from keras_llm.recipes.memory import check_memory, values_of_a_batch
from keras_llm.recipes.parameters import count_parameters
from keras_llm.recipes.settings import Recipe, TokenizerSettings
from keras_llm.recipes.tuning_settings import TuningRecipe


def check_pretraining(recipe: Recipe, vocabulary_size: int) -> None:
    """Raises `InputError` if a model of the recipe cannot be trained here."""
    from keras_llm.training.run import check_tensorboard, is_accelerated

    model, training = recipe.model, recipe.training
    check_tensorboard(training)
    parameters = count_parameters(model, vocabulary_size)
    batch = values_of_a_batch(model, training, vocabulary_size)
    check_memory(training, parameters, parameters, batch, is_accelerated)


def least_vocabulary(settings: TokenizerSettings) -> int:
    """Tokens that a tokenizer will have, as far as the text does not decide.

    Raises:
        InputError: The model that is to be taken is none.
    """
    from keras_llm.tokenizers.processor import load_processor

    if settings.model_path:
        return load_processor(Path(settings.model_path)).vocab_size()
    subwords = settings.model_type in ("unigram", "bpe")
    return settings.vocabulary_size if subwords else 0


def check_texts(model, recipe: TuningRecipe) -> None:
    """Raises `InputError` if a model cannot be tuned on texts here.

    Args:
        model: A `CausalLM`, as it is.
        recipe: All settings.
    """
    from keras_llm.models.loading import context_length
    from keras_llm.training.pretrain import continuation

    training = recipe.training
    _check_tuning(model, recipe, training.batch_size * context_length(model))
    continuation(model, training)


def check_conversations(model, recipe: TuningRecipe, template) -> None:
    """Raises `InputError` if a model cannot be tuned on conversations here.

    Args:
        model: A `CausalLM`, as it is.
        recipe: All settings.
        template: A `ChatTemplate`.
    """
    from keras_llm.tuning.instructions import answer_sample

    _check_tuning(model, recipe, 0)  # they decide how long a batch is
    answer_sample(model, recipe, template)


def _check_tuning(model, recipe: TuningRecipe, batch_tokens: int) -> None:
    from keras_llm.models.adapters import check_targets
    from keras_llm.training.run import check_fits, check_tensorboard

    check_tensorboard(recipe.training)
    if recipe.adapter.rank:
        check_targets(model, recipe.adapter.targets)
    else:
        check_fits(model, recipe.training, batch_tokens)
