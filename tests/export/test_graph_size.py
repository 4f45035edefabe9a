"""What a server has to optimise does not grow with layers and signatures."""

import keras
import numpy as np
import pytest
from testing import tiny_model

from keras_llm.export import to_saved_model
from keras_llm.export.server_operations import saved_graph
from keras_llm.layers import ResidualBlock
from keras_llm.models.lora import merged_lora


def nodes(graph):
    functions = graph.library.function
    return len(graph.node) + sum(len(each.node_def) for each in functions)


@pytest.fixture
def calls(monkeypatch):
    """Lengths of what blocks are traced with, one for each time."""
    lengths, call = [], ResidualBlock.call

    def counted(self, x, **kwargs):
        lengths.append(x.shape[1])
        return call(self, x, **kwargs)

    monkeypatch.setattr(ResidualBlock, "call", counted)
    return lengths


def exported(layers, path, calls, change=None):
    model = tiny_model(num_layers=layers, hidden_dim=8, intermediate_dim=8)
    if change:
        change(model)
    calls.clear()
    return saved_graph(to_saved_model(model, path))


@pytest.mark.slow
def test_layers_add_weights_and_calls_and_no_operations(tmp_path, calls):
    few = exported(2, tmp_path / "few", calls)
    # Prefill and scoring of any length, and a step.
    assert sorted(calls, key=str) == [1, None, None]
    many = exported(6, tmp_path / "many", calls)
    assert len(calls) == 3
    # A weight is made, saved, restored, passed on and read: a dozen nodes.
    weights = 9 * 4
    assert nodes(many) - nodes(few) < 16 * weights
    assert nodes(few) < 4000


def adapt_one(model):
    model.backbone.blocks[0].mixer.query.enable_lora(2)


def quantize_one(model):
    block = model.backbone.blocks[0]
    block.feed_forward.intermediate.quantize("int8")


@pytest.mark.slow
@pytest.mark.parametrize("change", [adapt_one, quantize_one])
def test_blocks_that_differ_are_traced_apart(tmp_path, calls, change):
    exported(3, tmp_path, calls, change)
    assert len(calls) == 2 * 3


def test_what_is_shared_is_what_the_model_computes():
    # In float64, for in float32 another order of sums is 1e-6 already.
    model = tiny_model(num_layers=3, dtype="float64")
    adapt_one(model)
    model.backbone.blocks[0].mixer.query.lora_kernel_b.assign_add(
        keras.random.normal((2, 16), seed=1)
    )
    ids = keras.ops.convert_to_tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = keras.ops.convert_to_tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    whole = model.backbone({"token_ids": ids, "padding_mask": mask})
    with merged_lora(model):  # what is traced without factors stays apart
        merged = model.backbone.call_without_cache(ids, mask)
    shared = model.backbone.call_without_cache(ids, mask)
    np.testing.assert_allclose(merged, whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(shared, whole, rtol=0, atol=1e-12)
