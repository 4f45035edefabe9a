import re

import pytest

from keras_llm.corpus.counts import (
    Count,
    Files,
    Found,
    Leaks,
    RuleCount,
    SplitCount,
)
from keras_llm.corpus.report.corpus_report import (
    Cluster,
    CorpusReport,
    Duplicates,
    Lengths,
)
from keras_llm.corpus.report.warnings import UNUSUAL_ADVICE, warnings_of

SIZE = 1_000_000  # characters of a report that says nothing


def report_of(**fields):
    """A report without warnings, but for the fields given."""
    whole = Count(100, SIZE)
    fields = {
        "sources": ["x"],
        "licences": [],
        "cleaning": "light",
        "split_method": "hash",
        "files": Files(100, {".txt": 100}),
        "read": whole,
        "kept": whole,
        "dropped": Count(0, 0),
        "rules": {"nfc": RuleCount(100, 5, 0, SIZE, SIZE)},
        "splits": {
            "train": SplitCount(80, 800_000, 800_000),
            "validation": SplitCount(20, 200_000, 200_000),
        },
        "lengths": Lengths(10, 2_000, 4_000, 2_000, 3),
        "signs": {"ascii": SIZE, "blank": 200_000},
        "languages": {"en": 100},
    } | fields
    return CorpusReport(**fields)


def of_rule(name, dropped=0, characters=SIZE, **fields):
    """A report of one rule that dropped or removed something."""
    rule = RuleCount(100, 0, dropped, SIZE, characters, **fields)
    kept = Count(100 - dropped, characters)
    lost = Count(dropped, rule.characters_dropped)
    return {"rules": {name: rule}, "kept": kept, "dropped": lost}


def test_a_clean_report_says_nothing():
    assert warnings_of(report_of()) == []
    chosen = Files(100, {".txt": 60}, {"not in corpus.include": 40})
    assert warnings_of(report_of(files=chosen)) == []


PLAIN = {"ascii": SIZE, "blank": 200_000}
WARNED = {
    "dropped": (
        of_rule("nfc", 40, reasons={"a": 30, "b": 10}),
        "nfc dropped 40.0% of the documents.*30 of them for a",
    ),
    "removed": (of_rule("nfc", characters=490_000), "nfc removed 51.0%"),
    "pages": (of_rule("html", characters=10_000), "html removed 99.0%"),
    "skipped": (
        {"files": Files(60, {".txt": 40}, {".gz": 11, ".png": 9})},
        "33.3% of the files were skipped.*60 files found, 40 read, 20 skipped: "
        ".gz 11, .png 9",
    ),
    "stub pages": (
        {"suspects": {"stub pages": Found(3, "a.html")}},
        r"stub pages: 3 document\(s\), 3.0% .*a\.html.*\{gopher_quality: ",
    ),
    "markup left": (
        {"suspects": {"markup left": Found(9, "ls.1.gz")}},
        r"markup left: 9 document\(s\).* such as ls\.1\.gz.*man -Tutf8",
    ),
    "lost lines": (
        {"files": Files(1, {".txt": 1}, {}, {"lines lost": 3})},
        r"3 line\(s\) are lost.*corpus.encoding",
    ),
    "cut short": (
        {"files": Files(1, {".gz": 1}, {}, {"compressed files cut short": 2})},
        r"2 compressed file\(s\) end too early",
    ),
    "unreadable": (
        of_rule("unreadable", 90, reasons={"not_text": 80, "encrypted": 10}),
        "90 of 100 documents could not be read.*80 of them for not_text",
    ),
    "leak": (
        {"leaks": Leaks(5, 0, ngrams=200, found=3, documents=2)},
        "test split, in all 1.5% of its 13",
    ),
    "contamination": (
        {"contamination": Leaks(5, 0, 200, 3, 2, dropped=1)},
        r"1 document\(s\).*corpus.contamination",
    ),
    "short questions": (
        {"contamination": Leaks(texts=40, too_short=40)},
        "40 of 40 texts of the files of corpus.contamination have fewer than 8",
    ),
    "digits": (
        {"signs": PLAIN | {"digits": 400_000}},
        "40.0% .*digits.*corpus.text",
    ),
    "markup": ({"signs": PLAIN | {"<": 8_000}}, "One character in 125 is '<'"),
    "spaces": (
        {"signs": PLAIN | {"blank": 10_000}},
        "Only 1.0% of the characters are spaces",
    ),
    "languages": (
        {"languages": {"en": 80, "de": 15, "fr": 5}},
        r"20.0% .*main language, en \(de 15.0%, fr 5.0%\).*\[en\]",
    ),
    "same length": (
        {"lengths": Lengths(10, 512, 512, 512, 60)},
        "60.0% of the documents have exactly 512 characters",
    ),
    "short": ({"lengths": Lengths(1, 12, 900, 12, 3)}, "at most 12 char"),
    "one document": (
        {"lengths": Lengths(1, 90, 600_000, 12, 3)},
        "One document holds 60.0% of the text",
    ),
    "cluster": (
        {"duplicates": Duplicates(0, 11, 1, [[12, 1]], [Cluster(12, [], "")])},
        "12 documents are near-duplicates of one another",
    ),
    "few documents": (
        {
            "splits": {
                "train": SplitCount(80, 800_000, 0),
                "test": SplitCount(9, 100_000, 0),
            }
        },
        r"test split holds 9 document\(s\).*corpus.split.test",
    ),
    "few characters": (
        {
            "split_method": "position",
            "splits": {
                "train": SplitCount(1, 800_000, 0),
                "validation": SplitCount(1, 9_000, 0),
            },
        },
        "validation split holds 1 document.*9,000 characters",
    ),
    "little to train on": (
        {
            "splits": {
                "train": SplitCount(40, 400_000, 0),
                "test": SplitCount(60, 600_000, 0),
            }
        },
        "Only 40.0% of the text is left to train on",
    ),
    "small": (
        {"splits": {"train": SplitCount(50, 50_000, 0)}},
        "50,000 characters in all",
    ),
}
for kind in UNUSUAL_ADVICE:
    WARNED[kind] = (
        {"unusual": {kind: Found(12, "a.txt")}},
        rf"12 {kind} character\(s\) are in the text, first in a\.txt",
    )


@pytest.mark.parametrize("name", WARNED)
def test_what_looks_wrong_is_said_once(name):
    fields, expected = WARNED[name]
    assert_only(warnings_of(report_of(**fields)), expected)


def assert_only(warnings, expected):
    assert len(warnings) == 1, warnings
    assert re.search(expected, warnings[0]), warnings[0]


@pytest.mark.parametrize(
    "fields",
    [
        of_rule("nfc", 39),
        of_rule("html", characters=30_000),
        of_rule("unreadable", 10),
        {"leaks": Leaks(5, 0, 200), "contamination": Leaks(5, 0, 200, 9, 2, 2)},
        {"languages": None},
        {"languages": {"en": 95, "de": 5}},
        {"unusual": {"replacement": Found(9, "a")}},
    ],
)
def test_what_is_common_is_no_warning(fields):
    assert warnings_of(report_of(**fields)) == []


def test_a_handful_of_documents_has_no_shares():
    few = {
        "read": Count(4, SIZE),
        "kept": Count(2, SIZE),
        "dropped": Count(2, 0),
        "rules": {"exact_duplicates": RuleCount(4, 0, 2, SIZE, SIZE)},
        "languages": {"en": 1, "de": 1},
        "lengths": Lengths(2, 2, 900_000, 2, 1),
        "split_method": "position",
    }
    assert warnings_of(report_of(**few)) == []
