"""Exercise 3: the pieces that byte-pair encoding learns."""


def learn(words: dict[str, int], count: int) -> list[str]:
    """The first pieces, in the order in which they are made.

    Args:
        words: How often each word is in the text. A piece never reaches from
            one word into another.
        count: How many pieces to make. The most frequent pair is always alone.

    Returns:
        The pieces, each of which is two that were there before.
    """
    raise NotImplementedError


def cut(word: str, pieces: list[str]) -> list[str]:
    """A word, cut into the pieces that were learned.

    The merges are done in the order in which they were learned.
    """
    raise NotImplementedError
