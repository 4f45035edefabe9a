"""Every formatter on text as it is found."""

import random
import time
import unicodedata

import pytest
from datatrove.pipeline.formatters import PIIFormatter
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

from keras_llm.corpus.rules import BLOCKS, mojibake

ENGLISH = "naïve café – “quoted” … déjà vu"
CZECH = "Žluťoučký kůň příšerně úpěl ďábelské ódy"
RUSSIAN = "Привет, мир! Это простой текст."
JAPANESE = "日本語のテキストです。"


def formatted(name: str, text: str, **settings) -> str:
    return BLOCKS[name](**settings).format(text)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", [ENGLISH, CZECH, RUSSIAN, JAPANESE, "😀 ok"])
def test_mended_text_is_what_was_encoded(text, encoding):
    read = text.encode()
    if encoding == "cp1252":  # as browsers do: undefined bytes become C1
        broken = "".join(
            bytes([byte]).decode("cp1252", "ignore") or chr(byte)
            for byte in read
        )
    else:
        broken = read.decode(encoding)
    assert broken != text
    assert formatted("mojibake", broken) == text


@pytest.mark.parametrize(
    "broken, text",
    [
        ("РџСЂРёРІРµС‚ РјРёСЂ", "Привет мир"),  # windows-1251
        ("ÃƒÂ©tÃƒÂ©", "été"),  # twice
        ("The price â€“ in â‚¬ â€“ rose", "The price – in € – rose"),
        ("caf√© au lait", "café au lait"),  # Mac Roman
    ],
)
def test_mojibake_of_other_kinds(broken, text):
    assert formatted("mojibake", broken) == text


def test_only_broken_lines_are_mended():
    clean = "Übergröße – “naïve” ½ Ångström\nПривет, «мир» №5\n東京 © 2020\n"
    assert formatted("mojibake", clean) == clean
    mixed = clean + "Itâ€™s one linÃ© among others, rightly “quoted”\n"
    expected = clean + "It’s one liné among others, rightly “quoted”\n"
    assert formatted("mojibake", mixed) == expected


def test_every_line_that_ftfy_takes_for_bad_has_a_mark():
    chance = random.Random(0)
    letters = "".join(MOJIBAKE_CATEGORIES.values()) + (
        "abzAZ.,?! ŒœÂÃÎÐØÙàāŠŸŽšž®°µ»²³¼½¾±∂†≠´≤≥¥øìîïòôúùû¢πóäê"
        "√≈‚вЂВГўРСβΒΓΞΟΆ"
    )
    bad = 0
    for _ in range(100_000):
        text = "".join(chance.choices(letters, k=chance.choice([1, 2, 3, 5])))
        if is_bad(text):
            bad += 1
            assert mojibake._MARK.search(text), text
    assert bad > 10_000


def test_mojibake_leaves_entities_and_plain_text():
    text = "if (a &amp;&amp; b) { x = '\\u00e9'; }\n"
    assert formatted("mojibake", text) == text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("e\u0301", "é"),
        ("A\u030a", "Å"),
        ("\u212b", "Å"),
        ("\u1112\u1161\u11ab", "한"),
        ("ﬁ ² ½ Ⅳ", "ﬁ ² ½ Ⅳ"),  # compatibility characters stay
    ],
)
def test_nfc(text, expected):
    assert formatted("nfc", text) == expected


def test_a_million_marks_take_no_time():
    text = "a" + "\u0301\u0316" * 500_000 + "e\u0301"
    start = time.monotonic()
    cleaned = formatted("nfc", text)
    assert time.monotonic() - start < 10
    assert cleaned.endswith("e\u0301") or cleaned.endswith("é")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم خانه\u200cها",  # Persian needs non-joiners
        "۱۳۵۹ ه\u200d.ش",  # and a joiner at a word's end
        "क्\u200dष क्\u200cष",  # Hindi
        "ශ්\u200dරී ලංකා",  # Sinhala
        "👩\u200d💻 👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈",
        "👩🏽\u200d🚀 🤷\u200d♀\ufe0f 1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "tab\there\nindent",
        "葛\U000e0100城",
    ],
)
def test_characters_that_scripts_and_emoji_need_stay(text):
    assert formatted("control_characters", text) == text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\x00b\x07c\x7f", "abc"),
        ("zero\u200bwidth\u2060\ufeff", "zerowidth"),
        ("Auf\u200clage co\u200dop", "Auflage coop"),
        ("\u202eevil\u202c \u2066x\u2069\u200e", "evil x"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("soft\u00adhyphen", "softhyphen"),
        ("page one\fpage two\vline", "page one\npage two\nline"),
        ("one\u2028two\u2029three\x85four", "one\ntwo\nthree\nfour"),
        ("\ud83d\ude00 \ud83d", "😀 \ufffd"),
        ("hi\U000e0068\U000e0069", "hi"),
        ("a\ufe0f\ufe01\ufe02\U000e0123", "a\ufe0f"),
        ("\ufdd0\ufffe\U0001ffff", ""),
    ],
)
def test_invisible_characters_go(text, expected):
    assert formatted("control_characters", text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a  \nb\t\n\tc", "a\nb\n\tc"),
        ("a\n\n\n\n\nb", "a\n\n\nb"),
        ("10\u00a0000 and\u2009more\u202f!", "10 000 and more !"),
        ("\u3000段落\u3000\n", "\u3000段落\n"),
        ("    code  =  1\n", "    code  =  1\n"),
        (" = Title = \n \n \n Text . \n", " = Title =\n\n\n Text .\n"),
    ],
)
def test_whitespace(text, expected):
    assert formatted("whitespace", text) == expected


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "a\nb\nc\n"])
def test_newlines(text):
    assert formatted("newlines", text) == "a\nb\nc\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "For exam-\nple, an example.",
            "For example,\nan example.",
        ),
        (
            "a well-\nknown and well-known fact",
            "a well-known\nand well-known fact",
        ),
        ("in the year-\nbook of\n", "in the year-\nbook of\n"),  # no evidence
        (
            "North-\nAmerica and NorthAmerica",
            "North-\nAmerica and NorthAmerica",
        ),
        ("rea\u00ad\nson.\nEnd", "reason.\nEnd"),
        ("Exam-\nple\nand an example", "Example\nand an example"),
        ("pp. 12-\n14 and a -\nb", "pp. 12-\n14 and a -\nb"),
        ("state-of-\nthe-art thing", "state-of-\nthe-art thing"),
    ],
)
def test_hyphens(text, expected):
    assert formatted("hyphens", text) == expected


BODY = "Emma Woodhouse, handsome, clever, and rich,\n\nhad lived long.\n"
FRAMES = [
    (
        "The Project Gutenberg EBook of Emma, by Jane Austen\n\nThis eBook is "
        "for the use of anyone\n\n*** START OF THIS PROJECT GUTENBERG EBOOK "
        "EMMA ***\n\n\nProduced by An Anonymous Volunteer\n\n\n",
        "\n\n\nEnd of the Project Gutenberg EBook of Emma, by Jane Austen\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK EMMA ***\n\nSection 1. "
        "General Terms of Use\n",
    ),
    (
        "The Project Gutenberg eBook of Emma\n\n*** START OF THE PROJECT "
        "GUTENBERG EBOOK A VERY LONG TITLE OF A\nBOOK ***\n\n",
        "\n*** END OF THE PROJECT GUTENBERG EBOOK A VERY LONG TITLE OF A\n"
        "BOOK ***\nUpdated editions will replace the previous one\n",
    ),
    (
        "***The Project Gutenberg Etext of Emma***\n\nPlease take a look at "
        "the important information in this header.\n\n*END*THE SMALL PRINT! "
        "FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n",
        "\n\n\nEnd of Project Gutenberg's Etext of Emma, by Jane Austen\n\n",
    ),
    (
        "***START OF THE PROJECT GUTENBERG EBOOK EMMA***\nE-text prepared by "
        "Somebody\nand others\n\n",
        "\n***END OF THE PROJECT GUTENBERG EBOOK EMMA***\n\n******* This file "
        "should be named 158.txt *******\n",
    ),
]


@pytest.mark.parametrize("header, licence", FRAMES)
def test_the_frame_of_project_gutenberg_goes(header, licence):
    assert formatted("boilerplate", header + BODY + licence) == BODY
    assert formatted("boilerplate", BODY + licence) == BODY
    assert formatted("boilerplate", header + BODY) == BODY


def test_two_books_in_one_text_both_stay():
    header, licence = FRAMES[0]
    text = (header + BODY + licence) * 2
    assert formatted("boilerplate", text) == BODY + "\n\n" + BODY


def test_a_long_text_behind_a_licence_is_not_lost():
    _, licence = FRAMES[0]
    text = BODY + licence + "It was a dark night.\n" * 5000
    assert formatted("boilerplate", text).count("dark night") == 5000


@pytest.mark.parametrize(
    "line",
    [
        "© 2021 Example Ltd. All rights reserved.",
        "Copyright (c) 1999-2004 The Authors",
        "This work is licensed under a Creative Commons Attribution 4.0 "
        "International License.",
        "Licensed under the Apache License, Version 2.0",
        "CC BY-SA 4.0",
    ],
)
def test_lines_that_are_notices_go(line):
    assert formatted("boilerplate", f"One.\n{line}\nTwo.\n") == "One.\nTwo.\n"
    assert formatted("boilerplate", f"One.\n{line}\n", notices=False) == (
        f"One.\n{line}\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "The copyright of the song was sold in 1999 to a publisher.",
        "Project Gutenberg was founded by Michael Hart in 1971.",
        "She asked whether the work was licensed, and by whom.",
    ],
)
def test_sentences_about_licences_stay(line):
    text = f"One.\n{line}\n"
    assert formatted("boilerplate", text) == text


def test_page_headers_go_but_the_first():
    pages = "".join(
        f"{number}  THE ART OF WAR\nText of page {chr(64 + number)}.\n\n"
        for number in range(1, 8)
    )
    cleaned = formatted("repeated_lines", pages)
    assert cleaned.count("THE ART OF WAR") == 1
    assert cleaned.count("Text of page") == 7


@pytest.mark.parametrize("line", ["}", "* * *", "ROMEO:", "12", ""])
def test_lines_that_have_to_come_again_stay(line):
    text = "\n".join(f"{line}\nSentence {chr(65 + i)} b." for i in range(9))
    assert formatted("repeated_lines", text) == text


def test_personal_data_is_masked_by_datatrove():
    text = "Write to a.person@gmail.com at 8.8.8.8, not to 192.168.0.1."
    found = formatted("personal_data", text)
    assert found == PIIFormatter().format(text)
    assert "gmail" not in found and "8.8.8.8" not in found


@pytest.mark.parametrize("name", ["nfc", "mojibake", "control_characters"])
@pytest.mark.parametrize(
    "unit",
    ["\u200d", "\u0301", "\ufe0f", "\U000e0041", "\u200c\u0645", "Ã ", "\x1b["],
)
def test_a_long_run_takes_no_time(name, unit):
    formatted(name, unit * 100_000)


def test_nfc_agrees_with_unicode_on_every_character():
    block = BLOCKS["nfc"]()
    for start in range(0, 0x30000, 0x100):
        letters = map(chr, range(start, start + 0x100))
        for text in (
            "".join(letters),
            " e".join(map(chr, range(start, start + 256))),
        ):
            assert block.format(text) == unicodedata.normalize("NFC", text)
