"""A model as a folder that runs with nothing but PyTorch."""

import json
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.files import check_free, write_text, written_beside
from keras_llm.models import ScratchCausalLM
from keras_llm.models.lora import with_lora_merged
from keras_llm.pytorch.require import require_torch
from keras_llm.pytorch.weights import config_of, to_pytorch
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.processor import MODEL_NAME

README_NAME = "README.txt"
HERE = Path(__file__).parent
CODE = {
    "twins": "model",
    "twin_recurrences": "recurrences",
    "generate": "generate",
}
README = """\
A language model in PyTorch. model.py and recurrences.py have its layers,
config.json its shape, model.safetensors its weights, and generate.py reads
them and continues texts.

pip install torch {tokenizer}

Run in this folder, this continues a text by the likeliest tokens, or by chance:

    python generate.py "Once upon a time"
    python generate.py "Once upon a time" --temperature 0.8 --max_new_tokens 20

Token ids need nothing but torch:

    python generate.py --ids {ids}

And so it is trained on, or taken apart:

```python
import torch
from generate import load

model = load(".").train()
token_ids = torch.tensor([[{commas}]])
logits = model(token_ids)  # (batch, length, {size})
loss = torch.nn.functional.cross_entropy(logits[0, :-1], token_ids[0, 1:])
loss.backward()
print(f"loss {{float(loss.detach()):.3f}}")
```
"""


@with_lora_merged
def to_pytorch_folder(model: ScratchCausalLM, path: Path) -> Path:
    """Writes a model for PyTorch: code, weights and tokenizer.

    Args:
        model: The model, with its preprocessor.
        path: The folder to make.

    Returns:
        The folder: `model.py`, `recurrences.py`, `generate.py`, `config.json`,
        `model.safetensors`, the tokenizer (`tokenizer.model` of
        SentencePiece, or `tokenizer.json`), and `README.txt` (how to run it).

    Raises:
        InputError: Another model, a missing package, or a path that cannot be
            written.

    Example:
        >>> to_pytorch_folder(model, Path("exported/mini"))
        PosixPath('exported/mini')
    """
    require_torch("safetensors")
    from safetensors.torch import save_file

    path = Path(path)
    _check_model(model)
    config, state = config_of(model), to_pytorch(model)
    check_free(path)
    with written_beside(path) as folder:
        save_file(state, folder / "model.safetensors")
        _write_code(folder)
        tokenizer = model.preprocessor.tokenizer
        package = _write_tokenizer(tokenizer, folder)
        described = _described(config, tokenizer)
        write_text(folder / "config.json", json.dumps(described, indent=1))
        write_text(folder / README_NAME, _readme(described, package))
    return path


def _write_code(folder: Path) -> None:
    """Copies the modules, that they run where keras-llm is not."""
    for module, name in CODE.items():
        code = (HERE / f"{module}.py").read_text(encoding="utf-8")
        for other, theirs in CODE.items():
            theirs = f"from {theirs} "
            code = code.replace(f"from keras_llm.pytorch.{other} ", theirs)
        write_text(folder / f"{name}.py", code)


def _check_model(model):
    if not isinstance(model, ScratchCausalLM):
        raise InputError(
            "The model must be a ScratchCausalLM to be written for PyTorch. "
            f"Received: a {type(model).__name__}. Export it as a SavedModel."
        )
    if model.preprocessor is None:
        raise InputError(
            "The model needs a preprocessor, whose tokenizer is part of the "
            "export. Received: preprocessor=None."
        )


def _write_tokenizer(tokenizer, folder: Path) -> str:
    """Writes its file; returns the package that reads it."""
    is_scratch = isinstance(tokenizer, ScratchTokenizer)
    if is_scratch and not tokenizer.add_prefix_space:
        (folder / MODEL_NAME).write_bytes(tokenizer.proto)
        return "sentencepiece"
    from keras_llm.tokenizers.hugging_face import write_tokenizer

    write_tokenizer(tokenizer, folder)
    return "tokenizers"


def _described(config: dict, tokenizer) -> dict[str, Any]:
    """What `config.json` says."""
    return {
        "model": config,
        "start_token_id": tokenizer.start_token_id,
        "end_token_ids": list(tokenizer.end_token_ids),
    }


def _readme(described, package: str) -> str:
    size = described["model"]["vocabulary_size"]
    ids = [str(index % size) for index in (5, 3, 8, 4)]
    return README.format(
        tokenizer=package, ids=" ".join(ids), commas=", ".join(ids), size=size
    ).rstrip("\n")
