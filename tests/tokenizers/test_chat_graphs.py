"""Prompts of conversations in a graph: the ids of the templates themselves."""

import pytest
import tensorflow as tf
from chat_template_cases import (
    CONVERSATIONS,
    LLAMA_3,
    TEMPLATES,
    TYPED,
    turns,
)
from stock_models import stock_tokenizer
from test_chat_spaces import llama2
from test_chat_templates import byte_pair_folder
from testing import tiny_tokenizer

from keras_llm.errors import InputError
from keras_llm.export.chat_prompts import ChatPrompts
from keras_llm.export.parts import scratch_tokenizer
from keras_llm.export.stock_tokenizers import graph_tokenizer
from keras_llm.generation.stock_rules import GenerationRules
from keras_llm.tokenizers.chat_templates import PLAIN, ChatTemplate
from keras_llm.tokenizers.control import CHAT_TEMPLATE
from keras_llm.tokenizers.hugging_face import read_tokenizer

CONTEXT = 512
SYSTEM = " Be \n kind.</s> "
TEMPLATES = {
    **{name: TEMPLATES[name] for name in TEMPLATES if name != "mistral"},
    "llama 3": LLAMA_3.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'"),
    "plain": PLAIN,
}
MORE = [
    turns("a", "b\x01b", "\x01\x01a"),
    turns("\u2028x\x1c", "\x85 y\u3000", "\u200bz\xa0"),
]


def check_ids(graph, template, system=None):
    """That prompts in one batch have the ids of the template."""
    rows = [
        [turn["content"] for turn in messages[is_answered:]]
        for messages in (*CONVERSATIONS, *TYPED, *MORE)
        for is_answered in [messages[0]["role"] == "system"]
    ]
    rows = [row[: len(row) - 1 + len(row) % 2] for row in rows]
    rows = [row for row in rows if all(text.strip() for text in row)]
    assert len(rows) > 6
    longest = max(map(len, rows))
    padded = [row + [""] * (longest - len(row)) for row in rows]
    prompts = ChatPrompts(graph, template, system, CONTEXT)
    ids, truncated = tf.function(prompts.encode)(
        tf.constant(padded), tf.fill([len(rows)], 8)
    )
    assert not any(truncated)
    for row, received in zip(rows, ids.to_list(), strict=True):
        messages = turns(*row, system=system)
        assert received == template.encode(messages, True).token_ids, row


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    """A tokenizer, and it in a graph."""
    folder = tmp_path_factory.mktemp("byte_pairs")
    tokenizer = read_tokenizer(byte_pair_folder(folder, "llama3"))
    return tokenizer, scratch_tokenizer(tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_of_byte_pairs_are_those_of_the_template(name, byte_pairs):
    tokenizer, graph = byte_pairs
    template = ChatTemplate(TEMPLATES[name], tokenizer)
    check_ids(graph, template)
    if name != "gemma":
        check_ids(graph, template, SYSTEM)


@pytest.mark.parametrize(
    "legacy, system",
    [
        (False, SYSTEM),
        pytest.param(False, None, marks=pytest.mark.slow),
        pytest.param(True, SYSTEM, marks=pytest.mark.slow),
        pytest.param(True, None, marks=pytest.mark.slow),
    ],
)
def test_ids_of_pieces_are_those_of_the_template(legacy, system, tmp_path):
    tokenizer = read_tokenizer(llama2(tmp_path, legacy=legacy))
    assert tokenizer.space_after_control == legacy
    graph = scratch_tokenizer(tokenizer)
    for name in ("llama 2", "plain"):
        template = ChatTemplate(TEMPLATES[name], tokenizer)
        check_ids(graph, template, system)


@pytest.mark.parametrize("system", [None, SYSTEM])
def test_ids_of_our_template(system):
    tokenizer = tiny_tokenizer()
    template = ChatTemplate(CHAT_TEMPLATE, tokenizer)
    check_ids(scratch_tokenizer(tokenizer), template, system)


@pytest.mark.parametrize(
    "name, source",
    [
        ("Gemma", TEMPLATES["gemma"]),
        ("Llama", PLAIN),
        pytest.param("GPT2", PLAIN, marks=pytest.mark.slow),
    ],
)
def test_ids_of_stock_tokenizers(name, source):
    tokenizer = stock_tokenizer(name)
    end = (tokenizer.end_token_id,)
    rules = GenerationRules(tokenizer.start_token_id, end)
    graph = graph_tokenizer(tokenizer, rules)
    check_ids(graph, ChatTemplate(source, tokenizer))


def ours_with(head, content):
    """A template like ours, with something else in each turn."""
    return (
        "{% for m in messages %}{{ "
        f"{head} + '<|' + m.role + '|>' + {content} + '<|end_of_turn|>' "
        "}}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )


USER = "(m.content{} if m.role == 'user' else m.content)"
REFUSED = {
    "time of day": ours_with(
        "(strftime_now('%d') if m.role == 'user' else '')", "m.content"
    ),
    "otherwise when others": ours_with(
        "('+' if m.role == 'user' and loop.index > 2 and loop.index < 5 "
        "else '')",
        "m.content",
    ),
    "some white space": ours_with("''", USER.format(".lstrip('\n')")),
    "changes the words": ours_with("''", "m.content.split('</think>')[-1]"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_prefix_and_suffix_is_refused(reason):
    tokenizer = tiny_tokenizer()
    template = ChatTemplate(REFUSED[reason], tokenizer)
    with pytest.raises(InputError, match=reason):
        graph = scratch_tokenizer(tokenizer)
        ChatPrompts(graph, template, None, CONTEXT)


def test_a_system_message_leaves_room():
    tokenizer = tiny_tokenizer()
    graph, template = (
        scratch_tokenizer(tokenizer),
        ChatTemplate(CHAT_TEMPLATE, tokenizer),
    )
    with pytest.raises(InputError, match="at most a quarter"):
        ChatPrompts(graph, template, "war and peace " * 9, 64)
