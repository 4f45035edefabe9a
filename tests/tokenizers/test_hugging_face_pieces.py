"""SentencePiece in Hugging Face folders: ids as `AutoTokenizer` finds them."""

import json
import shutil
from types import MappingProxyType

import pytest
from auto_tokenizers import (
    TEXTS,
    as_dict,
    auto_tokenizer,
    ids_of,
    llama_pieces,
    ours,
    write_json,
)
from testing import DATA, needs_data
from tiny_corpus import other_model, sample_tokenizer

from keras_llm.errors import InputError
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.hugging_face import read_tokenizer, write_tokenizer
from keras_llm.tokenizers.llama2c import read_tokenizer as read_llama2c


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
def test_models_trained_here(model_type, tmp_path):
    tokenizer = ScratchTokenizer.from_file(
        sample_tokenizer(tmp_path, model_type)
    )
    out = tmp_path / "out"
    out.mkdir()
    write_tokenizer(tokenizer, out)
    write_json(out / "config.json", model_type="llama")
    auto = auto_tokenizer(out)
    assert ids_of(auto) == ours(tokenizer)
    assert auto.encode("the people") == [2, *tokenizer("the people")]
    assert (
        auto.encode("a<|user|>", add_special_tokens=False)[-1]
        == (tokenizer.control_tokens["<|user|>"])
    )
    named = auto.bos_token_id, auto.eos_token_id, auto.pad_token_id
    assert named == (2, 2, 0)
    assert len(auto) == tokenizer.vocabulary_size()
    if model_type != "char":  # which has no bytes for what it does not know
        rows = ours(tokenizer)
        assert auto.batch_decode(rows) == tokenizer.detokenize(rows)
    again = read_tokenizer(out)
    assert again.proto == tokenizer.proto
    assert type(again) is ScratchTokenizer
    assert again.end_token_ids == tokenizer.end_token_ids == (2,)
    assert again.start_token_id == tokenizer.start_token_id == 2


@pytest.fixture(scope="module")
def llama2(tmp_path_factory):
    """A folder as Llama 2's, without `tokenizer.json`."""
    folder = tmp_path_factory.mktemp("llama2")
    (folder / "tokenizer.model").write_bytes(llama_pieces())
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        bos_token=as_dict("<s>"),
        eos_token="</s>",
        unk_token="<unk>",
    )
    write_json(folder / "config.json", model_type="llama", eos_token_id=2)
    return folder


def test_a_sentence_piece_folder(llama2):
    tokenizer = read_tokenizer(llama2)
    auto = auto_tokenizer(llama2)
    # `transformers` puts no space before a text that begins with one.
    texts = [text for text in TEXTS if not text.startswith(" ")]
    assert ours(tokenizer, texts) == ids_of(auto, texts)
    assert auto.encode("the war") == [1, *tokenizer("the war")]
    assert (tokenizer.start_token_id, tokenizer.end_token_ids) == (1, (2,))
    assert tokenizer.proto == (llama2 / "tokenizer.model").read_bytes()


def test_a_sentence_piece_folder_written_and_read_from_json_only(
    llama2, tmp_path
):
    tokenizer = read_tokenizer(llama2)
    write_tokenizer(tokenizer, tmp_path)
    auto = auto_tokenizer(tmp_path)
    assert ids_of(auto) == ids_of(auto_tokenizer(llama2))
    assert auto.encode("the war") == [1, *tokenizer("the war")]
    assert read_tokenizer(tmp_path).proto == tokenizer.proto
    (tmp_path / "tokenizer.model").unlink()
    converted = read_tokenizer(tmp_path)
    assert converted.proto != tokenizer.proto
    assert ours(converted) == ours(tokenizer)
    assert (converted.start_token_id, converted.end_token_ids) == (1, (2,))
    assert converted.get_vocabulary() == tokenizer.get_vocabulary()
    assert converted.control_tokens == tokenizer.control_tokens


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"add_bos_token": False},
        {"add_bos_token": True, "add_eos_token": True},
        {"add_bos_token": True, "bos_token": None},
    ],
)
def test_what_is_put_around_texts_comes_back(told, llama2, tmp_path):
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    names |= {"tokenizer_class": "LlamaTokenizer"} | told
    folder = shutil.copytree(llama2, tmp_path / "theirs")
    write_json(folder / "tokenizer_config.json", **names)
    back = tmp_path / "back"
    back.mkdir()
    write_tokenizer(read_tokenizer(folder), back)
    write_json(back / "config.json", model_type="llama", eos_token_id=2)
    expected = auto_tokenizer(folder)(TEXTS).input_ids
    assert auto_tokenizer(back)(TEXTS).input_ids == expected


def test_symbols_of_the_user_are_converted_where_they_can_be(tmp_path):
    tokenizer = ScratchTokenizer.from_file(sample_tokenizer(tmp_path, "bpe"))
    out = tmp_path / "out"
    out.mkdir()
    write_tokenizer(tokenizer, out)
    (out / "tokenizer.model").unlink()
    converted = read_tokenizer(out)
    assert ours(converted) == ours(tokenizer)
    assert converted.control_tokens == tokenizer.control_tokens
    path = out / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["normalizer"]["normalizers"].insert(
        0, {"type": "Prepend", "prepend": "▁"}
    )
    write_json(path, **content)
    with pytest.raises(InputError, match="is found in text before"):
        read_tokenizer(out)


@needs_data
def test_a_tokenizer_of_llama2c_is_written_and_converted(tmp_path):
    file = DATA.parent / "pretrained" / "tok512.bin"
    tokenizer = read_llama2c(file, 512)
    write_tokenizer(tokenizer, tmp_path)
    auto = auto_tokenizer(tmp_path)
    assert ids_of(auto) == ours(tokenizer)
    assert auto.encode("Once upon") == [1, *tokenizer("Once upon")]
    (tmp_path / "tokenizer.model").unlink()
    assert ours(read_tokenizer(tmp_path)) == ours(tokenizer)


def test_special_tokens_that_were_added_to_a_sentence_piece_model(
    llama2, tmp_path
):
    folder = shutil.copytree(llama2, tmp_path / "chat")
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|turn|>"],
    )
    write_json(folder / "added_tokens.json", **{"<|turn|>": 400})
    write_json(folder / "generation_config.json", eos_token_id=[2, 400])
    tokenizer = read_tokenizer(folder)
    assert tokenizer.control_tokens == {"<s>": 1, "</s>": 2, "<|turn|>": 400}
    assert tokenizer.end_token_ids == (2, 400)
    plain = read_tokenizer(llama2)
    assert ours(tokenizer) == ours(plain)
    for rows in ({"<|turn|>": 401}, {"word": 400}, {"▁the": 300}):
        write_json(folder / "added_tokens.json", **rows)
        with pytest.raises(InputError, match="tokenizer.model"):
            read_tokenizer(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "word", "byte_fallback": False}, "model_type word"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes the characters"),
        ({"remove_extra_whitespaces": True}, "takes spaces away"),
        ({"treat_whitespace_as_suffix": True}, "spaces after words"),
        ({"user_defined_symbols": ["\n"]}, "and puts a space before"),
        (
            {
                "model_type": "unigram",
                "hard_vocab_limit": False,
                "user_defined_symbols": ["<"],
                "control_symbols": ["<<"],
                "add_dummy_prefix": False,
            },
            None,
        ),
    ],
)
def test_models_without_an_equal_are_refused(options, message, tmp_path):
    if options.get("model_type") == "word":
        options = options | {"vocab_size": 40, "hard_vocab_limit": False}
    tokenizer = ScratchTokenizer(llama_pieces(**options))
    if message is None:
        write_tokenizer(tokenizer, tmp_path)
        assert ids_of(auto_tokenizer(tmp_path)) == ours(tokenizer)
        return
    with pytest.raises(InputError, match=message):
        write_tokenizer(tokenizer, tmp_path)
    assert not any(tmp_path.iterdir())


def changed(add=MappingProxyType({}), **changes):
    """Changes the content of `tokenizer.json`, its model or vocabulary."""

    def change(content):
        model = content["model"]
        model["vocab"] |= add
        content |= changes
        if changes.get("model"):
            content["model"] = model | changes["model"]

    return change


METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(normalizer={"type": "NFKC"}), "of its normalizer"),
        (
            changed(
                normalizer=None,
                pre_tokenizer=METASPACE | {"split": True},
                add={"the\u2581wa": 400},
            ),
            "words end at spaces, but",
        ),
        (
            changed(model={"type": "Spiece"}),
            "of type 'Spiece'.* of a tokenizer.model, put that",
        ),
        (changed(model={"type": "WordPiece"}), "WordPiece.*: it splits text"),
        (changed(model={"type": "WordLevel"}), "WordLevel.*of whole words"),
        (changed(model={"byte_fallback": False}), "no bytes"),
        (changed(model={"dropout": 0.1}), "it has dropout"),
        (changed(model={"merges": []}), "merges are not those"),
        (changed(model={"vocab": {"<unk>": 0}}), "no token <0x00>"),
        (changed(model=None), "not written as Hugging Face writes it"),
        (changed(model={"merges": ["a b c"]}), "not written as Hugging Face"),
        (changed(post_processor={"type": "BertProcessing"}), "unknown kind"),
    ],
)
def test_json_that_is_no_sentence_piece_model_is_refused(
    change, message, llama2, tmp_path
):
    write_tokenizer(read_tokenizer(llama2), tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, **content)
    with pytest.raises(InputError, match=message):
        read_tokenizer(tmp_path)


def test_merges_in_another_order_are_refused(llama2, tmp_path):
    write_tokenizer(read_tokenizer(llama2), tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    merges = content["model"]["merges"]
    ways = ["".join(pair) for pair in merges]
    several = next(i for i, way in enumerate(ways) if ways.count(way) > 1)
    merges.append(merges.pop(several))
    write_json(path, **content)
    with pytest.raises(InputError, match="by their scores"):
        read_tokenizer(tmp_path)


def test_a_metaspace_that_puts_nothing_before_texts_is_converted(tmp_path):
    tokenizer = ScratchTokenizer(llama_pieces(add_dummy_prefix=False))
    write_tokenizer(tokenizer, tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["normalizer"] = None
    content["pre_tokenizer"] = METASPACE | {"prepend_scheme": "never"}
    write_json(path, **content)
    assert ours(read_tokenizer(tmp_path)) == ids_of(auto_tokenizer(tmp_path))


def test_folders_without_a_tokenizer_are_refused(llama2, tmp_path):
    with pytest.raises(InputError, match="has no tokenizer: expected"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="tokenizer.json cannot be read"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"PK")
    with pytest.raises(InputError, match="must be a SentencePiece model"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(other_model(eos_id=-1))
    with pytest.raises(InputError, match="has no end token"):
        read_tokenizer(tmp_path)
    folder = shutil.copytree(llama2, tmp_path / "beyond")
    write_json(folder / "generation_config.json", eos_token_id=400)
    with pytest.raises(InputError, match="ids that its 400 tokens do not"):
        read_tokenizer(folder)
