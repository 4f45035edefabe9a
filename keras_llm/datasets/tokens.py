"""Token shards on disk: the manifest, and a view over all of a split."""

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from keras_llm.errors import InputError
from keras_llm.files import file_digest, write_text

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
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

    dtype: str
    vocabulary_size: int
    end_token_id: int
    tokenizer_sha256: str
    splits: dict[str, SplitTokens]
    format_version: int = FORMAT_VERSION

    def save(self, folder: Path) -> None:
        """Writes the manifest into its folder."""
        write_text(folder / MANIFEST_NAME, json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, folder: Path) -> "TokenManifest":
        """Reads the manifest of a token folder.

        Raises:
            InputError: No token folder, or one of another version.
        """
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise InputError(
                f"{folder} must be a token folder (with {MANIFEST_NAME}). "
                "Make one with `keras-llm encode CORPUS TOKENIZER --out "
                "DIR`."
            )
        try:
            return cls._from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path} must be a token manifest of format version "
                f"{FORMAT_VERSION}; it is damaged or of another version. "
                f"{ENCODE_AGAIN}"
            ) from error

    @classmethod
    def _from_dict(cls, record: dict) -> "TokenManifest":
        if record["format_version"] != FORMAT_VERSION:
            raise ValueError(record["format_version"])
        for name, split in record["splits"].items():
            shards = tuple(Shard(**shard) for shard in split["shards"])
            record["splits"][name] = SplitTokens(**split | {"shards": shards})
        return cls(**record)


class Tokens:
    """Random access to the tokens of a split, memory-mapped.

    Args:
        manifest: The manifest of the folder.
        split: Name of a split.
        paths: The split's shards, in order.
    """

    def __init__(self, manifest: TokenManifest, split: str, paths: list[Path]):
        held = manifest.splits[split]
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
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
        verify: Whether every shard is read once, and compared with its
            checksum.

    Raises:
        InputError: No token folder, no such split, or a missing or damaged
            shard, by name.
    """
    manifest = TokenManifest.load(path)
    if split not in manifest.splits:
        raise InputError(
            f"{path} has no {split} split. It has: "
            f"{', '.join(manifest.splits)}."
        )
    paths = []
    for shard in manifest.splits[split].shards:
        paths.append(Path(path) / split / shard.name)
        _check(paths[-1], shard, verify)
    return Tokens(manifest, split, paths)


def _check(path: Path, shard: Shard, verify: bool) -> None:
    if not path.is_file():
        found = "is missing"
    elif (size := path.stat().st_size) != shard.bytes:
        found = f"has {size:,} bytes instead of {shard.bytes:,}"
    elif verify and file_digest(path) != shard.sha256:
        found = "is damaged: its checksum is not the manifest's"
    else:
        return
    raise InputError(f"{path} {found}. {ENCODE_AGAIN}")
