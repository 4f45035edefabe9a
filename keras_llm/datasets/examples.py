"""Examples of their own length on disk, and as batches.

An example is one row of tokens, or two that are compared; of each token is
known whether it is part of an answer. Knows nothing of text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_llm.artifacts import read_artifact
from keras_llm.datasets.batches import (
    ArraySpec,
    token_batch,
    token_signature,
)
from keras_llm.datasets.batching import BatchesByLength, ByLength
from keras_llm.datasets.mapped import (
    MAKE_AGAIN,
    MANIFEST,
    damaged,
    load_array,
    save_arrays,
    save_manifest,
)
from keras_llm.recipes.checks import check

ARRAYS = {
    "token_ids": np.int32,
    "is_answer": np.bool_,
    "offsets": np.int64,
    "labels": np.bool_,
}


class Row(NamedTuple):
    """Tokens, and which of them are to be learned.

    Args:
        token_ids: list of int.
        is_answer: list of bool, as long.
    """

    token_ids: list[int]
    is_answer: list[bool]


@dataclass(frozen=True)
class ExamplesManifest:
    """What a folder of examples holds.

    Args:
        examples: Their number.
        rows: Rows an example.
        tokens: Of all rows.
        answer_tokens: Those that are learned.
        sha256: Of each file.
    """

    examples: int
    rows: int
    tokens: int
    answer_tokens: int
    sha256: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("examples", "rows", "tokens"):
            value = getattr(self, name)
            check(value > 0, name, "at least 1", value)
        expected = f"in [0, {self.tokens}]"
        is_possible = 0 <= self.answer_tokens <= self.tokens
        check(is_possible, "answer_tokens", expected, self.answer_tokens)
        names = {*ARRAYS} - {"labels"}
        expected = "of " + ", ".join(ARRAYS) + " (labels may be missing)"
        is_whole = names <= {*self.sha256} <= {*ARRAYS}
        check(is_whole, "sha256", expected, list(self.sha256))

    def shape(self, name: str) -> tuple[int]:
        """The shape of an array."""
        sizes = {
            "offsets": self.examples * self.rows + 1,
            "labels": self.examples,
        }
        return (sizes.get(name, self.tokens),)


def write_examples(
    folder: Path,
    examples: Iterable[Sequence[Row]],
    labels: Sequence[bool] | None = None,
) -> ExamplesManifest:
    """Writes examples into an empty folder.

    Args:
        folder: Where; made if missing.
        examples: Each the rows of one example, as many for all.
        labels: Of each example, where answers are judged.
    """
    examples = list(examples)
    rows = [row for example in examples for row in example]
    arrays = {
        "token_ids": np.concatenate([row.token_ids for row in rows]),
        "is_answer": np.concatenate([row.is_answer for row in rows]),
        "offsets": np.cumsum([0, *(len(row.token_ids) for row in rows)]),
    }
    if labels is not None:
        arrays["labels"] = np.array(labels)
    arrays = {name: x.astype(ARRAYS[name]) for name, x in arrays.items()}
    sha256 = save_arrays(folder, arrays)
    manifest = ExamplesManifest(
        examples=len(examples),
        rows=len(rows) // len(examples),
        tokens=len(arrays["token_ids"]),
        answer_tokens=int(arrays["is_answer"].sum()),
        sha256=sha256,
    )
    save_manifest(folder, manifest)
    return manifest


class Examples:
    """Random access to the rows of examples, memory-mapped.

    Args:
        folder: As `write_examples` left it.

    Raises:
        InputError: It is missing or damaged; the message names the file.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.manifest = _manifest(self.folder)
        self.rows = self.manifest.rows
        self._arrays = {
            name: load_array(self.folder, name, ARRAYS[name], self.manifest)
            for name in self.manifest.sha256
        }
        self._offsets = self._arrays["offsets"]
        self._check_rows()
        self.labels = self._arrays.get("labels")

    def _check_rows(self) -> None:
        """Raises unless rows, of two tokens at least, fill the tokens."""
        offsets, tokens = self._offsets, self.manifest.tokens
        are_ends = (offsets[0], offsets[-1]) == (0, tokens)
        if not are_ends or np.diff(offsets).min() < 2:
            raise damaged(self.folder / "offsets.npy", "rows do not fit")
        if self._arrays["token_ids"].min() < 0:
            raise damaged(self.folder / "token_ids.npy", "an id is below 0")

    def __len__(self) -> int:
        return self.manifest.examples

    @property
    def vocabulary_size(self) -> int:
        """The least that a model must have: one more than the highest id."""
        return int(self._arrays["token_ids"].max()) + 1

    def lengths(self) -> np.ndarray:
        """int64 `(examples,)`: inputs of the longest row of each."""
        rows = np.diff(self._offsets).reshape(len(self), self.rows)
        return rows.max(axis=1) - 1

    def padded(
        self, indices: np.ndarray, batch_size: int, length: int
    ) -> tuple[np.ndarray, ...]:
        """Rows of some examples, in the form that a model learns from.

        Args:
            indices: Of the examples, at most `batch_size`; the rest of the
                batch is filled up with rows of no weight.
            batch_size: Examples of the batch.
            length: To pad inputs to.

        Returns:
            int32 `token_ids`, int32 `labels` (the tokens after them), float32
            `weights` (1 where a label is part of an answer) and bool
            `padding_mask`, all `(batch_size, rows, length)`.
        """
        shape = (batch_size, self.rows, length)
        token_ids, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        # A row without a token to attend to would be divided by zero.
        mask = np.zeros(shape, bool)
        mask[:, :, 0] = True
        for place, index in enumerate(indices):
            for row in range(self.rows):
                first = self._offsets[index * self.rows + row]
                end = self._offsets[index * self.rows + row + 1]
                size = end - first - 1
                ids = self._arrays["token_ids"][first:end]
                answers = self._arrays["is_answer"][first:end]
                token_ids[place, row, :size] = ids[:-1]
                labels[place, row, :size] = ids[1:]
                weights[place, row, :size] = answers[1:]
                mask[place, row, :size] = True
        return token_ids, labels, weights, mask


class AnswerBatches(ByLength):
    """Examples of one row each, by length; only answers have a weight.

    Args:
        examples: The examples.
        batch_size: Examples a batch.
        seed: Decides the order; always the same if `None`, as validation
            wants it.
    """

    text_bytes = None  # answers are a part of the text only

    def __init__(
        self, examples: Examples, batch_size: int, seed: int | None = None
    ):
        self.examples = examples
        self.order = BatchesByLength(examples.lengths(), batch_size, seed)

    @property
    def signature(self) -> tuple:
        return token_signature(self.order.batch_size, None, weighted=True)

    def batch(self, k: int) -> tuple:
        """Batch `k`, counted over all epochs.

        Returns:
            A dict of int32 `token_ids` and bool `padding_mask`, int32
            `labels` and float32 weights, all `(batch_size, length)`.
        """
        arrays = _batch(self.examples, self.order, k)
        *arrays, mask = (array[:, 0] for array in arrays)
        return token_batch(*arrays, padding_mask=mask)


class ComparisonBatches(ByLength):
    """Examples of two rows each, with what a reference model made of them.

    Args:
        examples: The examples.
        targets: float32 `(examples, targets)`. What the loss compares with.
        batch_size: Examples a batch.
        seed: Decides the order; always the same if `None`.
    """

    def __init__(
        self,
        examples: Examples,
        targets: np.ndarray,
        batch_size: int,
        seed: int | None = None,
    ):
        self.examples = examples
        self.targets = targets
        self.order = BatchesByLength(examples.lengths(), batch_size, seed)

    @property
    def signature(self) -> tuple:
        size = self.order.batch_size
        shape = (size, self.examples.rows, None)
        dtypes = {
            "token_ids": np.int32,
            "labels": np.int32,
            "weights": np.float32,
            "padding_mask": bool,
        }
        features = {name: ArraySpec(shape, dtypes[name]) for name in dtypes}
        targets = ArraySpec((size, self.targets.shape[1]), np.float32)
        return features, targets, ArraySpec((size,), np.float32)

    def batch(self, k: int) -> tuple:
        """Batch `k`, counted over all epochs.

        Returns:
            A dict of `token_ids`, `labels`, `weights` and `padding_mask`, as
            `Examples.padded` makes them, the targets, and float32 weights
            `(batch_size,)`: 0 for what the batch is filled up with.
        """
        names = ("token_ids", "labels", "weights", "padding_mask")
        arrays = _batch(self.examples, self.order, k)
        indices = self.order.indices(k)
        size = self.order.batch_size
        targets = np.zeros((size, self.targets.shape[1]), np.float32)
        targets[: len(indices)] = self.targets[indices]
        counts = (np.arange(size) < len(indices)).astype(np.float32)
        return dict(zip(names, arrays, strict=True)), targets, counts

    def num_tokens(self, k: int) -> int:
        return super().num_tokens(k) * self.examples.rows


def _batch(examples: Examples, order: BatchesByLength, k: int):
    indices = order.indices(k)
    return examples.padded(indices, order.batch_size, order.length(indices))


def _manifest(folder: Path) -> ExamplesManifest:
    what = "the manifest of examples"
    return read_artifact(folder / MANIFEST, ExamplesManifest, what, MAKE_AGAIN)
