"""What the recipes' quality is compared with, in PyTorch alone.

`TutorialGPT` is what the tutorials teach: 4 layers of 4 heads, 128 wide,
learned positions, layer norm, GELU; AdamW at 1e-3 with a warm-up of 100 and a
cosine to a tenth; batches of 12 x 64 tokens, drawn at random.

`WordLSTM` is the LSTM of PyTorch's own example, two layers of 200 units tied
to the embedding (github.com/pytorch/examples, word_language_model): SGD at 20,
a quarter of it after an epoch that does not improve on validation, norm
clipped at 0.25, windows of 35 in 20 streams, state carried.
"""

import math

import torch
from torch import nn

from keras_llm.datasets import EvaluationWindows

LENGTH, BATCH, WIDTH, STEPS = 64, 12, 128, 2000
UNITS, STREAMS, WINDOW, HELD_OUT_STREAMS = 200, 20, 35, 10
EPOCHS = 3  # as many as `lstm-words`; the example's are six


class TutorialGPT(nn.Module):
    """The GPT of the PyTorch tutorials."""

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, WIDTH)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        block = nn.TransformerEncoderLayer(
            WIDTH,
            nhead=4,
            dim_feedforward=4 * WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
            bias=False,
        )
        self.blocks = nn.TransformerEncoder(
            block, 4, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.head = nn.Linear(WIDTH, vocabulary_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # Branch ends are scaled down by depth.
                ends = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(weight, std=0.02 / (8**0.5 if ends else 1))
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.register_buffer("mask", mask)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return self.head(self.blocks(x, mask=self.mask, is_causal=True))

    def loss(self, ids, labels, reduction="mean"):
        return nn.functional.cross_entropy(
            self(ids).flatten(0, 1), labels.flatten(), reduction=reduction
        )


class TutorialRun:
    """Trains a `TutorialGPT` by the published settings."""

    def __init__(self, tokens, validation, steps: int | None, seed: int):
        torch.manual_seed(seed)
        self.ids = _ids(tokens)
        self.steps = steps or STEPS
        self.model = TutorialGPT(tokens.vocabulary_size)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=0.1
        )

    def train(self) -> None:
        for step in range(self.steps):
            self.train_step(step)

    def train_step(self, step: int) -> None:
        starts = torch.randint(len(self.ids) - LENGTH, (BATCH,))
        ids = self.ids[starts[:, None] + torch.arange(LENGTH + 1)]
        progress = max(0, step - 100) / max(1, self.steps - 100)
        rate = 1e-4 + 9e-4 * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = min(1e-3 * (step + 1) / 100, rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.loss(ids[:, :-1], ids[:, 1:]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def nats(self, tokens) -> tuple[float, int]:
        """Over a whole split, and its number of labels."""
        windows = EvaluationWindows(tokens, LENGTH, 1)
        total, count = 0.0, 0
        for index in range(len(windows)):
            features, *rest = windows.batch(index)
            ids = torch.tensor(features["token_ids"])
            labels, weight = map(torch.tensor, rest)
            keep = weight > 0
            nats = self.model.loss(ids, labels.long(), reduction="none")
            total += float(nats[keep.flatten()].sum())
            count += int(keep.sum())
        return total, count


class WordLSTM(nn.Module):
    """The LSTM of PyTorch's example, tied."""

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.tokens = nn.Embedding(vocabulary_size, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, 2, dropout=0.2)
        self.head = nn.Linear(UNITS, vocabulary_size)
        self.head.weight = self.tokens.weight
        nn.init.uniform_(self.tokens.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids, state):
        x, state = self.lstm(self.dropout(self.tokens(ids)), state)
        return self.head(self.dropout(x)), state


class WordRun:
    """Trains a `WordLSTM` by the settings of the example."""

    def __init__(self, tokens, validation, steps: int | None, seed: int):
        torch.manual_seed(seed)
        self.windows = list(_windows(_streams(_ids(tokens), STREAMS)))
        self.steps = steps or EPOCHS * len(self.windows)
        self.validation = validation
        self.model = WordLSTM(tokens.vocabulary_size)
        self.rate = 20.0

    def train(self) -> None:
        best = math.inf
        for first in range(0, self.steps, len(self.windows)):
            self.train_epoch(self.windows[: self.steps - first])
            nats, _ = self.nats(self.validation)
            if nats >= best:
                self.rate /= 4
            best = min(best, nats)

    def train_epoch(self, windows: list[tuple]) -> None:
        self.model.train()
        state = None
        for ids, labels in windows:
            logits, state = self.model(ids, state)
            state = tuple(each.detach() for each in state)
            self.model.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.25)
            with torch.no_grad():
                for weight in self.model.parameters():
                    weight -= self.rate * weight.grad

    @torch.no_grad()
    def nats(self, tokens) -> tuple[float, int]:
        """Over a whole split, and its number of labels."""
        self.model.eval()
        total, count, state = 0.0, 0, None
        for ids, labels in _windows(_streams(_ids(tokens), HELD_OUT_STREAMS)):
            logits, state = self.model(ids, state)
            logits = logits.flatten(0, 1)
            nats = nn.functional.cross_entropy(logits, labels, reduction="sum")
            total, count = total + float(nats), count + len(labels)
        return total, count


def _ids(tokens) -> torch.Tensor:
    return torch.tensor(tokens.read(0, len(tokens)), dtype=torch.long)


def _streams(ids: torch.Tensor, count: int) -> torch.Tensor:
    """`(length, count)`: a column goes on in the text, row by row."""
    length = len(ids) // count
    return ids[: length * count].view(count, length).t().contiguous()


def _windows(streams: torch.Tensor):
    """Inputs `(window, streams)` and labels `(window * streams,)`."""
    for start in range(0, len(streams) - 1, WINDOW):
        end = min(start + WINDOW, len(streams) - 1)
        yield streams[start:end], streams[start + 1 : end + 1].flatten()
