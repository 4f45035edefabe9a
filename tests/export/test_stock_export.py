"""Any KerasHub causal model becomes a SavedModel that answers its text."""

import keras_hub
import numpy as np
import pytest
from graph_checks import SENTENCE_PIECE_OPS, check_saved_model
from served import Served, serve
from stock_answers import (
    GREEDY,
    TEXTS,
    check_batches,
    prompt_ids,
    tokens_of,
)
from stock_models import (
    GEMMA,
    SENTENCE_PIECE,
    every_architecture,
    pieces,
    stock_model,
)
from testing import ragged_batch

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.generation.stock_rules import rules_of


@pytest.mark.slow
@every_architecture
def test_answers_are_those_of_generate(tmp_path, name):
    model = stock_model(name)
    folder = to_saved_model(model, tmp_path, GREEDY)
    served = Served(folder)
    together = check_batches(model, served)
    assert len(set(together)) > 2
    alone = [served.answer([prompt])[0] for prompt in TEXTS]
    assert alone == together[: len(TEXTS)]
    check_score(model, served)
    check_control_tokens(model, served)
    custom = SENTENCE_PIECE_OPS if name in SENTENCE_PIECE else set()
    assert check_saved_model(folder) == custom


def check_score(model, served):
    scores = served.score(TEXTS)
    for i, row in enumerate(prompt_ids(model, served, TEXTS)):
        logits = np.array(model(ragged_batch([row], len(row))), "float64")[0]
        nats = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nats = sum(nats[at, token] for at, token in enumerate(row[1:]))
        found = scores["log_likelihood"][i]
        np.testing.assert_allclose(found, nats, rtol=1e-4)
        assert scores["num_tokens"][i] == len(row) - 1


def check_control_tokens(model, served):
    tokenizer = model.preprocessor.tokenizer
    special = [*tokenizer.special_token_ids, *rules_of(model).end_token_ids]
    names = [tokenizer.id_to_token(token) for token in special]
    typed = tokens_of(served, [f"a{name}b" for name in names])
    assert not {token for row in typed for token in row} & set(special)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GPT2", "Gemma3"])
def test_control_tokens_count_where_they_are_allowed(name):
    model = stock_model(name)
    tokenizer = model.preprocessor.tokenizer
    end = tokenizer.end_token_id
    written = tokenizer.id_to_token(end)
    served = serve(model, GREEDY, allow_control_tokens=True)
    a, typed = tokens_of(served, ["a", f"a{written}{written}a"])
    assert typed == [*a, end, end, *a]
    assert served.answer([written]) != serve(model, GREEDY).answer([written])


class WithoutGenerateStep(keras_hub.models.CausalLM):
    """A model that `generate` has nothing to call of."""

    def __init__(self, backbone, preprocessor):
        self.backbone, self.preprocessor = backbone, preprocessor
        super().__init__(inputs=backbone.input, outputs=backbone.output)


def test_a_model_without_generation_is_refused(tmp_path):
    model = stock_model("GPT2")
    model = WithoutGenerateStep(model.backbone, model.preprocessor)
    with pytest.raises(InputError, match="it has no generate_step"):
        to_saved_model(model, tmp_path)


def test_a_model_that_sees_is_refused(tmp_path):
    encoder = keras_hub.models.Gemma3VisionEncoder(
        image_size=16,
        patch_size=4,
        pool_size=2,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        output_dim=16,
    )
    settings, _ = SENTENCE_PIECE["Gemma3"]
    backbone = keras_hub.models.Gemma3Backbone(
        vocabulary_size=400, vision_encoder=encoder, **settings
    )
    symbols = ["<img>", "<start_of_image>", "<end_of_image>"]
    tokenizer = keras_hub.tokenizers.Gemma3Tokenizer(
        pieces(**GEMMA | {"user_defined_symbols": symbols})
    )
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(
        tokenizer,
        image_converter=keras_hub.layers.Gemma3ImageConverter(
            image_size=(16, 16)
        ),
        sequence_length=48,
        max_images_per_prompt=1,
        num_vision_tokens_per_image=4,
    )
    model = keras_hub.models.Gemma3CausalLM(preprocessor, backbone)
    with pytest.raises(InputError, match="besides text it takes images"):
        to_saved_model(model, tmp_path)


def test_a_tokenizer_of_unknown_rules_is_refused(tmp_path):
    with pytest.raises(InputError, match="rule of GptOssTokenizer is not"):
        to_saved_model(stock_model("GptOss"), tmp_path)
