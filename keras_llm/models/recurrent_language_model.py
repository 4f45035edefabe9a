"""The classic recurrent model of the tutorials, as a functional model."""

import keras

from keras_llm.layers import RecurrentLayer


def recurrent_language_model(
    vocabulary_size: int, embedding_dim: int, hidden_dim: int, output_dim: int
) -> keras.Model:
    """Embedding, GRU, and a linear layer on the last step.

    Args:
        vocabulary_size: Number of tokens.
        embedding_dim: Width of the embeddings.
        hidden_dim: Width of the GRU's state.
        output_dim: Number of outputs: `vocabulary_size` to predict the next
            token, or the number of classes.

    Returns:
        A model from int32 token ids `(batch, length)` to float logits
        `(batch, output_dim)`.

    Example:
        >>> model = recurrent_language_model(100, 16, 32, 100)
        >>> model(keras.ops.ones((2, 5), "int32")).shape
        (2, 100)
    """
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(vocabulary_size, embedding_dim)(token_ids)
    x = RecurrentLayer(hidden_dim, "gru", name="gru")(x)
    logits = keras.layers.Dense(output_dim, name="output")(x[:, -1])
    return keras.Model(token_ids, logits, name="recurrent_language_model")
