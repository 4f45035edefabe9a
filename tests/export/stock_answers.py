"""What a stock model's SavedModel must answer: what `generate` does."""

import re

import numpy as np
from stock_models import generated_ids

from keras_llm.export.stock_tokenizers import graph_tokenizer
from keras_llm.generation.stock_rules import rules_of
from keras_llm.recipes.settings import GenerationSettings

NEW = 8
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=NEW)
TEXTS = ["the people of", "", "Justice", "a\nb", " the", "<s></s>", "é 日本"]
MORE = ["war and peace", "of that nation", "\t\n\n\t"]
PROMPTS = [*TEXTS, *MORE, *(f"{text} duty" for text in TEXTS[1:])]
SIZES = (1, 3, 16)


def expected_answers(model, rows):
    """Prompts and answers as text, of token ids that `generate` goes on from.

    The end token is the last that counts, and no token of a chat is shown.
    """
    rules, texts = rules_of(model), []
    tokenizer = graph_tokenizer(model.preprocessor.tokenizer, rules)
    stops, hidden = rules.end_token_ids, tokenizer.hidden_token_ids
    answers = generated_ids(model, rows, NEW)
    for prompt, answer in zip(rows, answers, strict=True):
        ends = [i + 1 for i, token in enumerate(answer) if token in stops]
        row = np.array([*prompt, *answer[: min(ends, default=NEW)]])
        shown = ~np.isin(row, hidden)
        inputs = {"token_ids": row[None], "padding_mask": shown[None]}
        texts += model.preprocessor.generate_postprocess(inputs)
    return texts


def prompt_ids(model, served, prompts):
    """Rows of ids as the graph begins them."""
    tokens, (start, ends) = tokens_of(served, prompts), rules_of(model)
    if start is None:
        return [row or [ends[0]] for row in tokens]
    return [[start, *row] for row in tokens]


def tokens_of(served, texts):
    outputs = served.tokenize(texts)
    rows = zip(outputs["token_ids"], outputs["lengths"], strict=True)
    return [ids[:length] for ids, length in rows]


def one_mark(texts):
    """Each run of U+FFFD as one: how many a broken character has differs."""
    return [re.sub("\ufffd+", "\ufffd", text) for text in texts]


def check_batches(model, served):
    """That batches of `SIZES` answer so; returns the answers of the largest.

    Args:
        model: a `keras_hub` causal model.
        served: its SavedModel, exported with `GREEDY`.
    """
    tokens = prompt_ids(model, served, PROMPTS)
    expected = expected_answers(model, tokens)
    for size in SIZES:
        prompts = PROMPTS[:size]
        answers = served.answer(prompts)
        whole = [a + b for a, b in zip(prompts, answers, strict=True)]
        assert one_mark(whole) == one_mark(expected[:size])
    return answers
