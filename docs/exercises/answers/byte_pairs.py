"""Answer 3: the pieces that byte-pair encoding learns."""

from collections import Counter


def learn(words: dict[str, int], count: int) -> list[str]:
    """The first pieces, in the order in which they are made."""
    parts = {word: list(word) for word in words}
    pieces = []
    for _ in range(count):
        pairs = Counter()
        for word, number in words.items():
            found = parts[word]
            for pair in zip(found, found[1:], strict=False):
                pairs[pair] += number
        left, right = pairs.most_common(1)[0][0]
        pieces.append(left + right)
        for word in words:
            parts[word] = merged(parts[word], left, right)
    return pieces


def merged(parts: list[str], left: str, right: str) -> list[str]:
    """The parts, with every `left` before a `right` made one with it."""
    done: list[str] = []
    for part in parts:
        if done and done[-1] == left and part == right:
            done[-1] = left + right
        else:
            done.append(part)
    return done


def cut(word: str, pieces: list[str]) -> list[str]:
    """A word, cut into the pieces that were learned."""
    parts = list(word)
    for piece in pieces:
        for split in range(1, len(piece)):
            parts = merged(parts, piece[:split], piece[split:])
    return parts
