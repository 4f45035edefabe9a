"""How a model that was saved is compiled again."""

from typing import Any

import keras
import keras_hub


def compile_again(
    model: keras_hub.models.Task, config: dict[str, Any], **options
) -> None:
    """What `compile_from_config` is to do.

    Keras does not compile a model again that overrides `compile`, as
    KerasHub's do, so that a `.keras` file would lose the optimizer.

    Args:
        model: The model.
        config: As `get_compile_config` gives it.
        **options: Forwarded to `compile`, beside it.
    """
    model.compile(**keras.saving.deserialize_keras_object(config), **options)
    if model.optimizer is not None:
        model.optimizer.build(model.trainable_variables)
