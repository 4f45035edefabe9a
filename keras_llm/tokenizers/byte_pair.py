"""Byte-pair tokenizers exactly as published, in TensorFlow operations alone.

The ids are those of Hugging Face `tokenizers`, in Python and in a graph: both
are the same `tf.function`. Only core operations, so that any TensorFlow that
loads a SavedModel tokenizes with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_files import (
    BytePairVocabulary,
    byte_alphabet,
    bytes_of,
)
from keras_llm.tokenizers.byte_pair_merging import PairMerges
from keras_llm.tokenizers.byte_pair_nfc import FormC
from keras_llm.tokenizers.byte_pair_splitting import (
    SPLITTING_RULES,
    cut_byte_digits,
)
from keras_llm.tokenizers.byte_pair_text import Text, cut_long, read_text
from keras_llm.tokenizers.byte_pair_written import Matches, WrittenTokens

LONGEST_WORD = 512

# Before a token that is written out: words have characters up to U+00FF.
_WRITTEN = "\u0100"


class ExactBytePairTokenizer(tf.Module):
    """Text to the ids of a published byte-pair tokenizer, and back.

    Words of more than `longest_word` characters (text without a place to
    split) are cut there, because merging takes time that grows with their
    square: a megabyte of letters drawn at random takes about ten seconds with
    512, one of English a fifth of a second. Up to it ids are exact.

    Args:
        vocabulary: What `byte_pair_files` reads.
        allow_control_tokens: Whether control tokens written out in text
            become their ids. They are plain text otherwise.
        longest_word: int. See above.

    Attributes:
        vocabulary_size: int. One more than the highest id.
        start_token_id: int or `None`.
        end_token_ids: tuple of int.
        hidden_token_ids: tuple of int. Of all control tokens.
        control_tokens: dict of their text to their ids.

    Example:
        >>> words = {"h": 0, "i": 1, "hi": 2, "Ġ": 3, "Ġhi": 4}
        >>> merges = [("h", "i"), ("Ġ", "hi")]
        >>> vocabulary = BytePairVocabulary(words, merges, Rule("gpt2"))
        >>> ExactBytePairTokenizer(vocabulary).tokenize(["hi hih"]).to_list()
        [[2, 4, 0]]
    """

    def __init__(
        self,
        vocabulary: BytePairVocabulary,
        allow_control_tokens: bool = False,
        longest_word: int = LONGEST_WORD,
    ):
        super().__init__(name="byte_pair")
        if longest_word < 1:
            raise InputError(
                f"longest_word must be at least 1, not {longest_word}."
            )
        self._rule = vocabulary.rule
        self._longest_word = longest_word
        self.vocabulary_size = vocabulary.size
        self.start_token_id = vocabulary.start_token_id
        self.end_token_ids = vocabulary.end_token_ids
        self.control_tokens = dict(vocabulary.control_tokens)
        self.hidden_token_ids = tuple(self.control_tokens.values())
        self._token_bytes = vocabulary.token_bytes() + [b""]
        self._merges = _pair_merges(vocabulary)
        self._form_c = FormC() if self._rule.normalization else None
        written = dict(vocabulary.added_tokens)
        if allow_control_tokens:
            written |= self.control_tokens
        if written and self._rule.add_prefix_space:
            raise InputError(
                "allow_control_tokens is not supported with add_prefix_space."
            )
        self._written = WrittenTokens(written) if written else None
        self._words = self._word_table(vocabulary, written)
        self.tokenize_batch = tf.function(
            self._tokenize,
            input_signature=[tf.TensorSpec([None], tf.string, name="texts")],
            autograph=False,
        )
        self.detokenize_batch = tf.function(
            self._detokenize,
            input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)],
            autograph=False,
        )

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Ids of each text; bytes that are no UTF-8 count as U+FFFD.

        Args:
            texts: string `(batch,)`.

        Returns:
            int32 `(batch, None)`.
        """
        return self.tokenize_batch(tf.convert_to_tensor(texts, tf.string))

    def tokenize_any(self, texts) -> tf.RaggedTensor | tf.Tensor:
        """Ids of each text, or of one: int32 `(length,)` for a scalar."""
        texts = tf.convert_to_tensor(texts, tf.string)
        ids = self.tokenize_batch(tf.reshape(texts, [-1]))
        return ids[0] if texts.shape.rank == 0 else ids

    def detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """The text of each row; ids that stand for nothing are left out.

        Args:
            token_ids: int32 `(batch, None)`.

        Returns:
            string `(batch,)`: valid UTF-8, with U+FFFD for bytes that are
            not.
        """
        return self.detokenize_batch(token_ids)

    def detokenize_shown(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """`detokenize` without control tokens, of ids of any dtype."""
        ids = tf.cast(token_ids.flat_values, tf.int32)
        hidden = tf.constant(self.hidden_token_ids, tf.int32)
        is_hidden = tf.reduce_any(ids[:, None] == hidden, axis=1)
        ids = tf.where(is_hidden, -1, ids)
        return self.detokenize_batch(token_ids.with_flat_values(ids))

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        text, matches = self._found(self._text(texts))
        starts = self._word_starts(text)
        if matches is not None:
            starts = _without_inner(starts, matches)
        splits = tf.concat([starts, tf.shape(text.data)], 0)
        words = tf.RaggedTensor.from_row_splits(
            text.data, tf.cast(splits, tf.int64), validate=False
        )
        # A byte is written as the character of the same number: words that
        # are no UTF-8 can be told apart too.
        words = tf.strings.unicode_encode(words, "UTF-8")
        if matches is not None:
            places = tf.searchsorted(starts, matches.begin)
            words = tf.tensor_scatter_nd_update(
                words, places[:, None], _names(matches.token_ids)
            )
        distinct, index = tf.unique(words)
        ids = tf.gather(self._ids_of_words(distinct), index)
        bounds = tf.searchsorted(starts, tf.concat([[0], text.ends], 0))
        return tf.RaggedTensor.from_row_splits(
            ids.flat_values,
            tf.gather(ids.row_splits, bounds),
            validate=False,
        )

    def _text(self, texts: tf.Tensor) -> Text:
        """Valid UTF-8, in form C if the rule says so, maybe after a space."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        if self._rule.add_prefix_space:
            first = tf.strings.substr(texts, 0, 1)
            bare = (first != " ") & (first != "")
            texts = tf.where(bare, tf.strings.join([" ", texts]), texts)
        text = read_text(texts)
        if self._form_c is None:
            return text
        fields = tf.cond(
            self._form_c.is_stable(text.characters.code_points),
            text.tensors,
            lambda: self._in_form_c(text).tensors(),
        )
        return Text.from_tensors(*fields)

    def _in_form_c(self, text: Text) -> Text:
        """The text, normalized between tokens that are written in it."""
        apart, _ = self._found(text)
        starts = tf.where(apart.characters.cuts)[:, 0]
        parts = tf.RaggedTensor.from_row_starts(
            text.characters.code_points, starts, validate=False
        )
        parts = self._form_c.normalize(
            tf.strings.unicode_encode(parts, "UTF-8")
        )
        rows = tf.searchsorted(
            text.ends, tf.gather(text.offsets, starts), side="right"
        )
        size = tf.size(text.ends)
        return read_text(tf.strings.unsorted_segment_join(parts, rows, size))

    def _found(self, text: Text) -> tuple[Text, Matches | None]:
        """The text, split around the tokens written in it; their bytes."""
        if self._written is None:
            return text, None
        cuts, size = text.characters.cuts, tf.size(text.offsets)
        found = self._written.find(text.characters.code_points, cuts)
        borders = tf.concat([found.begin, found.end], 0)[:, None]
        borders = tf.scatter_nd(borders, borders[:, 0] * 0 + 1, [size + 1])
        cuts |= borders[:-1] > 0
        offsets = tf.concat([text.offsets, tf.shape(text.data)], 0)
        return (
            replace(text, characters=replace(text.characters, cuts=cuts)),
            Matches(
                tf.gather(offsets, found.begin),
                tf.gather(offsets, found.end),
                found.token_ids,
            ),
        )

    def _word_starts(self, text: Text) -> tf.Tensor:
        """int32 `(words,)`: where in `data` words begin."""
        starts = SPLITTING_RULES[self._rule.split](text.characters)
        places = tf.cast(tf.where(starts)[:, 0], tf.int32)
        size = tf.size(text.offsets)
        places = cut_long(places, size, self._longest_word)
        places = tf.gather(text.offsets, places)
        if self._rule.split != "falcon":
            return places
        size = tf.size(text.data)
        ones = tf.ones_like(places)
        starts = tf.scatter_nd(places[:, None], ones, [size]) > 0
        starts = cut_byte_digits(text.data, starts)
        return tf.cast(tf.where(starts)[:, 0], tf.int32)

    def _ids_of_words(self, words: tf.Tensor) -> tf.RaggedTensor:
        """int32 `(words, None)`: from the table, or else by merging."""
        known = self._words.lookup(words)
        unknown = tf.where(known < 0)[:, 0]
        written = tf.gather(words, unknown)
        data = tf.strings.unicode_decode(written, "UTF-8")
        merged = self._merges.merge(data)
        # One row of the table's ids, one of the merged ones.
        found = tf.RaggedTensor.from_tensor(known[:, None])
        both = tf.concat([found, merged], 0)
        rows = tf.range(tf.size(known))
        places = tf.size(known) + tf.range(tf.size(unknown))
        rows = tf.tensor_scatter_nd_update(rows, unknown[:, None], places)
        return tf.gather(both, rows)

    def _detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        nothing = len(self._token_bytes) - 1
        ids = token_ids.flat_values
        ids = tf.where((ids < 0) | (ids > nothing), nothing, ids)
        pieces = tf.gather(tf.constant(self._token_bytes), ids)
        text = tf.strings.unsorted_segment_join(
            pieces, token_ids.value_rowids(), token_ids.nrows()
        )
        return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")

    def _word_table(
        self, vocabulary: BytePairVocabulary, written: Mapping[str, int]
    ) -> tf.lookup.StaticHashTable:
        """Words that are one token, as they are written in `_tokenize`."""
        tokens = vocabulary.words()
        words = [bytes_of(token).decode("latin-1") for token in tokens]
        ids = np.array(list(tokens.values()), np.int32)
        if not self._rule.whole_words and words:
            data = tf.strings.unicode_decode(words, "UTF-8")
            merged = tf.function(self._merges.merge, autograph=False)(data)
            single = merged.row_lengths().numpy() == 1
            same = merged.to_tensor(-1)[:, :1].numpy()[:, 0] == ids
            kept = np.flatnonzero(single & same)
            words, ids = [words[i] for i in kept], ids[kept]
        words += [f"{_WRITTEN}{index}" for index in written.values()]
        ids = np.append(ids, np.array([*written.values()], np.int32))
        if not words:  # a table may not be empty
            words, ids = [_WRITTEN], np.array([-1], np.int32)
        return tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(words, tf.string, shape=[len(words)]),
                tf.constant(ids, shape=[len(words)]),
            ),
            -1,
        )


def outside_graphs(vocabulary: BytePairVocabulary) -> ExactBytePairTokenizer:
    """The tokenizer, whose tables outlive the graph that asks for them."""
    with tf.init_scope():
        return ExactBytePairTokenizer(vocabulary)


def _names(token_ids: tf.Tensor) -> tf.Tensor:
    """What tokens written out are called among words."""
    return tf.strings.join([_WRITTEN, tf.strings.as_string(token_ids)])


def _without_inner(starts: tf.Tensor, matches: Matches) -> tf.Tensor:
    """Starts of words but for those within a token written out."""
    before = tf.searchsorted(matches.begin, starts, side="left")
    ends = tf.concat([[0], matches.end], 0)
    return tf.boolean_mask(starts, starts >= tf.gather(ends, before))


def _pair_merges(vocabulary: BytePairVocabulary) -> PairMerges:
    """The merges, but for those that would make a control token of text."""
    tokens = vocabulary.words()
    byte_ids = np.full(256, -1, np.int32)
    for character, byte in byte_alphabet().items():
        byte_ids[byte] = tokens.get(character, -1)
    merges = [
        (tokens[left], tokens[right], tokens[left + right])
        for left, right in vocabulary.merges
        if left in tokens and right in tokens and left + right in tokens
    ]
    return PairMerges(byte_ids, merges, vocabulary.size)
