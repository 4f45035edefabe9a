"""GPT-2 as Hugging Face has it."""

from collections.abc import Iterator

from keras_llm.export.huggingface.architecture import (
    BIASES,
    Architecture,
    Config,
    Field,
    Options,
    Part,
)
from keras_llm.export.huggingface.tensors import Tensor
from keras_llm.models import ScratchCausalLM

PREFIX = "transformer."  # which the published files leave out
EMBEDDING = PREFIX + "wte.weight"
ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}


def _tensors_of(model: ScratchCausalLM) -> Iterator[Tensor]:
    embedding = model.backbone.embedding
    yield Tensor(EMBEDDING, [embedding.token_embedding.embeddings])
    yield Tensor(PREFIX + "wpe.weight", [embedding.position_embedding])
    for index, block in enumerate(model.backbone.blocks):
        name = f"{PREFIX}h.{index}."
        mixer, wide = block.mixer, block.feed_forward
        yield from _norm(name + "ln_1", block.mixer_norm)
        yield from _conv1d(
            name + "attn.c_attn", mixer.query, mixer.key, mixer.value
        )
        yield from _conv1d(name + "attn.c_proj", mixer.attention_output)
        yield from _norm(name + "ln_2", block.feed_forward_norm)
        yield from _conv1d(name + "mlp.c_fc", wide.intermediate)
        yield from _conv1d(name + "mlp.c_proj", wide.feed_forward_output)
    yield from _norm(PREFIX + "ln_f", model.backbone.final_norm)


def _conv1d(name, *layers) -> Iterator[Tensor]:
    """Matrices side by side, in the layout of Keras, and their biases."""
    weight = Tensor(f"{name}.weight", [layer.kernel for layer in layers])
    yield weight
    biases = [layer.bias for layer in layers if layer.bias is not None]
    yield Tensor(f"{name}.bias", biases, zeros=weight.shape[-1:])


def _norm(name, layer) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", [layer.gamma])
    beta = [layer.beta] if layer.center else []
    yield Tensor(f"{name}.bias", beta, zeros=tuple(layer.gamma.shape))


# Biases of zero are added to the file, and left out when it is read.
def _read_biases(config: Config) -> Options:
    own = config.get("keras_llm", {})
    return {"use_bias": True} | {
        name: bool(own[name]) for name in ("use_bias", *BIASES) if name in own
    }


def _write_biases(options: Options) -> Config:
    own = {name: options[name] for name in ("use_bias", *BIASES)}
    if all(own.values()):
        return {}
    return {"keras_llm": {"use_bias": False} if not any(own.values()) else own}


GPT2 = Architecture(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    prefix=PREFIX,
    embedding=EMBEDDING,
    tensors_of=_tensors_of,
    fields={
        "vocabulary_size": Field("vocab_size"),
        "num_layers": Field("n_layer"),
        "num_heads": Field("n_head"),
        "hidden_dim": Field("n_embd"),
        "intermediate_dim": Field("n_inner", None),
        "max_sequence_length": Field("n_positions"),
        "activation": Field(
            "activation_function", "gelu_new", values=ACTIVATIONS
        ),
        "layer_norm_epsilon": Field("layer_norm_epsilon", 1e-5),
        "tie_word_embeddings": Field("tie_word_embeddings", True),
        "dropout": Field("resid_pdrop", 0.1, also=("embd_pdrop", "attn_pdrop")),
    },
    parts=[Part(BIASES, _read_biases, _write_biases)],
    fixed={
        "position_embedding": "learned",
        "normalization": "layer",
        "num_key_value_heads": lambda options: options["num_heads"],
        "head_dim": lambda options: (
            options["hidden_dim"] // options["num_heads"]
        ),
    },
    expected={
        "scale_attn_weights": [True],
        "scale_attn_by_inverse_layer_idx": [False],
        "add_cross_attention": [False],
    },
    # Masks, which are no weights.
    buffers=(".attn.bias", ".attn.masked_bias"),
)
