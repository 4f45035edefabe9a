"""Filter of lines and pages by the rules of C4.

See https://jmlr.org/papers/volume21/20-074/20-074.pdf.
"""

import re

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.c4_filters import (
    ELLIPSIS,
    END_PUNCTUATION,
    POLICY_SUBSTRINGS,
)

from keras_llm.corpus.rules.words import WORDS

_CITED = re.compile(r"\d*|edit|citation needed")
_BRACKETS = re.compile(r"([\[\]])")


class C4Quality(BaseFilter):
    """Removes lines that are no sentences, drops pages that have too few.

    The verdicts are those of datatrove's `C4QualityFilter` on a text without
    citation marks. Those are removed before the rest is judged (datatrove:
    between, so that a line that ends in a citation is taken for unfinished,
    and a second cleaning may find more to do).

    Args:
        remove_citations: Whether `[12]`, `[edit]` and `[citation needed]` go.
        filter_no_terminal_punct: Whether lines go that end no sentence.
        min_num_sentences: Fewest sentences of a page; -1 for any number.
        min_words_per_line: Lines of fewer words go; -1 for none.
        max_word_length: Lines with a longer word go; -1 for none.
        filter_lorem_ipsum: Whether pages with "lorem ipsum" are dropped.
        filter_javascript: Whether lines go that mention Javascript.
        filter_curly_bracket: Whether pages with `{` are dropped.
        filter_policy: Whether lines go that mention cookies or terms of use.
    """

    name = "c4_quality"

    def __init__(
        self,
        remove_citations: bool = True,
        filter_no_terminal_punct: bool = True,
        min_num_sentences: int = 5,
        min_words_per_line: int = 3,
        max_word_length: int = 1000,
        filter_lorem_ipsum: bool = True,
        filter_javascript: bool = True,
        filter_curly_bracket: bool = True,
        filter_policy: bool = True,
    ):
        super().__init__()
        self.remove_citations = remove_citations
        self.filter_no_terminal_punct = filter_no_terminal_punct
        self.min_num_sentences = min_num_sentences
        self.min_words_per_line = min_words_per_line
        self.max_word_length = max_word_length
        self.filter_lorem_ipsum = filter_lorem_ipsum
        self.filter_javascript = filter_javascript
        self.filter_curly_bracket = filter_curly_bracket
        self.filter_policy = filter_policy

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Leaves the lines to keep in the document, or says why not."""
        kept, reason = self._sift(doc.text)
        if reason:
            return False, reason
        if not self._has_sentences(kept):
            return False, "too_few_sentences"
        text = "\n".join(kept).strip()
        doc.text = doc.text if text == doc.text else text
        return True

    def _sift(self, text: str) -> tuple[list[str], str | None]:
        """The lines to keep, and the reason to drop the page."""
        lowered = text.lower()
        lorem = self.filter_lorem_ipsum and "lorem ipsum" in lowered
        curly = self.filter_curly_bracket and "{" in text
        unwanted = self._unwanted(lowered)
        cited = self.remove_citations and "]" in text
        kept = []
        for line in text.splitlines():
            line = line.strip()
            if cited and "]" in line:
                line = without_citations(line).strip()
            if not self._is_sentence(line):
                continue
            if lorem and "lorem ipsum" in line.lower():
                return kept, "lorem_ipsum"
            if unwanted and self._is_script(line):
                continue
            if curly and "{" in line:
                return kept, "curly_bracket"
            if unwanted and self._is_policy(line):
                continue
            kept.append(line)
        return kept, None

    def _unwanted(self, lowered: str) -> bool:
        """Whether any line needs to be looked at for words of scripts."""
        return (self.filter_javascript and "javascript" in lowered) or (
            self.filter_policy
            and any(phrase in lowered for phrase in POLICY_SUBSTRINGS)
        )

    def _is_script(self, line: str) -> bool:
        return self.filter_javascript and "javascript" in line.lower()

    def _is_policy(self, line: str) -> bool:
        lowered = line.lower()
        return self.filter_policy and any(
            phrase in lowered for phrase in POLICY_SUBSTRINGS
        )

    def _is_sentence(self, line: str) -> bool:
        longest, fewest = self.max_word_length, self.min_words_per_line
        if self.filter_no_terminal_punct and (
            not line.endswith(END_PUNCTUATION) or line.endswith(ELLIPSIS)
        ):
            return False
        if longest != -1 and len(line) > longest:
            if any(len(word) > longest for word in line.split()):
                return False
        return fewest <= 0 or len(line.split(None, fewest - 1)) >= fewest

    def _has_sentences(self, lines: list[str]) -> bool:
        if self.min_num_sentences == -1:
            return True
        missing = self.min_num_sentences
        for line in lines:
            if missing <= 0:
                break
            missing -= len(WORDS.span_tokenize(line))
        return missing <= 0


def without_citations(line: str) -> str:
    """A line without `[12]`, `[]`, `[edit]` and `[citation needed]`.

    Also without those that only appear once one inside them is gone. One
    stays where the characters around it may compose or look like mojibake
    once it is gone: before one that is not ASCII, and after `Â` and `Ã`.
    """
    output: list[str] = []
    opened: list[int] = []  # where in the output
    pieces = _BRACKETS.split(line)
    for place, piece in enumerate(pieces):
        if piece == "[":
            opened.append(len(output))
            output.append(piece)
        elif piece == "]":
            output.append(piece)
            start = opened.pop() if opened else len(output)
            before = output[start - 1] if start else ""
            behind = "".join(pieces[place + 1 : place + 3])
            if _is_citation(output[start : start + 4]) and _may_meet(
                before[-1:], behind[:1]
            ):
                del output[start:]
        elif output and output[-1] not in "[]":
            output[-1] += piece
        elif piece:
            output.append(piece)
    return "".join(output)


def _is_citation(pieces: list[str]) -> bool:
    """Whether pieces are an opening bracket, a mark and a closing one."""
    inside = "".join(pieces[1:-1])
    return 2 <= len(pieces) <= 3 and bool(_CITED.fullmatch(inside))


def _may_meet(before: str, behind: str) -> bool:
    """Whether two characters may come together without a new meaning."""
    return behind.isascii() and before not in ("Â", "Ã")
