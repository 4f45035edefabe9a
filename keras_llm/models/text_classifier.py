"""The classifier: a backbone, one vector of a text, and scores of classes."""

from collections.abc import Sequence

import keras
import keras_hub
from keras import ops
from keras_hub.src.utils.preset_utils import get_preset_loader, list_subclasses

from keras_llm.layers.dropout import Dropout
from keras_llm.layers.pooling import SequencePooling
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.recipes.checks import check
from keras_llm.registration import register
from keras_llm.tokenizers import ScratchTokenizer

CausalLM = keras_hub.models.CausalLM
# What a model may take beside token ids and their mask.
SEGMENTS = "segment_ids"


@register
class ScratchTextClassifierPreprocessor(
    keras_hub.models.TextClassifierPreprocessor
):
    """Texts to token ids: a start token, the text's beginning, an end token.

    KerasHub's own takes for padding whatever has the id of the pad token,
    which in GPT-2's vocabulary is an exclamation mark.

    Args:
        tokenizer: a `keras_hub.tokenizers.Tokenizer`. One without a start or
            end token has none put there.
        sequence_length: int. Length that texts are padded and cut to.
        add_end_token: bool. Whether the end token follows a text.
        **kwargs: forwarded to `keras_hub.models.TextClassifierPreprocessor`.

    Call arguments:
        x: str, or a list or tensor of them.

    Returns:
        dict of int32 `token_ids` and bool `padding_mask`, each
        `(batch, sequence_length)`.
    """

    backbone_cls = ScratchBackbone
    tokenizer_cls = ScratchTokenizer

    def __init__(
        self,
        tokenizer: keras_hub.tokenizers.Tokenizer,
        sequence_length: int = 512,
        add_end_token: bool = True,
        **kwargs,
    ):
        super().__init__(tokenizer, sequence_length, **kwargs)
        self.add_end_token = add_end_token

    def build(self, input_shape):
        super().build(input_shape)
        end = self.tokenizer.end_token_id if self.add_end_token else None
        self.packer = keras_hub.layers.StartEndPacker(
            sequence_length=self.sequence_length,
            start_value=self.tokenizer.start_token_id,
            end_value=end,
            pad_value=self.tokenizer.pad_token_id,
            return_padding_mask=True,
        )

    def call(self, x, y=None, sample_weight=None):
        token_ids, padding_mask = self.packer(self.tokenizer(x))
        x = {"token_ids": token_ids, "padding_mask": padding_mask}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def get_config(self):
        return super().get_config() | {"add_end_token": self.add_end_token}


@register
class ScratchTextClassifier(keras_hub.models.TextClassifier):
    """Says how likely each class is for a text.

    Args:
        backbone: a `ScratchBackbone`, or another backbone of KerasHub that
            takes `token_ids` and `padding_mask`: a decoder, an encoder or a
            recurrent network.
        num_classes: int. Number of classes, at least 2.
        labels: list of str. A name for each class; their numbers if omitted.
        preprocessor: a `ScratchTextClassifierPreprocessor`, or `None` to work
            on token ids.
        pooling: str. See `SequencePooling`: `"last"` if omitted, and `"mean"`
            for a backbone that looks ahead.
        activation: str. `"softmax"`, or `"sigmoid"` where a text may have
            several classes.
        dropout: float in [0, 1). Share of the vector dropped while training.
        pooler: bool. Whether the vector goes through a projection and a tanh,
            and the scores have a bias, as in BERT.
        **kwargs: forwarded to `keras_hub.models.TextClassifier`.

    Call arguments:
        inputs: dict of int32 `token_ids` and `padding_mask`, each
            `(batch, length)`.

    Returns:
        float32 probabilities `(batch, num_classes)`.

    Raises:
        InputError: fewer than two classes, other labels, or a backbone that
            takes something else.

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
        backbone: keras_hub.models.Backbone,
        num_classes: int,
        labels: Sequence[str] | None = None,
        preprocessor: ScratchTextClassifierPreprocessor | None = None,
        pooling: str | None = None,
        activation: str = "softmax",
        dropout: float = 0.1,
        pooler: bool = False,
        **kwargs,
    ):
        check(num_classes >= 2, "num_classes", "at least 2", num_classes)
        labels = labels or [str(number) for number in range(num_classes)]
        expected = f"names of {num_classes} classes"
        is_named = len(set(labels)) == len(labels) == num_classes
        check(is_named, "labels", expected, labels)
        pooling = pooling or ("last" if is_causal(backbone) else "mean")
        # === Layers ===
        # In float32, as losses want their probabilities. Without a bias, as
        # Hugging Face has it of decoders.
        head = keras.layers.Dense(
            num_classes,
            activation=activation,
            use_bias=pooler,
            dtype="float32",
            name="scores",
        )
        pool = SequencePooling(pooling, dtype="float32", name="pooling")
        drop = Dropout(dropout, dtype="float32", name="dropout")
        # === Functional model ===
        inputs = _inputs_of(backbone)
        x = pool(_states(backbone, inputs), inputs["padding_mask"])
        dense = None
        if pooler:
            dense = keras.layers.Dense(
                x.shape[-1], "tanh", dtype="float32", name="pooled_dense"
            )
            x = dense(x)
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
        self.pooler = pooler
        self.pooled_dense = dense

    def get_config(self):
        return super().get_config() | {
            "num_classes": self.num_classes,
            "labels": self.labels,
            "pooling": self.pooling,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "pooler": self.pooler,
        }

    @classmethod
    def from_preset(cls, preset: str, **kwargs):
        """The classifier of a preset, whatever its backbone is.

        `keras_hub.models.TextClassifier.from_preset` finds a class by the
        backbone's, and for those that are not ours another or none.
        """
        loader = get_preset_loader(preset)
        return loader.load_task(
            cls, True, "num_classes" not in kwargs, **kwargs
        )


def is_causal(backbone: keras_hub.models.Backbone) -> bool:
    """Whether no state of it depends on what follows."""
    if isinstance(backbone, ScratchBackbone):
        return backbone.causal
    tasks = list_subclasses(CausalLM)
    return any(task.backbone_cls is type(backbone) for task in tasks)


def _inputs_of(backbone) -> dict:
    """The inputs that a preprocessor of ours gives."""
    inputs = backbone.input
    names = {"token_ids", "padding_mask"}
    received = {*inputs} if isinstance(inputs, dict) else set()
    expected = f"one that takes {' and '.join(sorted(names))}"
    is_text = names <= received <= names | {SEGMENTS}
    name = type(backbone).__name__
    received = f"{name}, which takes {', '.join(sorted(received)) or 'others'}"
    check(is_text, "backbone", expected, received)
    return {each: inputs[each] for each in sorted(names)}


def _states(backbone, inputs: dict):
    """Of every position, `(batch, length, hidden_dim)`."""
    if SEGMENTS in backbone.input:
        inputs = inputs | {SEGMENTS: ops.zeros_like(inputs["token_ids"])}
    outputs = backbone(inputs)
    return outputs["sequence_output"] if isinstance(outputs, dict) else outputs
