"""Books against the library, or the rules, that wrote them."""

import io
import time

import pytest
from source_files import (
    CHAPTER,
    documents,
    docx,
    epub,
    pdf,
    read,
    slow_pdf,
    zipped,
)

from keras_llm.corpus.sources import books


def test_chapters_come_in_reading_order_as_one_text(tmp_path):
    found = documents(tmp_path / "a.epub", epub(["One &amp; two.", "Three."]))
    [document] = found
    assert document.text == "One & two.\n\nThree.\n"
    assert document.metadata["format"] == "text"


@pytest.mark.parametrize(
    "inner, expected",
    [
        ("<h1>Title</h1><p>a<b>b</b> <i>c</i><br/>d</p>", "Title\n\nab c\nd"),
        ("caf&eacute;&nbsp;&#8212; <script>x</script>y", "café\xa0— y"),
        ("a<!-- no -->b<?no?>c", "abc"),
        ("<p>not <b>closed", "not closed"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<p>&entity;</p>", "&entity;"),
        ("<div>" * 200 + "deep" + "</div>" * 200, "deep"),
    ],
)
def test_markup_of_a_chapter_becomes_text(tmp_path, inner, expected):
    [text] = read(tmp_path / "a.epub", epub([f"</p>{inner}<p>"]))
    assert text.strip("\n") == expected


def test_entities_of_a_book_do_not_expand(tmp_path):
    lines = ['<!ENTITY e0 "lol">']
    for number in range(1, 12):
        lines.append(f'<!ENTITY e{number} "{f"&e{number - 1};" * 10}">')
    lines.append('<!ENTITY file SYSTEM "file:///etc/passwd">')
    doctype = f"<!DOCTYPE html [{''.join(lines)}]>"
    chapter = CHAPTER.replace("<html", doctype + "<html")
    [text] = read(tmp_path / "a.epub", epub(["a&e11;b &file;"], chapter))
    assert "lol" not in text and "root:" not in text and len(text) < 2000


def test_a_book_that_unpacks_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(books, "MOST_BYTES", 2**20)
    long = "\n" * 2**21
    wrong = {"META-INF/container.xml": long}, {"OEBPS/book.opf": long}
    for data in (*(epub(["a"], **file) for file in wrong), epub([long])):
        assert read(tmp_path / "a.epub", data) == ["too_large"]
    assert read(tmp_path / "a.docx", docx([long])) == ["too_large"]


def test_encrypted_books_are_named(tmp_path):
    encryption = (
        '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#">'
        '<e:CipherReference URI="OEBPS/chapter%200.xhtml"/></encryption>'
    )
    data = epub(["a"], **{"META-INF/encryption.xml": encryption})
    assert read(tmp_path / "a.epub", data) == ["encrypted"]


def test_pages_of_a_pdf_are_what_matplotlib_drew(tmp_path):
    data = pdf(["The first page.", "The second page."])
    [text] = read(tmp_path / "a.pdf", data)
    assert text.split("\n")[:2] == ["The first page.", "The second page."]


def test_paragraphs_of_a_docx_are_what_was_written(tmp_path):
    texts = ["One & two.", "Ünï 漢字 😀", "  spaces"]
    [document] = documents(tmp_path / "a.docx", docx(texts))
    assert document.text.split("\n\n")[:3] == texts
    assert document.metadata["format"] == "text"
    assert read(tmp_path / "a.docx", zipped({"a.txt": "a"})) == ["damaged"]


def test_words_that_a_pdf_divides_stay_as_they_are_drawn(tmp_path):
    [text] = read(tmp_path / "a.pdf", pdf(["A divi-\nded word."]))
    assert text == "A divi-\nded word.\n"


def test_a_pdf_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(books, "SECONDS", 1.5)
    data = slow_pdf(2_000_000)
    assert len(data) < 200_000
    begin = time.monotonic()
    archive = zipped({"a.pdf": data, "b.pdf": pdf(["The next."])})
    slow, quick = read(tmp_path / "a.zip", archive)
    assert (slow, quick) == ("timeout", "The next.\n")
    assert time.monotonic() - begin < 30


def test_pdfs_with_a_password_are_named(tmp_path):
    from pypdf import PdfReader, PdfWriter

    for password, expected in (("", "Not secret."), ("x", "encrypted")):
        writer = PdfWriter(PdfReader(io.BytesIO(pdf(["Not secret."]))))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        file = io.BytesIO()
        writer.write(file)
        [text] = read(tmp_path / "a.pdf", file.getvalue())
        assert text.strip() == expected
