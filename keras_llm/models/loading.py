"""Models from preset folders, and from the presets that KerasHub downloads."""

import gc
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras_hub
from keras_hub.src.utils import preset_utils

from keras_llm.errors import InputError
from keras_llm.files import file_digest
from keras_llm.models.text_classifier import ScratchTextClassifier
from keras_llm.recipes.loading import nearest
from keras_llm.tokenizers.hugging_face_settings import TEMPLATE

CausalLM, MaskedLM, TextClassifier = (
    keras_hub.models.CausalLM,
    keras_hub.models.MaskedLM,
    keras_hub.models.TextClassifier,
)
# What a model is asked for instead, of those that work with another kind.
USES = {
    CausalLM: "A decoder continues text: `keras-llm generate`.",
    MaskedLM: "An encoder fills masks: `keras-llm fill`.",
    TextClassifier: "A classifier tells classes: `keras-llm classify`.",
}


def load_preset(path: Path, **kwargs) -> CausalLM:
    """The language model of a preset folder, or of the run that holds one.

    Args:
        path: The folder.
        **kwargs: forwarded to `keras_hub.models.CausalLM.from_preset`.

    Raises:
        InputError: No preset there, a damaged one, or one of another task.
    """
    return _load(_folder_of(path), [CausalLM], **kwargs)


def load_causal_lm(preset: str | Path, **kwargs) -> CausalLM:
    """The language model of any preset; see `load_task`.

    For work on one model after the other: those that nobody holds any more
    are let go of first.
    """
    gc.collect()  # a model is a circle, and would stay in memory
    return _load(_address_of(preset), [CausalLM], **kwargs)


def load_masked_lm(preset: str | Path, **kwargs) -> MaskedLM:
    """The encoder of any preset that predicts masked words; see `load_task`."""
    return _load(_address_of(preset), [MaskedLM], **kwargs)


def load_language_model(path: Path) -> CausalLM | MaskedLM:
    """The decoder or encoder of a preset, as `load_preset`."""
    return _load(_folder_of(path), [CausalLM, MaskedLM])


def load_task(
    preset: str | Path, **kwargs
) -> CausalLM | MaskedLM | TextClassifier:
    """The decoder, encoder or text classifier of any preset.

    Args:
        preset: A preset folder, of ours or of KerasHub's; the run that holds
            one; or a name that KerasHub downloads: one of its own presets
            (`gpt2_base_en`), or an address (`hf://…`, `kaggle://…`).
        **kwargs: forwarded to the task's `from_preset`.

    Raises:
        InputError: No such preset, one that cannot be read or downloaded, or
            one of another task.
    """
    kinds = [CausalLM, MaskedLM, TextClassifier]
    return _load(_address_of(preset), kinds, **kwargs)


def load_backbone(
    preset: str | Path, **kwargs
) -> tuple[keras_hub.models.Backbone, keras_hub.tokenizers.Tokenizer]:
    """The backbone and the tokenizer of any preset of a model of text.

    The arguments are those of `load_task`.

    Raises:
        InputError: No such preset, or one that cannot be read or downloaded.
    """
    gc.collect()  # a model is a circle, and would stay in memory
    address = _address_of(preset)
    with _read_errors(address):
        backbone = keras_hub.models.Backbone.from_preset(address, **kwargs)
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(address)
    return backbone, _lasting(tokenizer)


def load_classifier(preset: str | Path, **kwargs) -> TextClassifier:
    """The text classifier of any preset; see `load_task`."""
    return _load(_address_of(preset), [TextClassifier], **kwargs)


def check_preset(preset: str | Path) -> None:
    """Raises `InputError` unless there is such a preset; see `load_task`."""
    _address_of(preset)


def preset_digest(preset: str | Path) -> str:
    """A sha256 of all files of a preset; of its name, if it is a name."""
    folder = preset_folder(Path(preset))
    digest = hashlib.sha256()
    if folder is None:
        digest.update(str(preset).encode())
    else:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                digest.update(f"{name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def context_length(model: CausalLM) -> int:
    """Tokens that prompt and answer may have together."""
    known = [model.preprocessor.sequence_length, context_of(model.backbone)]
    return min(int(length) for length in known if length)


def context_of(backbone: keras_hub.models.Backbone) -> int | None:
    """Most tokens that a backbone takes, if it knows a limit."""
    names = "max_sequence_length", "max_position_embeddings"
    known = [getattr(backbone, name, None) for name in names]
    return min((int(length) for length in known if length), default=None)


def _address_of(preset: str | Path) -> str:
    """What KerasHub finds the preset by.

    Raises:
        InputError: There is none.
    """
    if preset_folder(Path(preset)) is not None:
        return _folder_of(preset)
    if "://" not in str(preset):
        _check_name(str(preset))
    return str(preset)


def _folder_of(path: Path) -> str:
    folder = preset_folder(Path(path))
    if folder is None:
        raise InputError(
            f"{path} must be a preset, or a run that has one (a folder with "
            "config.json or preset/). Make one with `keras-llm train`."
        )
    # Absolute, or KerasHub would take a folder for the name it has.
    return str(folder.absolute())


def preset_folder(path: Path) -> Path | None:
    """The folder of a preset, or of the one in a run; `None` if neither."""
    inner = path / "preset"
    folder = inner if inner.is_dir() else path
    return folder if (folder / "config.json").is_file() else None


def _check_name(name: str) -> None:
    known = CausalLM.presets | MaskedLM.presets | TextClassifier.presets
    if name not in known:
        raise InputError(
            f"{name} must be a preset, a run that has one (a folder with "
            "config.json or preset/), or a preset that KerasHub downloads "
            "(gpt2_base_en, hf://USER/MODEL, kaggle://…)."
            + nearest(name, list(known))
        )


def _load(preset: str, kinds: list[type], **kwargs) -> Any:
    """The task of a preset, which must be of one of these kinds."""
    with _read_errors(preset):
        task = _task_class(preset)
        kind = next((kind for kind in kinds if issubclass(task, kind)), None)
        if kind is not None:
            # Of a backbone of KerasHub it would find KerasHub's classifier.
            kind = task if task is ScratchTextClassifier else kind
            loaded = kind.from_preset(preset, **kwargs)
            if loaded.preprocessor is not None:
                _lasting(loaded.preprocessor.tokenizer)
            return _with_template(loaded, preset)
    expected = " or a ".join(kind.__name__ for kind in kinds)
    raise InputError(
        f"{preset} must be the preset of a {expected}. Received: that of a "
        f"{task.__name__}."
        + "".join(f" {USES[k]}" for k in USES if issubclass(task, k))
    )


@contextmanager
def _read_errors(preset: str) -> Iterator[None]:
    """Says in one line what h5py, SentencePiece or the network say."""
    try:
        with warnings.catch_warnings():
            # Presets have no optimizer's state, which Keras remarks.
            warnings.filterwarnings("ignore", "Skipping variable loading for")
            yield
    except Exception as error:  # each has its own
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(f"{preset} cannot be read: {first_line}") from error


def _lasting(tokenizer: Any) -> Any:
    """The tokenizer, outliving `keras.utils.set_random_seed`."""
    if getattr(tokenizer, "_sentence_piece", None) is not None:
        from keras_llm.tokenizers.sentence_piece_lifetime import outlive_kernels

        outlive_kernels(tokenizer, tokenizer.proto)
    return tokenizer


def _with_template(task: Any, preset: str) -> Any:
    """The task, whose tokenizer knows the chat template beside it."""
    path = Path(preset) / TEMPLATE
    if path.is_file():
        task.preprocessor.tokenizer.chat_template = path.read_text("utf-8")
    return task


def _task_class(preset: str) -> type:
    """What the preset was saved as; a `CausalLM` if as a backbone only."""
    # Says what is wrong with the preset, where the next line would not.
    preset_utils.get_preset_loader(preset)
    if not preset_utils.check_file_exists(preset, "task.json"):
        return CausalLM
    config = preset_utils.load_json(preset, "task.json")
    return preset_utils.check_config_class(config)
