"""Typed settings of a whole run, checked where they are built.

Knows nothing of files, Keras or TensorFlow, so that the command line can read
and check a recipe at once.
"""

from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal, get_args, get_type_hints

from keras_llm.recipes.checks import (
    check,
    check_looks_ahead,
    check_ranges,
    check_stateful,
    check_types,
)
from keras_llm.recipes.corpus_settings import CorpusSettings

ModelType = Literal["unigram", "bpe", "char", "word"]
BlockType = Literal[
    "attention", "gru", "lstm", "rnn", "min_gru", "gated_delta", "mlstm"
]
PositionEmbedding = Literal["learned", "rotary", "none"]
Normalization = Literal["layer", "rms", "none"]
Activation = Literal[
    "gelu", "gelu_exact", "relu", "relu_squared", "silu", "swiglu"
]
OptimizerName = Literal["adamw", "adam", "sgd", "muon"]
ScheduleName = Literal["cosine", "linear", "warmup_stable_decay", "constant"]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]
SamplerName = Literal["sample", "greedy", "beam"]


@dataclass(frozen=True)
class TokenizerSettings:
    """Which SentencePiece model is trained, or taken.

    Args:
        model_type: `"unigram"`, `"bpe"`, `"char"` (one token a character) or
            `"word"` (split at spaces).
        vocabulary_size: Number of tokens, control tokens included. For
            `"char"` the most there may be: the alphabet decides.
        model_path: An existing SentencePiece `.model` to use instead of
            training one.
        mask_token: Whether there is a mask token, which an encoder needs.
    """

    model_type: ModelType = "unigram"
    vocabulary_size: int = 8000
    model_path: str | None = None
    mask_token: bool = False

    def __post_init__(self) -> None:
        check_types(self, "tokenizer")
        ranges = {
            "at least 16": ["vocabulary_size"],
            "at most 10,000,000": ["vocabulary_size"],
        }
        check_ranges(self, "tokenizer", ranges)


@dataclass(frozen=True)
class ModelSettings:
    """Shape of a `ScratchBackbone`, without the vocabulary.

    Args:
        block_types: One block type, or several separated by commas or in a
            list, repeated to `num_layers`: `"attention"`, `"gru"`, `"lstm"`,
            `"rnn"`, `"min_gru"`, `"gated_delta"` or `"mlstm"`.
        num_layers: Number of blocks.
        num_heads: Number of query heads of an attention block, or of
            matrices of a `"gated_delta"` or `"mlstm"` block.
        num_key_value_heads: Number of key and value heads; `num_heads` if
            omitted.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward layer;
            `4 * hidden_dim` if omitted.
        max_sequence_length: Longest context, in tokens.
        position_embedding: `"learned"`, `"rotary"` or `"none"`.
        normalization: `"layer"`, `"rms"` or `"none"`.
        normalize_first: Whether what goes into attention and into the
            feed-forward layer is normalised; false for what comes out of
            each and is added, as in BERT.
        residual: Whether what a block adds is added to what came into it, or
            takes its place.
        activation: `"gelu"` (the tanh form), `"gelu_exact"`, `"relu"`,
            `"relu_squared"`, `"silu"` or `"swiglu"`.
        query_key_norm: Whether queries and keys are normalised.
        sliding_window: How many tokens back attention sees; all if omitted.
        causal: Whether attention looks only back (a decoder, which predicts
            the next token); false for an encoder, which fills masks.
        tie_word_embeddings: Whether the output projection is the transposed
            token embedding.
        use_bias: Whether projections have a bias.
        output_bias: Whether the output projection has one.
        zero_init_outputs: Whether the last projection of each residual branch
            starts at zero.
        dropout: Share of activations dropped while training, in [0, 1).
    """

    block_types: str | list[str] = "attention"
    num_layers: int = 6
    num_heads: int = 6
    num_key_value_heads: int | None = None
    hidden_dim: int = 384
    intermediate_dim: int | None = None
    max_sequence_length: int = 256
    position_embedding: PositionEmbedding = "rotary"
    normalization: Normalization = "rms"
    normalize_first: bool = True
    residual: bool = True
    activation: Activation = "gelu"
    query_key_norm: bool = False
    sliding_window: int | None = None
    causal: bool = True
    tie_word_embeddings: bool = True
    use_bias: bool = False
    output_bias: bool = False
    zero_init_outputs: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_types(self, "model")
        types = self.block_types
        if isinstance(types, str):
            types = [name.strip() for name in types.split(",")]
        object.__setattr__(self, "block_types", list(types))
        known = get_args(BlockType)
        for name in types or [""]:
            expected = "one of " + ", ".join(known)
            check(name in known, "model.block_types", expected, name)
        ranges = {
            "at least 0": ["intermediate_dim"],
            "at least 1": [
                "num_layers",
                "num_heads",
                "num_key_value_heads",
                "hidden_dim",
                "sliding_window",
            ],
            "at least 2": ["max_sequence_length"],
            "in [0, 1)": ["dropout"],
            "at most 10,000": ["num_layers", "num_heads"],
            "at most 1,000,000": ["hidden_dim", "intermediate_dim"],
            "at most 10,000,000": ["max_sequence_length"],
            "at most 100,000,000": ["num_key_value_heads", "sliding_window"],
        }
        check_ranges(self, "model", ranges)
        types = self.block_types
        check_looks_ahead(self.causal, types, "model.block_types")
        has_own = self.causal or not self.output_bias
        expected = "false where model.causal is: masks have a head of their own"
        check(has_own, "model.output_bias", expected, self.output_bias)
        if "attention" in self.block_types:
            self._check_heads()

    def _check_heads(self) -> None:
        check(
            self.hidden_dim % self.num_heads == 0,
            "model.num_heads",
            f"a divisor of model.hidden_dim ({self.hidden_dim})",
            self.num_heads,
        )
        check(
            self.num_heads % (self.num_key_value_heads or 1) == 0,
            "model.num_key_value_heads",
            f"a divisor of model.num_heads ({self.num_heads})",
            self.num_key_value_heads,
        )
        check(
            self.position_embedding != "rotary"
            or self.hidden_dim // self.num_heads % 2 == 0,
            "model.hidden_dim",
            "an even multiple of model.num_heads "
            f"({self.num_heads}) with rotary positions",
            self.hidden_dim,
        )


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained by `model.fit`.

    A step is one optimizer update, over `gradient_accumulation_steps` batches
    of `batch_size` windows. Intervals are in steps.

    Args:
        steps: Optimizer updates in all.
        epochs: How often all of the data is seen, instead of `steps`.
        batch_size: Windows a batch, or examples.
        gradient_accumulation_steps: Batches an update.
        stateful: Whether row `i` of a batch goes on in the text where row `i`
            of the one before ended, with the state that it ended with, in
            training and evaluation; gradients end with the window (truncated
            back-propagation through time). Of pretraining, without attention.
        optimizer: `"adamw"`, `"adam"`, `"sgd"` or `"muon"` (Muon for the
            matrices of the blocks, AdamW for the rest).
        learning_rate: Peak learning rate (for Muon, that of AdamW's part).
        muon_learning_rate: Peak learning rate of Muon's part.
        schedule: `"cosine"`, `"linear"`, `"warmup_stable_decay"` or
            `"constant"`, each after a linear warm-up.
        warmup_steps: Steps from zero to the peak.
        decay_share: Share of the steps over which `"warmup_stable_decay"`
            falls, in (0, 1].
        final_learning_rate_share: Learning rate at the end, as a share of the
            peak, in [0, 1].
        weight_decay: Decoupled weight decay of matrices (not of biases,
            norms or embeddings).
        beta_1: Decay of Adam's first moment; SGD's momentum.
        beta_2: Decay of Adam's second moment.
        global_clipnorm: Greatest norm of all gradients together; 0 is off.
        dtype: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.
        jit_compile: Whether a step is compiled by XLA, on TensorFlow and
            JAX; `None` decides by backend and device.
        log_interval: Steps between rows of the log.
        validation_interval: Steps between validations and checkpoints.
        validation_batches: Batches a validation; the whole split if omitted.
        early_stopping_patience: Validations without improvement after which
            training stops; never if omitted.
        sample_prompt: Prompt of the samples written at each validation; empty
            for none.
        sample_tokens: Tokens a sample.
        tensorboard: Whether TensorBoard files are written.
    """

    steps: int = 2000
    epochs: float | None = None
    batch_size: int = 12
    gradient_accumulation_steps: int = 1
    stateful: bool = False
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    schedule: ScheduleName = "cosine"
    warmup_steps: int = 100
    decay_share: float = 0.5
    final_learning_rate_share: float = 0.1
    weight_decay: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.95
    global_clipnorm: float = 1.0
    dtype: DtypePolicy = "float32"
    jit_compile: bool | None = None
    log_interval: int = 10
    validation_interval: int = 200
    validation_batches: int | None = None
    early_stopping_patience: int | None = None
    sample_prompt: str = "The"
    sample_tokens: int = 100
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_types(self, "training")
        ranges = {
            "at least 0": ["warmup_steps", "weight_decay", "global_clipnorm"],
            "at least 1": [
                "steps",
                "batch_size",
                "gradient_accumulation_steps",
                "log_interval",
                "validation_interval",
                "validation_batches",
                "early_stopping_patience",
                "sample_tokens",
            ],
            "above 0": ["epochs", "learning_rate", "muon_learning_rate"],
            "in [0, 1)": ["beta_1", "beta_2"],
            "in (0, 1]": ["decay_share"],
            "in [0, 1]": ["final_learning_rate_share"],
            "at most 1,000,000": [
                "epochs",
                "batch_size",
                "gradient_accumulation_steps",
                "sample_tokens",
            ],
            "at most 100,000,000": [
                "steps",
                "warmup_steps",
                "log_interval",
                "validation_interval",
                "validation_batches",
                "early_stopping_patience",
            ],
        }
        check_ranges(self, "training", ranges)
        check(
            self.validation_interval % self.log_interval == 0,
            "training.validation_interval",
            f"a multiple of training.log_interval ({self.log_interval})",
            self.validation_interval,
        )


@dataclass(frozen=True)
class GenerationSettings:
    """How the next token is chosen, and when to stop.

    Args:
        sampler: `"sample"` by the settings below, `"greedy"` (the likeliest
            token) or `"beam"` (the likeliest text that a beam search finds).
        max_new_tokens: Most tokens to generate.
        temperature: Divides the logits; 0 is greedy.
        top_k: Number of tokens to choose among; 0 is off.
        top_p: Smallest share of probability to choose among; 1 is off.
        min_p: Least probability, relative to the likeliest token's; 0 is off.
        repetition_penalty: Divides the logits of tokens already seen; 1 is
            off.
        num_beams: Beams of a beam search.
        stop: Strings that end the text; they are not part of it.
    """

    sampler: SamplerName = "sample"
    max_new_tokens: int = 200
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    num_beams: int = 5
    stop: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_types(self, "generation")
        ranges = {
            "at least 0": ["top_k"],
            "at least 1": ["max_new_tokens", "num_beams"],
            "in (0, 1]": ["top_p"],
            "in [0, 1)": ["min_p"],
            "in [0, 100)": ["temperature"],
            "in (0, 100)": ["repetition_penalty"],
            "at most 10,000": ["num_beams"],
            "at most 1,000,000": ["max_new_tokens"],
            "at most 100,000,000": ["top_k"],
        }
        check_ranges(self, "generation", ranges)
        expected = "a list of texts that are not empty"
        check(all(self.stop), "generation.stop", expected, self.stop)

    @property
    def drawn_temperature(self) -> float:
        """The temperature by which tokens are drawn; 0 is greedy."""
        return 0.0 if self.sampler == "greedy" else self.temperature


@dataclass(frozen=True)
class Recipe:
    """All settings of a run, from raw text to a preset.

    Args:
        description: One sentence for `keras-llm recipes`.
        expected_minutes: How long the run takes where it was measured; shown,
            never used.
        seed: Decides every random number of the run.
        corpus: How raw text becomes documents.
        tokenizer: Which tokenizer is trained.
        model: Shape of the model.
        training: How it is trained.
        generation: How samples are drawn.
    """

    description: str = ""
    expected_minutes: str = ""
    seed: int = 0
    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)

    def __post_init__(self) -> None:
        check_types(self)
        check(0 <= self.seed < 2**32, "seed", "in [0, 2^32)", self.seed)
        tokenizer = self.tokenizer
        has_mask = tokenizer.mask_token or tokenizer.model_path is not None
        check(
            self.model.causal or has_mask,
            "tokenizer.mask_token",
            "true where model.causal is false: an encoder learns from masks",
            tokenizer.mask_token,
        )
        if self.training.stateful:
            model, name = self.model, "training.stateful"
            check_stateful(model.block_types, model.position_embedding, name)


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain, YAML- and JSON-ready values of a settings object."""
    return asdict(settings)


def field_types(settings_class: type, prefix: str = "") -> dict[str, Any]:
    """Types of all fields by dotted name, nested settings opened."""
    types = {}
    for name, hint in get_type_hints(settings_class).items():
        if is_dataclass(hint):
            types |= field_types(hint, f"{prefix}{name}.")
        else:
            types[prefix + name] = hint
    return types
