"""Words and sentences for the filters, by one regular expression each.

spaCy, datatrove's default, splits 0.4 MB/s a core. Here a word is a run of
letters, digits and underscores, or a run of other signs, in any language;
scripts written without spaces give one word a character.
"""

import re

from datatrove.utils.word_tokenizers import WordTokenizer

# Thai to Khmer, kana, Chinese characters and their extensions.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(r"\w+|[^\w\s]+")
_WORD_OR_CHARACTER = re.compile(
    rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s{_UNSPACED}]+"
)
# Each run of signs is looked at once, or a line of a million would take hours.
_SENTENCE_END = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]++[\"')\\]\u2019\u201d\u00bb]*+\\s++"
    "|[\u3002\uff01\uff1f\u0964\u06d4]++[\u300d\u300f\uff09]*+\\s*+"
)


class Words(WordTokenizer):
    """A `WordTokenizer` of datatrove's, to pass as a filter's `language`.

    There is one, `WORDS`, in every process, by which datatrove remembers the
    words of the texts that it split last.
    """

    def __reduce__(self) -> str:
        return "WORDS"

    def word_tokenize(self, text: str) -> list[str]:
        """The words and signs of a text, without spaces."""
        if text.isascii() or not _HAS_UNSPACED.search(text):
            return _WORD.findall(text)
        return _WORD_OR_CHARACTER.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences of a text, without spaces around them."""
        spans = self.span_tokenize(text)
        return [text[start:end].strip() for start, end in spans]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Where each sentence begins and ends; the whole of the text."""
        ends = [found.end() for found in _SENTENCE_END.finditer(text)]
        if text and (not ends or ends[-1] < len(text)):
            ends.append(len(text))
        return list(zip([0, *ends], ends, strict=False))


WORDS = Words()
