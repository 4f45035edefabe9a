"""The exceptions that mean: your input or your machine, not our code."""


class InputError(ValueError):
    """Something the user passed cannot be used.

    The message names the argument or file, says what was expected, what was
    received and what to do. The command line prints it as one line and exits
    with code 2; every other exception is a defect and keeps its traceback.
    """


class PromptTooLong(InputError):
    """A prompt leaves no room for an answer in the model's context."""


def first_of(reasons: list[str], most: int) -> str:
    """The first few of several reasons, and how many more there are."""
    more = len(reasons) - most
    shown = "; ".join(reasons[:most])
    return f"{shown} and {more} more" if more > 0 else shown


class Interrupted(InputError):
    """Work that is kept: the same command goes on with it.

    A worker died, say, or the disk is full.
    """
