"""A certificate of a new model sees whatever part of its twin is wrong."""

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from testing import tiny_backbone
from twin_cases import CASES, batches

from keras_llm.models import ScratchBackbone, ScratchCausalLM
from keras_llm.pytorch import agreement, twins
from keras_llm.pytorch import certificate as certificates
from keras_llm.pytorch.agreement import compare_outputs
from keras_llm.pytorch.certificate import TOLERANCES, certify
from keras_llm.pytorch.large_weights import draw_large_weights
from keras_llm.pytorch.subject import Subject
from keras_llm.pytorch.weights import make_twin
from keras_llm.recipes.settings import TrainingSettings

IDS = batches(1)[0][0]
MODELS = {
    "gpt2": {
        "position_embedding": "learned",
        "normalization": "layer",
        "use_bias": True,
    },
    "llama": {
        "num_heads": 4,
        "num_key_value_heads": 2,
        "activation": "swiglu",
        "query_key_norm": True,
        "sliding_window": 5,
        "tie_word_embeddings": False,
    },
    "exact": {"activation": "gelu_exact", "feed_forward_bias": True},
    "gru": {"block_types": "gru"},
    "lstm": {"block_types": "lstm"},
    "rnn": {"block_types": "rnn"},
    "classic": CASES["classic"],
}


@pytest.fixture(scope="module")
def subjects():
    """New models with large weights, and what they compute."""
    made = {}
    for name, options in MODELS.items():
        model = ScratchCausalLM(tiny_backbone(**options))
        draw_large_weights(model)
        made[name] = model, agreement._model_outputs(model, IDS)
    return made


@pytest.fixture
def seen(subjects, monkeypatch):
    """Whether a certificate fails of a twin that a function has changed."""

    def check(name, sabotage):
        model, outputs = subjects[name]
        monkeypatch.setattr(agreement, "_model_outputs", lambda *_: outputs)
        twin = make_twin(model)
        with torch.no_grad():
            sabotage(twin)
        rows = certificates._output_rows(compare_outputs(model, twin, IDS))
        return any(row.verdict == "fails" for row in rows)

    return check


def nothing(twin):
    pass


@pytest.mark.parametrize("name", MODELS)
def test_a_twin_that_is_right_is_certified(name, seen):
    assert not seen(name, nothing)


def mixers(twin):
    return [block.mixer for block in twin.blocks]


@pytest.mark.parametrize(
    ("name", "mine", "another"),
    [
        ("gpt2", "gelu", F.gelu),
        ("exact", "gelu_exact", partial(F.gelu, approximate="tanh")),
        ("gru", "gelu", F.gelu),
    ],
)
def test_gelu_of_the_other_form(name, mine, another, seen, monkeypatch):
    monkeypatch.setitem(twins.NONLINEARITIES, mine, another)
    assert seen(name, nothing)


def test_a_gate_of_another_nonlinearity(seen, monkeypatch):
    monkeypatch.setattr(F, "silu", F.gelu)
    assert seen("llama", nothing)


def backwards(x, start, config, rotate=twins.rotate):
    first, second = x.chunk(2, dim=-1)
    x = rotate(torch.cat([second, first], dim=-1), start, config)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([second, first], dim=-1)


def test_the_sign_and_the_base_of_rotations(seen, monkeypatch):
    def another_base(twin):
        for mixer in mixers(twin):
            mixer.config = replace(mixer.config, rope_max_wavelength=11_000.0)

    assert seen("exact", another_base) and seen("llama", another_base)
    monkeypatch.setattr(twins, "rotate", backwards)
    assert seen("exact", nothing) and seen("llama", nothing)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_scale_of_attention(name, seen, monkeypatch):
    attention = F.scaled_dot_product_attention

    def scaled(query, *arguments, **options):
        return attention(1.01 * query, *arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", scaled)
    assert seen(name, nothing)


def test_a_window_of_one_more_and_a_position_of_one_more(seen):
    def wider(twin):
        for mixer in mixers(twin):
            mixer.window += 1

    def later(twin):
        twin.embedding.position_embedding.copy_(
            twin.embedding.position_embedding.roll(1, 0)
        )

    assert seen("llama", wider) and seen("gpt2", later)


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, "mixer_norm") for name in MODELS if name != "classic"]
    + [
        (name, norm)
        for name in ("gpt2", "llama", "exact")
        for norm in ("feed_forward_norm", "final_norm")
    ]
    + [("llama", "query_norm"), ("llama", "key_norm")],
)
def test_the_epsilon_of_a_norm(name, norm, seen):
    def another(twin):
        for path, module in twin.named_modules():
            if path.endswith(norm):
                module.eps = 1e-6 if module.eps == 1e-5 else 1e-5

    assert seen(name, another)


def swapped(tensor, first, second, gates):
    parts = list(tensor.chunk(gates))
    parts[first], parts[second] = parts[second], parts[first]
    tensor.copy_(torch.cat(parts))


@pytest.mark.parametrize(
    ("name", "gates", "pairs"),
    [("gru", 3, [(0, 1), (1, 2)]), ("lstm", 4, [(0, 1), (1, 2), (2, 3)])],
)
def test_the_order_of_gates(name, gates, pairs, seen):
    for first, second in pairs:

        def swap(twin, first=first, second=second):
            for mixer in mixers(twin):
                for weight in mixer.loop.parameters():
                    swapped(weight, first, second, gates)

        assert seen(name, swap)


def test_a_gate_in_the_place_of_what_it_gates(seen):
    def swap(twin):
        for block in twin.blocks:
            layers = block.feed_forward
            gate = layers.gate.weight.clone()
            layers.gate.weight.copy_(layers.intermediate.weight)
            layers.intermediate.weight.copy_(gate)

    assert seen("llama", swap)


@pytest.mark.parametrize("name", MODELS)
def test_one_number_of_any_weight(name, seen, subjects):
    missed = []
    for key, _ in make_twin(subjects[name][0]).named_parameters():
        # A softmax does not see what it adds to all keys alike.
        if key.endswith("key.bias") and name == "gpt2":
            continue

        def change(twin, key=key):
            weight = twin.get_parameter(key)
            row = IDS[0, 0] if "token_embedding" in key else -1
            row = 0 if "position_embedding" in key else row
            weight[row].view(-1)[0] += 1e-3

        if not seen(name, change):
            missed.append(key)
    assert not missed


@pytest.mark.slow
def test_the_certificate_of_a_new_recurrence_fails(monkeypatch):
    """Exact GELU against the tanh form: small activations hide it."""
    keras.utils.set_random_seed(0)
    model = ScratchCausalLM(
        ScratchBackbone(
            vocabulary_size=40,
            num_layers=1,
            num_heads=1,
            hidden_dim=16,
            block_types="gru",
            max_sequence_length=20,
        )
    )
    subject = Subject("a", False, model, TrainingSettings(), batches(2), "text")
    monkeypatch.setitem(twins.NONLINEARITIES, "gelu", F.gelu)
    before = compare_outputs(model, make_twin(model), IDS)
    hidden = [each.relative for each in before.values()]
    assert 0 < max(hidden) < TOLERANCES["outputs"]
    found = certify(subject, rounds=0)
    failing = {row.name for row in found.rows if row.verdict == "fails"}
    assert {"blocks.0", "logits"} <= failing
    assert np.isfinite(model.get_weights()[0]).all()
