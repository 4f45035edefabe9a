"""Parameter counts without building a model, for listings that answer at once.

A test holds these against the models.
"""

from keras_llm.recipes.settings import ModelSettings

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
# What a matrix memory has beside projections: convolution and rates.
MEMORIES = {
    "gated_delta": lambda settings: (
        4 * 3 * settings.hidden_dim + settings.num_heads
    ),
    "mlstm": lambda settings: 0,
}


def count_parameters(settings: ModelSettings, vocabulary_size: int) -> int:
    """Parameters of the decoder or encoder that the settings describe."""
    width = settings.hidden_dim
    total = vocabulary_size * width * (1 if settings.tie_word_embeddings else 2)
    if settings.position_embedding == "learned":
        total += settings.max_sequence_length * width
    types = settings.block_types
    for index in range(settings.num_layers):
        total += _block(settings, types[index % len(types)])
    if not settings.causal:  # the head: a projection, a norm, a bias
        total += width * (width + 1) + 2 * width + vocabulary_size
    if settings.output_bias:
        total += vocabulary_size
    return total + _norm(settings)


def _block(settings: ModelSettings, block_type: str) -> int:
    return (
        _mixer(settings, block_type)
        + _feed_forward(settings)
        + _norm(settings) * (1 if settings.intermediate_dim == 0 else 2)
    )


def _mixer(settings: ModelSettings, block_type: str) -> int:
    width = settings.hidden_dim
    if block_type == "attention":
        return _attention(settings)
    if block_type == "min_gru":
        return 2 * width * (width + 1)
    if block_type in MEMORIES:
        heads = settings.num_heads
        gates, norm = 2 * heads * (width + 1), width // heads
        return 5 * width * width + gates + norm + MEMORIES[block_type](settings)
    return _recurrence(settings, block_type)


def _attention(settings: ModelSettings) -> int:
    width = settings.hidden_dim
    head_dim = width // settings.num_heads
    heads = settings.num_key_value_heads or settings.num_heads
    outputs = 2 * width + 2 * heads * head_dim
    norms = 2 * head_dim if settings.query_key_norm else 0
    return outputs * (width + settings.use_bias) + norms


def _recurrence(settings: ModelSettings, block_type: str) -> int:
    width, gates = settings.hidden_dim, GATES[block_type]
    biases = 2 if block_type == "gru" else 1
    return gates * width * (2 * width + biases)


def _feed_forward(settings: ModelSettings) -> int:
    width, inner = settings.hidden_dim, settings.intermediate_dim
    if inner == 0:
        return 0
    inner = inner or 4 * width
    inputs = 2 if settings.activation == "swiglu" else 1
    bias = settings.use_bias
    return inputs * inner * (width + bias) + width * (inner + bias)


def _norm(settings: ModelSettings) -> int:
    if settings.normalization == "none":
        return 0
    layer_bias = settings.normalization == "layer" and settings.use_bias
    return settings.hidden_dim * (2 if layer_bias else 1)
