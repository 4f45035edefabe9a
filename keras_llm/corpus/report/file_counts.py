"""What became of the files, counted by kind."""

from dataclasses import dataclass, field

MOST_TOLD = 6  # kinds of files, in a line


@dataclass(frozen=True)
class Files:
    """What became of the files, those in archives included.

    Args:
        found: How many there were: read and skipped.
        read: Files of which there are documents, if only such that could not
            be read, by kind, the commonest first.
        skipped: The others, by kind, or by why.
        repaired: What was wrong in those that were read, and how often.

    Raises:
        ValueError: A file is missing, or there is one too many.
    """

    found: int = 0
    read: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counted = sum(self.read.values()) + sum(self.skipped.values())
        if counted != self.found:
            raise ValueError(f"{self.found} files, of which {counted} counted")

    def __str__(self) -> str:
        read = sum(self.read.values())
        told = f"{self.found:,} files found, {read:,} read"
        if not self.skipped:
            return told
        kinds = [f"{k} {n:,}" for k, n in self.skipped.items()]
        more = ["…"] if len(kinds) > MOST_TOLD else []
        kinds = ", ".join(kinds[:MOST_TOLD] + more)
        return f"{told}, {self.found - read:,} skipped: {kinds}"
