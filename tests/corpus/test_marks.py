import random

import pytest

from keras_llm.corpus.counts import excerpts
from keras_llm.corpus.report.marks import Piece, compare, sign_of, visible

PARTS = ["owl ", "the", "  ", "\n", "\r\n", "\u200b", "é", "\x00\t", "<b>"]


def shown(runs):
    """Marked text, `[...]` around changes and `{...}` around signs."""
    return "".join(
        f"[{text}]" if run.is_changed else text
        for run in runs
        for text in [
            "".join(f"{{{p.text}}}" if p.name else p.text for p in run.pieces)
        ]
    )


def marked(before, after):
    return tuple(map(shown, compare(before, after)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("same", "same", ("same", "same")),
        ("a caf√© here", "a café here", ("a [caf√©] here", "a [café] here")),
        ("two  words", "two words", ("two [{·}]words", "two words")),
        ("end\r\n", "end\n", ("end[{U+000D}]\n", "end\n")),
        ("soft \u00adware", "soft ware", ("soft [{U+00AD}]ware", "soft ware")),
        ("", "new", ("", "[new]")),
    ],
)
def test_changes_are_marked(before, after, expected):
    assert marked(before, after) == expected


def test_an_end_that_was_only_cut_is_not_marked():
    before = "".join(f"word {n}  and " for n in range(30))
    after = before.replace("  ", " ")
    left, right = marked(before[:240], after[:240])
    assert "[" not in right
    assert right.endswith("{…}")
    assert left.count("[") == left.count("[{·}]") > 10


def test_all_that_differs_is_marked_where_nothing_follows():
    left, right = marked("x" * 240, "y" * 240)
    assert left == "[" + "x" * 240 + "]{…}"


def original(runs):
    """The text that marked runs stand for."""
    pieces = [piece for run in runs for piece in run.pieces]
    return "".join(
        chr(int(piece.name.split()[0][2:], 16)) if piece.name else piece.text
        for piece in pieces
        if piece.text not in "↵→"  # the character itself follows
    )


@pytest.mark.parametrize("seed", range(5))
def test_both_texts_are_shown_whole(seed):
    rng = random.Random(seed)
    texts = ["".join(rng.choices(PARTS, k=12)) for _ in range(2)]
    sides = compare(*texts)
    assert list(map(original, sides)) == texts
    same = [[shown([r]) for r in s if not r.is_changed] for s in sides]
    assert same[0] == same[1]


def test_only_what_cannot_be_seen_gets_a_sign():
    plain = "Ünïcödé 梟 🦉 👨‍👩‍👧 می‌خواهم\t \n e\u0301"
    assert visible(plain) == [Piece(plain)]
    assert visible("a\u202eb") == [
        Piece("a"),
        Piece("U+202E", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        Piece("b"),
    ]


def test_a_character_is_named_by_its_sign():
    signs = [sign_of(c).text for c in "a \n\x07\u00a0\ud800"]
    assert signs == ["a", "·", "↵", "U+0007", "U+00A0", "U+D800"]


WORDS = [f"word{n} " for n in range(2_000)]


@pytest.mark.parametrize("removed", [1, 10, 11, 900])
@pytest.mark.parametrize("at", [0, 80, 1_500])
def test_a_removal_of_any_length_puts_nothing_there(at, removed):
    before = "".join(WORDS)
    after = "".join(WORDS[:at] + WORDS[at + removed :])
    old, new = excerpts(before, after, 240)
    assert max(len(old), len(new)) <= 240
    assert new in after
    left, right = marked(old, new)
    assert "[" in left
    assert "[" not in right


@pytest.mark.parametrize(
    ("before", "after"), [("", "a"), ("a", ""), ("ab" * 500, "ba" * 500)]
)
def test_excerpts_of_what_has_nothing_in_common(before, after):
    assert excerpts(before, after, 240) == (before[:240], after[:240])
