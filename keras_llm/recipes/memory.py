"""What a training takes of memory at least, before anything is built.

Of a batch only what every backend keeps is counted, so that nothing is refused
that would have fitted. Knows nothing of Keras.
"""

import os
from collections.abc import Callable
from pathlib import Path

from keras_llm.errors import InputError
from keras_llm.recipes.settings import ModelSettings, TrainingSettings

FLOAT = 4  # bytes; weights stay float32 in mixed precision too
# Values that an optimizer keeps of each weight; SGD none without momentum.
STATES = {"adamw": 2, "adam": 2, "muon": 1, "sgd": 0}
# A block's input, what it is normalised to, and two in the mixer. On a CPU,
# both backends keep two to four times of all that is counted here.
WIDTHS_OF_A_BLOCK = 4
# Accelerators have memory of their own, which no backend tells beforehand.
MOST_OF_ACCELERATORS = 8  # times the machine's
CONTAINER = Path("/sys/fs/cgroup/memory.max")


def check_memory(
    training: TrainingSettings,
    parameters: int,
    trainable: int,
    batch: int,
    is_accelerated: Callable[[], bool],
) -> None:
    """Raises `InputError` if this machine cannot hold a training.

    Args:
        training: How the model is trained.
        parameters: Of the model.
        trainable: Those that are trained.
        batch: Values that are kept of a batch; see `values_of_a_token`.
        is_accelerated: Whether there is a GPU or TPU; asked if it matters.
    """
    copies = STATES[training.optimizer]
    copies += training.gradient_accumulation_steps > 1
    variables = FLOAT * (parameters + copies * trainable)
    batch *= FLOAT if training.dtype == "float32" else FLOAT // 2
    needed, there = variables + batch, physical_memory()
    if there is None or needed <= there:
        return
    if is_accelerated() and needed <= MOST_OF_ACCELERATORS * there:
        return
    raise InputError(
        f"This training needs at least {_shown(needed)} of memory: "
        f"{_shown(variables)} for weights and the optimizer, {_shown(batch)} "
        f"for a batch. This machine has {_shown(there)}. Pass a smaller "
        "--training.batch_size (and --training.gradient_accumulation_steps "
        "instead), a smaller model, or shorter sequences."
    )


def values_of_a_token(
    layers: int, width: int, inner: int, vocabulary_size: int, scores: int = 0
) -> int:
    """What is kept of a token until the gradients of a batch are known.

    Args:
        layers: Blocks of the model.
        width: Of the model.
        inner: Width inside a block's feed-forward layer.
        vocabulary_size: Its tokens.
        scores: Of attention, of all heads and blocks.
    """
    block = WIDTHS_OF_A_BLOCK * width + inner
    return layers * block + vocabulary_size + scores


def values_of_a_batch(
    model: ModelSettings, training: TrainingSettings, vocabulary_size: int
) -> int:
    """What is kept of a batch of windows, as `values_of_a_token`."""
    width, inner = model.hidden_dim, model.intermediate_dim
    types, length = model.block_types, model.max_sequence_length
    blocks = [types[i % len(types)] for i in range(model.num_layers)]
    token = values_of_a_token(
        layers=len(blocks),
        width=width,
        inner=4 * width if inner is None else inner,
        vocabulary_size=vocabulary_size,
        scores=blocks.count("attention") * model.num_heads * length,
    )
    return training.batch_size * length * token


def physical_memory() -> int | None:
    """Bytes that this process may use; `None` where the system does not say."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit = CONTAINER.read_text().strip() if CONTAINER.is_file() else "max"
    except (AttributeError, OSError, ValueError):
        return None
    return min(found, int(limit)) if limit.isdecimal() else found


def _shown(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
