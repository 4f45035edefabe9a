"""One step of DPO: gradients and weights are those of PyTorch on the twin."""

import keras
import numpy as np
import torch
from torch.nn import functional
from twin_cases import model_of

from keras_llm.pytorch.weights import make_twin, to_pytorch
from keras_llm.recipes.tuning_settings import PreferenceSettings
from keras_llm.tuning.preference_losses import preference_loss
from keras_llm.tuning.preferences import AnswerScorer

BETA, RATE = 0.1, 0.05


def comparisons(rows=4, length=12, size=40):
    """A batch in the form of `ComparisonBatches`, and reference scores."""
    draw = np.random.default_rng(0)
    ids = draw.integers(0, size, (rows, 2, length + 1)).astype("int32")
    places = np.arange(length)
    weights = places >= draw.integers(3, 8, (rows, 1, 1))
    ends = draw.integers(9, length + 1, (rows, 2, 1))
    mask = places < ends
    features = {
        "token_ids": ids[..., :-1] * mask,
        "labels": ids[..., 1:],
        "weights": (weights & mask).astype("float32"),
        "padding_mask": mask,
    }
    return features, draw.normal(-30, 3, (rows, 2)).astype("float32")


def dpo_of_torch(twin, features, reference):
    """Rafailov et al. 2023, equation 7, as TRL computes it."""
    ids, labels, weights = (
        torch.from_numpy(features[name].reshape(8, -1)).long()
        for name in ("token_ids", "labels", "weights")
    )
    mask = torch.from_numpy(features["padding_mask"].reshape(8, -1))
    logits = twin(ids, mask)
    likelihoods = functional.log_softmax(logits, dim=-1)
    chosen = likelihoods.gather(-1, labels[..., None])[..., 0]
    scores = (chosen * weights).sum(-1).reshape(4, 2)
    ratios = scores - torch.from_numpy(reference)
    return -functional.logsigmoid(BETA * (ratios[:, 0] - ratios[:, 1])).mean()


def test_a_step_of_dpo_is_that_of_pytorch():
    model = model_of("mixed")
    twin = make_twin(model)
    features, reference = comparisons()
    scorer = AnswerScorer(model)
    scorer.compile(
        optimizer=keras.optimizers.SGD(RATE),
        loss=preference_loss(PreferenceSettings(beta=BETA)),
        jit_compile=False,
    )
    expected = dpo_of_torch(twin, features, reference)
    expected.backward()
    loss = scorer.train_on_batch(features, reference, np.ones(4, "float32"))
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-5)
    after = to_pytorch(model)
    moved = 0
    for name, weight in twin.named_parameters():
        step = (weight.detach() - after[name]) / RATE
        if weight.grad is None:  # it is not trained
            assert step.abs().max() == 0, name
            continue
        scale = weight.grad.abs().max() + 1e-6
        assert (step - weight.grad).abs().max() <= 2e-3 * scale, name
        moved += float(step.abs().max()) > 0
    assert moved > 10
