"""Byte pairs of Hugging Face folders: ids as `AutoTokenizer` finds them."""

import dataclasses
import json
import random
import shutil

import pytest
from auto_tokenizers import (
    CONTROL,
    TEXTS,
    as_dict,
    auto_tokenizer,
    ids_of,
    ours,
    write_json,
)
from byte_pair_reference import (
    GPT2_FILES,
    PRE_TOKENIZERS,
    trained,
)
from testing import needs_data
from tokenizers import AddedToken, pre_tokenizers, processors

from keras_llm.errors import InputError
from keras_llm.tokenizers import ScratchBytePairTokenizer
from keras_llm.tokenizers.byte_pair_rules import (
    RULE_NAMES,
    Rule,
    json_of_rule,
    rule_of_json,
)
from keras_llm.tokenizers.hugging_face import read_tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def llama3(tmp_path_factory):
    """A folder as Llama 3's: a start token, three that end answers."""
    folder = tmp_path_factory.mktemp("llama3")
    tokenizer = trained("llama3", whole_words=True)
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.add_tokens(["    "])
    end, start, turn = (tokenizer.token_to_id(name) for name in CONTROL)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|start|> $A",
                pair="<|start|> $A <|start|> $B",
                special_tokens=[("<|start|>", start)],
            ),
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|start|>",
        eos_token=as_dict("<|turn|>"),
        pad_token="<|turn|>",
    )
    write_json(folder / "generation_config.json", eos_token_id=[end, turn, 5])
    write_json(folder / "config.json", model_type="llama", eos_token_id=7)
    return folder


def test_a_byte_level_folder(llama3, tmp_path):
    tokenizer = read_tokenizer(llama3)
    auto = auto_tokenizer(llama3)
    assert isinstance(tokenizer, ScratchBytePairTokenizer)
    assert ours(tokenizer) == ids_of(auto)
    end, start, turn = auto.convert_tokens_to_ids(CONTROL)
    assert auto.encode("war") == [start, *tokenizer.tokenize("war")]
    assert tokenizer.start_token_id == start
    assert tokenizer.end_token_ids == (turn, end, 5)
    assert tokenizer.pad_token_id not in tokenizer.end_token_ids
    assert tokenizer.vocabulary_size() == len(auto)
    write_tokenizer(tokenizer, tmp_path)
    written = auto_tokenizer(tmp_path)
    assert ids_of(written) == ids_of(auto)
    assert written("war<|turn|>").input_ids == auto("war<|turn|>").input_ids
    assert (written.bos_token_id, written.eos_token_id) == (start, turn)
    again = read_tokenizer(tmp_path).byte_pairs
    expected = tokenizer.byte_pairs
    assert again == dataclasses.replace(expected, end_token_ids=(turn,))


@pytest.mark.parametrize("told", [True, False])
def test_a_tokenizer_json_says_itself_what_starts_texts(told, llama3, tmp_path):
    folder = shutil.copytree(llama3, tmp_path / "llama3")
    write_json(
        folder / "tokenizer_config.json",
        bos_token="<|turn|>",
        eos_token="<|end|>",
        add_bos_token=told,
    )
    tokenizer = read_tokenizer(folder)
    start = tokenizer.token_to_id("<|start|>")
    assert tokenizer.start_token_id == start
    assert auto_tokenizer(folder).encode("war")[0] == start


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("add_bos_token", [True, None])
def test_gpt2_of_its_two_files(add_bos_token, tmp_path):
    for source, name in zip(
        GPT2_FILES, ("vocab.json", "merges.txt"), strict=True
    ):
        shutil.copy(source, tmp_path / name)
    write_json(tmp_path / "config.json", model_type="gpt2", eos_token_id=50256)
    if add_bos_token:
        write_json(
            tmp_path / "tokenizer_config.json",
            tokenizer_class="GPT2Tokenizer",
            bos_token="<|endoftext|>",
            add_bos_token=True,
        )
    tokenizer = read_tokenizer(tmp_path)
    auto = auto_tokenizer(tmp_path)
    assert ours(tokenizer, TEXTS[:200]) == ids_of(auto, TEXTS[:200])
    start = [50256] if add_bos_token else []
    assert auto.encode("war") == [*start, *tokenizer.tokenize("war")]
    assert tokenizer.start_token_id == (50256 if add_bos_token else None)
    assert tokenizer.end_token_ids == (50256,)
    assert tokenizer.control_tokens == {"<|endoftext|>": 50256}
    out = tmp_path / "out"
    out.mkdir()
    write_tokenizer(tokenizer, out)
    write_json(out / "config.json", model_type="gpt2")
    if add_bos_token:  # the same ids, and another start
        assert ids_of(auto_tokenizer(out)) == ids_of(auto)
    assert read_tokenizer(out).byte_pairs == tokenizer.byte_pairs


@pytest.mark.parametrize("name", RULE_NAMES)
def test_rules_are_written_as_they_are_read(name):
    rule = Rule(name, "NFC", whole_words=True, add_prefix_space=name == "gpt2")
    normalizer, pre_tokenizer = json_of_rule(rule)
    content = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    content |= {"model": {"ignore_merges": True}}
    assert rule_of_json(content, "file") == rule
    _, written = json_of_rule(Rule(name))
    published = json.loads(PRE_TOKENIZERS[name].__getstate__())
    assert written == published


def test_a_space_before_texts_is_of_one_rule_only():
    with pytest.raises(InputError, match="not with 'falcon'"):
        json_of_rule(Rule("falcon", add_prefix_space=True))


def two_files(folder, **config):
    write_json(folder / "vocab.json", a=0, b=1, ab=2, **{"<e>": 3})
    (folder / "merges.txt").write_text("a b\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", **config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "do not say how their tokenizer splits"),
        ({"tokenizer_class": "ElmoTokenizer"}, "how ElmoTokenizer splits"),
        ({"tokenizer_class": "GPT2Tokenizer"}, "end_token_ids must name"),
        (
            {"tokenizer_class": "GPT2Tokenizer", "eos_token": "c"},
            "eos_token 'c', which its vocabulary does not",
        ),
        (
            {
                "tokenizer_class": "GPT2TokenizerFast",
                "eos_token": "<e>",
                "bos_token": "c",
                "add_bos_token": True,
            },
            "puts 'c' before texts",
        ),
    ],
)
def test_two_files_that_do_not_say_enough_are_refused(
    config, message, tmp_path
):
    two_files(tmp_path, **config)
    with pytest.raises(InputError, match=message):
        read_tokenizer(tmp_path)


def folder_of(tokenizer, folder, **config):
    """A folder with that tokenizer, which ends texts with `<|end|>`."""
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        eos_token="<|end|>",
        **config,
    )
    return folder


def test_added_tokens_that_are_bytes_or_merges_too(tmp_path):
    tokenizer = trained("gpt2")
    names = ["\u00e9", "he", "\u0120\u0120", "\u00c3\u00a9"]
    assert all(tokenizer.token_to_id(name) is not None for name in names)
    tokenizer.add_tokens(names)
    assert tokenizer.token_to_id("\u00e9") < 256
    folder = folder_of(tokenizer, tmp_path)
    draw = ["\u00e9t\u00e9", "\u9f8d", "other the", "\u0120\u0120  ", "\u00c3"]
    texts = [*draw, *TEXTS, *(a + b for a in draw for b in names)]
    ours_read = read_tokenizer(folder)
    assert ours(ours_read, texts) == ids_of(auto_tokenizer(folder), texts)
    text = "\u9f8d\u9fa0"  # whose first byte is written as that token
    assert ours_read.detokenize(ours_read.tokenize(text)) == text


# Marks that join what is before them, and what becomes another character.
MARKED = ["\u0338", "\u0301", "e\u0301", "\u212a", "\u037e", "<", ">", " ", "e"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "normalized"),
    [
        (["  ", " - ", "<|x|"], True),
        (["<tool>", "<x", "ab"], False),
    ],
)
def test_added_tokens_beside_marks_that_are_normalized(
    names, normalized, tmp_path
):
    tokenizer = trained("qwen2", "NFC")
    tokenizer.add_tokens(
        [AddedToken(name, normalized=normalized) for name in names]
    )
    folder = folder_of(tokenizer, tmp_path)
    draw = random.Random(1)
    texts = TEXTS + [
        "".join(draw.choices([*names, *names, *MARKED], k=draw.randrange(9)))
        for _ in range(3000)
    ]
    expected = ids_of(auto_tokenizer(folder), texts)
    assert ours(read_tokenizer(folder), texts) == expected


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([("\u00e9", False)], "'\u00e9' which other characters may become"),
        ([("e\u0301!", True)], "which other characters may become"),
        ([("hello", True)], "which other characters may become or join"),
        ([("<K>", False)], "'<K>' which other characters may become"),
        ([("<a|", True), ("|b>", False)], "overlaps one that is not"),
    ],
)
def test_added_tokens_that_would_be_found_otherwise_are_refused(
    tokens, message, tmp_path
):
    tokenizer = trained("qwen2", "NFC")
    tokenizer.add_tokens(
        [AddedToken(x, normalized=is_so) for x, is_so in tokens]
    )
    with pytest.raises(InputError, match=message):
        read_tokenizer(folder_of(tokenizer, tmp_path))


@pytest.mark.parametrize("name", ["he", "\u00e9", "\u0120\u0120"])
def test_special_tokens_that_text_becomes_are_refused(name, tmp_path):
    tokenizer = trained("gpt2")
    assert tokenizer.token_to_id(name) is not None
    tokenizer.add_special_tokens([name])
    folder = folder_of(tokenizer, tmp_path)
    with pytest.raises(InputError, match=f"ordinary text.*'{name}'"):
        read_tokenizer(folder)
    plain = folder_of(trained("gpt2"), tmp_path, pad_token=name)
    with pytest.raises(InputError, match=f"ordinary text.*'{name}'"):
        read_tokenizer(plain)


def spaced(*steps):
    tokenizer = trained("gpt2")
    prefix = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, prefix])
    return tokenizer


def test_a_space_before_texts_in_a_sequence_of_one(tmp_path):
    folder = folder_of(spaced(), tmp_path)
    assert ours(read_tokenizer(folder)) == ids_of(auto_tokenizer(folder))


def with_dropout():
    tokenizer = trained("gpt2")
    tokenizer.model.dropout = 0.1
    return tokenizer


def with_added_after_a_space():
    tokenizer = spaced()
    tokenizer.add_tokens(["  "])
    return tokenizer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: spaced(pre_tokenizers.Digits(individual_digits=True)),
            "a space before each part",
        ),
        (with_dropout, "has dropout 0.1"),
        (with_added_after_a_space, "not supported with add_prefix_space"),
    ],
)
def test_what_would_give_other_ids_is_refused(make, message, tmp_path):
    folder = folder_of(make(), tmp_path)
    with pytest.raises(InputError, match=message):
        read_tokenizer(folder)
