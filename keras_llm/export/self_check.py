"""Whether a graph answers what its model computes, asked before it is saved.

A cache that a model fills or reads wrongly shows in no shape and no error:
KerasHub 0.32's GPT-NeoX rotates each cached query as that of position 0.
"""

import keras_hub
import numpy as np
from keras import ops

from keras_llm.errors import InputError
from keras_llm.export.text_graph import TextGraph

# Of different length: the shorter one's answer begins in the other's prompt.
PROMPTS = ["The", "Once upon a time there was a house by the sea, and"]
NEW_TOKENS = 16
# How far below the likeliest a chosen token may be, in standard deviations of
# the logits: tokens that are nearly as likely may change places.
MOST_BEHIND = {"float32": 0.01, "float64": 0.01}
MOST_BEHIND_OTHERS = 0.2  # of half precision, and of quantized weights


def check_answers(model: keras_hub.models.CausalLM, graph: TextGraph) -> None:
    """Compares greedy answers with the model's outputs without a cache.

    Args:
        model: of KerasHub.
        graph: what was made of it.

    Raises:
        InputError: The graph chose a token that the model does not.
    """
    names = {each.dtype_policy.name for each in model._flatten_layers()}
    most = max(MOST_BEHIND.get(name, MOST_BEHIND_OTHERS) for name in names)
    for prompt, new in graph.greedy_tokens(PROMPTS, NEW_TOKENS):
        token_ids = np.array([prompt + new], "int32")
        seen = np.ones_like(token_ids)
        inputs = {"token_ids": token_ids, "padding_mask": seen}
        logits = ops.cast(model(inputs, training=False)[0], "float32")
        logits = ops.convert_to_numpy(logits)
        for at, token in enumerate(new):
            row = logits[len(prompt) + at - 1]
            behind = (row.max() - row[token]) / row.std()
            if not behind <= most:
                _refuse(model, at, behind, most)


def _refuse(model, at: int, behind: float, most: float) -> None:
    raise InputError(
        f"{type(model).__name__} cannot be exported: its cached decoding does "
        "not compute what the model does. Expected each token of a greedy "
        f"answer within {most:g} standard deviations of the likeliest logit "
        f"without a cache. Received: new token {at + 1} is {behind:.2g} "
        "behind. Its own `generate` is likely to be wrong too; export another "
        "architecture, or a later release of KerasHub with this one."
    )
