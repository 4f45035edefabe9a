"""The twin of `recurrent_language_model`."""

from torch import nn

from keras_llm.pytorch.twin_recurrences import RecurrentLayer


class RecurrentLanguageModel(nn.Module):
    """Embedding, GRU, and a linear layer on the last step.

    Call arguments:
        token_ids: int64 `(batch, length)`.

    Returns:
        float logits `(batch, output_dim)`.
    """

    def __init__(self, vocabulary_size, embedding_dim, hidden_dim, output_dim):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.gru = RecurrentLayer(embedding_dim, hidden_dim, "gru")
        self.output = nn.Linear(hidden_dim, output_dim)

    def forward(self, token_ids):
        x, _ = self.gru(self.embedding(token_ids))
        return self.output(x[:, -1])
