"""What a page's kernel runs before the page, where the site is built.

The page itself says nothing of it, and runs without it: in a notebook or, its
commands, in a terminal.
"""

import contextlib
import io
import os
import shlex

import rich.console
from IPython import get_ipython

SHELL = get_ipython()
ELSEWHERE = SHELL.system
REFUSED = 3  # by `keras-llm improve`, which says why
TRAINING = ("train", "tune", "improve")

os.chdir(os.environ["DOCS_WORK"])
# Text as in a terminal, not as widgets of a notebook.
rich.console._is_jupyter = lambda: False
os.environ |= {"NO_COLOR": "1", "COLUMNS": "88", "TERM": "dumb"}


def system(line: str) -> None:
    """Runs `keras-llm …` here: Keras is imported once a page, not each time."""
    words = shlex.split(os.path.expandvars(SHELL.var_expand(line)))
    if words[0] != "keras-llm" or "|" in words:
        return ELSEWHERE(line)
    if words[1] in TRAINING:
        words += shlex.split(os.environ.get("DOCS_TRAINING", ""))
    from keras_llm.cli import main

    out, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = main(words[1:])
        except SystemExit as exit:  # after --help; by improve
            code = exit.code
    print(out.getvalue(), end="")
    if code not in (0, None, REFUSED):
        raise RuntimeError(f"{line} ended with {code}: {errors.getvalue()}")


SHELL.system = system
