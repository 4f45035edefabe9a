"""The encoder that tells masked words, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn

from keras_llm.pytorch.twins import NONLINEARITIES, Backbone


class Bias(nn.Module):
    """Adds a vector."""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return x + self.bias


class MaskedLM(Backbone):
    """Predicts the token at every position; only masked ones are of use.

    Call arguments:
        token_ids: int64 `(batch, length)`.
        padding_mask: bool `(batch, length)`, `False` where padded.

    Returns:
        float logits `(batch, length, vocabulary_size)`.
    """

    def __init__(self, **config):
        super().__init__(**config)
        config = self.config
        width, size = config.hidden_dim, config.vocabulary_size
        self.head_dense = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.head_bias = Bias(size)
        nn.init.normal_(self.head_dense.weight, std=0.02)
        nn.init.zeros_(self.head_dense.bias)
        self.head = None
        if not config.tie_word_embeddings:
            self.head = nn.Linear(width, size, bias=False)
            nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, token_ids, padding_mask=None):
        x = self.head_dense(super().forward(token_ids, padding_mask))
        name = self.config.activation
        x = NONLINEARITIES["silu" if name == "swiglu" else name](x)
        table = self.head or self.embedding.token_embedding
        return self.head_bias(F.linear(self.head_norm(x), table.weight))
