"""Tensors of rows that are computed together, and that come and go.

Knows nothing of requests, nor of how a kind of block caches: which axis of a
cache is time is seen from its shape.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.generation.decoding import (
    DecodingState,
    Sampling,
    decode,
    ends_with,
)
from keras_llm.models import ScratchCausalLM
from keras_llm.serving.scores import Scores, scores_of

CHUNK = 64  # tokens of a prompt that are read at once
# Lengths of caches are its multiples, for each new one is a copy.
GRAIN = 64
MANY_STEPS = 4

Leaves = list  # of a cache, flat


class CacheLayout:
    """How the cache of a model is laid out.

    Args:
        model: The model.

    Attributes:
        inputs: `KerasTensor`s of its leaves, of any batch and length.
    """

    def __init__(self, model: ScratchCausalLM):
        self._model = model
        caches = [model.initial_cache(1, length) for length in (8, 16)]
        self._structure = caches[0]
        short, long = map(keras.tree.flatten, caches)
        self._axes = [
            _differing(*shapes) for shapes in zip(short, long, strict=True)
        ]
        self.inputs = [
            _input([None, *(leaf.shape[1:])], leaf.dtype, axis)
            for leaf, axis in zip(short, self._axes, strict=True)
        ]

    def empty(self, length: int) -> Leaves:
        """The cache of one row that has read nothing."""
        return keras.tree.flatten(self._model.initial_cache(1, length))

    def nested(self, leaves: Leaves):
        """As the model takes it."""
        return keras.tree.pack_sequence_as(self._structure, leaves)

    def part(self, leaves: Leaves, begin: int, end: int) -> Leaves:
        """What was read in some places; of entries without time, all."""
        return [
            leaf if axis is None else leaf[_slices(axis, begin, end)]
            for leaf, axis in zip(leaves, self._axes, strict=True)
        ]

    def joined(self, parts: Sequence[Leaves], length: int) -> Leaves:
        """Parts one after the other in time, and room up to a length."""
        *_, last = parts
        return [
            last[index]
            if axis is None
            else _padded(
                ops.concatenate([part[index] for part in parts], axis=axis)
                if len(parts) > 1
                else last[index],
                axis,
                length,
            )
            for index, axis in enumerate(self._axes)
        ]


def _input(shape, dtype, time_axis=None) -> keras.KerasTensor:
    shape = [None if i == time_axis else n for i, n in enumerate(shape)]
    return keras.KerasTensor(shape, keras.backend.standardize_dtype(dtype))


def _differing(short, long) -> int | None:
    axes = zip(short.shape, long.shape, strict=True)
    return next((i for i, (a, b) in enumerate(axes) if a != b), None)


def _slices(axis: int, begin: int, end: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(begin, end),)


def _padded(leaf, axis: int, length: int):
    """With zeros at the end of an axis, or without some of them."""
    size = leaf.shape[axis]
    if size >= length:
        return leaf[_slices(axis, 0, length)]
    widths = [[0, 0] for _ in leaf.shape]
    widths[axis][1] = length - size
    return ops.pad(leaf, widths)


class Computer:
    """The three things that are computed with a model, compiled.

    Args:
        model: a `ScratchCausalLM`.
    """

    def __init__(self, model: ScratchCausalLM):
        self.layout = CacheLayout(model)
        self.vocabulary_size = model.backbone.vocabulary_size

        def read(token_ids, leaves, start, seen):
            cache = self.layout.nested(leaves)
            _, _, cache = model.call_with_cache(token_ids, cache, start, seen)
            return keras.tree.flatten(cache)

        def score(token_ids, leaves, start, seen, targets):
            cache = self.layout.nested(leaves)
            logits, _, cache = model.call_with_cache(
                token_ids, cache, start, seen
            )
            return scores_of(logits, targets), keras.tree.flatten(cache)

        def advance_by(steps):
            def advance(leaves, tensors, sampling, limits, ends, *bias):
                cache = self.layout.nested(leaves)
                state = decode(
                    model,
                    DecodingState(*tensors, cache),
                    sampling,
                    steps,
                    ends_with(ends),
                    limits,
                    *bias,
                )
                *tensors, cache = state
                return keras.tree.flatten(cache), tuple(tensors)

            return advance

        each, pairs = [None], [None, None]
        read_inputs = (
            _input(pairs, "int32"),
            self.layout.inputs,
            _input(each, "int32"),
            _input(pairs, "bool"),
        )
        self._read = compile_function(read, model, read_inputs)
        score_inputs = (*read_inputs, _input(pairs, "int32"))
        self._score = compile_function(score, model, score_inputs)
        bias = _input([None, self.vocabulary_size], "float32")
        self._advance = {
            (steps, len(more)): compile_function(
                advance_by(steps), model, (*self._rows_inputs(), *more)
            )
            for steps in (1, MANY_STEPS)
            for more in ((), (bias,))
        }

    def _rows_inputs(self):
        """What `advance` takes of rows, but the bias."""
        each, pairs = [None], [None, None]
        state = (
            _input(pairs, "int32"),
            _input(each, "int32"),
            _input(each, "bool"),
            _input(each, "int32"),
        )
        sampling = Sampling(
            _input(each, "float32"),
            _input(each, "int32"),
            _input(each, "float32"),
            _input(each, "float32"),
            _input(each, "float32"),
            _input([None, 2], "uint32"),
        )
        limits, ends = _input(each, "int32"), _input(pairs, "int32")
        return self.layout.inputs, state, sampling, limits, ends

    def read(
        self,
        token_ids: list[list[int]],
        leaves: Leaves,
        start: int,
        counts: list[int],
    ) -> Leaves:
        """The cache of rows after some more tokens of each.

        Args:
            token_ids: Up to `CHUNK` of each row, as many, padded.
            leaves: Of their cache.
            start: How many they have read.
            counts: How many of these each reads.
        """
        starts = [start] * len(token_ids)
        return self._read(*_tensors(token_ids, leaves, starts, counts))

    def score(
        self,
        token_ids: Sequence[Sequence[int]],
        leaves: Leaves,
        starts: Sequence[int],
        targets: Sequence[Sequence[int]],
    ) -> tuple[Scores, Leaves]:
        """How likely what follows each token was, and the cache after it.

        Args:
            token_ids: Of each row, as many, padded.
            leaves: Of the rows' cache.
            starts: How many each has read.
            targets: What follows each token, as many, padded.
        """
        counts = [len(row) for row in token_ids]
        scores, leaves = self._score(
            *_tensors(token_ids, leaves, starts, counts),
            ops.convert_to_tensor(np.array(targets, "int32")),
        )
        return Scores(*map(ops.convert_to_numpy, scores)), leaves

    def advance(self, rows: "Rows", steps: int) -> None:
        """Decodes rows by up to so many tokens, 1 or `MANY_STEPS`."""
        tensors = rows.token_ids, rows.lengths, rows.finished, rows.steps
        bias = () if rows.bias is None else (rows.bias,)
        rows.leaves, tensors = self._advance[steps, len(bias)](
            rows.leaves,
            tuple(map(ops.convert_to_tensor, tensors)),
            rows.sampling,
            rows.limits,
            rows.ends,
            *bias,
        )
        rows.token_ids, rows.lengths, rows.finished, rows.steps = (
            np.array(ops.convert_to_numpy(tensor)) for tensor in tensors
        )


def _tensors(token_ids, leaves, starts, counts):
    """What `read` takes of rows of which `counts` tokens are read."""
    token_ids = np.array(token_ids, "int32")
    places = np.arange(token_ids.shape[1])[None]
    return (
        ops.convert_to_tensor(token_ids),
        leaves,
        ops.convert_to_tensor(np.array(starts, "int32")),
        ops.convert_to_tensor(places < np.array(counts)[:, None]),
    )


class Rows:
    """Rows that are decoded together, in a `DecodingState` that changes.

    Attributes:
        token_ids, lengths, finished, steps: NumPy arrays, as in
            `DecodingState`.
        leaves: tensors of the cache.
        sampling, limits, ends, bias: as `decode` takes them.
    """

    def __init__(self, layout: CacheLayout):
        self._layout = layout
        self.leaves: Leaves = []
        self.token_ids = np.zeros((0, 0), "int32")
        self.lengths = np.zeros(0, "int32")
        self.finished = np.zeros(0, bool)
        self.steps = np.zeros(0, "int32")
        self.sampling: Sampling | None = None
        self.limits = self.ends = self.bias = None

    @property
    def room(self) -> int:
        """Tokens that each row may have."""
        return self.token_ids.shape[1]

    def arrange(self, order: Sequence["int | NewRow"], length: int) -> None:
        """Puts rows in another order, new ones among them; others leave.

        Args:
            order: Places of rows that stay, and rows that are new.
            length: The room that all rows get.
        """
        self.leaves = self._joined(order, length) if order else []
        columns = {
            "token_ids": np.zeros((len(order), length), "int32"),
            "lengths": np.zeros(len(order), "int32"),
            "finished": np.zeros(len(order), bool),
            "steps": np.zeros(len(order), "int32"),
        }
        for row, item in enumerate(order):
            if isinstance(item, NewRow):
                columns["token_ids"][row, : len(item.token_ids)] = (
                    item.token_ids
                )
                columns["lengths"][row] = len(item.token_ids)
                continue
            wide = min(length, self.room)
            columns["token_ids"][row, :wide] = self.token_ids[item, :wide]
            for name in ("lengths", "finished", "steps"):
                columns[name][row] = getattr(self, name)[item]
        for name, column in columns.items():
            setattr(self, name, column)

    def _joined(self, order, length: int) -> Leaves:
        """The cache in that order, by one copy of each of its leaves."""
        layout = self._layout
        before = self.leaves
        if before and length != self.room:
            before = layout.joined([before], length)
        parts: list[Leaves] = []
        run: list[int] = []

        def end_run():
            if run:
                rows = slice(run[0], run[-1] + 1)
                parts.append([leaf[rows] for leaf in before])
                run.clear()

        for item in order:
            if isinstance(item, NewRow):
                end_run()
                parts.append(layout.joined([item.leaves], length))
                continue
            if run and item != run[-1] + 1:
                end_run()
            run.append(item)
        end_run()
        return stacked(parts)


class NewRow(NamedTuple):
    """A row that has read all but the last of its tokens.

    Args:
        token_ids: The prompt.
        leaves: Of its cache.
    """

    token_ids: list[int]
    leaves: Leaves


def stacked(rows: Sequence[Leaves]) -> Leaves:
    """Rows of several caches of the same length as one."""
    if len(rows) == 1:
        return rows[0]
    return [ops.concatenate(x, axis=0) for x in zip(*rows, strict=True)]
