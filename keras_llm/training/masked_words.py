"""How the training of an encoder is sampled: by masks that it fills."""

from collections.abc import Callable

from keras_llm.errors import InputError
from keras_llm.generation.filling import WRITTEN, MaskFiller
from keras_llm.models import ScratchMaskedLM
from keras_llm.recipes.settings import TrainingSettings


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
