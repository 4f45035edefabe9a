"""Parts of ragged rows in a few operations.

TensorFlow's `tf.ragged.boolean_mask`, comparisons and `tf.concat` put up to
three hundred operations each into a graph, which a server optimises whenever
it loads a model.
"""

import tensorflow as tf


def between(
    rows: tf.RaggedTensor, begin: tf.Tensor, end: tf.Tensor
) -> tf.RaggedTensor:
    """Of each row the values from one place to before another.

    Args:
        rows: ragged `(batch, None)`.
        begin, end: `(batch,)`, from 0 to the row's length.
    """
    starts = rows.row_starts()
    places = tf.ragged.range(
        starts + tf.cast(begin, starts.dtype),
        starts + tf.cast(end, starts.dtype),
    )
    values = tf.gather(rows.flat_values, places.flat_values)
    return places.with_flat_values(values)


def row_ids(rows: tf.RaggedTensor) -> tf.Tensor:
    """int64, of each flat value: which row it is in."""
    places = tf.range(tf.shape(rows.flat_values, tf.int64)[0])
    limits = rows.row_limits()
    return tf.searchsorted(limits, places, side="right", out_type=tf.int64)


def places_in_rows(rows: tf.RaggedTensor) -> tf.Tensor:
    """int64, of each flat value: its place in its row."""
    places = tf.range(tf.shape(rows.flat_values, tf.int64)[0])
    return places - tf.gather(rows.row_starts(), row_ids(rows))


def kept(rows: tf.RaggedTensor, flags: tf.Tensor) -> tf.RaggedTensor:
    """The values that are flagged.

    Args:
        rows: ragged `(batch, None)`.
        flags: bool, one for each of its flat values.
    """
    before = tf.cumsum(tf.cast(flags, rows.row_splits.dtype))
    before = tf.pad(before, [[1, 0]])
    return tf.RaggedTensor.from_row_splits(
        tf.gather(rows.flat_values, tf.where(flags)[:, 0]),
        tf.gather(before, rows.row_splits),
        validate=False,
    )


def with_first(
    rows: tf.RaggedTensor, value: int, wanted: tf.Tensor
) -> tf.RaggedTensor:
    """Puts a value before the others of a row.

    Args:
        rows: int32 ragged `(batch, None)`.
        value: the value.
        wanted: bool `(batch,)`, which rows get it.
    """
    values = tf.concat([[value], rows.flat_values], axis=0)
    added = tf.cast(wanted, rows.row_splits.dtype)
    places = tf.ragged.range(
        rows.row_starts() + 1 - added, rows.row_limits() + 1
    )
    first = tf.gather(places.row_starts(), tf.where(wanted))
    zeros = tf.zeros_like(first[:, 0])
    flat = tf.tensor_scatter_nd_update(places.flat_values, first, zeros)
    return places.with_flat_values(tf.gather(values, flat))


def below(upper: tf.RaggedTensor, lower: tf.RaggedTensor) -> tf.RaggedTensor:
    """The rows of one, and after them those of the other."""
    splits = upper.row_splits
    return tf.RaggedTensor.from_row_splits(
        tf.concat([upper.flat_values, lower.flat_values], axis=0),
        tf.concat([splits, splits[-1] + lower.row_splits[1:]], axis=0),
        validate=False,
    )
