"""Files of every format, written by the libraries that people write them with.

Each function returns the bytes of a file that holds the texts.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
import zlib
from xml.sax.saxutils import escape

from keras_llm.corpus.sources import list_sources
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.recipes.settings import CorpusSettings

CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf"
 media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<manifest>{items}</manifest><spine>{spine}</spine></package>"""
CHAPTER = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head>
<body><p>{text}</p></body></html>"""
# The three parts that ECMA-376 asks of a document at least.
OFFICE = "http://schemas.openxmlformats.org"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
DOCX_TYPES = f"""<?xml version="1.0"?>
<Types xmlns="{OFFICE}/package/2006/content-types">
<Default Extension="rels"
 ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml"
 ContentType="{WORD}.document.main+xml"/></Types>"""
DOCX_RELATIONS = f"""<?xml version="1.0"?>
<Relationships xmlns="{OFFICE}/package/2006/relationships">
<Relationship Id="rId1" Target="word/document.xml"
 Type="{OFFICE}/officeDocument/2006/relationships/officeDocument"/>
</Relationships>"""
DOCX = f"""<?xml version="1.0"?>
<w:document xmlns:w="{OFFICE}/wordprocessingml/2006/main">
<w:body>{{paragraphs}}</w:body></w:document>"""


def words(count, seed):
    draw = random.Random(seed)
    return [f"word{draw.randrange(10**6)}" for _ in range(count)]


def text_of(count, seed):
    return " ".join(words(count, seed)) + ".\n"


def write(path, content="text\n"):
    """Writes a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    return path


def plain(texts):
    return "\n".join(texts).encode()


def page(texts):
    body = "".join(f"<p>{text}</p>" for text in texts)
    return f"<html><body>{body}</body></html>".encode()


def json_array(texts):
    return json.dumps([{"text": text} for text in texts]).encode()


def json_lines(texts):
    return "".join(json.dumps({"text": t}) + "\n" for t in texts).encode()


def table(texts, delimiter=","):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["number", "text"], *enumerate(texts)])
    return file.getvalue().encode()


def tabs(texts):
    return "".join(f"{line}\n" for line in ["text", *texts]).encode()


def parquet(texts, **columns):
    import pyarrow
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pyarrow.table({"text": texts, **columns}), file)
    return file.getvalue()


def warc(texts, **headers):
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    file = io.BytesIO()
    writer = WARCWriter(file, gzip=False)
    for number, text in enumerate(texts):
        data = text if isinstance(text, bytes) else page([text])
        answer = {"Content-Type": "text/html", **headers}
        http = StatusAndHeaders("200 OK", list(answer.items()), "HTTP/1.1")
        record = writer.create_warc_record(
            f"https://example.org/{number}",
            "response",
            payload=io.BytesIO(data),
            http_headers=http,
        )
        writer.write_record(record)
    return file.getvalue()


def epub(texts, chapter=CHAPTER, **more):
    items = spine = ""
    files = {"mimetype": "application/epub+zip"}
    files["META-INF/container.xml"] = CONTAINER
    for number, text in enumerate(texts):
        name = f"chapter {number}.xhtml"
        files[f"OEBPS/{name}"] = chapter.replace("{text}", text)
        items += f'<item id="c{number}" href="{name.replace(" ", "%20")}"/>'
        spine += f'<itemref idref="c{number}"/>'
    files["OEBPS/book.opf"] = PACKAGE.format(items=items, spine=spine)
    return zipped(files | more)


def pdf(texts):
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with PdfPages(file) as pages:
        for text in texts:
            figure = Figure()
            figure.text(0.1, 0.5, text)
            pages.savefig(figure)
    return file.getvalue()


def docx(texts):
    paragraphs = "".join(
        f'<w:p><w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'
        for text in texts
    )
    return zipped(
        {
            "[Content_Types].xml": DOCX_TYPES,
            "_rels/.rels": DOCX_RELATIONS,
            "word/document.xml": DOCX.format(paragraphs=paragraphs),
        }
    )


def slow_pdf(operators):
    """A PDF of a few kilobytes that draws very much."""
    content = zlib.compress(b"BT /F 1 Tf (word) Tj ET\n" * operators, 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 9 9]"
        b"/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream"
        % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data = b"%PDF-1.4\n"
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + (
        b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\n"
        b"startxref\n%d\n%%%%EOF" % (table, len(data))
    )


def zipped(files, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zstandard(data):
    from backports import zstd

    return zstd.compress(data)


FORMATS = {
    ".txt": plain,
    ".html": page,
    ".json": json_array,
    ".jsonl": json_lines,
    ".csv": table,
    ".tsv": tabs,
    ".parquet": parquet,
    ".warc": warc,
    ".docx": docx,
    ".epub": epub,
    ".pdf": pdf,
}
COMPRESSIONS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard,
}
ARCHIVES = {".zip": zipped, ".tar": tarred}


def documents(path, data, **settings):
    """What is read of a file with this content."""
    path.write_bytes(data)
    files = list_sources([str(path)])
    return list(FileReader([files], CorpusSettings(**settings)).run())


def read(path, data, **settings):
    """Texts, or why there is none."""
    return [
        document.metadata.get("unreadable", document.text)
        for document in documents(path, data, **settings)
    ]
