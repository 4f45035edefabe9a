"""One block of a model: mix positions, then transform each."""

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.attention import CausalSelfAttention
from keras_llm.layers.dropout import Dropout
from keras_llm.layers.feed_forward import FeedForward
from keras_llm.layers.gated_delta import GatedDeltaNet
from keras_llm.layers.min_gru import MinGRU
from keras_llm.layers.mlstm import MLSTM
from keras_llm.layers.normalization import make_norm
from keras_llm.layers.recurrent import RecurrentLayer
from keras_llm.layers.recurrent_cells import CELLS
from keras_llm.registration import register

MEMORIES = {"gated_delta": GatedDeltaNet, "mlstm": MLSTM}
BLOCK_TYPES = ("attention", *CELLS, "min_gru", *MEMORIES)


@register
class ResidualBlock(keras.layers.Layer):
    """Normalised attention or recurrence, then a normalised feed-forward.

    Every block type has the same signature and the same kind of cache, so
    that nothing above this file knows which one it has.

    Args:
        hidden_dim: int. Width of input and output.
        block_type: str. One of `BLOCK_TYPES`.
        intermediate_dim: int. Width inside the feed-forward layer,
            `4 * hidden_dim` if omitted; 0 for a block without one.
        num_heads, num_key_value_heads, head_dim: see `CausalSelfAttention`;
            ignored by recurrent blocks, as the next two lines are.
        rotary, rope_max_wavelength, rope_scaling: see there.
        query_key_norm, query_key_norm_epsilon, sliding_window, causal: see
            there.
        normalization: str. `"layer"`, `"rms"` or `"none"`.
        layer_norm_epsilon: float. Added to the variance.
        normalize_first: bool. Whether what goes into attention and into the
            feed-forward layer is normalised (GPT-2), or else the sum of that
            and what comes out (Vaswani et al. 2017, and BERT).
        activation: str. See `FeedForward`.
        use_bias: bool. Whether projections and layer normalisation have a
            bias.
        attention_bias: bool. Whether queries, keys and values have one,
            `use_bias` if omitted.
        attention_output_bias: bool. Whether their output projection has one,
            `attention_bias` if omitted.
        feed_forward_bias: bool. Whether the feed-forward layer has one,
            `use_bias` if omitted.
        residual: bool. Whether a branch is added to what came into it, or
            takes its place.
        dropout: float in [0, 1). Share of attention weights and of each
            branch's outputs dropped while training.
        kernel_initializer: of projections.
        output_initializer: of the last projection of each branch.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, hidden_dim)`.
        padding_mask: bool `(batch, length)`, `False` where padded.
        cache: what `initial_cache` makes, or the last call returned.
        cache_update_index: int32 `(batch,)`, position of each row's first
            token.
        training: bool.

    Returns:
        float tensor `(batch, length, hidden_dim)`; with a cache, that and the
        updated cache.

    Raises:
        InputError: an unknown block type or normalisation.
    """

    def __init__(
        self,
        hidden_dim: int,
        block_type: str = "attention",
        intermediate_dim: int | None = None,
        num_heads: int = 1,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        rotary: bool = False,
        rope_max_wavelength: float = 10_000.0,
        rope_scaling: dict | None = None,
        query_key_norm: bool = False,
        query_key_norm_epsilon: float = 1e-6,
        sliding_window: int | None = None,
        causal: bool = True,
        normalization: str = "layer",
        layer_norm_epsilon: float = 1e-5,
        normalize_first: bool = True,
        activation: str = "gelu",
        use_bias: bool = True,
        attention_bias: bool | None = None,
        attention_output_bias: bool | None = None,
        feed_forward_bias: bool | None = None,
        residual: bool = True,
        dropout: float = 0.0,
        kernel_initializer="glorot_uniform",
        output_initializer="glorot_uniform",
        **kwargs,
    ):
        # What a cache holds is the mixer's to cast.
        super().__init__(autocast=False, **kwargs)
        if block_type not in BLOCK_TYPES:
            raise InputError(
                f"block_type must be one of {', '.join(BLOCK_TYPES)}. "
                f"Received: {block_type!r}"
            )
        if intermediate_dim is None:
            intermediate_dim = 4 * hidden_dim
        self.hidden_dim = hidden_dim
        self.block_type = block_type
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.rotary = rotary
        self.rope_max_wavelength = rope_max_wavelength
        self.rope_scaling = rope_scaling
        self.query_key_norm = query_key_norm
        self.query_key_norm_epsilon = query_key_norm_epsilon
        self.sliding_window = sliding_window
        self.causal = causal
        self.normalization = normalization
        self.layer_norm_epsilon = layer_norm_epsilon
        self.normalize_first = normalize_first
        self.activation = activation
        self.use_bias = use_bias
        self.attention_bias = _or(attention_bias, use_bias)
        self.attention_output_bias = _or(
            attention_output_bias, self.attention_bias
        )
        self.feed_forward_bias = _or(feed_forward_bias, use_bias)
        self.residual = residual
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self._make_layers()

    def _make_layers(self):
        self.mixer_norm = self._make_norm("mixer_norm")
        self.mixer = self._make_mixer()
        if self.intermediate_dim:
            self.feed_forward_norm = self._make_norm("feed_forward_norm")
            self.feed_forward = FeedForward(
                self.hidden_dim,
                self.intermediate_dim,
                activation=self.activation,
                use_bias=self.feed_forward_bias,
                kernel_initializer=self.kernel_initializer,
                output_initializer=self.output_initializer,
                dtype=self.dtype_policy,
                name="feed_forward",
            )
        self.dropout_layer = Dropout(
            self.dropout, dtype=self.dtype_policy, name="dropout"
        )

    def _make_norm(self, name):
        return make_norm(
            self.normalization,
            self.layer_norm_epsilon,
            self.use_bias,
            dtype=self.dtype_policy,
            name=name,
        )

    def _make_mixer(self):
        if self.block_type in CELLS:
            return RecurrentLayer(
                self.hidden_dim,
                self.block_type,
                dtype=self.dtype_policy,
                name="recurrent_layer",
            )
        if self.block_type == "min_gru":
            return MinGRU(
                self.hidden_dim, dtype=self.dtype_policy, name="min_gru"
            )
        if self.block_type in MEMORIES:
            return MEMORIES[self.block_type](
                self.hidden_dim,
                num_heads=self.num_heads,
                head_dim=self.head_dim,
                epsilon=self.layer_norm_epsilon,
                kernel_initializer=self.kernel_initializer,
                output_initializer=self.output_initializer,
                dtype=self.dtype_policy,
                name=self.block_type,
            )
        return CausalSelfAttention(
            self.hidden_dim,
            num_heads=self.num_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            rotary=self.rotary,
            rope_max_wavelength=self.rope_max_wavelength,
            rope_scaling=self.rope_scaling,
            query_key_norm=self.query_key_norm,
            query_key_norm_epsilon=self.query_key_norm_epsilon,
            sliding_window=self.sliding_window,
            causal=self.causal,
            use_bias=self.attention_bias,
            output_bias=self.attention_output_bias,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer,
            output_initializer=self.output_initializer,
            dtype=self.dtype_policy,
            name="self_attention",
        )

    def build(self, input_shape):
        shape = (None, None, self.hidden_dim)
        self.mixer_norm.build(shape)
        self.mixer.build(shape)
        if self.intermediate_dim:
            self.feed_forward_norm.build(shape)
            self.feed_forward.build(shape)
        self.built = True

    def call(
        self,
        x,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        mixed = self.mixer(
            self.mixer_norm(x) if self.normalize_first else x,
            padding_mask=padding_mask,
            cache=cache,
            cache_update_index=cache_update_index,
            training=training,
        )
        if cache is not None:
            mixed, cache = mixed
        x = self._summed(x, self.dropout_layer(mixed, training=training))
        if not self.normalize_first:
            x = self.mixer_norm(x)
        if self.intermediate_dim:
            x = self._transformed(x, training)
        return x if cache is None else (x, cache)

    def _transformed(self, x, training):
        first = self.feed_forward_norm(x) if self.normalize_first else x
        transformed = self.feed_forward(first, training=training)
        x = self._summed(x, self.dropout_layer(transformed, training=training))
        return x if self.normalize_first else self.feed_forward_norm(x)

    def _summed(self, x, branch):
        # A copy has no mask of Keras's, as a sum has none.
        return x + branch if self.residual else ops.copy(branch)

    def initial_cache(self, batch_size, max_length, dtype=None):
        """An empty cache for `max_length` positions."""
        return self.mixer.initial_cache(batch_size, max_length, dtype)

    def compute_output_shape(self, input_shape, **kwargs):
        return input_shape

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "block_type": self.block_type,
            "intermediate_dim": self.intermediate_dim,
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
            "normalization": self.normalization,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "normalize_first": self.normalize_first,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "attention_bias": self.attention_bias,
            "attention_output_bias": self.attention_output_bias,
            "feed_forward_bias": self.feed_forward_bias,
            "residual": self.residual,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "output_initializer": keras.initializers.serialize(
                self.output_initializer
            ),
        }


def _or(option: bool | None, default: bool) -> bool:
    return default if option is None else option
