"""Batches as the input of `model.fit` and `model.evaluate`.

A `tf.data.Dataset` where TensorFlow is installed, else a `grain.MapDataset`
of the same batches.
"""

from typing import Any

from keras_llm.datasets.batches import Batches
from keras_llm.errors import InputError


def dataset(batches: Batches, start: int, count: int) -> Any:
    """Batches `start` to `start + count`, in order.

    Args:
        batches: What to serve.
        start: The first batch; that of a resumed run is the number of batches
            it has seen.
        count: Number of batches.

    Returns:
        A dataset of what `batches.batch` returns.

    Raises:
        InputError: Neither TensorFlow nor grain is there.
    """
    try:
        import tensorflow as tf
    except ImportError:
        return _grain_dataset(batches, start, count)
    specs = tf.nest.flatten(batches.signature)

    def arrays_of(k):
        return tf.nest.flatten(batches.batch(k))

    def read(k):
        dtypes = [spec.dtype for spec in specs]
        arrays = tf.numpy_function(arrays_of, [k], dtypes, stateful=False)
        for array, spec in zip(arrays, specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(batches.signature, arrays)

    indices = tf.data.Dataset.range(start, start + count)
    served = indices.map(read, num_parallel_calls=2, deterministic=True)
    return served.prefetch(tf.data.AUTOTUNE)


def _grain_dataset(batches: Batches, start: int, count: int) -> Any:
    try:
        import grain
    except ImportError as error:
        raise InputError(
            "Training without TensorFlow needs grain. Install it with "
            '`pip install "keras-llm[jax]"`.'
        ) from error
    return grain.MapDataset.range(start, start + count).map(batches.batch)
