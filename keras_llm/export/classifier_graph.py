"""The graph of a classifier: from text to a label and scores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import keras_hub
import tensorflow as tf

from keras_llm.errors import InputError
from keras_llm.evaluation.classification import LIKELY
from keras_llm.export.loading import LABELS
from keras_llm.export.without_xla import without_xla
from keras_llm.models.class_scores import has_several, without_padding
from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import from_keras_hub

EXACT = (
    keras_hub.tokenizers.SentencePieceTokenizer,
    keras_hub.tokenizers.WordPieceTokenizer,
    keras_hub.tokenizers.BytePairTokenizer,
)


class ClassifierGraph(tf.Module):
    """Classifies texts, from the bytes on, in one graph.

    Args:
        model: a `keras_hub.models.TextClassifier` with a preprocessor.
        labels: Name of each class; the model's own by default.

    Attributes:
        signatures: dict of the name of each to its concrete function.

    Raises:
        InputError: A model that cannot be exported, or other labels than it
            has classes.
    """

    def __init__(
        self,
        model: keras_hub.models.TextClassifier,
        labels: Sequence[str] | None = None,
    ):
        super().__init__(name="classifier_graph")
        labels = _checked_labels(model, labels)
        self.weights = [weight.value for weight in model.weights]
        self._model = model
        self._tokenizer = _exact_tokenizer(model.preprocessor.tokenizer)
        self._tables = getattr(self._tokenizer, "exact", None)
        # Until it is saved, for the table's file is copied only then.
        self._folder = TemporaryDirectory()
        self._labels = _label_table(Path(self._folder.name), labels)
        self._count = len(labels)
        classify = tf.function(
            self.classify,
            input_signature=[tf.TensorSpec([None], tf.string, name="text")],
            autograph=False,
        ).get_concrete_function()
        self._signatures = {"serving_default": classify, "classify": classify}

    @property
    def signatures(self) -> dict[str, Callable]:
        """The concrete function of each signature, by its name."""
        return dict(self._signatures)

    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """What classes each text has.

        Args:
            text: string `(batch,)`. Invalid UTF-8 becomes U+FFFD. Of a text
                longer than the preprocessor packs, the beginning counts.

        Returns:
            dict of `label`, string `(batch,)`, the likeliest class; `scores`,
            float32 `(batch, num_classes)`, as `model.predict` gives them; and
            `classes`, string `(batch, num_classes)`, what each score is of.
            Where a text may have several: also `labels`, string
            `(batch, num_classes)`, those of 0.5 or more, the likeliest first
            and then `""`; and `num_labels`, int32 `(batch,)`.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
        preprocessor = self._model.preprocessor
        with without_xla(), _as_servers_run_it(preprocessor, self._tokenizer):
            inputs = without_padding(preprocessor(text))
            scores = self._model(inputs, training=False)
        scores = tf.cast(scores, tf.float32)
        classes = self._labels.lookup(tf.range(self._count, dtype=tf.int64))
        best, order = tf.math.top_k(scores, self._count)
        names = tf.gather(classes, order)
        found = {
            "label": names[:, 0],
            "scores": scores,
            "classes": tf.broadcast_to(classes, tf.shape(scores)),
        }
        if not has_several(self._model):
            return found
        is_likely = best >= LIKELY
        num_labels = tf.reduce_sum(tf.cast(is_likely, tf.int32), axis=1)
        labels = tf.where(is_likely, names, "")
        return found | {"labels": labels, "num_labels": num_labels}


class _ExactBytePairs:
    """Stands for a byte-pair tokenizer of KerasHub in its preprocessor."""

    def __init__(self, tokenizer: keras_hub.tokenizers.BytePairTokenizer):
        self.exact = ExactBytePairTokenizer(from_keras_hub(tokenizer))
        self.pad_token_id = tokenizer.pad_token_id

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self.exact.tokenize(texts)


def _exact_tokenizer(tokenizer):
    if not isinstance(tokenizer, EXACT):
        raise InputError(
            f"{type(tokenizer).__name__} cannot be exported: expected a "
            "SentencePiece, WordPiece or byte-pair tokenizer."
        )
    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        return _ExactBytePairs(tokenizer)
    return tokenizer


@contextmanager
def _as_servers_run_it(preprocessor, tokenizer) -> Iterator[None]:
    """Within, another tokenizer, and no trimmer that old servers lack.

    Of a single segment KerasHub's "waterfall" keeps what its "round_robin"
    does.
    """
    if not preprocessor.built:  # which asks the tokenizer for its special ids
        preprocessor.build(None)
    own, packer = preprocessor.tokenizer, preprocessor.packer
    trims = isinstance(packer, keras_hub.layers.MultiSegmentPacker)
    truncate = packer.truncate if trims else None
    try:
        object.__setattr__(preprocessor, "tokenizer", tokenizer)
        if trims:
            packer.truncate = "waterfall"
        yield
    finally:
        object.__setattr__(preprocessor, "tokenizer", own)
        if trims:
            packer.truncate = truncate


def labels_of(model: keras_hub.models.TextClassifier) -> list[str]:
    """Name of each class: their numbers, of KerasHub's own classifiers."""
    numbers = [str(number) for number in range(model.num_classes)]
    return getattr(model, "labels", numbers)


def _checked_labels(model, labels) -> list[str]:
    classes = model.num_classes
    if classes < 2:
        raise InputError(
            "A classifier needs at least two classes to tell apart. Received: "
            f"num_classes={classes}"
        )
    labels = list(labels_of(model) if labels is None else labels)
    if len(labels) != classes:
        raise InputError(
            f"labels must name each of the model's {classes} classes. "
            f"Received: {len(labels)} labels"
        )
    for label in labels:
        if not label or label.splitlines() != [label]:
            raise InputError(
                f"Each label must be one line of text. Received: {label!r}"
            )
    return labels


def _label_table(folder: Path, labels: list[str]) -> tf.lookup.StaticHashTable:
    """From a file, which a SavedModel keeps in its assets."""
    file = folder / LABELS
    file.write_text("\n".join(labels) + "\n", encoding="utf-8")
    number, line = (
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.lookup.TextFileIndex.WHOLE_LINE,
    )
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(file), tf.int64, number, tf.string, line
        ),
        default_value="",
    )
