"""What could not be read, and why: a reason for counts, a detail for people."""

REST = "#rest"  # ends the id of what is missing from a text that began well


class Unreadable(Exception):
    """Part of a source cannot be read; the rest of it may be.

    Args:
        reason: A short snake_case word, the same for all such cases.
        detail: One sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple:
        return Unreadable, (self.reason, self.detail)

    @classmethod
    def of(cls, error: Exception, reason: str = "damaged") -> "Unreadable":
        """That of a library's error, in its words."""
        detail = str(error).strip() or type(error).__name__
        return cls(reason, f"{detail[:200]}.")
