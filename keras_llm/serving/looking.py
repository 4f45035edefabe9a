"""What a model thinks of a text: likely tokens, attention, moving states."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_llm.models import ScratchBackbone
from keras_llm.serving.requests import Token
from keras_llm.serving.scores import Scores, scores_of

ALTERNATIVES = 10


@dataclass(frozen=True)
class Look:
    """What a model thinks of a text.

    Args:
        tokens: With their log-probabilities and the ten likeliest each.
        attention: By the name of each attention block, how much the chosen
            token takes from each up to itself: the mean over heads.
        movement: By the name of each recurrent block, how far each token
            moved its state: the Euclidean distance to the one before, as a
            part of the largest.
    """

    tokens: list[Token]
    attention: dict[str, list[float]]
    movement: dict[str, list[float]]


def look_at(
    backbone: ScratchBackbone, token_ids: list[int], chosen: int
) -> Look:
    """Walks through a model's blocks with a text.

    Args:
        backbone: of a causal model.
        token_ids: The text, at least one token, within the context.
        chosen: Place of the token whose attention is told.
    """
    x = backbone.embedding(ops.convert_to_tensor([token_ids], dtype="int32"))
    attention, movement = {}, {}
    for block in backbone.blocks:
        inputs = block.mixer_norm(x)
        if block.block_type == "attention":
            weights = block.mixer.attention_weights(inputs)[0, :, chosen]
            mean = ops.convert_to_numpy(ops.mean(weights, axis=0))
            attention[block.name] = mean[: chosen + 1].tolist()
        else:
            states = ops.convert_to_numpy(block.mixer(inputs))[0]
            movement[block.name] = _distances(states.astype("float32"))
        x = block(x)
    logits = backbone.embedding(backbone.final_norm(x), reverse=True)
    targets = ops.convert_to_tensor([token_ids[1:]], dtype="int32")
    found = scores_of(logits[:, :-1], targets)
    scores = Scores(*map(ops.convert_to_numpy, found)).row(0)
    tokens = [Token(token_ids[0]), *scores.tokens(token_ids[1:], ALTERNATIVES)]
    return Look(tokens, attention, movement)


def _distances(states: np.ndarray) -> list[float]:
    before = np.pad(states, [[1, 0], [0, 0]])[:-1]
    distances = np.linalg.norm(states - before, axis=1)
    return (distances / max(distances.max(), 1e-12)).tolist()
