"""The classifier: a backbone, one vector of a text, and scores of classes."""

from collections.abc import Sequence

import keras
import keras_hub

from keras_llm.layers.pooling import SequencePooling
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.recipes.checks import check
from keras_llm.registration import register
from keras_llm.tokenizers import ScratchTokenizer


@register
class ScratchTextClassifierPreprocessor(
    keras_hub.models.TextClassifierPreprocessor
):
    """Texts to token ids: a start token, the text's beginning, an end token.

    Args:
        tokenizer: a `ScratchTokenizer` or a `ScratchBytePairTokenizer`.
        sequence_length: int. Length that texts are padded and cut to.
        **kwargs: forwarded to `keras_hub.models.TextClassifierPreprocessor`.
    """

    backbone_cls = ScratchBackbone
    tokenizer_cls = ScratchTokenizer

    def call(self, x, y=None, sample_weight=None):
        x = super().call(x)
        # Our models have no segments.
        x = {name: x[name] for name in ("token_ids", "padding_mask")}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


@register
class ScratchTextClassifier(keras_hub.models.TextClassifier):
    """Says how likely each class is for a text.

    Args:
        backbone: a `ScratchBackbone`: a decoder, an encoder or a recurrent
            network.
        num_classes: int. Number of classes, at least 2.
        labels: list of str. A name for each class; their numbers if omitted.
        preprocessor: a `ScratchTextClassifierPreprocessor`, or `None` to work
            on token ids.
        pooling: str. See `SequencePooling`: `"last"` if omitted, and `"mean"`
            for a backbone that looks ahead.
        activation: str. `"softmax"`, or `"sigmoid"` where a text may have
            several classes.
        dropout: float in [0, 1). Share of the vector dropped while training.
        **kwargs: forwarded to `keras_hub.models.TextClassifier`.

    Call arguments:
        inputs: dict of int32 `token_ids` and `padding_mask`, each
            `(batch, length)`.

    Returns:
        float32 probabilities `(batch, num_classes)`.

    Raises:
        InputError: fewer than two classes, or other labels.

    Example:
        >>> backbone = keras_llm.ScratchBackbone(
        ...     vocabulary_size=100, num_layers=2, num_heads=2, hidden_dim=8
        ... )
        >>> classifier = keras_llm.ScratchTextClassifier(backbone, 3)
        >>> ids = keras.ops.ones((1, 5), "int32")
        >>> classifier({"token_ids": ids, "padding_mask": ids}).shape
        (1, 3)
    """

    backbone_cls = ScratchBackbone
    preprocessor_cls = ScratchTextClassifierPreprocessor

    def __init__(
        self,
        backbone: ScratchBackbone,
        num_classes: int,
        labels: Sequence[str] | None = None,
        preprocessor: ScratchTextClassifierPreprocessor | None = None,
        pooling: str | None = None,
        activation: str = "softmax",
        dropout: float = 0.1,
        **kwargs,
    ):
        check(num_classes >= 2, "num_classes", "at least 2", num_classes)
        labels = labels or [str(number) for number in range(num_classes)]
        expected = f"names of {num_classes} classes"
        check(len(set(labels)) == num_classes, "labels", expected, labels)
        pooling = pooling or ("last" if backbone.causal else "mean")
        # === Layers ===
        # In float32, as losses want their probabilities.
        head = keras.layers.Dense(
            num_classes, activation=activation, dtype="float32", name="scores"
        )
        pool = SequencePooling(pooling, dtype="float32", name="pooling")
        drop = keras.layers.Dropout(dropout, dtype="float32", name="dropout")
        # === Functional model ===
        inputs = backbone.input
        x = pool(backbone(inputs), inputs["padding_mask"])
        super().__init__(inputs=inputs, outputs=head(drop(x)), **kwargs)
        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = head
        self.num_classes = num_classes
        self.labels = list(labels)
        self.pooling = pooling
        self.activation = keras.activations.get(activation)
        self.dropout = dropout

    def get_config(self):
        return super().get_config() | {
            "num_classes": self.num_classes,
            "labels": self.labels,
            "pooling": self.pooling,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }
