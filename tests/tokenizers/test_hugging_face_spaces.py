"""Pieces whose spaces are Metaspace's: ids as `AutoTokenizer` finds them.

`transformers` since its fifth version writes Llama's tokenizers so.
"""

import random

import pytest
import tensorflow as tf
from auto_tokenizers import (
    TEXTS,
    auto_tokenizer,
    ids_of,
    llama_pieces,
    ours,
    write_json,
)
from byte_pair_reference import strange_texts
from testing import tiny_backbone
from tiny_corpus import sample_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from keras_llm.errors import InputError
from keras_llm.export.parts import scratch_tokenizer
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.encoders import load_encoder
from keras_llm.tokenizers.hugging_face import read_tokenizer, write_tokenizer

draw = random.Random(3)
# Repeated parts can be merged in several ways; U+2581 is taken for a space.
REPEATED = [
    "".join(draw.choices(["pa", "p", "a", " ", "papa", "\u2581", "aa"], k=k))
    for k in range(20)
    for _ in range(50)
]
ALL = [*TEXTS, *strange_texts(2000, seed=5), *REPEATED, " ", "\u2581", "   a"]
# Of `tokenizer_config.json`: scheme "first", "always" and "never" of Metaspace.
SETTINGS = {
    "first": {"legacy": False, "pad_token": "</s>"},
    "always": {"legacy": True},
    "never": {"add_prefix_space": False},
}


@pytest.fixture(scope="module", params=SETTINGS)
def llama(request, tmp_path_factory):
    """Llama 2's tokenizer, loaded and saved again by `transformers`."""
    before = tmp_path_factory.mktemp("before")
    (before / "tokenizer.model").write_bytes(llama_pieces())
    write_json(
        before / "tokenizer_config.json",
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **SETTINGS[request.param],
    )
    write_json(before / "config.json", model_type="llama", eos_token_id=2)
    folder = tmp_path_factory.mktemp("again")
    auto_tokenizer(before).save_pretrained(folder)
    write_json(folder / "config.json", model_type="llama", eos_token_id=2)
    assert not (folder / "tokenizer.model").exists()
    return folder


@pytest.mark.slow
def test_a_tokenizer_saved_again_has_equal_ids(llama):
    auto, tokenizer = auto_tokenizer(llama), read_tokenizer(llama)
    expected = ids_of(auto, ALL)
    assert ours(tokenizer, ALL) == expected
    in_graph = tf.function(tokenizer.tokenize)(tf.constant(ALL))
    assert in_graph.to_list() == expected
    graph = scratch_tokenizer(tokenizer)
    assert graph.tokenize(tf.constant(ALL)).to_list() == expected
    texts = auto.batch_decode(expected)
    assert tokenizer.detokenize(expected) == texts
    rows = tf.ragged.constant(expected, tf.int32, ragged_rank=1)
    assert [x.decode() for x in graph.detokenize(rows).numpy()] == texts
    assert auto.encode("the war") == [1, *tokenizer("the war")]


def test_a_tokenizer_saved_again_in_a_preset_and_back(llama, tmp_path):
    tokenizer = read_tokenizer(llama)
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    backbone = tiny_backbone(vocabulary_size=tokenizer.vocabulary_size())
    backbone.save_to_preset(str(tmp_path / "preset"))
    restored = ScratchTokenizer.from_preset(str(tmp_path / "preset"))
    assert ours(restored, REPEATED) == ours(tokenizer, REPEATED)
    encoder = load_encoder(tmp_path / "preset")
    rows = [row.tolist() for row in encoder.encode(REPEATED)]
    assert rows == ours(tokenizer, REPEATED)
    assert encoder.sha256 == tokenizer.sha256
    is_put = tokenizer.add_prefix_space
    assert encoder.cuts_at_lines == (not is_put)
    plain = ScratchTokenizer(tokenizer.proto)
    assert (tokenizer.sha256 != plain.sha256) == is_put
    write_tokenizer(restored, tmp_path)
    assert ids_of(auto_tokenizer(tmp_path), ALL) == ours(tokenizer, ALL)
    assert read_tokenizer(tmp_path).proto == tokenizer.proto


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_a_unigram_model_of_tokenizers(scheme, tmp_path):
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    inner.decoder = decoders.Metaspace(prepend_scheme=scheme)
    inner.train_from_iterator(
        sample_text(300).splitlines(),
        trainers.UnigramTrainer(
            vocab_size=200,
            special_tokens=["<unk>", "<s>", "</s>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    inner.save(str(tmp_path / "tokenizer.json"))
    write_json(
        tmp_path / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        eos_token="</s>",
        unk_token="<unk>",
    )
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.add_prefix_space == (scheme != "never")
    # Names of control tokens are text here, and found in it there.
    texts = [text for text in ALL if "<s>" not in text and "<unk>" not in text]
    expected = ids_of(auto_tokenizer(tmp_path), texts)
    assert ours(tokenizer, texts) == expected
    in_graph = tf.function(tokenizer.tokenize)(tf.constant(texts))
    assert in_graph.to_list() == expected


def test_words_that_are_special_are_refused(tmp_path):
    """Unigram models find them in text, which typed text must not do."""
    vocabulary = [("<unk>", 0.0), ("</s>", 0.0), ("the", -1.0), ("t", -2.0)]
    inner = Tokenizer(models.Unigram(vocabulary, 0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    inner.add_special_tokens(["</s>", "the"])
    inner.save(str(tmp_path / "tokenizer.json"))
    write_json(tmp_path / "tokenizer_config.json", eos_token="</s>")
    with pytest.raises(InputError, match="'the' is special, and ordinary"):
        read_tokenizer(tmp_path)
