"""The site: all pages are found, links and commands lead somewhere, it builds.

The quick tests read the pages; the slow one executes every cell of them.
"""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import jupytext
import pytest
from nbclient import NotebookClient

import keras_llm
from keras_llm.cli import _parse
from keras_llm.commands import COMMANDS
from keras_llm.recipes import recipe_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = Path(keras_llm.__file__).parent
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if "generated" not in page.parts
)
NOTEBOOKS = [page for page in PAGES if "```{code-cell}" in page.read_text()]
SVG = "{http://www.w3.org/2000/svg}"
CELL = re.compile(r"^```\{code-cell\}.*?\n(.*?)^```", re.M | re.S)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.M | re.S)
TERMINAL = re.compile(r"^```(?:bash|console)\n(.*?)^```", re.M | re.S)


def name_of(page):
    return page.relative_to(DOCS).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


def cells_of(page):
    """Code cells, without the options at their beginning."""
    for cell in CELL.findall(text_of(page)):
        yield re.sub(r"\A(?::.*\n)+", "", cell)


def in_toctrees(page):
    """Pages and generated ones that the tables of contents of a page list."""
    for tree in TOCTREE.findall(text_of(page)):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                yield (page.parent / line).relative_to(DOCS).as_posix()


def test_every_page_is_in_one_table_of_contents():
    listed = [name for page in PAGES for name in in_toctrees(page)]
    there = {name_of(page).removesuffix(".md") for page in PAGES}
    assert len(listed) == len(set(listed))
    assert there - {"index"} == {
        name for name in listed if not name.startswith("reference/generated")
    }


def headings_of(page):
    """What a link may have after `#`."""
    for title in re.findall(r"^#+ (.*)$", text_of(page), re.M):
        kept = re.sub(r"[^\w\- ]", "", title.lower())
        yield kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", CELL.sub("", text_of(page))):
        if link.startswith("https://") or "generated/" in link:
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if heading:
            assert heading in headings_of(target), link


@pytest.mark.parametrize(
    "page",
    [each for each in NOTEBOOKS if each.parent.name in ("guide", "why")],
    ids=name_of,
)
def test_a_page_says_how_long_it_takes_and_draws_a_picture(page):
    text = text_of(page)
    assert "**Takes** " in text
    assert "**Needs** " in text
    assert page.parent.name == "guide" or "**Asks:** " in text
    assert "import matplotlib.pyplot as plt" in "".join(cells_of(page))


def commands_of(page):
    """Every `keras-llm …` that a page runs or shows in a terminal."""
    lines = "\n".join(TERMINAL.findall(text_of(page)))
    for cell in cells_of(page):
        lines += "\n".join(re.findall(r"^!(.*(?:\\\n.*)*)", cell, re.M)) + "\n"
    joined = lines.replace("\\\n", " ")
    return [
        line
        for line in joined.splitlines()
        if line.startswith("keras-llm ") and "|" not in line
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one(page, monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT", "sotu")
    monkeypatch.setenv("STEPS", "20")
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"--recipe (\S+\.yaml)", text_of(page)):
        Path(name).write_text("{}")
    for line in commands_of(page):
        words = shlex.split(os.path.expandvars(re.sub(r"\{\w+\}", "1", line)))
        try:
            _parse(words[1:])
        except SystemExit as exit:  # --help
            assert exit.code == 0, line


@pytest.mark.parametrize("page", NOTEBOOKS, ids=name_of)
def test_every_cell_is_python_that_imports_what_there_is(page):
    for cell in cells_of(page):
        tree = ast.parse(re.sub(r"^\s*!.*(?:\\\n.*)*$", "", cell, flags=re.M))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and "keras_llm" in node.module:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), (page, alias.name)


@pytest.mark.parametrize("name", ["why/positions.md"])
def test_a_copy_runs_as_a_notebook(name, tmp_path):
    copy = shutil.copy(DOCS / name, tmp_path)
    notebook = jupytext.read(copy)
    NotebookClient(
        notebook, resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = list(chain(*(cell.get("outputs", ()) for cell in notebook.cells)))
    assert any("image/png" in each.get("data", ()) for each in outputs)


@pytest.mark.slow
def test_the_site_builds_with_every_cell_executed(tmp_path):
    built = subprocess.run(
        [sys.executable, DOCS / "build.py", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    assert (tmp_path / "html/index.html").is_file()


def test_outputs_of_other_text_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from build import _environment

    kept = tmp_path / "work/kept/outputs"

    def is_kept():
        _environment(tmp_path, full=True, executes=False)
        was_there = kept.exists()
        kept.parent.mkdir(exist_ok=True)
        kept.touch()
        return was_there

    assert [is_kept(), is_kept()] == [False, True]
    monkeypatch.setenv("TEXT", "other")
    assert [is_kept(), is_kept()] == [False, True]


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from links import broken_links

    page = '<h1 id="top"></h1><a href="a.html#top"></a><a href="{}"></a>'
    (tmp_path / "a.html").write_text(page.format("b.html"))
    (tmp_path / "b.html").write_text(page.format("a.html#bottom"))
    assert broken_links(tmp_path) == ["b.html: a.html#bottom"]
    (tmp_path / "b.html").unlink()
    assert broken_links(tmp_path) == ["a.html: b.html"]


def test_a_word_in_italics_leads_to_the_glossary(tmp_path):
    glossary = "# Glossary\n\n```{glossary}\ntoken\n  A piece of text.\n```\n"
    pages = {
        "index.md": "# Page\n\nCut into *Tokens*. Other *words*.\n",
        "glossary.md": f"---\norphan: true\n---\n{glossary}",
        "conf.py": f"import sys; sys.path.insert(0, {str(DOCS)!r})\n"
        "extensions = ['myst_parser', 'terms']\n",
    }
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-qW",
        tmp_path,
        tmp_path / "out",
    ]
    subprocess.run(command, check=True)
    page = (tmp_path / "out/index.html").read_text()
    links = re.findall(r'href="(glossary.*?)".*?<em>(.*?)</em>', page)
    assert links == [("glossary.html#term-token", "Tokens")]


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("generate")


def public_names(module):
    return importlib.import_module(module).__all__


def test_the_reference_has_every_command_recipe_and_public_name(generate):
    commands = generate.commands_page()
    assert all(f"usage: keras-llm {name}" in commands for name in COMMANDS)
    assert "--training.learning_rate" in commands
    recipes = generate.recipes_page()
    assert all(f"## `{name}`" in recipes for name in recipe_names())
    assert {
        ".".join(("keras_llm", *path.parent.relative_to(PACKAGE).parts))
        for path in PACKAGE.rglob("__init__.py")
        if "\n__all__ = " in path.read_text()
    } == set(generate.PUBLIC)
    documented = generate.api_page()
    names = [
        *chain(*map(public_names, generate.PUBLIC)),
        *chain(*generate.imported_by_pages().values()),
        "TrainingSettings",
    ]
    assert "read_documents" in names
    for name in names:
        assert f":: {name}\n" in documented


def test_text_flows_down_in_the_diagram(generate):
    root = ElementTree.fromstring(generate.diagram())
    names = [
        each.text for each in root.iter(f"{SVG}tspan") if "x" not in each.attrib
    ]
    boxes = [each for each in root.iter(f"{SVG}rect") if "rx" in each.attrib]
    top = {
        name: float(box.get("y"))
        for name, box in zip(names, boxes, strict=True)
    }
    flow = (
        "corpus",
        "tokenizers",
        "datasets",
        "training",
        "tuning",
        "workflow",
    )
    assert sorted(flow, key=top.get) == list(flow)
    for folder in top:
        for used in generate._imported_by(folder, list(top)):
            assert top[used] < top[folder]


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "exercises")
    return importlib.import_module("checks").CHECKS


def exercise(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def longest_first(word, pieces):
    """Not what merges in their order make."""
    parts = []
    while word:
        ends = [end for end in range(2, len(word) + 1) if word[:end] in pieces]
        end = max(ends, default=1)
        parts, word = [*parts, word[:end]], word[end:]
    return parts


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("byte_pairs", {"cut": longest_first}),
        (
            "byte_pairs",
            {
                "cut": lambda word, pieces: [
                    part[::-1]
                    for part in longest_first(
                        word[::-1], [piece[::-1] for piece in pieces]
                    )[::-1]
                ]
            },
        ),
        ("sampler", {"top_k": 0}),
        ("sampler", {"top_p": 1.0}),
        ("sampler", {"temperature": 1.0}),
    ],
)
def test_a_wrong_answer_is_refused(name, wrong, checks):
    mine = exercise(DOCS / f"exercises/answers/{name}.py")
    if name == "byte_pairs":
        mine.cut = wrong["cut"]
    else:
        names = ("scores", "temperature", "top_k", "top_p", "uniform")
        choose = mine.choose
        mine.choose = lambda *given: choose(
            **dict(zip(names, given, strict=True)) | wrong
        )
    with pytest.raises(AssertionError):
        checks[name](mine)


@pytest.mark.parametrize(
    ("option", "outcome"), [([], "4 skipped"), (["--answers"], "4 passed")]
)
def test_the_exercises_check_themselves(option, outcome, capfd):
    exercises = str(DOCS / "exercises")
    assert pytest.main(["-q", "-pno:cacheprovider", exercises, *option]) == 0
    assert outcome in capfd.readouterr().out


def test_every_exercise_has_an_answer_and_a_check(checks):
    answers = {each.stem for each in (DOCS / "exercises/answers").glob("*.py")}
    assert answers == set(checks)
    assert all((DOCS / f"exercises/{name}.py").is_file() for name in answers)
