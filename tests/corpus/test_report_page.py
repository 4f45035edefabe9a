"""The report as a page: all is there, nothing runs, nothing is fetched."""

import re
import shutil
import subprocess
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser

import pytest

from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.report.figures import percent
from keras_llm.corpus.report.page import render_page, save_page
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

HOSTILE = "</style></pre>\"'<script>alert(1)</script><img src=//x onerror=y>&"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FRAME = """
<iframe src="report.html" width="WIDTH" height="900" frameborder="0"></iframe>
<script>
frames[0].onload = () => {
  const page = frames[0].document, root = page.documentElement
  const over = root.scrollWidth - root.clientWidth
  const bar = getComputedStyle(page.querySelector(".bar"))
  document.title = "over by " + over + " " + bar.display
}
</script>
"""


class Page(HTMLParser):
    """Elements, addresses and text of a page."""

    VOID = {"meta", "br", "img", "link"}

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(page)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""

    def values(self, name):
        return [value for _, each, value in self.attributes if each == name]


def with_texts(value, text):
    """The same record with every text replaced, keys of mappings too."""
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        return replace(
            value,
            **{name: with_texts(getattr(value, name), text) for name in names},
        )
    if isinstance(value, str):
        return text + value if len(value) > 1 else value
    if isinstance(value, list):
        return [with_texts(item, text) for item in value]
    if isinstance(value, dict):
        return {
            with_texts(key, text): with_texts(item, text)
            for key, item in value.items()
        }
    return value


def test_the_page_says_what_the_report_says(made):
    report = made.report
    page = Page((made.folder / "report.html").read_text(encoding="utf-8"))
    said = " ".join(page.text.split())
    for name, rule in report.rules.items():
        assert name in said
        for change in rule.changes:
            assert change.id in said
        for drop in rule.drops:
            assert f"dropped: {drop.reason}" in said
    for warning in report.warnings:
        assert warning in said
    assert percent(report.kept.documents, report.read.documents) in said
    assert f"{report.kept.documents:,} of {report.read.documents:,}" in said


def test_every_link_has_a_place_to_go(made):
    page = Page(render_page(made.report))
    places = page.values("id")
    assert len(places) == len(set(places))
    links = page.values("href")
    assert links and all(link[0] == "#" for link in links)
    assert {link[1:] for link in links} <= set(places)


@pytest.mark.parametrize("text", ["", HOSTILE])
def test_the_page_needs_nothing_else_and_shows_what_is_hostile(made, text):
    report = with_texts(made.report, text)
    page = Page(render_page(report))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(
        page.tags
    )
    assert page.tags.count("style") == 1
    assert page.values("src") == []
    names = {name for _, name, _ in page.attributes}
    assert not any(name.startswith("on") for name in names)
    style = render_page(report).split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|https?:|//", style)
    assert "default-src 'none'" in page.values("content")[-1]
    assert text == "" or page.text.count("<script>alert(1)</script>") > 50


def test_what_cannot_be_written_or_seen_is_shown(made, tmp_path):
    report = replace(made.report, sources=["\udcff\u202egpj.exe"])
    save_page(report, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "\\udcff\\u202egpj.exe" in page.text
    assert "\u202e" not in page.text


def test_a_page_of_next_to_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("short")
    settings = CorpusSettings(
        rules=[], leaks="ignore", split=SplitSettings(validation=0)
    )
    report = prepare(str(tmp_path / "a.txt"), tmp_path / "out", settings)
    page = Page(render_page(replace(report, warnings=[], languages=None)))
    for said in ("Nothing looks wrong", "Not identified", "Not checked"):
        assert said in page.text


@pytest.mark.skipif(not BROWSER, reason="needs a browser")
@pytest.mark.parametrize("width", [360])
def test_nothing_runs_over_the_edge_in_a_browser(made, tmp_path, width):
    long = with_texts(made.report, "w" * 90)
    save_page(long, tmp_path)
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "<title>over by 0 flex</title>" in done.stdout
