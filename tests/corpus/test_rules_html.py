"""Pages of several shapes come down to their main content."""

import pickle
import textwrap
import time

import pytest
from datatrove.data import Document

from keras_llm.corpus.rules import build_rules
from keras_llm.corpus.rules.html import Html, MainContent
from keras_llm.recipes.settings import CorpusSettings

PARAGRAPHS = [
    "The harbour of Westby was built in 1842, when the fishing fleet had "
    "outgrown the river mouth and the council voted for a stone pier.",
    "For thirty years the work went on, summer after summer, until the "
    "breakwater reached the skerries & the ferries could land.",
    "Today the basin holds some two hundred boats, most of them small, and "
    "the old customs house serves as a museum of the coast.",
]
FIRST, SECOND, THIRD = (text.replace("&", "&amp;") for text in PARAGRAPHS)
UNWANTED = [
    "Webshop",
    "cookie",
    "tracking",
    "BoatWorld",
    "rights reserved",
    "Guestbook",
    "Related",
    "first!!!",
]
PAGES = {
    "article": f"""<!DOCTYPE html><html lang="en"><head><title>Harbour</title>
<script>var tracking = "evil()";</script><style>.a{{color:red}}</style></head>
<body><header><nav><ul><li><a href="/">Home</a></li>
<li><a href="/shop">Webshop</a></li></ul></nav></header>
<div id="cookie-banner"><p>We use cookies to improve your experience. By
continuing you accept our cookie policy.</p><button>Accept</button></div>
<main><article><h1>The harbour</h1><p>{FIRST}</p><h2>Construction</h2>
<p>{SECOND}</p><ul><li>1842: the first stone</li><li>1872: the light</li></ul>
<p>{THIRD}</p></article></main>
<aside class="advertisement"><p>Buy cheap boats at BoatWorld!</p></aside>
<footer><p>Copyright 2020. All rights reserved.</p></footer></body></html>""",
    "blocks": f"""<html><body><div class="menu"><a href="/a">Webshop</a> |
<a href="/b">Guestbook</a></div><div class="content"><h1>The harbour</h1>
<div class="body"><p>{FIRST}<p>{SECOND}<p>{THIRD}</div></div>
<div class="sidebar"><h3>Related posts</h3><ul><li><a href="/x">Ten best
beaches</a></li></ul></div>
<div class="comments"><p>first!!! great post</p></div></body></html>""",
    "layout table": f"""<HTML><BODY BGCOLOR=white><TABLE><TR><TD>
<A HREF=a.htm>Webshop</A><BR><A HREF=b.htm>Guestbook</A></TD><TD>
<H1>The harbour</H1><P>{FIRST}<P>{SECOND}<P>{THIRD}</TD></TR></TABLE>
</BODY></HTML>""",
    "line breaks": f"""<html><body>{FIRST}<br><br>{SECOND}<br><br>{THIRD}
</body></html>""",
}


def page_of(text: str, **metadata) -> Document:
    return Document(text=text, id="a", metadata={"format": "html"} | metadata)


@pytest.fixture(scope="module")
def html():
    block = Html()
    yield block
    block.close()


@pytest.mark.parametrize("shape", PAGES)
def test_the_main_content_stays_and_the_rest_goes(html, shape):
    document = page_of(PAGES[shape])
    assert html.filter(document) is True
    lines = document.text.split("\n")
    assert [line for line in lines if line in PARAGRAPHS] == PARAGRAPHS
    for word in UNWANTED:
        assert word not in document.text
    assert document.metadata["format"] == "text"


@pytest.mark.parametrize("shape", PAGES)
def test_lines_of_the_source_mean_nothing(html, shape):
    whole, wrapped = page_of(PAGES[shape]), page_of(PAGES[shape])
    for text in (FIRST, SECOND, THIRD):
        lines = "\r\n\t ".join(textwrap.wrap(text, 40))
        wrapped.text = wrapped.text.replace(text, lines)
    assert html.filter(whole) and html.filter(wrapped)
    assert wrapped.text == whole.text
    assert set(PARAGRAPHS) <= set(wrapped.text.split("\n"))


def test_no_sentence_of_a_wrapped_page_is_lost_to_c4():
    page = PAGES["article"]
    for text in (FIRST, SECOND, THIRD):
        short_ends = "\n".join([*text.split(" ")[:-1], text.split(" ")[-1]])
        page = page.replace(text, short_ends)
    rules = ["html", {"c4_quality": {"min_num_sentences": 1}}]
    data = iter([page_of(page)])
    for rule in build_rules(CorpusSettings(rules=rules)):
        data = rule.run(data)
    [document] = data
    assert document.text.split("\n") == PARAGRAPHS


def test_lines_of_code_stay(html):
    code = "def f(x):\n    return x + 1\n\n\nprint(f(1))"
    document = page_of(
        f"<html><body><article><p>{FIRST}</p><pre>{code}</pre><p>{SECOND}"
        f"</p><p>{THIRD}</p></article></body></html>"
    )
    html.filter(document)
    assert "def f(x):\n    return x + 1" in document.text


def test_headings_and_lists_are_lines_of_their_own(html):
    document = page_of(PAGES["article"])
    html.filter(document)
    assert document.text.split("\n") == [
        "The harbour",
        PARAGRAPHS[0],
        "Construction",
        PARAGRAPHS[1],
        "- 1842: the first stone",
        "- 1872: the light",
        PARAGRAPHS[2],
    ]


def test_a_table_of_data_stays(html):
    rows = "".join(
        f"<tr><td>Pier {number}</td><td>{number}00 metres</td></tr>"
        for number in range(1, 6)
    )
    document = page_of(
        f"<html><body><article><p>{FIRST}</p><table>{rows}</table>"
        f"<p>{SECOND}</p></article></body></html>"
    )
    html.filter(document)
    assert "Pier 3 | 300 metres" in document.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no markup",
        "<html><nav><a href='/'>Home</a></nav><script>x()</script></html>",
        "<html><p>" * 2000,
        "\x00<html>",
    ],
)
def test_a_page_without_content_is_dropped(html, text):
    kept, reason = html.filter(page_of(text))
    assert not kept
    assert reason in ("no_main_content", "broken_page")


def test_a_lone_surrogate_does_no_harm(html):
    document = page_of(PAGES["article"].replace("fleet", "\ud800"))
    assert html.filter(document) is True
    assert "fishing ? had" in document.text


def test_other_texts_pass(html):
    document = Document(text=PAGES["article"], id="a")
    assert html.filter(document) is True
    assert document.text == PAGES["article"]


def test_a_page_that_hangs_is_given_up(monkeypatch):
    def hang(self, text):
        if "hang" in text:
            time.sleep(60)
        return text

    monkeypatch.setattr(MainContent, "_extract", hang)
    block = Html(timeout=2)
    try:
        assert block.filter(page_of("fine")) is True
        assert block.filter(page_of("hang")) == (False, "timeout")
        assert block.filter(page_of("fine again")) is True
    finally:
        block.close()


def test_a_page_that_fails_is_dropped_without_a_traceback(monkeypatch, capfd):
    def fail(self, text):
        raise RecursionError("deep")

    monkeypatch.setattr(MainContent, "_extract", fail)
    block = Html()
    try:
        # The first page that a process reads is empty, to warm it up.
        assert block.filter(page_of("x")) == (False, "broken_page")
    finally:
        block.close()
    assert "Traceback" not in capfd.readouterr().err


def test_the_process_ends_with_the_rule():
    (rule,) = build_rules(CorpusSettings(rules=["html"]))
    rule = pickle.loads(pickle.dumps(rule))
    data = rule.run(iter([page_of(PAGES["article"]), page_of("<p>")]))
    assert next(data).text.startswith("The harbour")
    process = rule.block._sandbox.process
    assert process.is_alive()
    assert list(data) == []
    process.join(10)
    assert rule.count.reasons == {"no_main_content": 1}
    assert rule.block._sandbox is None
