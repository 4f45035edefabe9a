"""Tiny models of `transformers` with random weights, in folders."""

import torch
import transformers
from stock_models import byte_pairs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

END = "<|endoftext|>"
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 50_000.0,
}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
LLAMAS = {
    "llama 2": {},
    "llama 3": {"num_key_value_heads": 2, "rope_parameters": LLAMA3},
    "linear": {
        "rope_parameters": {
            "rope_type": "linear",
            "factor": 2.0,
            "rope_theta": 1e4,
        }
    },
    "smollm 2": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "with biases": {"attention_bias": True, "mlp_bias": True},
    "more rows than tokens": {"vocab_size": 400},
}
# As no default would have them: heads of another width, windows shorter than
# a prompt, layers that differ.
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 8.0,
    "rope_theta": 5000.0,
}
OTHERS = {
    "mistral": {
        "num_key_value_heads": 2,
        "head_dim": 12,
        "sliding_window": 5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    },
    "qwen2": {
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
    },
    "qwen3": {
        "num_key_value_heads": 2,
        "head_dim": 12,
        "attention_bias": True,
        "rms_norm_eps": 1e-3,
        "rope_parameters": YARN,
    },
    "smollm3": {
        "num_key_value_heads": 2,
        "no_rope_layers": [1, 0],
        "mlp_bias": True,
        "use_sliding_window": True,
        "sliding_window": 7,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "rope_type": "dynamic",
            "factor": 2.0,
            "rope_theta": 1e4,
        },
    },
}
LLAMAS |= {
    "wide heads": {"head_dim": 14, "attention_bias": True},
    "yarn": {
        "rope_parameters": YARN
        | {"mscale": 0.7, "mscale_all_dim": 0.4, "truncate": False}
    },
}
GPT2S = {
    "gpt2": {},
    "gpt2 of another width": {"n_inner": 40},
    "gpt2 untied": {
        "tie_word_embeddings": False,
        "activation_function": "gelu",
    },
    "gpt2 with relu": {"activation_function": "relu"},
}
NAMES = [*LLAMAS, *OTHERS, *GPT2S]


def tokenizer():
    """Byte pairs with the splitting of GPT-2."""
    vocabulary, merges = byte_pairs([END])
    merges = [tuple(merge.split(" ")) for merge in merges]
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=END, eos_token=END
    )


def model(name, seed=0):
    """A model whose weights make clear decisions."""
    size = {"vocab_size": len(tokenizer()), "eos_token_id": 0}
    torch.manual_seed(seed)
    if name in GPT2S:
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
        kind, options = "gpt2", shape | GPT2S[name]
    elif name in OTHERS:
        ids = {"bos_token_id": None, "pad_token_id": None}
        kind, options = name, SHAPE | ids | OTHERS[name]
    else:
        kind, options = "llama", SHAPE | LLAMAS[name]
    config = transformers.AutoConfig.for_model(kind, **size | options)
    made = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            # Small, or a tied model would repeat its input.
            is_small = weight.ndim == 1 or "wte" in name or "embed" in name
            deviation = 0.02 if is_small else 0.4
            weight.add_(torch.randn_like(weight) * deviation)
    return made.eval()


def save(made, folder, **options):
    """Writes model and tokenizer, and returns the folder."""
    made.save_pretrained(folder, **options)
    tokenizer().save_pretrained(folder)
    return folder


def logits_of(made, token_ids):
    """float32 `(batch, length, vocabulary)` of int ids `(batch, length)`."""
    with torch.inference_mode():
        return made(torch.tensor(token_ids, dtype=torch.long)).logits.numpy()


def continued(made, rows, new):
    """Rows of ids, each with the likeliest new ones after it."""
    longest = max(map(len, rows))
    padded = [[0] * (longest - len(row)) + row for row in rows]
    real = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    with torch.inference_mode():
        whole = made.generate(
            torch.tensor(padded),
            attention_mask=torch.tensor(real),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return [
        each[longest - len(row) :].tolist()
        for each, row in zip(whole, rows, strict=True)
    ]
