"""Models from settings, and presets from models."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import keras_hub

from keras_llm.errors import InputError
from keras_llm.files import written_beside
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.models.causal_lm import ScratchCausalLM
from keras_llm.models.causal_lm_preprocessor import ScratchCausalLMPreprocessor
from keras_llm.models.masked_lm import (
    ScratchMaskedLM,
    ScratchMaskedLMPreprocessor,
)
from keras_llm.recipes.settings import ModelSettings, to_dict
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.hugging_face_settings import TEMPLATE
from keras_llm.tokenizers.published import Published


def build_model(
    settings: ModelSettings,
    tokenizer: ScratchTokenizer,
    dtype: str = "float32",
    seed: int = 0,
) -> ScratchCausalLM | ScratchMaskedLM:
    """A new model with random weights.

    Args:
        settings: Shape of the model.
        tokenizer: Its vocabulary.
        dtype: Name of a Keras dtype policy.
        seed: Decides initial weights and dropout.

    Returns:
        A decoder, or an encoder if the settings' `causal` is false.
    """
    keras.utils.set_random_seed(seed)
    backbone = ScratchBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        **to_dict(settings),
        dtype=dtype,
    )
    return language_model(backbone, tokenizer, settings.max_sequence_length)


def language_model(
    backbone: ScratchBackbone,
    tokenizer: keras_hub.tokenizers.Tokenizer,
    sequence_length: int,
) -> ScratchCausalLM | ScratchMaskedLM:
    """A decoder, or an encoder if the backbone looks ahead.

    Args:
        backbone: What it is made of.
        tokenizer: Its vocabulary.
        sequence_length: Of the preprocessor.
    """
    if not backbone.causal:
        preprocessor = ScratchMaskedLMPreprocessor(tokenizer, sequence_length)
        return ScratchMaskedLM(backbone, preprocessor, name="scratch_masked_lm")
    preprocessor = ScratchCausalLMPreprocessor(tokenizer, sequence_length)
    return ScratchCausalLM(backbone, preprocessor, name="scratch_causal_lm")


def save_preset(model: keras_hub.models.Task, out: Path) -> None:
    """Writes a preset folder, whole or not at all.

    Raises:
        InputError: `out` holds something, or the disk is full.
    """
    with written_beside(out) as folder:
        # HDF5 may crash the process on a disk that runs full while it writes.
        needed = 5 * model.count_params() + 2**21
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise InputError(
                f"{out} needs about {needed / 1e6:.0f} MB of disk. Received: "
                f"{free / 1e6:.0f} MB free. Make room, and try again."
            )
        with _without_optimizer(model):
            model.save_to_preset(str(folder))
        for name in ("config.json", "task.json"):
            _without_mixed_precision(folder / name)
        tokenizer = getattr(model.preprocessor, "tokenizer", None)
        template = getattr(tokenizer, "chat_template", None)
        if template and not isinstance(tokenizer, Published):
            # KerasHub's tokenizers have no place for it.
            (folder / TEMPLATE).write_text(template, encoding="utf-8")


@contextmanager
def _without_optimizer(model: keras_hub.models.Task) -> Iterator[None]:
    """Within, a head is saved without the optimizer's moments beside it."""
    optimizer, model.optimizer = model.optimizer, None
    try:
        yield
    finally:
        model.optimizer = optimizer


def _without_mixed_precision(path: Path) -> None:
    """Makes a preset float32 that was trained in mixed precision.

    Its weights are float32 already, and KerasHub 0.32 cannot read a preset
    whose policy is mixed.
    """
    text = path.read_text(encoding="utf-8")
    for policy in ("mixed_bfloat16", "mixed_float16"):
        text = text.replace(f'"name": "{policy}"', '"name": "float32"')
    path.write_text(text, encoding="utf-8")
