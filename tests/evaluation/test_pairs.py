"""Questions and answers, from whatever file they come in."""

import json

import pytest
from testing import DATA

from keras_llm.errors import InputError
from keras_llm.evaluation.pairs import Pair, read_pairs
from keras_llm.tuning.data import write_conversations

WHO, WHY = Pair("Who?", "The owl."), Pair("Why,\nso?", "Nobody knows.")
NAMES = [
    ("prompt", "completion"),
    ("question", "answer"),
    ("input", "output"),
    ("instruction", "output"),
]


def records(*names):
    return [dict(zip(names, pair, strict=True)) for pair in (WHO, WHY)]


@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_columns_are_found_by_their_names(names, tmp_path):
    lines = "\n".join(map(json.dumps, records(*names)))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.json").write_text(json.dumps(records(*names), indent=1))
    table = f'{names[1]},{names[0]}\nThe owl.,Who?\nNobody knows.,"Why,\nso?"\n'
    (tmp_path / "a.csv").write_text(table)
    for name in ("a.jsonl", "a.json", "a.csv"):
        assert read_pairs(str(tmp_path / name)) == [WHO, WHY]


def test_columns_by_name_and_by_number(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text("Go.\tVa !\nRun!\tCours !\n")
    assert read_pairs(str(table), "1", "2")[1] == Pair("Run!", "Cours !")
    assert read_pairs(str(table), "2", "1")[1] == Pair("Cours !", "Run!")
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"en": "Go.", "fr": "Va !", "prompt": "no"}\n')
    assert read_pairs(str(lines), "en", "fr") == [Pair("Go.", "Va !")]


def test_the_input_of_an_instruction_follows_it(tmp_path):
    rows = [
        {"instruction": "Add.", "input": "1 + 2", "output": "3"},
        {"instruction": "Say hello.", "input": "", "output": "Hello."},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert read_pairs(str(tmp_path / "a.json")) == [
        Pair("Add.\n1 + 2", "3"),
        Pair("Say hello.", "Hello."),
    ]


def messages(*texts):
    roles = ("user", "assistant") * len(texts)
    return [
        {"role": role, "content": text}
        for role, text in zip(roles, texts, strict=False)
    ]


def test_conversations_that_tuning_held_out_are_pairs(tmp_path):
    path = tmp_path / "conversations.jsonl"
    write_conversations(path, [messages(*WHO), messages(*WHY)])
    assert read_pairs(str(path)) == [WHO, WHY]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the published texts")
def test_published_files():
    folder = DATA.parent
    pairs = read_pairs(str(folder / "instructions/instructions.json"))
    assert len(pairs) == 1100
    translations = folder / "translation/english_french.tsv"
    assert len(read_pairs(str(translations), "1", "2")) == 20_000


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.jsonl",
            '{"q": "a", "a": "b"}',
            "@0 must have columns.*Received: q, a",
        ),
        ("a.jsonl", "{torn", "a.jsonl@0 cannot be read"),
        ("a.jsonl", "[1]", "a.jsonl@0 cannot be read"),
        ("a.jsonl", '{"prompt": "a", "completion": " "}', "completion.*' '"),
        ("a.jsonl", '{"prompt": 3, "completion": "a"}', "prompt. Received: 3"),
        ("a.csv", "prompt,completion\n", "at least one"),
        ("a.jsonl", '{"messages": 3}', "one user and one assistant"),
        ("a.jsonl", '{"messages": [3, 3]}', "one user and one assistant"),
        (
            "a.jsonl",
            json.dumps({"messages": messages("a", "b", "c", "d")}),
            "a.jsonl@0 must have messages of one user",
        ),
        (
            "a.jsonl",
            json.dumps({"messages": messages("a", " ")}),
            "column assistant. Received: ' '",
        ),
        ("a.md", "# Title", "cannot be read"),
    ],
)
def test_what_is_no_pair_is_one_line(name, content, expected, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=expected):
        read_pairs(str(tmp_path / name))
    with pytest.raises(InputError, match="named both, or neither"):
        read_pairs(str(tmp_path / name), prompt="a")
