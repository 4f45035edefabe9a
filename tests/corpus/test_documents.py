"""The corpus on disk: what is no document is told by file and line."""

import json

import pytest

from keras_llm.corpus.documents import Document, read_shard
from keras_llm.errors import InputError

GOOD = {"id": "a", "text": "b", "source": "c"}


def test_a_document_is_read_as_it_was_written(tmp_path):
    shard = tmp_path / "00000.jsonl"
    shard.write_text(Document(**GOOD).to_json() + "\n")
    assert json.loads(shard.read_text()) == GOOD
    assert list(read_shard(shard)) == [Document(**GOOD)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD | {"text": 5}, "text is int, not str"),
        (GOOD | {"id": None}, "id is NoneType, not str"),
        (GOOD | {"source": []}, "source is list, not str"),
        (GOOD | {"continues": True}, "continues'). Make the corpus again"),
        ({"text": "b"}, "missing"),
        ([], "expected a JSON document"),
    ],
)
def test_what_is_no_document_is_named(tmp_path, line, reason):
    shard = tmp_path / "00000.jsonl"
    lines = [json.dumps(GOOD), json.dumps(line)]
    shard.write_text("\n".join(lines))
    with pytest.raises(InputError, match="00000.jsonl, line 2: ex") as error:
        list(read_shard(shard))
    assert reason in str(error.value)
