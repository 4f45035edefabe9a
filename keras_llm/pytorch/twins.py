"""The models of keras-llm in PyTorch. They need nothing but torch.

`keras-llm export PRESET DIR --format pytorch` writes this as `model.py`, beside
the weights. Every option has the name that it has in `ScratchBackbone`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keras_llm.pytorch.twin_recurrences import (
    initialize_recurrence,
    make_recurrence,
)

NONLINEARITIES = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
    "relu": F.relu,
    "relu_squared": lambda x: F.relu(x).square(),
    "silu": F.silu,
}


@dataclass(frozen=True)
class Config:
    """Shape of a model: the arguments of `ScratchBackbone`, but its dtype."""

    vocabulary_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int | None = None  # 4 * hidden_dim; 0 for none
    block_types: str | list[str] = "attention"  # or "gru", …
    num_key_value_heads: int | None = None  # num_heads
    head_dim: int | None = None  # hidden_dim / num_heads
    max_sequence_length: int = 1024
    position_embedding: str = "rotary"  # or "learned", "none"
    rope_max_wavelength: float = 10_000.0
    rope_scaling: dict | None = None
    rotary_layers: bool | list[bool] = True
    normalization: str = "rms"  # or "layer", "none"
    layer_norm_epsilon: float = 1e-5
    normalize_first: bool = True
    activation: str = "gelu"  # or another of NONLINEARITIES, or "swiglu"
    query_key_norm: bool = False
    query_key_norm_epsilon: float = 1e-6
    sliding_window: int | None = None
    sliding_window_layers: bool | list[bool] = True
    causal: bool = True
    tie_word_embeddings: bool = True
    use_bias: bool = False
    attention_bias: bool | None = None  # use_bias
    attention_output_bias: bool | None = None  # attention_bias
    feed_forward_bias: bool | None = None  # use_bias
    output_bias: bool = False
    residual: bool = True
    zero_init_outputs: bool = False
    dropout: float = 0.0


def at(option, index: int):
    """What an option says of a block: a list is repeated."""
    is_list = isinstance(option, list | tuple)
    return option[index % len(option)] if is_list else option


def first_of(*options):
    """The first option that is given."""
    return next(option for option in options if option is not None)


class Embedding(nn.Module):
    """Token embeddings, with learned positions if there are any."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.hidden_dim
        self.token_embedding = nn.Embedding(config.vocabulary_size, width)
        self.position_embedding = None
        if config.position_embedding == "learned":
            self.position_embedding = nn.Parameter(
                torch.empty(config.max_sequence_length, width)
            )
        if not config.normalize_first:
            self.norm = make_norm(config)
        self.normalize_first = config.normalize_first
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, token_ids: Tensor, start: int = 0) -> Tensor:
        x = self.token_embedding(token_ids)  # (batch, length, hidden)
        if self.position_embedding is not None:
            x = x + self.position_embedding[start : start + x.shape[1]]
        return self.dropout(x if self.normalize_first else self.norm(x))


def rotate(x: Tensor, start: int, config: Config) -> Tensor:
    """Rotary positions, half against half, from position `start` on.

    Args:
        x: `(batch, heads, length, head_dim)`.
    """
    half = torch.arange(0, x.shape[-1], 2, device=x.device) / x.shape[-1]
    frequencies = scaled(config.rope_max_wavelength**-half, config.rope_scaling)
    positions = torch.arange(x.shape[2], device=x.device) + start
    angle = positions[:, None] * frequencies  # (length, head_dim / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat(
        [first * cos - second * sin, second * cos + first * sin], dim=-1
    )


def scaled(frequencies: Tensor, scaling: dict | None) -> Tensor:
    """Rotations slowed down, as they were to reach further."""
    if scaling is None or scaling["rope_type"] == "dynamic":
        return frequencies
    if scaling["rope_type"] == "yarn":
        raise ValueError("rope_scaling of rope_type yarn is not here")
    slowed = frequencies / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return slowed
    # Llama 3 keeps those that go round often in the first length.
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    length = scaling["original_max_position_embeddings"]
    turns = length * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * frequencies + (1 - kept) * slowed


class SelfAttention(nn.Module):
    """Attention with grouped queries, and keys and values as its cache."""

    def __init__(self, config: Config, index: int):
        super().__init__()
        width = config.hidden_dim
        bias = first_of(config.attention_bias, config.use_bias)
        self.config = config
        self.is_rotary = config.position_embedding == "rotary" and at(
            config.rotary_layers, index
        )
        has_window = at(config.sliding_window_layers, index)
        self.window = config.sliding_window if has_window else None
        self.head_dim = config.head_dim or width // config.num_heads
        self.groups = config.num_key_value_heads or config.num_heads
        inner = config.num_heads * self.head_dim
        self.query = nn.Linear(width, inner, bias)
        self.key = nn.Linear(width, self.groups * self.head_dim, bias)
        self.value = nn.Linear(width, self.groups * self.head_dim, bias)
        bias = first_of(config.attention_output_bias, bias)
        self.attention_output = nn.Linear(inner, width, bias)
        if config.query_key_norm:
            epsilon = config.query_key_norm_epsilon
            self.query_norm = nn.RMSNorm(self.head_dim, eps=epsilon)
            self.key_norm = nn.RMSNorm(self.head_dim, eps=epsilon)

    def forward(self, x, padding_mask=None, cache=None, start=0):
        batch, length, _ = x.shape
        query, key, value = self._project(x, start)
        if cache is not None:
            end = start + length
            for slots, new in zip(cache, (key, value), strict=True):
                slots[:, :, start:end] = new
            key, value = (slots[:, :, :end] for slots in cache)
        mask, is_causal = self._mask(query, key, start, padding_mask)
        x = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=is_causal,
            dropout_p=self.config.dropout if self.training else 0.0,
            enable_gqa=self.groups < self.config.num_heads,
        )
        x = x.transpose(1, 2).reshape(batch, length, -1)
        return self.attention_output(x), cache

    def initial_cache(self, batch_size: int, max_length: int):
        """Keys and values, each `(batch, heads, max_length, head_dim)`."""
        shape = (batch_size, self.groups, max_length, self.head_dim)
        return tuple(self.key.weight.new_zeros(shape) for _ in range(2))

    def _project(self, x, start):
        """Queries, keys and values, each `(batch, heads, length, head_dim)`."""
        heads = (x.shape[0], x.shape[1], -1, self.head_dim)
        query, key, value = (
            layer(x).view(heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        if self.config.query_key_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.is_rotary:
            query = rotate(query, start, self.config)
            key = rotate(key, start, self.config)
        return query, key, value

    def _mask(self, query, key, start, padding_mask):
        """What is added to the scores, and whether to look back only."""
        length, slots = query.shape[2], key.shape[2]
        window = self.window
        if padding_mask is None and (window is None or window >= slots):
            if not self.config.causal or length == 1:
                return None, False
            if start == 0:
                return None, True
        ahead = torch.arange(slots, device=key.device) - (
            torch.arange(length, device=key.device)[:, None] + start
        )
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if self.config.causal:
            seen = ahead <= 0
        if window is not None:
            seen = seen & (ahead.abs() < window)
        if padding_mask is not None:
            seen = seen & padding_mask.bool()[:, None, None, :]
        # Not minus infinity: a padded row may see nothing.
        zero = torch.zeros((), dtype=query.dtype, device=query.device)
        return torch.where(seen, zero, -1e9), False


class FeedForward(nn.Module):
    """Two projections with a nonlinearity, applied to every position alike."""

    def __init__(self, config: Config):
        super().__init__()
        width, inner = config.hidden_dim, config.intermediate_dim
        inner = 4 * width if inner is None else inner
        bias = first_of(config.feed_forward_bias, config.use_bias)
        self.activation = config.activation
        self.intermediate = nn.Linear(width, inner, bias)
        if self.activation == "swiglu":
            self.gate = nn.Linear(width, inner, bias)
        self.feed_forward_output = nn.Linear(inner, width, bias)

    def forward(self, x):
        hidden = self.intermediate(x)  # (batch, length, intermediate)
        if self.activation == "swiglu":
            hidden = F.silu(self.gate(x)) * hidden
        else:
            hidden = NONLINEARITIES[self.activation](hidden)
        return self.feed_forward_output(hidden)


def make_norm(config: Config) -> nn.Module:
    """The normalisation that the config names."""
    width, epsilon = config.hidden_dim, config.layer_norm_epsilon
    if config.normalization == "rms":
        return nn.RMSNorm(width, eps=epsilon)
    if config.normalization == "none":
        return nn.Identity()
    return nn.LayerNorm(width, eps=epsilon, bias=config.use_bias)


class ResidualBlock(nn.Module):
    """Normalised attention or recurrence, then a normalised feed-forward."""

    def __init__(self, config: Config, index: int):
        super().__init__()
        self.normalize_first = config.normalize_first
        self.residual = config.residual
        self.mixer_norm = make_norm(config)
        block_type = at(config.block_types, index)
        if block_type == "attention":
            self.mixer = SelfAttention(config, index)
        else:
            self.mixer = make_recurrence(config, block_type)
        self.has_feed_forward = config.intermediate_dim != 0
        if self.has_feed_forward:
            self.feed_forward_norm = make_norm(config)
            self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, padding_mask=None, cache=None, start=0):
        first = self.mixer_norm(x) if self.normalize_first else x
        mixed, cache = self.mixer(first, padding_mask, cache, start)
        mixed = self.dropout(mixed)
        x = x + mixed if self.residual else mixed
        if not self.normalize_first:
            x = self.mixer_norm(x)
        if self.has_feed_forward:
            x = self.transformed(x)
        return x, cache

    def transformed(self, x):
        """Through the feed-forward layer."""
        first = self.feed_forward_norm(x) if self.normalize_first else x
        transformed = self.dropout(self.feed_forward(first))
        x = x + transformed if self.residual else transformed
        return x if self.normalize_first else self.feed_forward_norm(x)


class Backbone(nn.Module):
    """Embeddings, residual blocks and a final normalisation.

    Call arguments:
        token_ids: int64 `(batch, length)`.
        padding_mask: bool `(batch, length)`, `False` where padded.

    Returns:
        float `(batch, length, hidden_dim)`.
    """

    def __init__(self, **config):
        super().__init__()
        self.config = config = Config(**config)
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(
            ResidualBlock(config, index) for index in range(config.num_layers)
        )
        self.final_norm = nn.Identity()
        if config.normalize_first:
            self.final_norm = make_norm(config)
        initialize(self)

    def forward(self, token_ids, padding_mask=None):
        x = self.embedding(token_ids)
        for block in self.blocks:
            x, _ = block(x, padding_mask)
        return self.final_norm(x)

    def call_with_cache(self, token_ids, caches, start: int):
        """Hidden states of tokens from position `start` on, and the caches."""
        x, updated = self.embedding(token_ids, start), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(x, cache=cache, start=start)
            updated.append(cache)
        return self.final_norm(x), updated

    def initial_cache(self, batch_size: int, max_length: int) -> list:
        """Empty caches, one a block."""
        return [
            block.mixer.initial_cache(batch_size, max_length)
            for block in self.blocks
        ]


class CausalLM(Backbone):
    """Predicts the next token at every position.

    Call arguments:
        token_ids: int64 `(batch, length)`.
        padding_mask: bool `(batch, length)`, `False` where padded.

    Returns:
        float logits `(batch, length, vocabulary_size)`.
    """

    def __init__(self, **config):
        super().__init__(**config)
        width, size = self.config.hidden_dim, self.config.vocabulary_size
        self.head = None
        if not self.config.tie_word_embeddings:
            self.head = nn.Linear(width, size, bias=False)
            nn.init.normal_(self.head.weight, std=0.02)
        self.head_bias = None
        if self.config.output_bias:
            self.head_bias = nn.Parameter(torch.zeros(size))

    def forward(self, token_ids, padding_mask=None):
        return self.logits(super().forward(token_ids, padding_mask))

    def logits(self, hidden: Tensor) -> Tensor:
        """Projects hidden states to tokens."""
        tied = self.embedding.token_embedding
        matrix = (tied if self.head is None else self.head).weight
        return F.linear(hidden, matrix, self.head_bias)

    def next_logits(self, token_ids, caches, start: int):
        """Logits `(batch, vocabulary_size)` after new tokens, and caches."""
        hidden, caches = self.call_with_cache(token_ids, caches, start)
        return self.logits(hidden[:, -1]), caches


def initialize(model: Backbone) -> None:
    """Random weights, spread as those of a new `ScratchBackbone`."""
    config = model.config
    branches = 2 * config.num_layers if config.normalize_first else 1
    last = 0.02 / branches**0.5
    for name, weight in model.named_parameters():
        ends = name.endswith("_output.weight")
        if name.endswith("norm.weight"):
            nn.init.ones_(weight)
        elif name.endswith(("bias", "bias_ih_l0", "bias_hh_l0")):
            nn.init.zeros_(weight)
        elif name.endswith("weight_hh_l0"):
            nn.init.orthogonal_(weight)
        elif name.endswith("weight_ih_l0"):
            nn.init.xavier_uniform_(weight)
        elif ends and config.zero_init_outputs:
            nn.init.zeros_(weight)
        else:
            nn.init.normal_(weight, std=last if ends else 0.02)
    for block in model.blocks:
        initialize_recurrence(block.mixer)
