"""Token shards on disk: the manifest, and a view over all of a split."""

import hashlib
import json
from bisect import bisect_right
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

from keras_llm.artifacts import inside, is_file_name, read_artifact
from keras_llm.corpus.documents import SPLITS
from keras_llm.errors import InputError
from keras_llm.files import write_text
from keras_llm.recipes.checks import check

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
READ_BYTES = 2**20  # at once; a multiple of every id's size
ENCODE_AGAIN = (
    "Encode the text again (`keras-llm encode`, or `keras-llm train … --redo "
    "encode`)."
)


@dataclass(frozen=True)
class Shard:
    """One file of raw little-endian token ids.

    Args:
        name: File name within the split's folder.
        tokens: Number of tokens.
        bytes: Size of the file.
        sha256: Of the file.
    """

    name: str
    tokens: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        expected = "that of a file in the split's folder"
        check(is_file_name(self.name), "name", expected, self.name)
        check(self.tokens > 0, "tokens", "at least 1", self.tokens)


@dataclass(frozen=True)
class SplitTokens:
    """The tokens of one split.

    Args:
        shards: The files, in order.
        tokens: Number of tokens, end tokens included.
        documents: Number of documents, each of which has one end token.
        text_bytes: UTF-8 bytes of the text.
    """

    shards: tuple[Shard, ...]
    tokens: int
    documents: int
    text_bytes: int

    def __post_init__(self) -> None:
        check(bool(self.shards), "shards", "one or more", self.shards)
        total = sum(shard.tokens for shard in self.shards)
        expected = f"{total}, those of its shards"
        check(self.tokens == total, "tokens", expected, self.tokens)
        is_possible = 0 <= self.documents <= total
        check(is_possible, "documents", f"in [0, {total}]", self.documents)
        check(self.text_bytes > 0, "text_bytes", "at least 1", self.text_bytes)


@dataclass(frozen=True)
class TokenManifest:
    """What a token folder holds.

    Args:
        dtype: `"uint16"` or `"uint32"`, little-endian.
        vocabulary_size: Number of ids the tokenizer has.
        end_token_id: The id after every document.
        tokenizer_sha256: Of the SentencePiece model.
        splits: The tokens of each split, by name.
        format_version: Of the folder.
    """

    dtype: Literal["uint16", "uint32"]
    vocabulary_size: int
    end_token_id: int
    tokenizer_sha256: str
    splits: dict[str, SplitTokens]
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        version, size = self.format_version, self.vocabulary_size
        is_ours = version == FORMAT_VERSION
        check(is_ours, "format_version", str(FORMAT_VERSION), version)
        is_size = 0 < size <= 1 << 8 * self.itemsize
        check(is_size, "vocabulary_size", f"one that {self.dtype} holds", size)
        is_id = 0 <= self.end_token_id < size
        check(is_id, "end_token_id", f"in [0, {size})", self.end_token_id)
        for name, split in self.splits.items():
            known = "one of " + ", ".join(SPLITS)
            check(name in SPLITS, "the name of a split", known, name)
            for shard in split.shards:
                bytes = shard.tokens * self.itemsize
                where = f"splits.{name}: bytes of {shard.name}"
                check(shard.bytes == bytes, where, str(bytes), shard.bytes)

    @property
    def itemsize(self) -> int:
        """Bytes of an id."""
        return np.dtype(self.dtype).itemsize

    def save(self, folder: Path) -> None:
        """Writes the manifest into its folder."""
        write_text(folder / MANIFEST_NAME, json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, folder: Path) -> "TokenManifest":
        """Reads the manifest of a token folder.

        Raises:
            InputError: No token folder, a damaged one, or one of another
                version.
        """
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise InputError(
                f"{folder} must be a token folder (with {MANIFEST_NAME}). "
                "Make one with `keras-llm encode CORPUS TOKENIZER --out "
                "DIR`."
            )
        what = f"a token manifest of format version {FORMAT_VERSION}"
        return read_artifact(path, cls, what, ENCODE_AGAIN)


class Tokens:
    """Random access to the tokens of a split, memory-mapped.

    Args:
        manifest: The manifest of the folder.
        split: Name of a split.
        paths: The split's shards, in order.
    """

    def __init__(self, manifest: TokenManifest, split: str, paths: list[Path]):
        held = manifest.splits[split]
        dtype = _little_endian(manifest.dtype)
        # Plain arrays: a slice of one is made in a fraction of the time.
        self._shards = [
            np.asarray(np.memmap(path, dtype, mode="r")) for path in paths
        ]
        counts = (shard.tokens for shard in held.shards)
        self._starts = list(accumulate(counts, initial=0))
        self.text_bytes = held.text_bytes
        self.documents = held.documents
        self.end_token_id = manifest.end_token_id
        self.vocabulary_size = manifest.vocabulary_size

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, length: int) -> np.ndarray:
        """Tokens from `start` on, as int32 `(length,)`.

        Raises:
            IndexError: They are not all within the split.
        """
        stop = start + length
        if not 0 <= start <= stop <= len(self):
            raise IndexError(
                f"[{start}, {stop}) is not within the {len(self)} tokens."
            )
        result = np.empty(length, np.int32)
        shard = bisect_right(self._starts, start) - 1
        done = 0
        while done < length:
            offset = start + done - self._starts[shard]
            part = self._shards[shard][offset : offset + length - done]
            result[done : done + len(part)] = part
            done += len(part)
            shard += 1
        return result


def open_tokens(path: Path, split: str, verify: bool = True) -> Tokens:
    """Opens a split of a token folder.

    Args:
        path: The token folder.
        split: `"train"`, `"validation"` or `"test"`.
        verify: Whether every shard is read once, compared with its checksum,
            and searched for ids beyond the vocabulary.

    Raises:
        InputError: No token folder, no such split, or a missing or damaged
            shard, by name.
    """
    folder, manifest = Path(path), TokenManifest.load(path)
    if split not in manifest.splits:
        raise InputError(
            f"{path} has no {split} split. It has: "
            f"{', '.join(manifest.splits)}."
        )
    paths = []
    for shard in manifest.splits[split].shards:
        paths.append(inside(folder, folder / split / shard.name))
        _check_size(paths[-1], shard)
        if verify:
            _check_content(paths[-1], shard, manifest)
    return Tokens(manifest, split, paths)


def check_vocabulary(path: Path, needed: int, size: int) -> None:
    """Raises `InputError` if token ids are beyond a model's vocabulary.

    Args:
        path: Where the token ids are.
        needed: One more than the highest may be.
        size: The model's vocabulary size.
    """
    if needed > size:
        raise InputError(
            f"{path} has token ids of a vocabulary of {needed}. Received: a "
            f"model of {size}. Pass what was encoded with its own tokenizer."
        )


def _check_size(path: Path, shard: Shard) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing. {ENCODE_AGAIN}")
    if (size := path.stat().st_size) != shard.bytes:
        raise InputError(
            f"{path} has {size:,} bytes instead of {shard.bytes:,}. "
            f"{ENCODE_AGAIN}"
        )


def _check_content(path: Path, shard: Shard, manifest: TokenManifest) -> None:
    """Reads a shard once, a part at a time."""
    digest, greatest = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
            ids = np.frombuffer(part, _little_endian(manifest.dtype))
            greatest = max(greatest, int(ids.max()))
    if digest.hexdigest() != shard.sha256:
        found = "is damaged: its checksum is not the manifest's"
    elif greatest >= manifest.vocabulary_size:
        found = (
            f"has the token id {greatest}, beyond a vocabulary of "
            f"{manifest.vocabulary_size}"
        )
    else:
        return
    raise InputError(f"{path} {found}. {ENCODE_AGAIN}")


def _little_endian(dtype: str) -> np.dtype:
    return np.dtype(dtype).newbyteorder("<")
