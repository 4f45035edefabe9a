import json
from collections import Counter

import pytest

from keras_llm.corpus.report.contents import CharacterCounter, script_of

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
    assert all(script_of(chr(code)) for code in range(0x110000))
