"""What was read of prompts, for others that begin alike.

Prompts are read in chunks. What a chunk adds to the cache is kept under all
tokens up to its end: keys and values of its places, and of recurrent blocks
the state after it.
"""

from collections import OrderedDict

import numpy as np
from keras import ops

from keras_llm.serving.rows import CHUNK, CacheLayout, Leaves

MOST_BYTES = 2**28  # 256 MiB


class Prefixes:
    """Keeps what was read last, up to a number of bytes.

    Args:
        layout: Of the model's cache.
        most_bytes: How much is kept.
    """

    def __init__(self, layout: CacheLayout, most_bytes: int = MOST_BYTES):
        self._layout = layout
        self._most_bytes = most_bytes
        self._parts: OrderedDict[bytes, Leaves] = OrderedDict()
        self.num_bytes = 0

    def find(self, token_ids: list[int]) -> tuple[int, list[Leaves]]:
        """How many of the first tokens are known, and their parts."""
        parts = []
        for end in range(CHUNK, len(token_ids) + 1, CHUNK):
            key = _key(token_ids[:end])
            if key not in self._parts:
                break
            self._parts.move_to_end(key)
            parts.append(self._parts[key])
        return len(parts) * CHUNK, parts

    def keep(self, token_ids: list[int], leaves: Leaves) -> None:
        """Keeps the last chunk of tokens, a number of whole chunks.

        Args:
            token_ids: All that was read.
            leaves: Of the cache after it.
        """
        end, key = len(token_ids), _key(token_ids)
        if key in self._parts:
            return
        part = self._layout.part(leaves, end - CHUNK, end)
        self._parts[key] = part
        self.num_bytes += _size(part)
        while self.num_bytes > self._most_bytes:
            _, dropped = self._parts.popitem(last=False)
            self.num_bytes -= _size(dropped)


def _key(token_ids: list[int]) -> bytes:
    return np.array(token_ids, "int32").tobytes()


def _size(leaves: Leaves) -> int:
    return sum(ops.convert_to_numpy(leaf).nbytes for leaf in leaves)
