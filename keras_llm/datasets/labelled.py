"""Texts of known classes on disk, as tokens, and as batches.

Knows nothing of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_llm.artifacts import read_artifact
from keras_llm.datasets.batches import ArraySpec, token_batch
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

DTYPES = {"token_ids": np.int32, "offsets": np.int64, "classes": np.bool_}


@dataclass(frozen=True)
class LabelledManifest:
    """What a folder of labelled texts holds.

    Args:
        texts: Their number.
        num_classes: Number of classes that there are.
        tokens: Of all texts.
        sha256: Of each file.
    """

    texts: int
    num_classes: int
    tokens: int
    sha256: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("texts", "num_classes", "tokens"):
            value = getattr(self, name)
            check(value > 0, name, "at least 1", value)
        expected = "of " + ", ".join(DTYPES)
        check({*self.sha256} == {*DTYPES}, "sha256", expected, self.sha256)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array."""
        shapes = {
            "token_ids": (self.tokens,),
            "offsets": (self.texts + 1,),
            "classes": (self.texts, self.num_classes),
        }
        return shapes[name]


def write_labelled(
    folder: Path, rows: Sequence[Sequence[int]], classes: np.ndarray
) -> LabelledManifest:
    """Writes texts into a folder.

    Args:
        folder: Where; made if missing.
        rows: Token ids of each text, at least one.
        classes: bool `(texts, num_classes)`. Which ones each text has.
    """
    arrays = {
        "token_ids": np.concatenate(list(rows)),
        "offsets": np.cumsum([0, *map(len, rows)]),
        "classes": classes,
    }
    arrays = {name: x.astype(DTYPES[name]) for name, x in arrays.items()}
    sha256 = save_arrays(folder, arrays)
    manifest = LabelledManifest(
        texts=len(rows),
        num_classes=classes.shape[1],
        tokens=len(arrays["token_ids"]),
        sha256=sha256,
    )
    save_manifest(folder, manifest)
    return manifest


class Labelled:
    """Random access to labelled texts, memory-mapped.

    Args:
        folder: As `write_labelled` left it.
        indices: int64 `(some,)`. Which of the texts; all if omitted.

    Attributes:
        classes: bool `(texts, num_classes)`.

    Raises:
        InputError: It is missing or damaged; the message names the file.
    """

    def __init__(self, folder: Path, indices: np.ndarray | None = None):
        what = "the manifest of labelled texts"
        self.manifest = read_artifact(
            folder / MANIFEST, LabelledManifest, what, MAKE_AGAIN
        )
        self._token_ids, self._offsets, self.classes = (
            load_array(folder, name, dtype, self.manifest)
            for name, dtype in DTYPES.items()
        )
        ends = self._offsets[0], self._offsets[-1]
        lengths = np.diff(self._offsets)
        if ends != (0, self.manifest.tokens) or lengths.min() < 1:
            raise damaged(folder / "offsets.npy", "texts do not fit")
        self._indices = np.arange(len(lengths)) if indices is None else indices
        if indices is not None:
            self.classes = self.classes[indices]

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def vocabulary_size(self) -> int:
        """The least that a model must have: one more than the highest id."""
        return int(self._token_ids.max()) + 1

    def lengths(self) -> np.ndarray:
        """int64 `(texts,)`: tokens of each."""
        return np.diff(self._offsets)[self._indices]

    def token_ids(self, index: int) -> np.ndarray:
        """int32 `(length,)`: those of one text."""
        start, stop = self._offsets[self._indices[index] + np.arange(2)]
        return self._token_ids[start:stop]


class LabelledBatches(ByLength):
    """Batches of labelled texts of like length.

    Args:
        texts: The texts.
        batch_size: Texts a batch.
        seed: Decides the order; by length, always the same, if `None`.
        weights: float32 `(num_classes,)`: what each class counts; 1 if
            omitted. A text of several counts as their mean.
    """

    text_bytes = None  # not texts are predicted, but classes

    def __init__(
        self,
        texts: Labelled,
        batch_size: int,
        seed: int | None = None,
        weights: np.ndarray | None = None,
    ):
        self.texts = texts
        self.weights = weights
        self.order = BatchesByLength(texts.lengths(), batch_size, seed)

    @property
    def signature(self) -> tuple:
        size = self.order.batch_size
        shape = (size, None)
        features = {
            "token_ids": ArraySpec(shape, np.int32),
            "padding_mask": ArraySpec(shape, bool),
        }
        classes = (size, self.texts.manifest.num_classes)
        return (
            features,
            ArraySpec(classes, np.float32),
            ArraySpec((size,), np.float32),
        )

    def batch(self, k: int) -> tuple:
        """Batch `k`, counted over all epochs.

        Returns:
            A dict of int32 `token_ids` and bool `padding_mask`, each
            `(batch_size, length)`; float32 `(batch_size, num_classes)`, 1 for
            the classes of a text; float32 weights `(batch_size,)`, 0 for what
            the batch is filled up with.
        """
        indices, size = self.order.indices(k), self.order.batch_size
        shape = (size, self.order.length(indices))
        token_ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
        mask[:, 0] = True  # a row of padding alone would be divided by zero
        classes = np.zeros((size, self.texts.manifest.num_classes), np.float32)
        for place, index in enumerate(indices):
            found = self.texts.token_ids(index)
            token_ids[place, : len(found)] = found
            mask[place, : len(found)] = True
        classes[: len(indices)] = self.texts.classes[indices]
        counts = (np.arange(size) < len(indices)).astype(np.float32)
        if self.weights is not None:
            held = np.maximum(classes.sum(axis=1), 1)
            means = (classes @ self.weights) / held
            counts *= np.where(classes.any(axis=1), means, 1).astype(np.float32)
        return *token_batch(token_ids, classes, padding_mask=mask), counts
