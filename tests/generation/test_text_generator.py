import gc
import inspect

import pytest
from testing import tiny_ids, tiny_model, tiny_tokenizer, without_xla
from typist import Typist

from keras_llm.errors import InputError
from keras_llm.generation import Generation, TextGenerator, engines
from keras_llm.models import causal_lm
from keras_llm.recipes.settings import GenerationSettings


def settings(**options):
    return GenerationSettings(sampler="greedy", **options)


@pytest.fixture(scope="module")
def typing():
    return TextGenerator(Typist())


@pytest.fixture(scope="module")
def generator():
    return TextGenerator(tiny_model(["gru", "attention"]))


def test_a_text_is_the_same_compiled_by_xla_or_not(monkeypatch):
    with_xla = inspect.unwrap(engines.compile_function)
    prompts = ["war", "the people"]
    texts = []
    for compile_function in (with_xla, without_xla(with_xla)):
        for module in (causal_lm, engines):
            monkeypatch.setattr(module, "compile_function", compile_function)
        model = tiny_model(["gru", "attention"])
        answers = TextGenerator(model).generate(
            prompts, settings(max_new_tokens=20)
        )
        texts.append(
            [
                *(each.text for each in answers),
                *model.generate(prompts, max_length=24, strip_prompt=True),
            ]
        )
    assert texts[0] == texts[1] and min(map(len, texts[0])) > 4


@pytest.mark.parametrize("count", [1, 4, 6])
def test_as_many_tokens_as_asked_for(count, typing):
    text = "the people of the union in war and peace"
    typing.model.will_type(text)
    answer = typing.generate([""], settings(max_new_tokens=count))[0]
    expected = tiny_tokenizer().detokenize(tiny_ids(text)[:count])
    assert answer == Generation(expected, count, "length")


def test_the_end_token_ends_a_text(typing):
    typing.model.will_type("war and peace", end=True)
    answer = typing.generate([""], settings())[0]
    tokens = len(typing.model.new_ids)
    assert answer == Generation("war and peace", tokens, "stop")


def test_a_text_that_fills_the_context_has_its_length_as_the_reason(generator):
    answer = generator.generate(["war"], settings(max_new_tokens=500))[0]
    context = generator.model.backbone.max_sequence_length
    prompt = len(generator.encode_prompt("war"))
    assert answer.num_tokens == context - prompt
    assert answer.finish_reason == "length"


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("stop", ["né", "→", "union\n", "é the →"])
def test_a_stop_string_ends_a_text_and_is_cut(stop, shift, typing):
    text = "." * shift + "the né the → of union\nand more"
    typing.model.will_type(text)
    answer = typing.generate([""], settings(stop=["never", stop]))[0]
    assert answer.text == text[: text.index(stop)]
    assert answer.finish_reason == "stop"
    # The last token counted is the one that completes the stop string.
    detokenize = tiny_tokenizer().detokenize
    assert stop in detokenize(typing.model.new_ids[: answer.num_tokens])
    assert stop not in detokenize(typing.model.new_ids[: answer.num_tokens - 1])


def test_the_earliest_stop_string_counts(typing):
    typing.model.will_type("war and peace and war")
    stop = [" and war", " peace", " and"]
    answer = typing.generate([""], settings(stop=stop))[0]
    assert answer.text == "war"


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("stop", [[], ["日本é"], ["→ of", "é"], ["zzz"]])
def test_pieces_joined_are_the_text_and_cut_nothing(stop, shift, typing):
    text = "." * shift + "the n日 → 日本 日本é → of the 🙂 union"
    typing.model.will_type(text, end=True)
    answer = typing.generate([""], settings(stop=stop))[0]
    pieces = list(typing.stream("", settings(stop=stop)))
    assert "".join(pieces) == answer.text
    assert len(pieces) > 1
    assert all(pieces) and "\ufffd" not in answer.text
    ends = [text.index(string) for string in stop if string in text]
    assert answer.text == text[: min(ends, default=len(text))]


def test_pieces_of_a_real_model_joined_are_its_text(generator):
    options = GenerationSettings(max_new_tokens=30, temperature=1.0)
    pieces = list(generator.stream("the people", options, seed=3))
    answer = generator.generate(["the people"], options, seed=3)[0]
    assert "".join(pieces) == answer.text
    beam = GenerationSettings(sampler="beam", num_beams=2, max_new_tokens=5)
    pieces = list(generator.stream("war", beam))
    assert "".join(pieces) == generator.generate(["war"], beam)[0].text


@pytest.mark.slow  # test_saved_model.py asks alike
def test_a_text_is_the_same_in_any_company(generator):
    prompts = ["the people of the union", "", "war", "the"]
    options = GenerationSettings(
        max_new_tokens=12,
        temperature=1.2,
        top_k=50,
        top_p=0.95,
        repetition_penalty=1.3,
    )
    together = generator.generate(prompts, options, seed=11)
    alone = [
        generator.generate([text], options, seed=11)[0] for text in prompts
    ]
    assert together == alone
    assert len({answer.text for answer in together}) == 4


def test_a_seed_decides_the_text(generator):
    options = GenerationSettings(max_new_tokens=12, temperature=1.0)
    texts = [
        generator.generate(["war"], options, seed=seed)[0].text
        for seed in (1, 1, 2, 2**32 + 1, -1)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


def test_temperature_zero_is_greedy(generator):
    cold = GenerationSettings(max_new_tokens=12, temperature=0.0)
    assert generator.generate(["war"], cold, seed=5) == generator.generate(
        ["war"], settings(max_new_tokens=12)
    )


def test_greedy_and_beam_equal_those_of_the_model(generator):
    model = generator.model
    for sampler, options in (
        ("greedy", settings(max_new_tokens=9)),
        ("beam", GenerationSettings(sampler="beam", max_new_tokens=9)),
    ):
        model.compile(sampler=sampler, jit_compile=False)
        length = len(generator.encode_prompt("the war"))
        answer = generator.generate(["the war"], options)[0]
        expected = model.generate("the war", max_length=length + 9)
        assert "the war" + answer.text == expected
        assert answer.num_tokens == 9


def test_beam_search_leaves_the_model_as_it_was(generator):
    model = generator.model
    model.compile(sampler="top_p", jit_compile=False)
    sampler = model.sampler
    beam = GenerationSettings(sampler="beam", max_new_tokens=3)
    generator.generate(["war"], beam)
    assert model.sampler is sampler


def test_a_repetition_penalty_avoids_repetition(generator):
    def distinct(penalty):
        options = settings(max_new_tokens=30, repetition_penalty=penalty)
        texts = generator.generate(["war", "the"], options)
        return len(
            {token for answer in texts for token in tiny_ids(answer.text)}
        )

    assert distinct(50.0) > distinct(1.0)


def test_another_prompt_length_compiles_nothing(generator):
    options = settings(max_new_tokens=4)  # 16 together, at most

    def traces():
        engine = generator._engine
        functions = [engine.start, *engine.compiled.values()]
        return [
            function.experimental_get_tracing_count() for function in functions
        ]

    generator.generate(["war"], options)
    before = traces()
    for prompt in ("", "the", "the war of", "the peo"):
        generator.generate([prompt], options)
    assert traces() == before


def test_an_empty_prompt_is_continued(generator):
    answer = generator.generate([""], settings(max_new_tokens=5))[0]
    assert answer.num_tokens == 5 and answer.text


def test_a_prompt_longer_than_the_context_is_named_with_both(generator):
    assert generator.model.backbone.max_sequence_length == 64
    with pytest.raises(InputError, match="71 tokens.*context holds 64"):
        generator.generate(["war", "%" * 70])
    with pytest.raises(InputError, match="64 tokens.*context holds 64"):
        next(generator.stream("%" * 63))
    answer = generator.generate(["%" * 62], settings(max_new_tokens=9))[0]
    assert (answer.num_tokens, answer.finish_reason) == (1, "length")


def test_token_ids_are_prompts_too(generator):
    options = GenerationSettings(max_new_tokens=9, temperature=1.0)
    texts = ["the war", "", "peace"]
    ids = [generator.encode_prompt(text) for text in texts]
    expected = generator.generate(texts, options, seed=4)
    assert generator.generate(ids, options, seed=4) == expected
    assert "".join(generator.stream(ids[0], options, 4)) == expected[0].text
    with pytest.raises(InputError, match=r"must be in \[0, 360\)"):
        generator.generate([[1, 360]])


def test_prompts_are_a_list(generator):
    with pytest.raises(InputError, match="at least one text. Received: .."):
        generator.generate([])
    with pytest.raises(InputError, match="Received: 'war'"):
        generator.generate("war")


def test_spaces_wait_for_what_follows():
    # A word model decodes " \n" as "\n" once a word comes after it.
    from keras_llm.generation.answers import safe_length

    assert safe_length("treaty \n", []) == len("treaty")
    assert safe_length("treaty</a>", ["</a>"]) == len("treaty")
    assert safe_length("treaty</", ["</a>"]) == len("treaty")
    assert safe_length("treaty\nwith", []) == len("treaty\nwith")


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_graphs_go_with_their_model(activation):
    # As servers do whose models have new versions.
    def graphs():
        gc.collect()
        return sum(type(o).__name__ == "FuncGraph" for o in gc.get_objects())

    def answer():
        model = tiny_model("attention", num_layers=1, activation=activation)
        TextGenerator(model).generate(["war"], settings(max_new_tokens=1))

    answer()
    before = graphs()
    answer()
    assert graphs() == before
