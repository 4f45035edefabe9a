"""Stop strings in the graph: seen while decoding, cut from the text."""

from collections.abc import Callable

import tensorflow as tf

from keras_llm.export.graph_tokenizers import quoted
from keras_llm.export.ragged import below, between

# The first token of a window may be shown without its space, or be the rest
# of a character.
MARGIN = 8


class StopStrings:
    """Ends texts where the first of some strings is complete.

    Args:
        strings: what ends a text; none of them empty.
        text_of: the text of ragged int32 ids `(batch, None)`.
    """

    def __init__(
        self,
        strings: list[str],
        text_of: Callable[[tf.RaggedTensor], tf.Tensor],
    ):
        self.strings, self.text_of = strings, text_of
        self._patterns = [quoted(string) for string in strings]
        # A token that is shown is at least a byte.
        lengths = [len(string.encode()) for string in strings]
        self._window = max(lengths, default=0) + MARGIN

    def reached(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, prompts: tf.Tensor
    ) -> tf.Tensor:
        """Whether the last tokens of each row complete a stop string.

        Args:
            token_ids: int32 `(batch, length)`.
            lengths: int32 `(batch,)`, how many of them count.
            prompts: int32 `(batch,)`, how many of these are the prompt's,
                which no stop string reaches into.

        Returns:
            bool `(batch,)`.
        """
        if not self.strings:
            return tf.zeros_like(lengths, tf.bool)
        rows = tf.RaggedTensor.from_tensor(token_ids)
        start = tf.maximum(lengths - self._window, 0)
        new = text_after(
            self.text_of,
            between(rows, start, lengths),
            between(rows, start, tf.maximum(start, prompts)),
        )
        anywhere = f"(?s).*(?:{'|'.join(self._patterns)}).*"
        return tf.strings.regex_full_match(new, anywhere)

    def cut(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What comes before the first stop string to be complete.

        Of two that are complete at the same character, the longer one counts.

        Args:
            text: string `(batch,)`.

        Returns:
            string `(batch,)`, and bool `(batch,)`: whether there was one.
        """
        whole = tf.strings.length(text)
        nowhere = tf.zeros_like(whole)
        end, start = tf.fill(tf.shape(text), whole.dtype.max), whole
        for string, pattern in zip(self.strings, self._patterns, strict=True):
            before = tf.strings.regex_replace(text, f"(?s){pattern}.*", "")
            its_start = tf.strings.length(before)
            its_end = its_start + len(string.encode())
            found = its_start < whole
            longer = (its_end == end) & (its_start < start)
            first = found & ((its_end < end) | longer)
            start = tf.where(first, its_start, start)
            end = tf.where(first, its_end, end)
        return tf.strings.substr(text, nowhere, start), start < whole


def text_after(
    text_of: Callable[[tf.RaggedTensor], tf.Tensor],
    tokens: tf.RaggedTensor,
    prompts: tf.RaggedTensor,
) -> tf.Tensor:
    """string `(batch,)`: the text of tokens, without that of their prompts.

    Decoded together, because the first piece of a text may lose its space.
    """
    rows = tokens.nrows()
    texts = text_of(below(tokens, prompts))
    text, known = texts[:rows], texts[rows:]
    unit = "UTF8_CHAR"
    length = tf.strings.length(text, unit)
    start = tf.minimum(tf.strings.length(known, unit), length)
    return tf.strings.substr(text, start, length - start, unit)
