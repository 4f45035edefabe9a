"""Bodies of requests that are nearly right, by a seed."""

import copy
import json
import math
import random

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Who rules?"}]},
]
ROW = {
    "prompt": "the people",
    "max_new_tokens": 2,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "repetition_penalty": 1.1,
    "seed": 1,
}
SAMPLED = {
    "model": "tiny",
    "max_tokens": 2,
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.2,
    "seed": 4,
    "stop": ["x", "the"],
    "n": 2,
    "logit_bias": {"3": -1.5},
    "stream": True,
    "stream_options": {"include_usage": True},
    "truncation": "auto",
}
PREDICT = "/v1/models/tiny:predict"
VALID = [
    ("/v1/completions", {**SAMPLED, "prompt": ["the war", "a"]}),
    (
        "/v1/completions",
        {"prompt": [1, 2, 3], "max_tokens": 1, "logprobs": 2, "echo": True},
    ),
    ("/v1/chat/completions", {**SAMPLED, "messages": MESSAGES}),
    (
        "/v1/chat/completions",
        {
            "messages": MESSAGES[1:],
            "max_completion_tokens": 1,
            "logprobs": True,
            "top_logprobs": 2,
            "response_format": {"type": "text"},
        },
    ),
    ("/v1/embeddings", {"input": ["the war", "a"], "pooling": "last"}),
    ("/v1/look", {"text": "the war", "token": 1, "model": "tiny"}),
    (
        "/v1/feedback",
        {"messages": MESSAGES, "completion": "a", "better": "b"},
    ),
    (
        "/v1/feedback",
        {"messages": MESSAGES[1:], "completion": "a", "label": True},
    ),
    (PREDICT, {"instances": ["the war", {"b64": "YWI="}]}),
    (PREDICT, {"signature_name": "generate", "instances": [ROW, ROW]}),
    (
        PREDICT,
        {
            "signature_name": "chat",
            "inputs": {
                "turns": [["a", "b", "c"]],
                **{k: [v] for k, v in ROW.items() if k != "prompt"},
            },
        },
    ),
    (PREDICT, {"signature_name": "score", "inputs": ["the war"]}),
]
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 127, 128, 2**31, 2**63, -(2**64)),
    *(10**40, 0.5, -0.5, 1e-320, 1e-40, 1e39, 1e308, math.nan, -math.inf),
    *("", " ", "x", "1", "\ud800", "a\udfff", "\0", "é\u202e\U0010ffff"),
    *("the war " * 400, "<|endoftext|>", "9" * 5000, "../../x", "b64"),
    *([], {}, [[]], [None], [{}], [1, "a"], [[1], [2, 3]], ["a"] * 200),
    *({"b64": "YQ=="}, {"b64": "\ud800"}, {"b64": 3}, {"\ud800": 1}),
    *({"9" * 5000: 1}, {"١": 1}, {str(i): i for i in range(200)}, [0] * 200),
]
NAMES = ["x", "", "\ud800", "Model", "__proto__", "n", "prompt", "k" * 5000]
DEEP = ("[", '{"a":', '[{"b":[')


def malformed(seed):
    """A route and the bytes of a body, which may be right after all."""
    chance = random.Random(seed)
    path, body = chance.choice(VALID)
    body = copy.deepcopy(body)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        body = _changed(body, chance)
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5)
    written = text.encode("utf-8", "surrogatepass")
    return path, _damaged(written, chance) if chance.random() < 0.3 else written


def _places(body):
    """Every object and list of a body, with each of its keys."""
    if isinstance(body, dict | list):
        keys = list(body) if isinstance(body, dict) else range(len(body))
        for key in keys:
            yield body, key
            yield from _places(body[key])


def _changed(body, chance):
    places = list(_places(body))
    if not places or chance.random() < 0.03:
        return copy.deepcopy(chance.choice(VALUES))
    inside, key = chance.choice(places)
    value = copy.deepcopy(chance.choice(VALUES))
    kind = chance.randrange(6)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[chance.choice(NAMES)] = value
    elif kind == 2 and isinstance(inside, dict):
        inside[chance.choice(NAMES)] = inside.pop(key)
    elif kind == 3:
        for _ in range(chance.choice((1, 3, 70))):
            inside[key] = [inside[key]]
    else:
        inside[key] = value
    return body


def _damaged(body, chance):
    place = chance.randrange(len(body) + 1)
    depth = chance.choice((10, 900, 5000, 100_000))
    other = chance.choice(VALID)[1]
    return chance.choice(
        [
            body[:place],
            body[:place] + chance.randbytes(3) + body[place:],
            body[:place] + b"9" * 5000 + body[place:],
            chance.choice(DEEP).encode() * depth,
            b'{"prompt":' + b"[" * depth + b"]" * depth + b"}",
            b'{"instances":' + b"[" * depth + b"]" * depth + b"}",
            body[:-1] + b"," + json.dumps(other).encode()[1:],  # keys twice
            body.decode("utf-8", "replace").encode("utf-16"),
            b"\xef\xbb\xbf" + body,
            body + body,
            b"",
        ]
    )
