"""Encodings: what is text is read as it was written, what is not is named."""

import io
import random

import pytest

from keras_llm.corpus.sources import encodings
from keras_llm.corpus.sources.encodings import (
    GUESSES,
    Decoder,
    declared_encoding,
    looks_like_text,
)
from keras_llm.corpus.sources.texts import Unreadable
from keras_llm.errors import InputError

FRENCH = "Le café était fermé, déjà. Où aller ? Ça n'était pas prévu."
WRITTEN = {
    "cp1252": FRENCH,
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy, ať je to jakkoli.",
    "cp1251": "Привет, мир. Это короткий текст на русском языке.",
    "koi8_r": "Привет, мир. Это короткий текст на русском языке.",
    "cp1253": "Αυτό είναι ένα σύντομο κείμενο στα ελληνικά.",
    "cp1256": "هذا نص قصير باللغة العربية لاختبار الكشف عن الترميز",
    "cp932": "これは日本語の短い文章です。漢字とかなが混ざっています。",
    "euc_jp": "これは日本語の短い文章です。漢字とかなが混ざっています。",
    "gb18030": "这是一段简短的中文文本，用来测试编码检测。",
    "big5": "這是一段簡短的中文文本，用來測試編碼檢測。",
    "cp949": "이것은 인코딩 감지를 시험하기 위한 짧은 한국어 문장입니다.",
}


def read(data, encoding=None, hint=None):
    return repaired(data, encoding, hint)[0]


def repaired(data, encoding=None, hint=None):
    decoder = Decoder(encoding)
    text = "".join(decoder.characters(io.BytesIO(data), hint))
    return text, dict(decoder.repaired)


def reason(data, encoding=None, hint=None):
    with pytest.raises(Unreadable) as error:
        read(data, encoding, hint)
    return error.value.reason


@pytest.mark.parametrize("encoding, text", WRITTEN.items(), ids=list(WRITTEN))
def test_encodings_are_detected(encoding, text):
    data = (text + "\n").encode(encoding) * 5
    assert read(data) == (text + "\n") * 5
    # After any amount of ASCII, too.
    ascii = "x" * 70 + "\n"
    assert read(ascii.encode() * 40_000 + data).endswith(text + "\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [FRENCH, WRITTEN["cp932"], "", "a"])
def test_marks_decide_and_go(encoding, text):
    assert read(text.encode(encoding)) == text
    if encoding == "utf-8-sig":
        assert read(text.encode(encoding), "utf-8") == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_characters_need_no_mark(encoding):
    assert read(FRENCH.encode(encoding)) == FRENCH


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_characters_may_cross_blocks(monkeypatch, block, encoding):
    monkeypatch.setattr(encodings, "BLOCK", block)
    text = "aé漢😀\r\n" * 50
    assert read(text.encode(encoding), encoding) == text
    if encoding == "utf-8":
        assert read(text.encode()) == text


def test_utf8_wins_over_what_is_declared():
    assert read(FRENCH.encode(), hint="cp1252") == FRENCH


@pytest.mark.parametrize("encoding", GUESSES)
def test_what_is_declared_wins_over_a_guess(encoding):
    text = bytes(range(0xC0, 0xD8)).decode(encoding, "ignore") + " text"
    assert read(text.encode(encoding), hint=encoding) == text
    spelt = encoding.upper().replace("_", "-")
    assert read(text.encode(encoding), hint=spelt) == text


@pytest.mark.parametrize(
    "declared, encoding", [("iso-8859-1", "cp1252"), ("gb2312", "gb18030")]
)
def test_declared_names_mean_what_browsers_mean(declared, encoding):
    text = {"cp1252": "“quoted” – €5", "gb18030": WRITTEN["gb18030"]}[encoding]
    assert read(text.encode(encoding), hint=declared) == text


def test_japanese_in_seven_bits_is_declared():
    text = WRITTEN["cp932"]
    assert read(text.encode("iso2022_jp"), hint="iso-2022-jp") == text


@pytest.mark.parametrize("hint", ["utf-8", "none", "rot13", "a\0b", "hex", ""])
def test_wrong_declarations_do_no_harm(hint):
    assert read((FRENCH * 3).encode("cp1252"), hint=hint) == FRENCH * 3


def test_what_the_user_says_wins():
    assert read("Ő".encode("cp1250"), "cp1250") == "Ő"
    assert read(b"\xef\xbb\xbfa", "cp1252") == "ï»¿a"
    for name in ("utf-99", "rot13", "base64", "", "a\0b"):
        with pytest.raises(InputError, match="corpus.encoding must be"):
            Decoder(name)


def test_bad_bytes_are_replaced_where_they_are():
    good = (FRENCH + "\n").encode() * 20
    assert read(good + b"\xff" + good).count("\ufffd") == 1
    text, repairs = repaired(b"\xff".join([good] * 6))
    assert repairs == {"bad bytes replaced": 5}
    assert text == "\ufffd".join([good.decode()] * 6)
    assert read(good[:-3] + b"\xc3").count("\ufffd") == 1
    own = "\ufffd" * 1000 + "é"
    assert repaired(own.encode()) == (own, {})


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "gb18030", "cp932"])
def test_sixty_bad_bytes_in_ten_megabytes_cost_nothing_else(encoding):
    draw = random.Random(0)
    line = {"utf-8": FRENCH, "ascii": "All is plain."}.get(encoding)
    line = line or WRITTEN[encoding]
    lines = [f"{line} {number}" for number in range(4 * 10**6 // len(line))]
    data = [each.encode(encoding) for each in lines]
    spoilt = set(draw.sample(range(len(lines)), 60))
    for number in spoilt:
        data[number] += b" \xff\xff "
    found = read(b"\n".join(data)).split("\n")
    assert len(found) == len(lines)
    same = [a == b for a, b in zip(found, lines, strict=True)]
    assert same.count(False) == 60
    for number in spoilt:
        assert found[number].startswith(lines[number])


def test_a_stretch_that_is_no_text_costs_its_own_lines():
    draw = random.Random(1)
    good = (FRENCH + "\n") * 1000
    text, repairs = repaired(
        good.encode() + draw.randbytes(50_000) + b"\n" + good.encode()
    )
    kept = [line for line in text.split("\n") if line == FRENCH]
    assert len(kept) == 2000
    assert repairs["lines lost"] > 50
    assert len(text) < 2 * len(good) + 15_000


@pytest.mark.parametrize("place", [3, 10**5])
def test_nul_bytes_are_removed_wherever_they_are(place):
    data = FRENCH.encode() * 10_000
    for nuls in (b"\0", b"\0" * 5000):
        found, repairs = repaired(data[:place] + nuls + data[place:])
        assert found.encode() == data
        assert repairs == {"NUL bytes removed": len(nuls)}


def test_what_is_no_text_by_its_name_is_looked_at_closely():
    assert looks_like_text(FRENCH.encode()) and looks_like_text(b"")
    assert looks_like_text(FRENCH.encode("utf-16"))
    draw = random.Random(0)
    for data in (b"a\0b", b"\1\2\3 abc", b"GIF89a\x01\0", draw.randbytes(300)):
        assert not looks_like_text(data)


def test_bytes_that_are_no_text_are_named():
    draw = random.Random(0)
    for size in (20, 1000, 10**5):
        assert reason(draw.randbytes(size)) == "not_text"
    assert reason(b"t\0\1\0" * 20) == "not_text"
    assert reason(b"text", "utf-16") == "not_text"


@pytest.mark.parametrize(
    "head, encoding",
    [
        (b'<META charset="UTF-8">', "utf-8"),
        (b"<meta http-equiv=x content='a; charset=koi8-r'>", "koi8-r"),
        (b"<p>charset=latin1", None),
        (b"<meta " * 700 + b"charset=x", None),
    ],
)
def test_pages_declare_encodings(head, encoding):
    assert declared_encoding(head) == encoding
