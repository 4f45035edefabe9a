"""Self-attention with grouped queries and a cache. Knows nothing of tokens."""

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.cache import write_heads
from keras_llm.layers.dropout import Dropout
from keras_llm.layers.embeddings import (
    RotaryEmbedding,
    check_even,
    position_ids,
)
from keras_llm.layers.rows import length_of
from keras_llm.registration import register


@register
class CausalSelfAttention(keras.layers.Layer):
    """Lets every position look at itself and at those before it.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with grouped
    queries (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245).

    Args:
        hidden_dim: int. Width of input and output.
        num_heads: int. Number of query heads; divides `hidden_dim` where
            `head_dim` is omitted.
        num_key_value_heads: int. Number of key and value heads; divides
            `num_heads`, and is `num_heads` if omitted.
        head_dim: int. Width of a head, `hidden_dim / num_heads` if omitted.
        rotary: bool. Whether queries and keys are rotated by position.
        rope_max_wavelength, rope_scaling: see `RotaryEmbedding`.
        query_key_norm: bool. Whether queries and keys are RMS-normalised per
            head (Henry et al. 2020, https://arxiv.org/abs/2010.04245).
        query_key_norm_epsilon: float. Added to their mean square.
        sliding_window: int. How many positions back each may look, itself
            included; all if omitted.
        causal: bool. `False` lets every position look at all (an encoder).
        use_bias: bool. Whether the projections have a bias.
        output_bias: bool. Whether the output projection has one, `use_bias`
            if omitted.
        dropout: float in [0, 1). Share of attention weights dropped while
            training.
        kernel_initializer: of the query, key and value projections.
        output_initializer: of the output projection.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, hidden_dim)`.
        padding_mask: bool `(batch, length)`, `False` where padded. Not needed
            with a cache: what is written after a row's end is overwritten
            before it is ever looked at.
        cache: keys and values, as `initial_cache` makes them.
        cache_update_index: int32 `(batch,)`. Where in the cache each row's
            first position goes.
        training: bool.

    Returns:
        float tensor `(batch, length, hidden_dim)`; with a cache, that and the
        updated cache.

    Raises:
        InputError: heads that do not divide, an odd head dimension with
            rotary positions, an empty window, or a cache without causality.

    Example:
        >>> CausalSelfAttention(8, num_heads=2)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        rotary: bool = False,
        rope_max_wavelength: float = 10_000.0,
        rope_scaling: dict | None = None,
        query_key_norm: bool = False,
        query_key_norm_epsilon: float = 1e-6,
        sliding_window: int | None = None,
        causal: bool = True,
        use_bias: bool = True,
        output_bias: bool | None = None,
        dropout: float = 0.0,
        kernel_initializer="glorot_uniform",
        output_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        num_key_value_heads = num_key_value_heads or num_heads
        if head_dim is None:
            _check_divides(num_heads, "num_heads", hidden_dim, "hidden_dim")
            head_dim = hidden_dim // num_heads
        _check_divides(
            num_key_value_heads, "num_key_value_heads", num_heads, "num_heads"
        )
        if head_dim < 1:
            raise InputError(
                f"head_dim must be at least 1. Received: {head_dim}"
            )
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        if rotary:
            check_even(self.head_dim)
        if sliding_window is not None and sliding_window < 1:
            raise InputError(
                "sliding_window must be at least 1, or None to see all. "
                f"Received: {sliding_window}"
            )
        self.rotary = rotary
        self.rope_max_wavelength = rope_max_wavelength
        self.rope_scaling = rope_scaling
        self.query_key_norm = query_key_norm
        self.query_key_norm_epsilon = query_key_norm_epsilon
        self.sliding_window = sliding_window
        self.causal = causal
        self.use_bias = use_bias
        self.output_bias = use_bias if output_bias is None else output_bias
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self._make_layers()

    def _make_layers(self):
        def projection(name, width, initializer, use_bias=self.use_bias):
            return keras.layers.Dense(
                width,
                use_bias=use_bias,
                kernel_initializer=initializer.clone(),
                dtype=self.dtype_policy,
                name=name,
            )

        key_value_dim = self.num_key_value_heads * self.head_dim
        kernel = self.kernel_initializer
        query_dim = self.num_heads * self.head_dim
        self.query = projection("query", query_dim, kernel)
        self.key = projection("key", key_value_dim, kernel)
        self.value = projection("value", key_value_dim, kernel)
        self.attention_output = projection(
            "attention_output",
            self.hidden_dim,
            self.output_initializer,
            self.output_bias,
        )
        self.rotary_embedding = RotaryEmbedding(
            self.rope_max_wavelength,
            self.rope_scaling,
            dtype=self.dtype_policy,
        )
        self.dropout_layer = Dropout(
            self.dropout, dtype=self.dtype_policy, name="attention_dropout"
        )
        if self.query_key_norm:
            self.query_norm, self.key_norm = (
                keras.layers.RMSNormalization(
                    epsilon=self.query_key_norm_epsilon,
                    dtype=self.dtype_policy,
                    name=name,
                )
                for name in ("query_norm", "key_norm")
            )

    def build(self, input_shape):
        for layer in (self.query, self.key, self.value):
            layer.build((None, None, self.hidden_dim))
        self.attention_output.build((None, None, self.query.units))
        if self.query_key_norm:
            for layer in (self.query_norm, self.key_norm):
                layer.build((None, None, None, self.head_dim))
        self.built = True

    def call(
        self,
        x,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        length = length_of(x)
        positions = position_ids(length, cache_update_index)
        query, key, value = self._project(x, positions, length)
        if cache is None:
            looks = positions, padding_mask
            x = self._attend(query, key, value, *looks, training)
            return self._output(x, length)
        if not self.causal:
            raise InputError("A cache needs causal=True. Received: False")
        cache = write_heads(cache, (key, value), positions)
        x = self._attend_to_cache(query, *cache, positions, length)
        return self._output(x, length), cache

    def attention_weights(self, x):
        """How much each position takes from each.

        Args:
            x: float tensor `(batch, length, hidden_dim)`.

        Returns:
            float32 `(batch, num_heads, length, length)`; each row of queries
            has the sum 1.
        """
        length = length_of(x)
        positions = position_ids(length, None)
        query, key, _ = self._project(x, positions, length)
        mask = self._mask(positions, positions, None, self.causal)
        shape = (-1, self.num_heads, length, length)
        return ops.reshape(self._weights(query, key, mask), shape)

    def initial_cache(self, batch_size, max_length, dtype=None):
        """Zero keys and values, each `(batch, heads, max_length, head_dim)`.

        Heads come first, so that no step has to transpose the whole cache.
        """
        shape = (
            batch_size,
            self.num_key_value_heads,
            max_length,
            self.head_dim,
        )
        dtype = dtype or self.compute_dtype
        return ops.zeros(shape, dtype), ops.zeros(shape, dtype)

    def _output(self, x, length):
        """float `(batch, length, hidden_dim)`, of rows of the last."""
        rows = self.attention_output(ops.reshape(x, (-1, self.query.units)))
        return ops.reshape(rows, (-1, length, self.hidden_dim))

    def _project(self, x, positions, length):
        rows = ops.reshape(x, (-1, self.hidden_dim))

        def heads(projection):  # (batch, length, heads, head_dim)
            projected = projection(rows)
            number = projected.shape[-1] // self.head_dim
            return ops.reshape(projected, (-1, length, number, self.head_dim))

        query, key = heads(self.query), heads(self.key)
        if self.query_key_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.rotary:
            # Together, for the angles are the same.
            both = ops.concatenate([query, key], axis=2)
            both = self.rotary_embedding(both, positions)
            query = both[:, :, : self.num_heads]
            key = both[:, :, self.num_heads :]
        return query, key, heads(self.value)

    def _mask(self, query_positions, key_positions, padding_mask, causal):
        """bool `(batch or 1, queries, keys)`: who may look at whom; or None."""
        query_positions = query_positions[:, :, None]
        key_positions = key_positions[:, None, :]
        mask = None
        if causal:
            mask = key_positions <= query_positions
        if self.sliding_window:
            distance = ops.absolute(query_positions - key_positions)
            near = distance < self.sliding_window
            mask = near if mask is None else ops.logical_and(mask, near)
        if padding_mask is not None:
            real = ops.cast(padding_mask, "bool")[:, None, :]
            mask = real if mask is None else ops.logical_and(mask, real)
        return mask

    def _attend(self, query, key, value, positions, padding_mask, training):
        """float `(batch, queries, ..., dim)`: the heads' weighted values."""
        drops = training and self.dropout
        if keras.config.backend() == "jax" and not drops:
            # Keras' operation drops no weights. On a GPU it takes cuDNN's
            # flash attention where it can, which stores no scores.
            mask = self._mask(positions, positions, padding_mask, causal=False)
            if mask is not None:
                mask = mask[:, None]
            return ops.dot_product_attention(
                query, key, value, mask=mask, is_causal=self.causal
            )
        mask = self._mask(positions, positions, padding_mask, self.causal)
        weights = ops.cast(self._weights(query, key, mask), value.dtype)
        weights = self.dropout_layer(weights, training=training)
        return ops.einsum("bghqk,bkgd->bqghd", weights, value)

    def _weights(self, query, key, mask):
        """float32 `(batch, groups, heads, queries, keys)`, sums of 1."""
        length, groups = length_of(query), self.num_key_value_heads
        # Grouped queries share a key head: (b)atch, (q)uery, (g)roup, (h)ead.
        shape = (-1, length, groups, self.num_heads // groups, self.head_dim)
        query = ops.reshape(query * self.head_dim**-0.5, shape)
        scores = ops.einsum("bqghd,bkgd->bghqk", query, key)
        scores = ops.cast(scores, "float32")
        if mask is not None:
            scores = ops.where(mask[:, None, None], scores, -1e9)
        return ops.softmax(scores, axis=-1)

    def _attend_to_cache(self, query, key, value, positions, length):
        """As `_attend`, from a cache, with a position's values in a row."""
        # A step of decoding has nothing to move. Asked of the static shape,
        # for the length is a tensor where it is not known.
        is_step = query.shape[1] == 1
        query = self._by_groups(query * self.head_dim**-0.5, length, is_step)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        keys = position_ids(ops.shape(key)[2])
        mask = self._mask(positions, keys, None, causal=True)
        mask = mask[:, None]
        if not is_step:
            # Every query as often as a group has heads.
            heads = self.num_heads // self.num_key_value_heads
            mask = ops.tile(mask, (1, 1, heads, 1))
        scores = ops.where(mask, ops.cast(scores, "float32"), -1e9)
        weights = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
        x = ops.matmul(weights, value)
        return self._by_positions(x, length, is_step)

    def _by_groups(self, x, length, is_step):
        """`(batch, length, heads, dim)` as `(batch, groups, ..., dim)`.

        The queries of a group's heads follow each other.
        """
        groups, dim = self.num_key_value_heads, self.head_dim
        heads = self.num_heads // groups
        if is_step:
            return ops.reshape(x, (-1, groups, heads, dim))
        x = ops.reshape(x, (-1, length, groups, heads, dim))
        x = ops.transpose(x, (0, 2, 3, 1, 4))
        return ops.reshape(x, (-1, groups, heads * length, dim))

    def _by_positions(self, x, length, is_step):
        """What `_by_groups` gives, each position's values in a row."""
        groups, dim = self.num_key_value_heads, self.head_dim
        heads = self.num_heads // groups
        if not is_step:
            x = ops.reshape(x, (-1, groups, heads, length, dim))
            x = ops.transpose(x, (0, 3, 1, 2, 4))
        return x

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "rotary": self.rotary,
            "rope_max_wavelength": self.rope_max_wavelength,
            "rope_scaling": self.rope_scaling and dict(self.rope_scaling),
            "query_key_norm": self.query_key_norm,
            "query_key_norm_epsilon": self.query_key_norm_epsilon,
            "sliding_window": self.sliding_window,
            "causal": self.causal,
            "use_bias": self.use_bias,
            "output_bias": self.output_bias,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "output_initializer": keras.initializers.serialize(
                self.output_initializer
            ),
        }


def _check_divides(part, part_name, whole, whole_name):
    if part < 1 or whole % part:
        raise InputError(
            f"{part_name} must divide {whole_name} ({whole}). "
            f"Received: {part_name}={part}"
        )
