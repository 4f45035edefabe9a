"""The encoder that tells masked words, and its preprocessor."""

import keras
import keras_hub

from keras_llm.errors import InputError
from keras_llm.layers.feed_forward import NONLINEARITIES
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.models.compiling import compile_again
from keras_llm.recipes.checks import check
from keras_llm.registration import register
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.word_pieces import ScratchWordPieceTokenizer


@register
class ScratchMaskedLMPreprocessor(keras_hub.models.MaskedLMPreprocessor):
    """Texts to token ids in which some are masked, as KerasHub draws them.

    Pretraining masks whole words instead, see `MaskedBatches`.

    Args:
        tokenizer: a `ScratchTokenizer` with a mask token, or a
            `ScratchWordPieceTokenizer`.
        sequence_length: int. Length that texts are padded and cut to.
        **kwargs: forwarded to `keras_hub.models.MaskedLMPreprocessor`.

    Call arguments:
        x: str, or a list or string tensor `(batch,)` of them.

    Returns:
        A dict of int32 `token_ids` and bool `padding_mask`, both
        `(batch, sequence_length)`, and int32 `mask_positions`; int32
        `mask_ids`; and float32 `mask_weights`. The last three are
        `(batch, mask_selection_length)`.
    """

    backbone_cls = ScratchBackbone
    tokenizer_cls = ScratchTokenizer

    def call(self, x, y=None, sample_weight=None):
        x, y, sample_weight = super().call(x)
        # Our models have no segments.
        names = ("token_ids", "padding_mask", "mask_positions")
        x = {name: x[name] for name in names}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


@register
class ScratchMaskedLM(keras_hub.models.MaskedLM):
    """Tells the tokens at masked positions, from both sides.

    Devlin et al. 2019, https://arxiv.org/abs/1810.04805. The head is
    KerasHub's `MaskedLMHead`: a projection, the model's nonlinearity, layer
    normalisation and the output projection with a bias.

    Args:
        backbone: a `ScratchBackbone` with `causal=False`.
        preprocessor: a `ScratchMaskedLMPreprocessor`, or `None` to work on
            token ids.
        **kwargs: forwarded to `keras_hub.models.MaskedLM`.

    Call arguments:
        inputs: dict of int32 `token_ids` and `padding_mask`, each
            `(batch, length)`, and int32 `mask_positions` `(batch, masks)`.

    Returns:
        float logits `(batch, masks, vocabulary_size)`.

    Raises:
        InputError: the backbone looks only back, or has an output bias: the
            head has its own.

    Example:
        >>> model = ScratchMaskedLM(
        ...     ScratchBackbone(
        ...         vocabulary_size=100,
        ...         num_layers=2,
        ...         num_heads=2,
        ...         hidden_dim=8,
        ...         causal=False,
        ...     )
        ... )
        >>> ids = keras.ops.ones((1, 5), "int32")
        >>> masked = {"mask_positions": [[1, 3]]}
        >>> model({"token_ids": ids, "padding_mask": ids} | masked).shape
        (1, 2, 100)
    """

    backbone_cls = ScratchBackbone
    preprocessor_cls = ScratchMaskedLMPreprocessor

    def __init__(
        self,
        backbone: ScratchBackbone,
        preprocessor: ScratchMaskedLMPreprocessor | None = None,
        **kwargs,
    ):
        if backbone.causal:
            raise InputError(
                "A masked language model needs a backbone with causal=False. "
                "Received: causal=True"
            )
        expected = "False for an encoder, whose head has its own"
        output_bias = backbone.output_bias
        check(not output_bias, "output_bias", expected, output_bias)
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.masked_lm_head = keras_hub.layers.MaskedLMHead(
            token_embedding=backbone.token_embedding,
            intermediate_activation=_activation(backbone.activation),
            layer_norm_epsilon=backbone.layer_norm_epsilon,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=backbone.dtype_policy,
            name="masked_lm_head",
        )
        # === Functional model ===
        positions = keras.Input((None,), dtype="int32", name="mask_positions")
        hidden = backbone(backbone.input)
        super().__init__(
            inputs={**backbone.input, "mask_positions": positions},
            outputs=self.masked_lm_head(hidden, positions),
            **kwargs,
        )

    def compile_from_config(self, config):
        compile_again(self, config)


def _activation(name: str):
    return NONLINEARITIES["silu" if name == "swiglu" else name]


# Set here, because a tokenizer knows nothing of models.
ScratchWordPieceTokenizer.backbone_cls = ScratchBackbone
