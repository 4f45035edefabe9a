"""The one exception that means: your input, not our code."""


class InputError(ValueError):
    """Something the user passed cannot be used.

    The message names the argument or file, says what was expected, what was
    received and what to do. The command line prints it as one line and exits
    with code 2; every other exception is a defect and keeps its traceback.
    """
