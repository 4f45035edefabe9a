"""KerasHub's own models behind `TextGenerator`, text and conversations."""

import keras_hub
import numpy as np
import pytest
from stock_models import generated_ids, stock_model

from keras_llm.errors import InputError
from keras_llm.export import load_saved_model, to_saved_model
from keras_llm.generation import TextGenerator
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.chat_templates import chat_template

PROMPTS = ["The people of the united", "peace", "war and"]
NEW = 10
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=NEW)
SAMPLE = GenerationSettings(
    temperature=1.3, top_k=50, repetition_penalty=1.2, max_new_tokens=NEW
)
BEAM = GenerationSettings(sampler="beam", num_beams=2, max_new_tokens=NEW)
OTHERS = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("Llama3", "Gemma", "Phi3")
]


@pytest.fixture(scope="module", params=["GPT2", *OTHERS])
def generator(request):
    return TextGenerator(stock_model(request.param))


def test_greedy_answers_are_those_of_the_model(generator):
    ids = [generator.encode_prompt(prompt) for prompt in PROMPTS]
    rows = generated_ids(generator.model, ids, NEW)
    answers = generator.generate(PROMPTS, GREEDY)
    for prompt, row, answer in zip(ids, rows, answers, strict=True):
        ends = [row.index(i) + 1 for i in generator.end_token_ids if i in row]
        count = min([*ends, NEW])
        assert answer.num_tokens == count
        assert answer.finish_reason == ("stop" if ends else "length")
        decode = generator.tokenizer.detokenize
        text = decode([*prompt, *row[:count]])[len(decode(prompt)) :]
        assert answer.text == text
    assert answers == generator.generate(ids, GREEDY)
    [piece] = generator.stream(PROMPTS[0], GREEDY)
    assert piece == answers[0].text
    assert len({answer.text for answer in answers}) > 1


def test_a_seed_decides_in_any_company(generator):
    together = generator.generate(PROMPTS, SAMPLE, seed=3)
    alone = [generator.generate([text], SAMPLE, 3)[0] for text in PROMPTS]
    assert together == alone
    assert together != generator.generate(PROMPTS, SAMPLE, seed=4)


def test_beams_and_stop_strings(generator):
    sampler = generator.model.sampler
    [answer] = generator.generate([PROMPTS[0]], BEAM)
    assert generator.model.sampler is sampler
    assert answer.num_tokens <= NEW
    [whole] = generator.generate([PROMPTS[0]], GREEDY)
    stop = whole.text[3:5]
    [cut] = generator.generate(
        [PROMPTS[0]],
        GenerationSettings(sampler="greedy", max_new_tokens=NEW, stop=[stop]),
    )
    assert cut.text == whole.text[: whole.text.index(stop)]


@pytest.mark.slow
def test_conversations(generator):
    messages = [{"role": "user", "content": "war<|endoftext|>"}]
    with pytest.raises(InputError, match="no chat template"):
        generator.chat(messages)
    template = chat_template(generator.model.preprocessor.tokenizer, "plain")
    talker = TextGenerator(generator.model, template)
    prompt = template.encode(messages, add_generation_prompt=True).token_ids
    ends = set(template.end_token_ids)
    assert not ends.intersection(prompt[1:])
    settings = GenerationSettings(sampler="greedy", max_new_tokens=4)
    [expected] = generator.generate([prompt], settings)
    answer = talker.chat(messages, settings)
    assert answer == expected
    assert "".join(talker.stream_chat(messages, settings)) == answer.text


@pytest.mark.slow
def test_answers_are_those_of_the_saved_model(tmp_path):
    model = stock_model("GPT2")
    folder = to_saved_model(model, tmp_path, SAMPLE, seed=7)
    expected = TextGenerator(model).generate(PROMPTS, SAMPLE, seed=7)
    texts = load_saved_model(folder)(PROMPTS)
    assert texts == [answer.text for answer in expected]


def test_what_does_not_generate_text_is_refused():
    with pytest.raises(InputError, match="with a preprocessor.*GPT2CausalLM"):
        TextGenerator(
            keras_hub.models.GPT2CausalLM(stock_model("GPT2").backbone)
        )
    with pytest.raises(InputError, match="keras_hub.models.CausalLM.*int64"):
        TextGenerator(np.int64(3))
