"""What `chat` answers: what `TextGenerator.chat` does, of one batch."""

import json

import numpy as np
import pytest
from served import GREEDY, generate_inputs, serve
from stock_models import stock_model
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.generation import TextGenerator
from keras_llm.generation.conversation import Conversation
from keras_llm.models import ScratchCausalLM, ScratchCausalLMPreprocessor
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.chat_pieces import conversation
from keras_llm.tokenizers.chat_templates import ChatTemplate, chat_template
from keras_llm.tokenizers.control import END_OF_TURN

CONTEXT = 128
SYSTEM = "Be <|user|> kind."
ROWS = [
    ["the war"],
    ["a", " peace\n", "and the law?"],
    [" Who rules? ", "The people.", "日本 é", "b", "c\n"],
    ["<|end_of_turn|><|user|>", "<|endoftext|>", "say <|assistant|>"],
]


@pytest.fixture(scope="module")
def model():
    return tiny_model(["gru", "attention"], max_sequence_length=CONTEXT)


@pytest.fixture(scope="module")
def generator(model):
    return TextGenerator(model)


@pytest.fixture(scope="module")
def served(model):
    return serve(model, GREEDY, system=SYSTEM)


def answered(generator, rows, system=SYSTEM, seeds=None, **settings):
    """What Python answers to each row by itself, as the signature gives it."""
    defaults = {"max_new_tokens": 16, "temperature": 0.0, "top_p": 1.0}
    settings = GenerationSettings(**defaults | settings)
    answers = [
        generator.chat(conversation(row, system), settings, seed)
        for row, seed in zip(rows, seeds or [0] * len(rows), strict=True)
    ]
    return {
        name: [getattr(answer, name) for answer in answers]
        for name in ("text", "num_tokens", "finish_reason")
    } | {"prompt_truncated": [False] * len(rows)}


def test_conversations_are_answered_as_in_python(served, generator):
    answers = served.chat(ROWS)
    assert answers == answered(generator, ROWS)
    assert len(set(answers["text"])) == len(ROWS)


def test_the_end_of_a_turn_ends_an_answer(served, generator):
    seeds = list(range(16))
    rows = [ROWS[0]] * len(seeds)
    answers = served.chat(rows, temperature=50.0, seed=seeds)
    assert answers == answered(generator, rows, seeds=seeds, temperature=50.0)
    assert set(answers["finish_reason"]) == {"stop", "length"}


def test_turns_of_nothing_are_left_out(served):
    bare = served.chat([["a", "b", "c"], ["a"]])
    rows = [["", "a", " \n", "b", "\u3000", "", "c"], ["", "", "a", ""]]
    assert served.chat(rows) == bare
    # An answer to which nothing is said is given anew.
    assert served.chat([["a", "b", "c", "d"], ["a", "b"]]) == bare


def test_a_row_without_turns_is_an_empty_question(served, generator):
    assert served.chat([["", ""]]) == answered(generator, [[""]])


def test_a_batch_without_rows_has_no_answers(served):
    inputs = generate_inputs([])
    inputs["turns"] = np.zeros((0, 3), object)
    del inputs["prompt"]
    empty = served.call("chat", **inputs)
    assert empty == {name: [] for name in served.chat([["a"]])}


def test_the_oldest_questions_are_forgotten(served, generator):
    row = ["%" * 30, "war", "$" * 30, "peace", "#" * 30, "law", "who"]
    settings = GenerationSettings(sampler="greedy", max_new_tokens=16)
    python = Conversation(generator, settings)
    python.system = SYSTEM
    python.turns = list(zip(row[:-1:2], row[1::2], strict=True))
    expected = "".join(python.ask("who"))
    assert 0 < python.forgotten < 3
    answers = served.chat([row, ["who"]])
    assert answers["text"][0] == expected
    assert answers["prompt_truncated"] == [True, False]


def test_of_a_question_too_long_the_end_is_kept(served, generator):
    question = "%" * 80 + "$" * 80
    messages = conversation([question], SYSTEM)
    ids = generator.template.encode(messages, True).token_ids
    turn = generator.tokenizer.control_tokens[END_OF_TURN]
    head = ids.index(turn) + 2  # the system message, and <|user|>
    surplus = len(ids) - (CONTEXT - 16)
    [expected] = generator.generate(
        [ids[:head] + ids[head + surplus :]],
        GenerationSettings(sampler="greedy", max_new_tokens=16),
    )
    answers = served.chat([["a", "b", question]])
    assert answers["text"] == [expected.text]
    assert answers["prompt_truncated"] == [True]


SPACED = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '[' + message.content + ']' }}"
    "{% else %}{{ ' ' + message.content + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)


@pytest.mark.slow  # an export
def test_another_template_and_no_system_message(model):
    tokenizer = model.preprocessor.tokenizer
    served = serve(model, GREEDY, template=SPACED)
    generator = TextGenerator(model, ChatTemplate(SPACED, tokenizer))
    seeds = list(range(16))
    rows = [ROWS[0]] * len(seeds)
    answers = served.chat(rows, temperature=2.0, seed=seeds)
    options = {"seeds": seeds, "temperature": 2.0}
    assert answers == answered(generator, rows, None, **options)


# With a number in each turn.
NUMBERED = (
    "{% for message in messages %}{{ loop.index ~ '<|' + message.role + '|>' "
    "+ message.content + '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ (messages | length + 1) ~ '<|assistant|>' }}{% endif %}"
)


def without_chat(served):
    """Why a SavedModel has no `chat`, as its pages say."""
    assert "chat" not in served.model.signatures
    lines = []
    for page in (
        served.folder.parent / "README.txt",
        served.folder / "assets.extra" / "model_card.md",
    ):
        text = page.read_text(encoding="utf-8").splitlines()
        lines += [x for x in text if x.startswith("No signature chat. ")]
    assert lines == [lines[0]] * 2
    return lines[0]


@pytest.mark.slow
def test_a_template_that_is_more_than_turns_is_left_out(model, tmp_path):
    tokenizer = ScratchTokenizer(model.preprocessor.tokenizer.proto)
    tokenizer.chat_template = NUMBERED
    preprocessor = ScratchCausalLMPreprocessor(tokenizer)
    model = ScratchCausalLM(model.backbone, preprocessor)
    reason = "more than a prefix and a suffix of each role"
    with pytest.raises(InputError, match=reason):
        to_saved_model(model, tmp_path / "none", system="Be kind.")
    assert not (tmp_path / "none").exists()
    assert reason in without_chat(serve(model, GREEDY))


def test_a_system_message_needs_a_template(tmp_path):
    with pytest.raises(InputError, match="has no chat template"):
        to_saved_model(stock_model("GPT2"), tmp_path / "out", system="a")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # half a minute
def test_a_model_without_a_template_has_no_chat():
    served = serve(stock_model("GPT2"), GREEDY)
    assert "The model has no chat template" in without_chat(served)


@pytest.mark.slow  # half a minute
def test_a_stock_model_chats():
    model = stock_model("GPT2")
    template = chat_template(model.preprocessor.tokenizer, SPACED)
    generator = TextGenerator(model, template)
    rows = [["a"], ["who", "the\n", " b"]]
    answers = serve(model, GREEDY, template=SPACED).chat(rows, max_new_tokens=8)
    expected = answered(generator, rows, None, max_new_tokens=8)
    assert answers == expected


def test_the_card_has_the_system_message(served):
    card = served.folder / "assets.extra" / "model_card.md"
    assert json.dumps(SYSTEM) in card.read_text(encoding="utf-8")
