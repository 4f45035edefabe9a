"""The model without its head: tokens to hidden states, any mix of blocks."""

from numbers import Integral

import keras
import keras_hub

from keras_llm.errors import InputError
from keras_llm.layers import ResidualBlock, TokenAndPositionEmbedding
from keras_llm.layers.normalization import make_norm
from keras_llm.models.shared_blocks import SharedBlocks
from keras_llm.recipes.checks import check, check_looks_ahead
from keras_llm.registration import register
from keras_llm.tokenizers import ScratchTokenizer

LORA_OF_RECURRENCES = ["input_projection", "recurrent"]
POSITION_EMBEDDINGS = ("learned", "rotary", "none")
# What is repeated to the number of blocks, and what is at least 1.
LAYERS = ("block_types", "rotary_layers", "sliding_window_layers")
SIZES = (
    "vocabulary_size",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "max_sequence_length",
)


@register
class ScratchBackbone(keras_hub.models.Backbone):
    """Embeddings, a stack of residual blocks and a final normalisation.

    With `block_types="attention"` it is a Transformer decoder, with
    `causal=False` an encoder, with another block type a recurrent network,
    and with a list a mix of them.

    Args:
        vocabulary_size: int. Number of tokens.
        num_layers: int. Number of blocks.
        num_heads: int. Number of query heads of an attention block, or of
            matrices of a `"gated_delta"` or `"mlstm"` block.
        hidden_dim: int. Width of the model.
        intermediate_dim: int. Width inside the feed-forward layer,
            `4 * hidden_dim` if omitted; 0 for blocks without one.
        block_types: str or list of str, repeated to `num_layers`:
            of `"attention"`, `"gru"`, `"lstm"`, `"rnn"`, `"min_gru"`,
            `"gated_delta"` and `"mlstm"`.
        num_key_value_heads: int. Number of key and value heads, `num_heads`
            if omitted.
        head_dim: int. Width of a head, `hidden_dim / num_heads` if omitted.
        max_sequence_length: int. Longest context, in tokens.
        position_embedding: str. `"learned"`, `"rotary"` or `"none"`.
        rope_max_wavelength: float. See `RotaryEmbedding`.
        rope_scaling: dict. See `RotaryEmbedding`.
        rotary_layers: bool or list of bool, repeated to `num_layers`. Which
            blocks rotate, with rotary positions.
        normalization: str. `"layer"`, `"rms"` or `"none"`.
        layer_norm_epsilon: float. Added to the variance.
        normalize_first: bool. See `ResidualBlock`. If `False`, as in BERT,
            the embeddings are normalised in place of the last block's output.
        activation: str. See `FeedForward`.
        query_key_norm: bool. Whether queries and keys are normalised.
        query_key_norm_epsilon: float. Added to their mean square.
        sliding_window: int. How many positions back attention sees; all if
            omitted.
        sliding_window_layers: bool or list of bool, repeated to
            `num_layers`. Which blocks have the window.
        causal: bool. Whether attention looks only back; `False` for an
            encoder, whose blocks are all attention.
        tie_word_embeddings: bool. Whether the output projection is tied.
        use_bias: bool. Whether projections and layer norms have a bias.
        attention_bias, attention_output_bias, feed_forward_bias: bool. Whether
            those projections have one; see `ResidualBlock`.
        output_bias: bool. Whether the output projection has one.
        residual: bool. See `ResidualBlock`.
        zero_init_outputs: bool. Whether each branch's last projection starts
            at zero; otherwise it is scaled by depth, as in GPT-2.
        dropout: float in [0, 1). Share of activations dropped while training.
        dtype: dtype or dtype policy of computations and weights.
        **kwargs: forwarded to `keras_hub.models.Backbone`.

    Call arguments:
        inputs: dict of int32 `token_ids` and int32 or bool `padding_mask`,
            each `(batch, length)`; the mask is 0 where padded.

    Returns:
        float tensor `(batch, length, hidden_dim)`.

    Raises:
        InputError: an unknown option, a size below 1, heads that do not
            divide the width, or a recurrent block with `causal=False`.

    Example:
        >>> backbone = ScratchBackbone(
        ...     vocabulary_size=100, num_layers=2, num_heads=2, hidden_dim=8
        ... )
        >>> ids = keras.ops.ones((1, 5), "int32")
        >>> backbone({"token_ids": ids, "padding_mask": ids}).shape
        (1, 5, 8)
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int | None = None,
        block_types: str | list[str] = "attention",
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        max_sequence_length: int = 1024,
        position_embedding: str = "rotary",
        rope_max_wavelength: float = 10_000.0,
        rope_scaling: dict | None = None,
        rotary_layers: bool | list[bool] = True,
        normalization: str = "rms",
        layer_norm_epsilon: float = 1e-5,
        normalize_first: bool = True,
        activation: str = "gelu",
        query_key_norm: bool = False,
        query_key_norm_epsilon: float = 1e-6,
        sliding_window: int | None = None,
        sliding_window_layers: bool | list[bool] = True,
        causal: bool = True,
        tie_word_embeddings: bool = True,
        use_bias: bool = False,
        attention_bias: bool | None = None,
        attention_output_bias: bool | None = None,
        feed_forward_bias: bool | None = None,
        output_bias: bool = False,
        residual: bool = True,
        zero_init_outputs: bool = False,
        dropout: float = 0.0,
        dtype=None,
        **kwargs,
    ):
        types = [block_types] if isinstance(block_types, str) else block_types
        # === Config ===
        settings = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "block_types": list(types),
            "num_key_value_heads": num_key_value_heads,
            "head_dim": head_dim,
            "max_sequence_length": max_sequence_length,
            "position_embedding": position_embedding,
            "rope_max_wavelength": rope_max_wavelength,
            "rope_scaling": rope_scaling,
            "rotary_layers": rotary_layers,
            "normalization": normalization,
            "layer_norm_epsilon": layer_norm_epsilon,
            "normalize_first": normalize_first,
            "activation": activation,
            "query_key_norm": query_key_norm,
            "query_key_norm_epsilon": query_key_norm_epsilon,
            "sliding_window": sliding_window,
            "sliding_window_layers": sliding_window_layers,
            "causal": causal,
            "tie_word_embeddings": tie_word_embeddings,
            "use_bias": use_bias,
            "attention_bias": attention_bias,
            "attention_output_bias": attention_output_bias,
            "feed_forward_bias": feed_forward_bias,
            "output_bias": output_bias,
            "residual": residual,
            "zero_init_outputs": zero_init_outputs,
            "dropout": dropout,
        }
        _check(settings)
        # === Layers ===
        embedding = TokenAndPositionEmbedding(
            vocabulary_size,
            hidden_dim,
            max_sequence_length if position_embedding == "learned" else None,
            tie_word_embeddings=tie_word_embeddings,
            dropout=dropout,
            normalization="none" if normalize_first else normalization,
            layer_norm_epsilon=layer_norm_epsilon,
            use_bias=use_bias,
            output_bias=output_bias,
            dtype=dtype,
            name="embedding",
        )
        blocks = [
            _make_block(settings, types[index % len(types)], index, dtype)
            for index in range(num_layers)
        ]
        final_norm = make_norm(
            normalization if normalize_first else "none",
            layer_norm_epsilon,
            use_bias,
            dtype=dtype,
            name="final_norm",
        )
        # === Functional model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
        x = embedding(token_ids)
        for block in blocks:
            x = block(x, padding_mask=padding_mask)
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=final_norm(x),
            dtype=dtype,
            **kwargs,
        )
        self._config = settings
        for name, value in settings.items():
            setattr(self, name, value)
        self.embedding = embedding
        self.token_embedding = embedding.token_embedding
        self.blocks = blocks
        self.final_norm = final_norm
        self._call_block = SharedBlocks()

    def initial_cache(self, batch_size, max_length: int, dtype=None) -> list:
        """Empty caches, one entry a block, for `max_length` positions."""
        return [
            block.initial_cache(batch_size, max_length, dtype)
            for block in self.blocks
        ]

    def call_with_cache(
        self, token_ids, cache, cache_update_index, padding_mask=None
    ):
        """Hidden states of new tokens, given those before them.

        Args:
            token_ids: int32 `(batch, length)`.
            cache: list, as `initial_cache` makes it.
            cache_update_index: int32 `(batch,)`, position of each row's first
                new token.
            padding_mask: bool `(batch, length)`. Recurrent states do not
                advance where it is `False`.

        Returns:
            float tensor `(batch, length, hidden_dim)` and the updated cache.
        """
        x = self.embedding(token_ids, start_index=cache_update_index)
        updated = []
        for block, entry in zip(self.blocks, cache, strict=True):
            x, entry = self._call_block(
                block,
                x,
                padding_mask=padding_mask,
                cache=entry,
                cache_update_index=cache_update_index,
            )
            updated.append(entry)
        return self.final_norm(x), updated

    def call_without_cache(self, token_ids, padding_mask):
        """What calling the model gives, in a graph of fewer operations.

        Args:
            token_ids: int32 `(batch, length)`.
            padding_mask: int32 or bool `(batch, length)`, 0 where padded.

        Returns:
            float tensor `(batch, length, hidden_dim)`.
        """
        x = self.embedding(token_ids)
        for block in self.blocks:
            x = self._call_block(block, x, padding_mask=padding_mask)
        return self.final_norm(x)

    def default_lora_layer_names(self):
        """Names of the layers that `enable_lora` adapts if none are given.

        Queries and values, as everywhere in KerasHub, and the kernels of a
        recurrence that has none.
        """
        return super().default_lora_layer_names() + LORA_OF_RECURRENCES

    def enable_lora(self, rank: int, target_layer_names=None):
        """See `keras_hub.models.Backbone.enable_lora`.

        Nothing but the factors is trained: KerasHub would train biases of the
        adapted layers, which `save_lora_weights` does not save.

        Raises:
            InputError: no layer has such a name.
        """
        names = target_layer_names or self.default_lora_layer_names()
        dense = [each for each in self._flatten_layers() if each.name in names]
        if not any(hasattr(each, "enable_lora") for each in dense):
            raise InputError(
                "target_layer_names must name projections of the model, such "
                f"as query or recurrent. Received: {target_layer_names}"
            )
        super().enable_lora(rank, names)
        for layer in dense:
            if getattr(layer, "lora_enabled", False) and layer.use_bias:
                layer.bias.trainable = False

    def get_config(self):
        return super().get_config() | dict(self._config)


def _check(settings: dict) -> None:
    """Raises `InputError` for options and sizes that no model can have."""
    position_embedding = settings["position_embedding"]
    if position_embedding not in POSITION_EMBEDDINGS:
        raise InputError(
            "position_embedding must be one of "
            f"{', '.join(POSITION_EMBEDDINGS)}. "
            f"Received: {position_embedding!r}"
        )
    for name in LAYERS:
        option = settings[name]
        if not isinstance(option, bool) and not option:
            raise InputError(
                f"{name} must say something of at least one block. "
                f"Received: {option!r}"
            )
    for name in SIZES:
        size = settings[name]
        valid = isinstance(size, Integral) and size >= 1
        check(valid, name, "a whole number of at least 1", size)
    types = settings["block_types"]
    check_looks_ahead(settings["causal"], types, "block_types")


def _make_block(settings, block_type, index, dtype):
    shared = (
        "hidden_dim",
        "num_heads",
        "intermediate_dim",
        "num_key_value_heads",
        "head_dim",
        "rope_max_wavelength",
        "rope_scaling",
        "normalization",
        "layer_norm_epsilon",
        "normalize_first",
        "activation",
        "query_key_norm",
        "query_key_norm_epsilon",
        "causal",
        "use_bias",
        "attention_bias",
        "attention_output_bias",
        "feed_forward_bias",
        "residual",
        "dropout",
    )
    # Each block adds two branches to the residual stream: scaled down by
    # depth, their sum starts out as large as one (GPT-2).
    branches = 2 * settings["num_layers"] if settings["normalize_first"] else 1
    deviation = 0.02 / branches**0.5
    is_rotary = settings["position_embedding"] == "rotary"
    has_window = _at(settings["sliding_window_layers"], index)
    return ResidualBlock(
        block_type=block_type,
        rotary=is_rotary and _at(settings["rotary_layers"], index),
        sliding_window=settings["sliding_window"] if has_window else None,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
        output_initializer=(
            "zeros"
            if settings["zero_init_outputs"]
            else keras.initializers.RandomNormal(stddev=deviation)
        ),
        dtype=dtype,
        name=f"block_{index}",
        **{name: settings[name] for name in shared},
    )


def _at(layers: bool | list[bool], index: int) -> bool:
    if isinstance(layers, bool):
        return layers
    return bool(layers[index % len(layers)])


# Set here, because a tokenizer knows nothing of models.
ScratchTokenizer.backbone_cls = ScratchBackbone
