"""The recurrences of keras-llm in PyTorch. This file needs nothing but torch.

`keras-llm export PRESET DIR --format pytorch` writes it as `recurrences.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
CHUNK = 64
TAPS = 4  # positions that the convolution of a gated delta rule sees
SOFT_CAP = 15.0  # of the gates of an mLSTM
NEVER = -1e30


class RecurrentLayer(nn.Module):
    """GRU, LSTM or plain recurrence, whose cache is its state."""

    def __init__(self, input_dim: int, hidden_dim: int, cell_type: str):
        super().__init__()
        self.cell_type = cell_type
        self.loop = CELLS[cell_type](input_dim, hidden_dim, batch_first=True)
        if cell_type != "gru":
            # PyTorch has two biases where only their sum matters.
            nn.init.zeros_(self.loop.bias_hh_l0).requires_grad_(False)

    def forward(self, x, padding_mask=None, cache=None, start=0):
        if padding_mask is None:
            return self.loop(x, cache)
        # The state passes over padding: real positions first, and back.
        order = real_first(padding_mask)
        x = torch.take_along_dim(x, order, dim=1)
        x, cache = self.loop(x, cache)
        return torch.take_along_dim(x, order.argsort(dim=1), dim=1), cache

    def initial_cache(self, batch_size: int, max_length: int | None = None):
        """States, each `(1, batch, hidden_dim)`."""
        shape = (1, batch_size, self.loop.hidden_size)
        state = self.loop.weight_hh_l0.new_zeros(shape)
        return (state, state) if self.cell_type == "lstm" else state


def real_first(padding_mask: Tensor) -> Tensor:
    """Indices `(batch, length, 1)`: real positions in order, then padding."""
    real = padding_mask.bool().int()
    return real.argsort(dim=1, descending=True, stable=True)[..., None]


class LinearRecurrence(nn.Module):
    """A recurrence that is linear in its state: a chunk of positions at once.

    Subclasses have `project`, whose tensors are `(batch, length, heads, ...)`,
    `chunk`, and `output`.
    """

    def forward(self, x, padding_mask=None, cache=None, start=0):
        order = None
        if padding_mask is not None:
            order = real_first(padding_mask)
            x = torch.take_along_dim(x, order, dim=1)
            padding_mask = padding_mask.take_along_dim(order[..., 0], dim=1)
        if cache is None:
            cache = self.initial_cache(len(x))
        inputs, cache = self.project(x, padding_mask, cache)
        inputs = [each.transpose(1, 2) for each in inputs]
        pieces = []
        for begin in range(0, x.shape[1], CHUNK):
            part = [each[:, :, begin : begin + CHUNK] for each in inputs]
            piece, cache = self.chunk(cache, *part)
            pieces.append(piece)
        y = self.output(torch.cat(pieces, dim=2).transpose(1, 2), x)
        if order is not None:
            y = torch.take_along_dim(y, order.argsort(dim=1), dim=1)
        return y, cache


class MinGRU(LinearRecurrence):
    """A GRU whose gate looks at the input alone (arXiv 2410.01201)."""

    def __init__(self, width: int):
        super().__init__()
        self.input_projection = nn.Linear(width, 2 * width)

    def initial_cache(self, batch_size: int, max_length: int | None = None):
        weight = self.input_projection.weight
        return (weight.new_zeros(batch_size, 1, weight.shape[1]),)

    def project(self, x, padding_mask, cache):
        gate, candidate = self.input_projection(x)[:, :, None].chunk(2, dim=-1)
        gate = gate.sigmoid()
        if padding_mask is not None:
            gate = gate * padding_mask[..., None, None]
        candidate = torch.where(
            candidate >= 0, candidate + 0.5, candidate.sigmoid()
        )
        return (gate, gate * candidate), cache

    def chunk(self, cache, gate, new):
        kept, shift = 1 - gate, 1
        while shift < kept.shape[2]:  # looks back twice as far each time
            moved = F.pad(new[:, :, :-shift], (0, 0, shift, 0))
            new = new + kept * moved
            kept = kept * F.pad(kept[:, :, :-shift], (0, 0, shift, 0), value=1)
            shift *= 2
        hidden = kept * cache[0][:, :, None] + new
        return hidden, (hidden[:, :, -1],)

    def output(self, y, x):
        return y[:, :, 0]


class MatrixMemory(LinearRecurrence):
    """Keys and values are added to a matrix, which queries read."""

    def __init__(self, config):
        super().__init__()
        width, self.heads = config.hidden_dim, config.num_heads
        self.head_dim = config.head_dim or width // self.heads
        inner = self.heads * self.head_dim
        for name in ("query", "key", "value", "output_gate"):
            setattr(self, name, nn.Linear(width, inner, bias=False))
        self.gates = nn.Linear(width, 2 * self.heads)
        self.memory_norm = nn.RMSNorm(
            self.head_dim, eps=config.layer_norm_epsilon
        )
        self.memory_output = nn.Linear(inner, width, bias=False)

    def in_heads(self, x):
        return x.unflatten(-1, (self.heads, self.head_dim))

    def output(self, y, x):
        y = self.memory_norm(y).flatten(2)
        gate = self.gate_activation(self.output_gate(x))
        return self.memory_output(y * gate)


class GatedDeltaNet(MatrixMemory):
    """A matrix that is corrected, and forgets (arXiv 2412.06464)."""

    gate_activation = staticmethod(F.silu)

    def __init__(self, config):
        super().__init__(config)
        inner = 3 * self.heads * self.head_dim
        self.convolution = nn.Parameter(torch.empty(TAPS, inner))
        self.log_rate = nn.Parameter(torch.empty(self.heads))

    def initial_cache(self, batch_size: int, max_length: int | None = None):
        size, zeros = self.head_dim, self.log_rate.new_zeros
        width = self.convolution.shape[1]
        window = zeros(batch_size, TAPS - 1, width)
        return window, zeros(batch_size, self.heads, size, size)

    def project(self, x, padding_mask, cache):
        window, matrix = cache
        layers = self.query, self.key, self.value
        projected = torch.cat([layer(x) for layer in layers], dim=-1)
        projected = torch.cat([window, projected], dim=1)
        mixed = sum(
            projected[:, tap : tap + x.shape[1]] * self.convolution[tap]
            for tap in range(TAPS)
        )
        query, key, value = map(self.in_heads, F.silu(mixed).chunk(3, dim=-1))
        correction, decay = self.gates(x).chunk(2, dim=-1)
        correction = correction.sigmoid()
        decay = -self.log_rate.exp() * F.softplus(decay)
        count = torch.full((len(x),), x.shape[1], device=x.device)
        if padding_mask is not None:
            count = padding_mask.sum(dim=1)
            real = padding_mask[..., None]
            correction, decay = correction * real, decay * real
        places = count[:, None] + torch.arange(TAPS - 1, device=x.device)
        window = projected.take_along_dim(places[..., None], dim=1)
        query = unit(query) * self.head_dim**-0.5
        return (query, unit(key), value, correction, decay), (window, matrix)

    def chunk(self, cache, query, key, value, correction, decay):
        window, matrix = cache
        decay = decay.cumsum(dim=-1)
        fading = (decay[..., :, None] - decay[..., None, :]).tril().exp()
        fading = fading.tril()
        correction, passed = correction[..., None], decay.exp()[..., None]
        overlap = (key * correction @ key.mT * fading).tril(-1)
        right = (value - key * passed @ matrix) * correction
        left = overlap + torch.eye(overlap.shape[-1], device=key.device)
        new = torch.linalg.solve_triangular(left, right, upper=False)
        y = query * passed @ matrix + (query @ key.mT * fading) @ new
        left_over = (decay[..., -1:] - decay).exp()[..., None]
        matrix = matrix * passed[..., -1:, :] + (key * left_over).mT @ new
        return y, (window, matrix)


def unit(x: Tensor) -> Tensor:
    """Vectors of length one."""
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + 1e-6)


class MLSTM(MatrixMemory):
    """An LSTM whose memory is a matrix (arXiv 2405.04517)."""

    gate_activation = staticmethod(torch.sigmoid)

    def initial_cache(self, batch_size: int, max_length: int | None = None):
        size, zeros = self.head_dim, self.query.weight.new_zeros
        shape = (batch_size, self.heads)
        return zeros(*shape, size, size), zeros(*shape, size), zeros(shape)

    def project(self, x, padding_mask, cache):
        layers = self.query, self.key, self.value
        query, key, value = (self.in_heads(layer(x)) for layer in layers)
        gates = SOFT_CAP * torch.tanh(self.gates(x) / SOFT_CAP)
        gate, forget = gates.chunk(2, dim=-1)
        forget = F.logsigmoid(forget)
        if padding_mask is not None:
            real = padding_mask.bool()[..., None]
            gate = torch.where(real, gate, NEVER)
            forget = forget * real
        query = query * self.head_dim**-0.5
        return (query, key, value, gate, forget), cache

    def chunk(self, cache, query, key, value, gate, forget):
        matrix, normalizer, scale = cache
        forget = forget.cumsum(dim=-1)
        weight = forget[..., :, None] - forget[..., None, :]
        weight = weight + gate[..., None, :]
        later = torch.ones_like(weight, dtype=torch.bool).triu(1)
        weight = weight.masked_fill(later, NEVER)
        before = forget + scale[..., None]
        scales = torch.maximum(before, weight.amax(dim=-1))
        overlap = query @ key.mT * (weight - scales[..., None]).exp()
        query = query * (before - scales).exp()[..., None]
        y = query @ matrix + overlap @ value
        size = query @ normalizer[..., None] + overlap.sum(-1, keepdim=True)
        y = y / torch.maximum(size.abs(), (-scales).exp()[..., None])
        gate, last = forget[..., -1:] - forget + gate, forget[..., -1] + scale
        scale = torch.maximum(last, gate.amax(dim=-1))
        kept = (last - scale).exp()[..., None]
        key = key * (gate - scale[..., None]).exp()[..., None]
        matrix = matrix * kept[..., None] + key.mT @ value
        return y, (matrix, normalizer * kept + key.sum(dim=2), scale)


def make_recurrence(config, block_type: str) -> nn.Module:
    """The recurrence of a block, by its name in `block_types`."""
    if block_type in CELLS:
        width = config.hidden_dim
        return RecurrentLayer(width, width, block_type)
    if block_type == "min_gru":
        return MinGRU(config.hidden_dim)
    return {"gated_delta": GatedDeltaNet, "mlstm": MLSTM}[block_type](config)


@torch.no_grad()
def initialize_recurrence(layer: nn.Module) -> None:
    """What a recurrence remembers at first, as ours does."""
    if isinstance(getattr(layer, "loop", None), nn.LSTM):
        layer.loop.bias_ih_l0.chunk(4)[1].fill_(1.0)
    if isinstance(layer, MinGRU):
        nn.init.xavier_uniform_(layer.input_projection.weight)
    if isinstance(layer, MLSTM):
        remembered = torch.linspace(3, 6, layer.heads)
        layer.gates.bias.chunk(2)[1].copy_(remembered)
    if isinstance(layer, GatedDeltaNet):
        nn.init.uniform_(layer.convolution, -(TAPS**-0.5), TAPS**-0.5)
        rates = torch.linspace(1, 16, layer.heads)
        layer.log_rate.copy_(rates.log())
        steps = torch.logspace(-3, -1, layer.heads)
        layer.gates.bias.chunk(2)[1].copy_(steps.expm1().log())
