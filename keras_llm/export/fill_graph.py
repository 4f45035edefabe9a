"""The graph of an encoder: from texts with masks to what may stand there."""

from collections.abc import Callable

import keras_hub
import tensorflow as tf

from keras_llm.export.graph_tokenizers import (
    BORDER,
    GraphTokenizer,
    escaped,
    tokenize_around,
)
from keras_llm.export.ragged import kept, places_in_rows, row_ids
from keras_llm.export.without_xla import without_xla
from keras_llm.generation.filling import MaskFiller

TOP_K = 5  # candidates of each mask


class FillGraph(tf.Module):
    """Tells what may stand at `[MASK]` in texts; see `MaskFiller`.

    Args:
        model: a `keras_hub.models.MaskedLM` with a preprocessor.
        tokenizer: its tokenizer.

    Attributes:
        signatures: dict of the name of each to its concrete function.
    """

    def __init__(
        self, model: keras_hub.models.MaskedLM, tokenizer: GraphTokenizer
    ):
        super().__init__(name="fill_graph")
        filler = MaskFiller(model)
        own = model.preprocessor.tokenizer
        self.weights = [weight.value for weight in model.weights]
        self.tokenizer = tokenizer
        self._model = model
        self._context = filler.context
        self._ends = own.start_token_id, own.end_token_id
        self._pattern = filler.pattern
        self._mask = own.mask_token_id
        self._written = tf.constant(filler.written)
        self._is_control = tf.constant(filler.is_control)
        fill = tf.function(
            self.fill,
            input_signature=[tf.TensorSpec([None], tf.string, name="text")],
            autograph=False,
        ).get_concrete_function()
        self._signatures = {"serving_default": fill, "fill": fill}

    @property
    def signatures(self) -> dict[str, Callable]:
        """The concrete function of each signature, by its name."""
        return dict(self._signatures)

    def fill(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The likeliest tokens of each mask.

        Args:
            text: string `(batch,)`. Invalid UTF-8 becomes U+FFFD. Of a text
                longer than the context, the beginning counts.

        Returns:
            dict of `text`, string `(batch,)`, with the likeliest token at
            each mask; `tokens`, string, and `scores`, float32, both
            `(batch, masks, 5)`, best first, `""` and 0 beyond a row's masks;
            `num_masks`, int32 `(batch,)`; and `truncated`, bool `(batch,)`.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
        ids, truncated = self._encode(text)
        is_mask = ids.flat_values == self._mask
        places = kept(
            ids.with_flat_values(tf.cast(places_in_rows(ids), tf.int32)),
            is_mask,
        )
        num_masks = tf.cast(places.row_lengths(), tf.int32)
        most = tf.maximum(tf.reduce_max(num_masks), 1)
        positions = _dense(places, most)
        scores, best = self._best(ids, positions)
        flat = self._filled(ids, places, best)
        # Without the tokens at both ends.
        at = places_in_rows(flat)
        last = tf.gather(flat.row_lengths(), row_ids(flat)) - 1
        inner = tf.logical_and(at > 0, at < last)
        there = tf.range(most) < num_masks[:, None]
        tokens = tf.gather(self._written, best)
        return {
            "text": self.tokenizer.detokenize(kept(flat, inner)),
            "tokens": tf.where(there[..., None], tokens, ""),
            "scores": tf.where(there[..., None], scores, 0.0),
            "num_masks": num_masks,
            "truncated": truncated,
        }

    def _encode(self, text) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids with masks and both ends, and which texts were cut."""
        marked = tf.strings.regex_replace(
            escaped(text), self._pattern, f"{BORDER}M{BORDER}"
        )
        ids = tokenize_around(
            self.tokenizer,
            marked,
            lambda written: tf.fill(tf.shape(written), self._mask),
        )
        room = self._context - 2
        truncated = ids.row_lengths() > room
        ids = kept(ids, places_in_rows(ids) < room)
        ends = tf.fill([tf.shape(text)[0], 1], 0)
        first, last = (
            tf.RaggedTensor.from_tensor(ends + end) for end in self._ends
        )
        return tf.concat([first, ids, last], axis=1), truncated

    def _best(self, ids, positions) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and ids of the likeliest, each `(batch, masks, 5)`."""
        lengths = ids.row_lengths()
        # No empty rows, of which layers would not know how many there are.
        token_ids = _dense(ids, tf.maximum(ids.bounding_shape(axis=1), 1))
        width = tf.shape(token_ids, tf.int64)[1]
        mask = tf.range(width) < lengths[:, None]
        features = {
            "token_ids": token_ids,
            "padding_mask": tf.cast(mask, tf.int32),
            "mask_positions": positions,
            "segment_ids": tf.zeros_like(token_ids),
        }
        inputs = {name: features[name] for name in self._model.input}
        with without_xla():
            logits = self._model(inputs, training=False)
        logits = tf.cast(logits, tf.float32)
        odds = tf.nn.softmax(tf.where(self._is_control, -1e9, logits))
        return tf.math.top_k(odds, TOP_K)

    def _filled(self, ids, places, best) -> tf.RaggedTensor:
        """The ids, with the likeliest at each mask."""
        flat = ids.flat_values
        told = best[:, :, 0]
        rows = row_ids(places)
        chosen = tf.gather_nd(
            told, tf.stack([rows, places_in_rows(places)], axis=1)
        )
        where = tf.where(flat == self._mask)
        return ids.with_flat_values(
            tf.tensor_scatter_nd_update(flat, where, chosen)
        )


def _dense(rows: tf.RaggedTensor, width: tf.Tensor) -> tf.Tensor:
    """Rows as a tensor `(batch, width)`, filled up with zeros."""
    return rows.to_tensor(0, shape=tf.stack([-1, tf.cast(width, tf.int64)]))
