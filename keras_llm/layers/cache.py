"""Writing into caches, at places that differ from row to row."""

from keras import ops

from keras_llm.layers.rows import length_of


def write_to_cache(cache, new, positions):
    """Puts each row's new entries at that row's own positions.

    A scatter, because `ops.slice_update` becomes an XLA operation that stock
    TensorFlow Serving refuses; inside a loop it runs in place.

    Args:
        cache: `(batch, max_length, ...)`.
        new: `(batch, length, ...)`.
        positions: int32 `(batch, length)`.

    Returns:
        tensor of the shape of `cache`.
    """
    rows = ops.arange(ops.shape(positions)[0], dtype="int32")[:, None]
    rows = ops.broadcast_to(rows, ops.shape(positions))
    indices = ops.stack([rows, positions], axis=-1)  # (batch, length, 2)
    return ops.scatter_update(
        cache,
        ops.reshape(indices, (-1, 2)),
        ops.reshape(ops.cast(new, cache.dtype), (-1, *new.shape[2:])),
    )


def write_heads(cache, new, positions):
    """Writes `(batch, length, heads, dim)` to `(batch, heads, slots, dim)`.

    A scatter, as in `write_to_cache`; keys and values go to the same places.
    """
    _, heads, _, dim = cache[0].shape
    batch_size = ops.shape(positions)[0]
    rows = ops.arange(batch_size, dtype="int32")[:, None, None]
    places = [rows, ops.arange(heads, dtype="int32")[:, None]]
    shape = (batch_size, heads, length_of(positions))
    indices = ops.stack(
        [ops.broadcast_to(x, shape) for x in (*places, positions[:, None])],
        axis=-1,
    )
    indices = ops.reshape(indices, (-1, 3))

    def write(old, new):
        if new.shape[1] != 1:
            new = ops.transpose(new, (0, 2, 1, 3))
        new = ops.reshape(ops.cast(new, old.dtype), (-1, dim))
        return ops.scatter_update(old, indices, new)

    return tuple(write(*both) for both in zip(cache, new, strict=True))
