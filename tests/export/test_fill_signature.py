"""The signature of an encoder tells what `MaskFiller` does, in a graph."""

import functools

import numpy as np
import pytest
from graph_checks import SENTENCE_PIECE_OPS, check_saved_model
from served import serve
from testing import tiny_backbone, tiny_encoder

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.generation.filling import MaskFiller
from keras_llm.models import ScratchMaskedLM, ScratchMaskedLMPreprocessor
from keras_llm.tokenizers.control import MASK
from keras_llm.tokenizers.word_pieces import ScratchWordPieceTokenizer

TEXTS = [
    "The [MASK] of the union",
    "[MASK][MASK] people, [MASK]",
    "no mask\n",
    "",
    f"{MASK} and [MASK]",
    "  [MASK]\t\x01\x01b é日本 [MASK]",
    "[MASK",
]


@functools.cache
def encoder():
    return tiny_encoder(max_sequence_length=32, num_layers=1)


@functools.cache
def word_piece_encoder():
    """As an imported BERT is."""
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the people of un ##ion and no ma"
    vocabulary = [*words.split(), "##sk", "mask", "[", "]", "<", ">", "|", "é"]
    tokenizer = ScratchWordPieceTokenizer(vocabulary, lowercase=True)
    backbone = tiny_backbone(
        causal=False,
        vocabulary_size=len(vocabulary),
        max_sequence_length=32,
        num_layers=1,
    )
    preprocessor = ScratchMaskedLMPreprocessor(tokenizer, sequence_length=32)
    return ScratchMaskedLM(backbone, preprocessor)


@pytest.fixture(scope="module")
def served():
    return serve(encoder())


@pytest.mark.slow  # as test_stock_fill.py does
def test_word_pieces_are_filled_as_well():
    served = serve(word_piece_encoder())
    filler = MaskFiller(word_piece_encoder())
    texts = ["The [MASK] of the UNION", "[MASK][MASK], é[MASK] [mask]", "Noé"]
    found = served.call("fill", text=texts)
    assert found["num_masks"] == [1, 3, 0]
    assert found["text"][2] == "[UNK]"  # which is no word
    for index, text in enumerate(texts[:2]):
        (expected,) = filler.fill([text])
        assert found["text"][index] == expected.text
        for row, candidates in zip(
            found["tokens"][index], expected.masks, strict=False
        ):
            assert row == [each.token for each in candidates]
    operations = check_saved_model(served.folder)
    assert operations == {
        "CaseFoldUTF8",
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
        "RegexSplitWithOffsets",
    }


@pytest.mark.parametrize("signature", ["serving_default", "fill"])
def test_it_tells_what_the_filler_does(served, signature):
    filler = MaskFiller(encoder())
    found = served.call(signature, text=TEXTS)
    assert found["num_masks"] == [1, 3, 0, 0, 1, 2, 0]
    for index, text in enumerate(TEXTS):
        count = found["num_masks"][index]
        masks = found["tokens"][index]
        assert masks[count:] == [[""] * 5] * (3 - count)
        assert not np.any(found["scores"][index][count:])
        if not count:
            assert found["text"][index] == text
            continue
        (expected,) = filler.fill([text])
        assert found["text"][index] == expected.text
        for row, scores, candidates in zip(
            masks, found["scores"][index], expected.masks, strict=False
        ):
            assert row == [x.token for x in candidates]
            np.testing.assert_allclose(
                scores, [x.probability for x in candidates], rtol=1e-4
            )
    assert found["truncated"] == [False] * len(TEXTS)


def test_a_row_is_answered_as_it_is_alone(served):
    together = served.call("fill", text=TEXTS)
    for index, text in enumerate(TEXTS):
        alone = served.call("fill", text=[text])
        assert alone["text"] == [together["text"][index]]
        count = alone["num_masks"][0]
        np.testing.assert_allclose(
            alone["scores"][0][:count],
            together["scores"][index][:count],
            rtol=1e-4,
            atol=1e-6,
        )


def test_hostile_texts_are_answered(served):
    texts = ["[MASK] " * 2**12, "a" * 2**18 + "[MASK]", b"\xff[MASK]", "\0"]
    found = served.call("fill", text=texts)
    assert found["truncated"] == [True, True, False, False]
    assert found["num_masks"] == [30, 0, 1, 0]
    assert np.isfinite(found["scores"]).all()
    empty = served.call("fill", text=[])
    assert (empty["text"], empty["num_masks"]) == ([], [])


def test_stock_servers_have_all_operations(served):
    assert check_saved_model(served.folder) == SENTENCE_PIECE_OPS
    readme = (served.folder.parent / "README.txt").read_text()
    assert "Once upon a [MASK]" in readme and '"fill"' in readme


@pytest.mark.parametrize(
    "options",
    [{"labels": ["a", "b"]}, {"template": "plain"}, {"max_text_tokens": 3}],
)
def test_options_of_others_are_refused(options, tmp_path):
    with pytest.raises(InputError, match="ScratchMaskedLM"):
        to_saved_model(encoder(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
