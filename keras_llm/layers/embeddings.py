"""Where a token's meaning and its place enter the model."""

import math

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.dropout import Dropout
from keras_llm.layers.normalization import make_norm
from keras_llm.layers.rows import on_rows
from keras_llm.registration import register

# What each kind of scaling is given by.
ROPE_SCALINGS = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
# What may be given besides, and what it is if it is not.
ROPE_OPTIONS = {
    "yarn": {
        "attention_factor": None,
        "mscale": None,
        "mscale_all_dim": None,
        "beta_fast": 32,
        "beta_slow": 1,
        "truncate": True,
    }
}


@register
class TokenAndPositionEmbedding(keras.layers.Layer):
    """Embeds token ids, adds learned positions, and projects back to tokens.

    The output projection (`reverse=True`) is the transposed token embedding
    (Press and Wolf 2017, https://arxiv.org/abs/1608.05859) or, untied, a
    matrix of its own.

    Args:
        vocabulary_size: int. Number of tokens.
        hidden_dim: int. Width of the output.
        max_sequence_length: int. Number of learned positions; `None` for
            none, as with rotary positions.
        tie_word_embeddings: bool. Whether the output projection is tied.
        dropout: float in [0, 1). Share of outputs dropped while training.
        normalization: str. How the sum is normalised: `"layer"`, as BERT
            does, `"rms"` or `"none"`.
        layer_norm_epsilon: float. Added to the variance.
        use_bias: bool. Whether layer normalisation has a bias.
        output_bias: bool. Whether the output projection has one.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: int32 token ids `(batch, length)`; with `reverse=True`, float
            hidden states `(batch, length, hidden_dim)`.
        start_index: int32 `(batch,)`, the position of each row's first token;
            zero if omitted.
        reverse: bool. Whether to project hidden states to logits.

    Returns:
        float tensor `(batch, length, hidden_dim)`; with `reverse=True`,
        logits `(batch, length, vocabulary_size)`.

    Example:
        >>> embedding = TokenAndPositionEmbedding(10, 8, max_sequence_length=5)
        >>> hidden = embedding(keras.ops.ones((2, 5), "int32"))
        >>> embedding(hidden, reverse=True).shape
        (2, 5, 10)
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        max_sequence_length: int | None = None,
        tie_word_embeddings: bool = True,
        dropout: float = 0.0,
        normalization: str = "none",
        layer_norm_epsilon: float = 1e-5,
        use_bias: bool = True,
        output_bias: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.max_sequence_length = max_sequence_length
        self.tie_word_embeddings = tie_word_embeddings
        self.dropout = dropout
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            tie_weights=tie_word_embeddings,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.normalization = normalization
        self.layer_norm_epsilon = layer_norm_epsilon
        self.use_bias = use_bias
        self.has_output_bias = output_bias
        self.norm = make_norm(
            normalization,
            layer_norm_epsilon,
            use_bias,
            dtype=self.dtype_policy,
            name="norm",
        )
        self.dropout_layer = Dropout(
            dropout, dtype=self.dtype_policy, name="dropout"
        )

    def build(self, input_shape):
        self.token_embedding.build(None)
        self.norm.build((None, None, self.hidden_dim))
        if self.max_sequence_length is not None:
            self.position_embedding = self.add_weight(
                name="position_embedding",
                shape=(self.max_sequence_length, self.hidden_dim),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
            )
        if self.has_output_bias:
            self.output_bias = self.add_weight(
                name="output_bias",
                shape=(self.vocabulary_size,),
                initializer="zeros",
            )
        self.built = True

    def call(self, inputs, start_index=None, reverse=False, training=None):
        if reverse:
            logits = on_rows(self.token_embedding, inputs, reverse=True)
            if self.has_output_bias:
                logits = logits + ops.cast(self.output_bias, logits.dtype)
            return logits
        x = self.token_embedding(inputs)  # (batch, length, hidden)
        if self.max_sequence_length is not None:
            positions = position_ids(ops.shape(inputs)[1], start_index)
            table = ops.cast(self.position_embedding, x.dtype)
            x = x + ops.take(table, positions, axis=0)
        return self.dropout_layer(self.norm(x), training=training)

    def compute_output_spec(
        self, inputs, start_index=None, reverse=False, training=None
    ):
        width = self.vocabulary_size if reverse else self.hidden_dim
        shape = (inputs.shape[0], inputs.shape[1], width)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "max_sequence_length": self.max_sequence_length,
            "tie_word_embeddings": self.tie_word_embeddings,
            "dropout": self.dropout,
            "normalization": self.normalization,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "use_bias": self.use_bias,
            "output_bias": self.has_output_bias,
        }


@register
class RotaryEmbedding(keras.layers.Layer):
    """Rotates queries and keys by their position, half against half.

    Su et al. 2021, https://arxiv.org/abs/2104.09864, in the layout of Llama:
    dimension *i* turns together with dimension *i + head_dim / 2*.

    Args:
        max_wavelength: float. Slowest rotation, in tokens (over 2 pi).
        scaling: dict. How rotations were slowed down to reach further than a
            model was trained at first, in Hugging Face's terms: `rope_type`
            `"linear"` with a `factor` (Chen et al. 2023,
            https://arxiv.org/abs/2306.15595); `"llama3"`, which scales slow
            rotations only, with `low_freq_factor`, `high_freq_factor` and
            `original_max_position_embeddings` besides
            (https://arxiv.org/abs/2407.21783); `"yarn"` (Peng et al. 2023,
            https://arxiv.org/abs/2309.00071), which does so too and sharpens
            attention, with `original_max_position_embeddings` and the
            options of `ROPE_OPTIONS`; or `"dynamic"`, which changes nothing
            up to `max_sequence_length`. `None` for none.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, num_heads, head_dim)`.
        positions: int32 `(batch or 1, length)`.

    Returns:
        float tensor of the shape of `x`.

    Raises:
        InputError: `head_dim` is odd, or a scaling that is not one of these.
    """

    def __init__(
        self,
        max_wavelength: float = 10_000.0,
        scaling: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if scaling is not None:
            check_rope_scaling(scaling)
        self.max_wavelength = max_wavelength
        self.scaling = scaling
        self.built = True

    def call(self, x, positions):
        head_dim = x.shape[-1]
        check_even(head_dim)
        half = ops.arange(0, head_dim, 2, dtype="float32") / head_dim
        frequencies = self._scaled(ops.power(float(self.max_wavelength), -half))
        angle = ops.cast(positions, "float32")[..., None] * frequencies
        angle = angle[:, :, None, :]  # (batch, length, 1, head_dim / 2)
        cos, sin = ops.cos(angle), ops.sin(angle)
        if self.scaling is not None and self.scaling["rope_type"] == "yarn":
            magnitude = _magnitude(self.scaling)
            cos, sin = magnitude * cos, magnitude * sin
        cos, sin = ops.cast(cos, x.dtype), ops.cast(sin, x.dtype)
        first, second = ops.split(x, 2, axis=-1)
        return ops.concatenate(
            [first * cos - second * sin, second * cos + first * sin], axis=-1
        )

    def _scaled(self, frequencies):
        kind = self.scaling and self.scaling["rope_type"]
        # What is dynamic begins beyond the longest context, where none is.
        if kind in (None, "dynamic"):
            return frequencies
        slowed = frequencies / self.scaling["factor"]
        if kind == "linear":
            return slowed
        if kind == "yarn":
            kept = self._kept_by_yarn(frequencies.shape[0])
        else:
            low, high, trained = (
                float(self.scaling[name])
                for name in ROPE_SCALINGS["llama3"][1:]
            )
            # How often a rotation goes round in the length of first training.
            turns = trained * frequencies / (2 * math.pi)
            kept = ops.clip((turns - low) / (high - low), 0.0, 1.0)
        return kept * frequencies + (1 - kept) * slowed

    def _kept_by_yarn(self, count):
        """Which share of each of `count` rotations is not slowed down."""
        scaling = ROPE_OPTIONS["yarn"] | dict(self.scaling)
        trained = scaling["original_max_position_embeddings"]

        def place(turns):  # of the rotation that goes round so often
            length = math.log(trained / (2 * math.pi * turns))
            return count * length / math.log(self.max_wavelength)

        low, high = place(scaling["beta_fast"]), place(scaling["beta_slow"])
        if scaling["truncate"]:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * count - 1)
        places = ops.arange(count, dtype="float32")
        return 1 - ops.clip((places - low) / ((high - low) or 1e-3), 0.0, 1.0)

    def compute_output_shape(self, input_shape, *args):
        return input_shape

    def get_config(self):
        return super().get_config() | {
            "max_wavelength": self.max_wavelength,
            # Keras makes attributes that are dicts into its own kind.
            "scaling": self.scaling and dict(self.scaling),
        }


def check_rope_scaling(scaling: dict) -> None:
    """Raises `InputError` unless `RotaryEmbedding` has such a scaling."""
    rope_type = scaling.get("rope_type")
    if rope_type not in ROPE_SCALINGS:
        raise InputError(
            f"rope_type must be one of {', '.join(ROPE_SCALINGS)}. "
            f"Received: {rope_type!r}"
        )
    expected = set(ROPE_SCALINGS[rope_type])
    optional = set(ROPE_OPTIONS.get(rope_type, ()))
    if set(scaling) - {"rope_type"} - optional != expected:
        raise InputError(
            f"rope_scaling of rope_type {rope_type} must have "
            f"{', '.join(sorted(expected))}. Received: {scaling}"
        )


def _magnitude(scaling: dict) -> float:
    """By which YaRN makes queries and keys longer."""
    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]

    def grown(weight):
        return 1 + 0.1 * weight * math.log(max(scaling["factor"], 1))

    weights = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return grown(weights[0]) / grown(weights[1]) if all(weights) else grown(1)


def check_even(head_dim: int) -> None:
    """Raises `InputError` if rotary positions cannot pair the dimensions."""
    if head_dim % 2:
        raise InputError(
            "Rotary positions need an even head dimension (head_dim, or "
            f"hidden_dim / num_heads). Received: {head_dim}"
        )


def position_ids(length, start_index=None):
    """int32 positions `(batch or 1, length)`, from each row's start on."""
    positions = ops.arange(length, dtype="int32")[None, :]
    if start_index is None:
        return positions
    return positions + ops.cast(start_index, "int32")[:, None]
