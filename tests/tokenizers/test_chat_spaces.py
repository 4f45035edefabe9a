"""Spaces after control tokens: those that `transformers` puts there."""

import pytest
import tensorflow as tf
from auto_tokenizers import auto_tokenizer, llama_pieces, write_json
from chat_template_cases import TEMPLATES, differing

from keras_llm.export.graph_tokenizers import WithControlTokens
from keras_llm.export.parts import scratch_tokenizer
from keras_llm.tokenizers.hugging_face import read_tokenizer, write_tokenizer


def llama2(folder, **config):
    """A folder as Llama 2's."""
    (folder / "tokenizer.model").write_bytes(llama_pieces())
    write_json(
        folder / "tokenizer_config.json",
        add_bos_token=True,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **{"tokenizer_class": "LlamaTokenizer"} | config,
    )
    write_json(folder / "config.json", model_type="llama", eos_token_id=2)
    return folder


@pytest.fixture(
    scope="module", params=["class", "legacy", "saved again", "another class"]
)
def spaces(request, tmp_path_factory):
    """Whether a space is put after control tokens; ours and theirs."""
    folder = tmp_path_factory.mktemp("spaces")
    legacy = {"legacy": True} if request.param == "legacy" else {}
    llama2(folder, **legacy)
    if request.param == "saved again":
        auto_tokenizer(folder).save_pretrained(folder)
        (folder / "tokenizer.model").unlink()
    if request.param == "another class":
        write_tokenizer(read_tokenizer(folder), folder)
        llama2(folder, tokenizer_class="PreTrainedTokenizerFast")
    is_put = request.param in ("legacy", "another class")
    return is_put, read_tokenizer(folder), auto_tokenizer(folder)


@pytest.mark.parametrize("name", ["llama 2", "mistral", "zephyr"])
def test_ids_of_sentence_piece_are_those_of_transformers(name, spaces):
    is_put, *pair = spaces
    assert pair[0].space_after_control == is_put
    assert differing(TEMPLATES[name], name, *pair) == []


TEXTS = [
    "<s>the",
    "the<s>war</s>a",
    "<s>",
    "",
    "a<s>",
    "\n<s>\nthe",
    "<s></s>b",
]


def test_control_tokens_in_a_graph(spaces):
    _, tokenizer, auto = spaces
    graph = WithControlTokens(scratch_tokenizer(tokenizer))
    expected = auto(TEXTS, add_special_tokens=False).input_ids
    rows = graph.tokenize(tf.constant(TEXTS))
    assert rows.to_list() == expected
    # Text of a conversation, from which control tokens were taken out.
    texts = ["", " the war", "the\n  of", "\u2581the", "  "]
    own = tokenizer.tokenize(texts)
    graph = scratch_tokenizer(tokenizer)
    assert graph.tokenize(tf.constant(texts)).to_list() == own
    byte, unknown = map(tokenizer.token_to_id, ("<0x20>", "<unk>"))
    own += [[byte, byte, *own[1]], [unknown, *own[1]], [unknown]]
    ids = tf.ragged.constant(own, tf.int32, ragged_rank=1)
    found = [text.decode() for text in graph.detokenize(ids).numpy()]
    assert found == tokenizer.detokenize(own)
