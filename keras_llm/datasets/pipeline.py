"""Windows as the input of `model.fit` and `model.evaluate`.

A `tf.data.Dataset` where TensorFlow is installed, else a `grain.MapDataset`
of the same batches.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_llm.datasets.windows import EvaluationWindows, TrainingWindows
from keras_llm.errors import InputError

Arrays = tuple[np.ndarray, ...]


def training_dataset(windows: TrainingWindows, start_step: int, steps: int):
    """Batches `start_step` to `start_step + steps`, in order.

    Args:
        windows: The windows to serve.
        start_step: The first batch; that of a resumed run is the number of
            batches it has seen.
        steps: Number of batches.

    Returns:
        A dataset of `({"token_ids": int32 (batch, length), "padding_mask":
        bool (batch, length)}, labels int32 (batch, length))`.
    """

    def batch(k: int) -> Arrays:
        token_ids, labels = windows.batch(k)
        return token_ids, np.ones_like(token_ids, bool), labels

    return _dataset(batch, windows, start_step, steps, [])


def evaluation_dataset(windows: EvaluationWindows, batches: int | None = None):
    """The first `batches` batches, in order.

    Args:
        windows: The windows to serve.
        batches: Number of batches; all of them if omitted.

    Returns:
        A dataset as of `training_dataset`, each element with a third part,
        the sample weight float32 `(batch, length)`.
    """

    def batch(k: int) -> Arrays:
        token_ids, labels, weight = windows.batch(k)
        return token_ids, weight > 0, labels, weight

    count = len(windows) if batches is None else min(batches, len(windows))
    return _dataset(batch, windows, 0, count, [np.float32])


def _dataset(
    batch: Callable[[int], Arrays],
    windows: TrainingWindows | EvaluationWindows,
    start: int,
    count: int,
    extra_dtypes: list[type],
) -> Any:
    try:
        import tensorflow as tf
    except ImportError:
        return _grain_dataset(batch, start, count)
    shape = (windows.batch_size, windows.sequence_length)
    signature = [
        tf.TensorSpec(shape, dtype)
        for dtype in (np.int32, bool, np.int32, *extra_dtypes)
    ]

    def read(k):
        arrays = tf.numpy_function(
            batch, [k], [spec.dtype for spec in signature], stateful=False
        )
        for array, spec in zip(arrays, signature, strict=True):
            array.set_shape(spec.shape)
        return _element(*arrays)

    dataset = tf.data.Dataset.range(start, start + count)
    dataset = dataset.map(read, num_parallel_calls=2, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _grain_dataset(
    batch: Callable[[int], Arrays], start: int, count: int
) -> Any:
    try:
        import grain
    except ImportError as error:
        raise InputError(
            "Training without TensorFlow needs grain. Install it with "
            '`pip install "keras-llm[jax]"`.'
        ) from error
    steps = grain.MapDataset.range(start, start + count)
    return steps.map(lambda k: _element(*batch(k)))


def _element(token_ids, padding_mask, labels, *weight):
    features = {"token_ids": token_ids, "padding_mask": padding_mask}
    return features, labels, *weight
