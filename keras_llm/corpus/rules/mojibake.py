"""Formatter that mends text decoded with the wrong encoding, by ftfy.

ftfy looks at every character of a text that is not ASCII, at about 5 MB/s. Here
it is asked only about lines that have one of its marks, and few texts do.
"""

import re

import ftfy
from datatrove.pipeline.formatters.base import BaseFormatter
from ftfy.badness import MOJIBAKE_CATEGORIES

from keras_llm.corpus.rules.text import change_lines, unusual_runs

_ORDINARY = ("common", "kaomoji", "upper_common", "lower_common")
_STRANGE = "".join(
    letters
    for category, letters in MOJIBAKE_CATEGORIES.items()
    if category not in _ORDINARY
)
# The letters that ftfy names in patterns of their own.
_NAMED = "ØÙŠŸŽšžŒœÂÃÎÐāàµ°√≈‚Ђ"
_ANY = _STRANGE + _NAMED + "".join(map(MOJIBAKE_CATEGORIES.get, _ORDINARY))
# What every pattern of ftfy's `BADNESS_RE` contains.
_MARK = re.compile(
    f"[\x80-\x9fŒœÂÃ]|[{_STRANGE}{_NAMED}][{_ANY}]|[{_ANY}][{_STRANGE}{_NAMED}]"
)


class Mojibake(BaseFormatter):
    """Mends text that was decoded with the wrong encoding, line by line.

    `schÃ¶n` becomes `schön`, also where it was done twice, in lines that are
    partly right, and for Windows-1250 to 1257, Latin-1, Mac Roman and code
    page 437 read in place of UTF-8, as far as ftfy recognises them.
    """

    def format(self, text: str) -> str:
        """The text mended."""
        marked = [run for run in unusual_runs(text) if _MARK.search(run)]
        return change_lines(text, marked, ftfy.fix_encoding)
