"""Records in the shapes that people have."""

import pytest

from keras_llm.datasets.shapes import (
    ANSWERS,
    PAIRS,
    SHAPES,
    Sample,
    Unusable,
    read_sample,
    recognized,
)
from keras_llm.errors import InputError


def turns(*contents):
    roles = ("user", "assistant")
    return [
        {"role": roles[index % 2], "content": content}
        for index, content in enumerate(contents)
    ]


SYSTEM = {"role": "system", "content": "Be brief."}
RECORDS = {
    "messages": {"messages": [SYSTEM, *turns("Hi", "Hello", "Bye", "Bye!")]},
    "conversations": {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
            {"from": "human", "value": "Bye"},
            {"from": "gpt", "value": "Bye!"},
        ]
    },
    "instruction_output": {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
    },
    "prompt_completion": {"prompt": "Hi", "completion": "Hello"},
    "prompt_completion_label": {
        "prompt": "Hi",
        "completion": "Hello",
        "label": True,
    },
    "prompt_chosen_rejected": {
        "prompt": turns("Hi"),
        "chosen": "Hello",
        "rejected": turns("x", "Go away")[1:],
    },
    "instruction_chosen_rejected": {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
        "chosen": "3",
        "rejected": "4",
    },
    "chosen_rejected": {
        "chosen": turns("Hi", "Hello"),
        "rejected": turns("Hi", "Go away"),
    },
}
LONG = ([SYSTEM, *turns("Hi", "Hello", "Bye", "Bye!")],)
PAIR = (turns("Hi", "Hello"), turns("Hi", "Go away"))
SAMPLES = {
    "messages": Sample(LONG),
    "conversations": Sample(LONG),
    "instruction_output": Sample((turns("Add.\n\n1 and 2", "3"),)),
    "prompt_completion": Sample((turns("Hi", "Hello"),)),
    "prompt_completion_label": Sample((turns("Hi", "Hello"),), True),
    "prompt_chosen_rejected": Sample(PAIR),
    "instruction_chosen_rejected": Sample(
        (turns("Add.\n\n1 and 2", "3"), turns("Add.\n\n1 and 2", "4"))
    ),
    "chosen_rejected": Sample(PAIR),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read(shape):
    assert read_sample(RECORDS[shape], shape) == SAMPLES[shape]


@pytest.mark.parametrize("shape", [*ANSWERS, *PAIRS])
def test_shapes_are_recognized_by_their_columns(shape):
    wanted = ANSWERS if shape in ANSWERS else PAIRS
    assert recognized([*RECORDS[shape], "id"], wanted) == shape


def test_preferences_can_be_learned_as_instructions():
    columns = RECORDS["instruction_chosen_rejected"]
    assert recognized(columns, ANSWERS) == "instruction_output"


def test_columns_can_be_named():
    record = {"english": "Go.", "french": "Va !"}
    named = ["english", "french"]
    assert recognized(record, ANSWERS, named) == "prompt_completion"
    sample = read_sample(record, "prompt_completion", named)
    assert sample == Sample((turns("Go.", "Va !"),))


def test_unknown_columns_are_told():
    with pytest.raises(InputError) as error:
        recognized(["q", "a"], PAIRS)
    assert "prompt + chosen + rejected; " in str(error.value)
    assert "Received: q, a." in str(error.value)


@pytest.mark.parametrize(
    ("shape", "record", "reason"),
    [
        ("messages", {}, "has no messages"),
        ("messages", {"messages": None}, "has no messages"),
        ("messages", {"messages": "no JSON"}, "no list"),
        ("messages", {"messages": "[" * 100_000}, "no list"),
        (
            "messages",
            {"messages": [{"role": ["user"], "content": "x"}]},
            "an unknown role",
        ),
        ("messages", {"messages": []}, "no list"),
        ("messages", {"messages": [3]}, "no object"),
        ("messages", {"messages": turns("Hi")}, "has no answer"),
        ("messages", {"messages": [SYSTEM]}, "has no answer"),
        ("messages", {"messages": turns("Hi", " \n")}, "an empty answer"),
        ("messages", {"messages": turns("Hi", None)}, "without text"),
        (
            "messages",
            {"messages": [*turns("Hi", "Hello"), *turns("a", "b")[::-1]]},
            "has no answer",
        ),
        (
            "messages",
            {"messages": [*turns("a", "b"), *turns("c", "d")[1:]]},
            "roles out of order",
        ),
        (
            "messages",
            {"messages": [{"role": "tool", "content": "x"}]},
            "an unknown role",
        ),
        ("conversations", {"conversations": [{"from": "gpt"}]}, "without text"),
        ("prompt_completion", {"prompt": 1, "completion": "x"}, "no text"),
        (
            "prompt_chosen_rejected",
            {"prompt": "a", "chosen": "b", "rejected": "b"},
            "same answer",
        ),
        (
            "prompt_completion_label",
            {"prompt": "a", "completion": "b", "label": "maybe"},
            "neither true nor false",
        ),
    ],
)
def test_what_cannot_be_learned_from_has_a_reason(shape, record, reason):
    with pytest.raises(Unusable, match=reason):
        read_sample(record, shape)
