"""What must hold of every rule and of the presets, on any text."""

import re
import unicodedata

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import PIIFormatter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_llm.corpus.rules import BLOCKS, build_rules
from keras_llm.recipes.settings import CorpusSettings

# Characters that rules look at, so that they meet each other.
SPECIAL = (
    "\x00\x07\x1b\x7f\x80\x85\x93\x9d\v\f\r\n\t  \xa0\xad\u200b\u200c\u200d"
    "\u200e\u202e\u2028\u2029\u2060\ufeff\ufffd\ufe0f\ufe0e\u3000\u2003\u1680"
    "\ud83d\ude00\udfff\U0001f469\U0001f3f4\U000e0067\U000e007f\U000e0001"
    "\u0301\u0303\u0316\u0308eAaÃÂâ€™©é¶äÅ\u212b\u1100\u1161\u11a8\u0915"
    "\u094d\u0937\u0645\u06cc\u0958ðŸ˜Å“Œœ×²³à¹Ð¿Ñ[]1234-–—«».,!?@+():"
)
SNIPPETS = [
    "schÃ¶n", "Ã ", "â€œquotedâ€\x9d", "Ð¿Ñ€Ð¸", "РїСЂРёРІРµС‚", "\x1b[31m",
    "[1]", "[edit]", "[[2]", "exam-\nple", "example", "well-\nknown",
    "well-known", "soft\u00ad\nhyphen", "\r\n", "\n\n\n\n", " \n", "\u200d",
    "می\u200cخواهم", "क्\u200dष", "👩\u200d💻", "HEADER 12\n", "HEADER 13\n",
    "a@b.example.com", "8.8.8.8", "+49 30 1234567", "(555) 123-4567",
    "4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32",
    "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
    "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
    "\n© 2020 Example Inc. All rights reserved.\n",
    "\nThis is a line that reads like a sentence of a page.\n",
    "\nWe use cookies on this page, and Javascript.\n",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(
        st.text(st.sampled_from(SPECIAL), max_size=8),
        st.sampled_from(SNIPPETS),
        st.text(st.characters(), max_size=4),
    ),
    max_size=25,
).map("".join)
SENTENCES = [
    "The harbour was built in the year that the fishing fleet had left it.",
    "For thirty summers the work went on, and nobody asked with what money.",
    "Today the basin holds boats, most of them small, that sail to the north.",
    "A museum of the coast stands where customs were paid to be written down.",
    "Whoever comes by ferry will see the light before they have seen the land.",
    "In winter the ice is thick, and children have to walk to the islands.",
    "It was the last of the great works that were done without any machine.",
]
PAGES = st.lists(
    st.one_of(st.sampled_from(SENTENCES), st.sampled_from(SENTENCES), TEXTS),
    min_size=8,
    max_size=25,
    unique=True,
).map("\n".join)

FORMATTERS = [
    name
    for name, block in BLOCKS.items()
    if not issubclass(block, BaseFilter | PIIFormatter)
]
INTRODUCED = {
    "newlines": "\n",
    "control_characters": "\n\ufffd",
    "whitespace": " ",
    "boilerplate": "\n",
}
COMMON = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def clean(text: str, **recipe) -> str | None:
    """A text as the pipeline leaves it; nothing if it is dropped."""
    data = iter([Document(text=text, id="a")])
    for rule in build_rules(CorpusSettings(**recipe)):
        data = rule.run(data)
    kept = list(data)
    return kept[0].text if kept else None


@pytest.mark.parametrize("name", FORMATTERS)
@given(text=TEXTS)
@COMMON
def test_a_formatter_invents_no_character(name, text):
    block = BLOCKS[name]()
    cleaned = block.format(text)
    if name == "mojibake":
        pytest.skip("decodes: see test_mended_text_is_what_was_encoded")
    invented = set(cleaned) - set(text) - set(INTRODUCED.get(name, ""))
    if name == "nfc":
        decomposed = set(unicodedata.normalize("NFD", text))
        parts = set(unicodedata.normalize("NFD", "".join(invented)))
        assert parts <= decomposed
    elif name == "control_characters":
        pairs = text.encode("utf-16", "surrogatepass")
        assert invented <= set(pairs.decode("utf-16", "replace"))
    else:
        assert not invented


def test_web_cleaning_keeps_a_page_of_prose():
    text = "\n".join(SENTENCES)
    assert clean(text, cleaning="web") == text


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
@COMMON
def test_plain_text_comes_out_byte_for_byte(text):
    text = "\n".join(line.rstrip() for line in re.split("~", text))
    text = re.sub("\n{3,}", "\n\n", text)
    assert clean(text, cleaning="light") == text


@pytest.mark.parametrize("name", BLOCKS)
@given(texts=st.lists(st.one_of(TEXTS, PAGES), max_size=6))
@settings(COMMON, max_examples=10)
def test_a_rule_reads_what_it_keeps_and_drops(name, texts):
    (rule,) = build_rules(CorpusSettings(rules=[name]))
    documents = [Document(text, str(n)) for n, text in enumerate(texts)]
    kept = list(rule.run(iter(documents)))
    tally = rule.count
    assert tally.seen == len(texts) == len(kept) + tally.dropped
    assert sum(tally.reasons.values()) == tally.dropped
    assert tally.characters_before == sum(map(len, texts))
    assert tally.characters_after == sum(len(each.text) for each in kept)
