"""Records for tuning, whatever file they come in."""

import gzip
import json

import pytest
from source_files import json_array, parquet, zipped

from keras_llm.corpus.sources.records import read_records
from keras_llm.errors import InputError

TURNS = [
    {"messages": [{"role": "user", "content": "Why?"}]},
    {"messages": [{"role": "user", "content": "How?\n"}]},
]


def values(*sources, **options):
    return [each.values for each in read_records(sources, **options)]


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    return str(path)


def test_nested_values_of_json_in_any_wrapping(tmp_path):
    lines = "\n".join(map(json.dumps, TURNS))
    array = json.dumps(TURNS, indent=2)
    files = {
        "a.jsonl": lines,
        "b.json": array,
        "c.json.gz": gzip.compress(array.encode()),
        "d.zip": zipped({"inner/e.json": array}),
    }
    for name, content in files.items():
        assert values(write(tmp_path / name, content)) == TURNS, name
    everything = list(read_records([str(tmp_path)]))
    assert [each.values for each in everything] == TURNS * 4
    assert everything[0].id == "a.jsonl@0"
    assert everything[-1].id == "d.zip/inner/e.json@2"


def test_columns_of_tables_by_name_and_by_number(tmp_path):
    table = write(tmp_path / "a.csv", 'q;a;n\n"Why?";Because.;1\n')
    row = {"q": "Why?", "a": "Because.", "n": "1"}
    assert values(table) == [row]
    assert values(table, columns=["a", "q"]) == [row]
    pairs = write(tmp_path / "b.tsv", "Go.\tVa !\nRun!\tCours !\n")
    assert values(pairs, columns=["1", "2"]) == [
        {"1": "Go.", "2": "Va !"},
        {"1": "Run!", "2": "Cours !"},
    ]
    [missing] = read_records([table], columns=["body"])
    assert "There is no body; its columns are q, a, n." in missing.trouble
    column = write(tmp_path / "c.parquet", parquet(["x"], turns=[TURNS]))
    assert values(column) == [{"text": "x", "turns": TURNS}]


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": \n[2]\n{"a": 3}\n')
    found = list(read_records([path]))
    assert [each.values for each in found] == [{"a": 1}, None, None, {"a": 3}]
    assert "invalid_json" in found[1].trouble
    [text] = read_records([write(tmp_path / "a.txt", "no record")])
    assert "no_records" in text.trouble
    with pytest.raises(InputError, match="does not exist"):
        list(read_records([str(tmp_path / "none.json")]))


def test_rows_of_a_dataset_keep_their_splits(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", json.dumps(TURNS[0]))
    found = list(read_records([f"hf:{tmp_path}"]))
    assert [(each.split, each.values) for each in found] == [
        ("train", TURNS[0]),
        ("test", TURNS[0]),
    ]


def test_an_array_of_anything_but_objects(tmp_path):
    path = write(tmp_path / "a.json", json_array(["x"])[:-1] + b", 3]")
    found = list(read_records([path]))
    assert found[0].values == {"text": "x"}
    assert "an object" in found[1].trouble
