"""One side of scripts/benchmark.py at one task: a process of its own.

Usage: python scripts/contender.py JOB

JOB is JSON, and what is printed is too: see keras_llm/pytorch/measure.py, which
measures the twins and our own models. Here are all other sides.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_llm.pytorch import measure
from keras_llm.pytorch.measure import Unavailable, ids_of, peak_bytes, split

SIZES = {"cpu": 2048, "gpu": 8192}  # of the matrices of the ceiling
BATCHES = 100  # of the input pipeline, at once


def main() -> None:
    """Measures what the argument describes."""
    job = json.loads(sys.argv[1])
    make = product if job["task"] == "product" else MAKERS.get(job["side"])
    if job["side"] in MAKERS:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    if make is None:
        measure.main()
    else:
        measure.take_turns(lambda: make(job), job)


def product(job: dict):
    """A product of two matrices, and its floating-point operations."""
    job["library_bytes"] = 0
    size = SIZES[job["device"]]
    matrix = np.random.default_rng(0).normal(size=(size, size))
    if job["side"] == "torch":
        import torch

        a = torch.tensor(matrix, dtype=torch.float32)
        if job["device"] == "gpu":
            a = a.to("cuda", torch.bfloat16)
        # Reading a number waits for a GPU.
        return lambda: float((a @ a)[0, 0]), 2 * size**3
    import tensorflow as tf

    b = tf.constant(matrix, "float32")
    return lambda: (b @ b).numpy(), 2 * size**3


def shape_of(config: dict) -> str:
    """Which published model has the shape: `"gpt2"` or `"llama"`.

    Raises:
        Unavailable: None has.
    """
    if set(config["block_types"]) != {"attention"}:
        raise Unavailable("it has no such blocks")
    if config["normalization"] == "layer":
        return "gpt2"
    if config["activation"] == "swiglu":
        return "llama"
    raise Unavailable("it has no such model")


def transformers_side(job: dict):
    """A model of transformers, in eager PyTorch."""
    import torch
    import transformers

    job["library_bytes"] = peak_bytes()
    config = job["config"]
    shape = {
        "vocab_size": config["vocabulary_size"],
        "hidden_size": config["hidden_dim"],
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_heads"],
        "max_position_embeddings": config["max_sequence_length"],
        "tie_word_embeddings": config["tie_word_embeddings"],
        "use_cache": job["task"] == "decode",
    }
    if shape_of(config) == "gpt2":
        drop = config["dropout"]
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                **shape, resid_pdrop=drop, embd_pdrop=drop, attn_pdrop=drop
            )
        )
    else:
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                **shape,
                num_key_value_heads=config["num_key_value_heads"],
                intermediate_size=config["intermediate_dim"],
            )
        )
    tokens = torch.from_numpy(ids_of(job)).long()
    if job.get("device") == "gpu":
        model, tokens = model.to("cuda"), tokens.to("cuda")
    inputs, labels = tokens[:, :-1], tokens[:, 1:]
    if job["task"] == "train":
        step = measure.torch_step(
            model.train(),
            lambda x: model(x).logits,
            inputs,
            labels,
            measure.dtype_of(job),
        )
        return step, inputs.numel()
    model.eval()
    if job["task"] == "prefill":
        return torch.inference_mode()(
            lambda: model(inputs, logits_to_keep=1).logits
        ), inputs.numel()
    prompt, new = split(job)
    rows = inputs[: job["rows"], :prompt]

    def decode():
        return model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )

    return decode, len(rows) * new


def keras_hub_side(job: dict):
    """KerasHub's own model of the same shape."""
    import keras_hub

    job["library_bytes"] = peak_bytes()
    config = job["config"]
    kind, models = shape_of(config), keras_hub.models
    shape = {
        "vocabulary_size": config["vocabulary_size"],
        "num_layers": config["num_layers"],
        "hidden_dim": config["hidden_dim"],
        "intermediate_dim": config["intermediate_dim"]
        or 4 * config["hidden_dim"],
        "dropout": config["dropout"],
        "dtype": measure.dtype_of(job),
    }
    if kind == "gpt2":
        backbone = models.GPT2Backbone(
            **shape,
            num_heads=config["num_heads"],
            max_sequence_length=config["max_sequence_length"],
        )
        model = models.GPT2CausalLM(backbone)
    else:
        backbone = models.LlamaBackbone(
            **shape,
            num_query_heads=config["num_heads"],
            num_key_value_heads=config["num_key_value_heads"],
            tie_word_embeddings=config["tie_word_embeddings"],
        )
        model = models.LlamaCausalLM(backbone)
    return measure.task_of(model, job, ids_of(job))


def model_with_text(job: dict):
    """A model with a tokenizer, which never ends a text by itself."""
    from keras_llm.models import ScratchBackbone
    from keras_llm.models.build import language_model
    from keras_llm.tokenizers import ScratchTokenizer

    size = job["config"]["vocabulary_size"]
    tokenizer = ScratchTokenizer.from_file(path_of(job, "tokenizer"))
    job["library_bytes"] = peak_bytes()
    dtype = "bfloat16" if job["side"].endswith("bfloat16") else "float32"
    backbone = ScratchBackbone(**job["config"], dtype=dtype)
    model = language_model(backbone, tokenizer, job["length"])
    keep = np.ones(size, dtype)
    keep[list(tokenizer.end_token_ids)] = 0
    if backbone.tie_word_embeddings:
        table, keep = backbone.token_embedding.embeddings, keep[:, None]
    else:
        table = backbone.token_embedding.reverse_embeddings
    table.assign(table * keep)
    return model


def path_of(job: dict, name: str) -> Path:
    """The text's `corpus`, `tokenizer` or `tokens`, as benchmark.py made them.

    Raises:
        Unavailable: No tokenizer has so few tokens.
    """
    if job[name] is None:
        size = job["config"]["vocabulary_size"]
        raise Unavailable(f"there is no tokenizer of {size} tokens")
    return Path(job[name])


def greedy(new: int):
    """Settings by which so many tokens are generated."""
    from keras_llm.recipes.settings import GenerationSettings

    return GenerationSettings(sampler="greedy", max_new_tokens=new)


def text_generator(job: dict):
    """`TextGenerator.generate` on token ids."""
    from keras_llm import TextGenerator

    generator = TextGenerator(model_with_text(job))
    prompt, new = split(job)
    rows = [row[:prompt].tolist() for row in ids_of(job)[: job["rows"]]]

    def decode():
        answers = generator.generate(rows, greedy(new))
        assert all(answer.num_tokens == new for answer in answers)

    return decode, len(rows) * new


def saved_model(job: dict):
    """Signature `generate` of a SavedModel, loaded, on text."""
    import keras
    import tensorflow as tf

    from keras_llm.export import to_saved_model

    model = model_with_text(job)
    if job["side"].endswith("int8"):
        model.quantize(
            "int8", filters=lambda layer: isinstance(layer, keras.layers.Dense)
        )
    prompt, new = split(job)
    text = text_of(model.preprocessor.tokenizer, prompt)
    with tempfile.TemporaryDirectory() as folder:
        path = to_saved_model(model, Path(folder) / "model", greedy(new))
        loaded = tf.saved_model.load(str(path))
    rows = job["rows"]
    given = {
        "prompt": tf.constant([text] * rows),
        "max_new_tokens": tf.fill([rows], new),
        "temperature": tf.zeros([rows]),
        "top_k": tf.zeros([rows], tf.int32),
        "top_p": tf.ones([rows]),
        "repetition_penalty": tf.ones([rows]),
        "seed": tf.zeros([rows], tf.int64),
    }

    def decode():
        # Through the model, for a signature does not keep it alive.
        answers = loaded.signatures["generate"](**given)
        assert answers["num_tokens"].numpy().tolist() == [new] * rows

    return decode, rows * new


def text_of(tokenizer, count: int) -> str:
    """Words that make so many tokens with the start token."""
    words = " the people of the city came to the market and" * count
    ids = tokenizer(words)[: count - 1]
    return tokenizer.detokenize(ids)


def sentence_piece(job: dict):
    """SentencePiece's own call on all documents, with a thread a core."""
    from keras_llm.corpus.documents import read_shard
    from keras_llm.tokenizers.processor import load_processor

    job["library_bytes"] = peak_bytes()
    processor = load_processor(path_of(job, "tokenizer"))
    shards = sorted(path_of(job, "corpus").glob("*/*.jsonl"))
    texts = [each.text for shard in shards for each in read_shard(shard)]

    def encode():
        return processor.encode(texts, num_threads=os.cpu_count())

    return encode, sum(map(len, encode()))


def encoding(job: dict):
    """The stage `encode`, from documents on disk to shards on disk."""
    from keras_llm.datasets import encode

    job["library_bytes"] = peak_bytes()
    texts, tokenizer = path_of(job, "corpus"), path_of(job, "tokenizer")

    def run():
        with tempfile.TemporaryDirectory() as folder:
            return encode(texts, tokenizer, Path(folder) / "tokens")

    splits = run().splits.values()
    # Without the end tokens, which bare SentencePiece does not add.
    return run, sum(each.tokens - each.documents for each in splits)


def input_pipeline(job: dict):
    """Batches of training as `fit` reads them, and nothing that eats them."""
    from keras_llm.datasets import TrainingWindows, dataset, open_tokens

    job["library_bytes"] = peak_bytes()
    tokens = open_tokens(path_of(job, "tokens"), "train")
    shape = job["length"], job["batch_size"]
    batches = TrainingWindows(tokens, *shape, seed=0)
    served = iter(dataset(batches, 0, 10**9))

    def read():
        for _ in range(BATCHES):
            next(served)

    return read, BATCHES * shape[0] * shape[1]


MAKERS = {
    "transformers": transformers_side,
    "keras-hub": keras_hub_side,
    "text-generator": text_generator,
    "saved-model": saved_model,
    "saved-model-int8": saved_model,
    "saved-model-bfloat16": saved_model,
    "sentencepiece": sentence_piece,
    "encode": encoding,
    "input-pipeline": input_pipeline,
}

if __name__ == "__main__":
    main()
