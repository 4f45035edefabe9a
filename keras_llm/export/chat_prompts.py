"""Conversations in the graph: turns as text to the token ids of a prompt."""

import tensorflow as tf

from keras_llm.errors import InputError
from keras_llm.export.graph_tokenizers import (
    BORDER,
    GraphTokenizer,
    escaped,
    quoted,
    tokenize_around,
)
from keras_llm.export.ragged import (
    between,
    kept,
    places_in_rows,
    row_ids,
)
from keras_llm.tokenizers.chat_pieces import (
    Piece,
    Stripped,
    chat_pieces,
    conversation,
)
from keras_llm.tokenizers.chat_templates import ChatTemplate

# All that `str.strip` takes away.
SPACE = (
    "[\\t-\\r\\x1c- \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]"
)
# On what pieces must give the template's own ids, besides white space and
# control tokens around and in the words.
PROBES = (
    ["a"],
    ["  Who rules,\n\nand why? "],
    ["'s 1234\x01b", "2\n", "\tto é e\u0301 日本 👍🏽"],
    ["a b", " <think>\nc\n</think>\n\nd", "\u3000e", "f:\n\n ", "\n\ng\r\n"],
    *(["a", "b"] * turns + ["c"] for turns in range(1, 5)),
)


class ChatPrompts(tf.Module):
    """A chat template in the graph, with the same ids.

    Args:
        tokenizer: a `GraphTokenizer`, which takes control tokens that are
            written out for text.
        template: the template.
        system: What the system message of all conversations says.
        max_length: int. The model's context.

    Attributes:
        end_token_ids: tuple of int. Each ends an answer.

    Raises:
        InputError: The template is more than the pieces of `chat_pieces`, or
            the system message takes more than a quarter of the context.
    """

    def __init__(
        self,
        tokenizer: GraphTokenizer,
        template: ChatTemplate,
        system: str | None,
        max_length: int,
    ):
        super().__init__(name="chat_prompts")
        self._tokenizer, self._max_length = tokenizer, max_length
        self._pieces = pieces = chat_pieces(template, system)
        self.end_token_ids = template.end_token_ids
        self._prefix, self._suffix = (
            quoted(template.answer_prefix),
            quoted(template.answer_suffix),
        )
        # A function, so that all who count and take ids share its graph.
        self._ids = tf.function(
            self._ids_of,
            input_signature=[
                tf.RaggedTensorSpec([None, None], tf.string),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        ).get_concrete_function()
        # Up to its last control token, for what follows is one text with the
        # user's words.
        opening = _written((*pieces.opening[:-1], ""))
        [head] = self._tokens(tf.constant([opening])).to_list()
        self._head = len(head)
        if self._head > max_length // 4:
            raise InputError(
                f"The conversation's beginning has {self._head} tokens, its "
                f"system message included, and the model's context "
                f"{max_length}: expected at most a quarter of it."
            )
        self._check(template, system)

    def encode(
        self, turns: tf.Tensor, limit: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Prompts that leave room for an answer.

        Of a conversation too long the oldest questions are left out with
        their answers, so that at least a quarter of the context is for what
        is asked. Of a question that is too long by itself the end is kept.

        Args:
            turns: string `(batch, turns)`: user and assistant in turn. Those
                that are empty, or white space, are left out, and so is an
                answer to which nothing is said.
            limit: int32 `(batch,)`, most new tokens, from 0 on.

        Returns:
            int32 `(batch, None)`, and bool `(batch,)`: whether something was
            left out.
        """
        said, longest = self._said(turns), self._max_length
        room = tf.clip_by_value(limit, 1, 3 * longest // 4)
        forgotten = self._forgotten(said, longest - room)
        tokens = self._ids(said, forgotten)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        too_long = lengths >= longest
        room = tf.clip_by_value(limit, 1, longest // 2)
        surplus = tf.where(too_long, lengths - (longest - room), 0)
        rows = row_ids(tokens)
        surplus = tf.gather(tf.cast(surplus, rows.dtype), rows)
        places = places_in_rows(tokens)
        shown = (places < self._head) | (places >= self._head + surplus)
        return kept(tokens, shown), too_long | (forgotten > 0)

    def inner(self, text: tf.Tensor) -> tf.Tensor:
        """Answers without what the template puts around them."""
        text = tf.strings.regex_replace(text, f"\\A{self._prefix}", "")
        return tf.strings.regex_replace(text, f"{self._suffix}\\z", "")

    def _said(self, turns: tf.Tensor) -> tf.RaggedTensor:
        """string `(batch, None)`: the turns that count."""
        turns = tf.strings.unicode_transcode(turns, "UTF-8", "UTF-8")
        turns = tf.RaggedTensor.from_tensor(turns)
        is_blank = tf.strings.regex_full_match(turns.flat_values, f"{SPACE}*")
        turns = kept(turns, ~is_blank)
        counts = turns.row_lengths()
        asked = tf.maximum(counts - 1 + counts % 2, 0)
        return between(turns, tf.zeros_like(asked), asked)

    def _forgotten(
        self, said: tf.RaggedTensor, longest: tf.Tensor
    ) -> tf.Tensor:
        """int32 `(batch,)`: how many questions, with answers, do not fit."""
        most = tf.maximum(tf.cast(said.row_lengths(), tf.int32) - 1, 0) // 2

        def halve(step, low, high):
            # Mostly everything fits.
            tried = tf.where(step > 0, (low + high) // 2, low)
            lengths = self._ids(said, tried).row_lengths()
            fits = tf.cast(lengths, tf.int32) <= longest
            low = tf.where(fits, low, tf.minimum(tried + 1, high))
            return step + 1, low, tf.where(fits, tried, high)

        return tf.while_loop(
            lambda step, low, high: tf.reduce_any(low < high),
            halve,
            [tf.constant(0), tf.zeros_like(most), most],
        )[2]

    def _ids_of(
        self, said: tf.RaggedTensor, forgotten: tf.Tensor
    ) -> tf.RaggedTensor:
        """Ids of the conversations without their first turns."""
        count = tf.cast(said.row_lengths(), tf.int32)
        said = between(said, 2 * forgotten, count)
        words, pieces, place = (
            said.flat_values,
            self._pieces,
            places_in_rows(said),
        )
        is_first, is_answer = place == 0, place % 2 == 1

        def each(first, assistant, user):
            return tf.where(
                is_first, first, tf.where(is_answer, assistant, user)
            )

        before = each(
            "", _written(pieces.to_assistant), _written(pieces.to_user)
        )
        words = each(
            _without_spaces(words, pieces.first),
            _without_spaces(words, pieces.assistant),
            _without_spaces(words, pieces.user),
        )
        turns = tf.strings.join([before, escaped(words)])
        joined = tf.strings.unsorted_segment_join(
            turns, row_ids(said), said.nrows()
        )
        opening, ending = _written(pieces.opening), _written(pieces.ending)
        return self._tokens(tf.strings.join([opening, joined, ending]))

    def _tokens(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return tokenize_around(
            self._tokenizer,
            texts,
            lambda written: tf.strings.to_number(written, tf.int32),
        )

    def _check(self, template: ChatTemplate, system: str | None) -> None:
        """Raises where ids are not the template's own."""
        names = " ".join(template.control_tokens)
        probes = [*PROBES, [names, f"a{names}b", names]]
        longest = max(map(len, probes))
        rows = [probe + [""] * (longest - len(probe)) for probe in probes]
        said = self._said(tf.constant(rows))
        received = self._ids(said, tf.zeros([len(rows)], tf.int32)).to_list()
        for turns, ids in zip(probes, received, strict=True):
            messages = conversation(turns, system)
            rendered = template.encode(messages, add_generation_prompt=True)
            if rendered.token_ids != ids or not ids:
                raise InputError(
                    "The chat template is more than a prefix and a suffix of "
                    f"each role, as in a conversation of {turns!r:.60}."
                )


def _written(piece: Piece) -> str:
    """As `tokenize_around` takes it; control tokens are their ids."""
    return BORDER.join(
        part.replace("\x01", "\x01a") if isinstance(part, str) else str(part)
        for part in piece
    )


def _without_spaces(texts: tf.Tensor, stripped: Stripped) -> tf.Tensor:
    if stripped.left:
        texts = tf.strings.regex_replace(texts, f"\\A{SPACE}+", "")
    if stripped.right:
        texts = tf.strings.regex_replace(texts, f"{SPACE}+\\z", "")
    return texts
