"""Writes a SavedModel that answers text with text, with no Python beside it."""

from collections.abc import Sequence
from pathlib import Path

import keras
import keras_hub

from keras_llm.errors import InputError
from keras_llm.export.loading import import_tensorflow, versions
from keras_llm.export.model_card import write_model_card
from keras_llm.export.server_files import write_server_files
from keras_llm.files import is_free, written_beside
from keras_llm.models import ScratchCausalLM
from keras_llm.models.lora import with_lora_merged
from keras_llm.recipes.settings import GenerationSettings


@with_lora_merged
def to_saved_model(
    model: keras_hub.models.Task,
    path: Path,
    settings: GenerationSettings | None = None,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    allow_control_tokens: bool = False,
    source: Path | None = None,
    template: str | Path | None = None,
    system: str | None = None,
    max_text_tokens: int | None = None,
) -> Path:
    """Writes the next version of a model for TensorFlow Serving.

    Signatures are `serving_default`, `generate`, `score`, `tokenize` and, of a
    model with a chat template, `chat`; see `TextGraph`, and `request_sampling`
    for what unusual requests mean.

    Signature `serving_default` takes `prompt`, string `(batch,)`, and
    gives `text`, string `(batch,)`: the new text only, what
    `TextGenerator(model).generate([prompt], settings, seed)` answers.
    A prompt that does not fit into the model's context keeps its end, with
    room for `max_new_tokens` after it, but at most half the context. Invalid
    UTF-8 in a prompt becomes U+FFFD.

    That of a classifier takes `text`, string `(batch,)`, and gives `label`,
    string `(batch,)`, and `scores`, float32 `(batch, classes)`. That of an
    encoder is `fill`, see `FillGraph`.

    Besides its weights a SavedModel holds, in `assets/`, the vocabulary and the
    labels, and in `assets.extra/` requests to warm a server up and a model
    card.

    Args:
        model: A `CausalLM`, `MaskedLM` or `TextClassifier` of any kind, with
            its preprocessor. Others than ours decode as KerasHub's `generate`
            does, from the shortest prompt on.
        path: Folder of the versions, such as `saved_models/NAME`.
        settings: How tokens are chosen, and when to stop; fixed for good.
        seed: Decides the random numbers of every row alike, so that a
            prompt's answer does not depend on its company.
        labels: Names of a classifier's classes; their numbers by default.
        allow_control_tokens: Whether control tokens written out in a text
            (`<|user|>`) are what they say, as a chat client that builds its
            own prompts needs, and not plain text.
        source: The preset that the model is from, or its run; their recipe
            and metrics are put on the model card.
        template: How `chat` writes conversations, see `chat_template`; the
            tokenizer's own by default.
        system: What the system message of every conversation with `chat`
            says; none by default.
        max_text_tokens: Most tokens of a text that `score` and `tokenize`
            look at; 1,024 by default. Other requests wait meanwhile.

    Returns:
        The new folder, `path/VERSION`. Beside it are the configuration of a
        server, and `README.txt` with the commands to start and to ask it.

    Raises:
        InputError: A model, backend or sampler that cannot be exported, one
            that is not ours and whose graph does not answer as the model does
            without a cache, a template or system message with which there is
            no `chat`, or a path that cannot be written.

    Example:
        >>> to_saved_model(model, Path("saved_models/mini"))
        PosixPath('saved_models/mini/1')
    """
    settings = settings or GenerationSettings()
    _check(model, settings)
    tf = import_tensorflow()
    # Not above, because it imports TensorFlow Text.
    from keras_llm.export.parts import graph_of
    from keras_llm.export.self_check import check_answers
    from keras_llm.export.server_operations import (
        check_operations,
        saved_graph,
        server_versions,
    )
    from keras_llm.export.vocabulary import VocabularyAssets
    from keras_llm.export.warm_up import write_warm_up

    path = Path(path)
    version = path / str(next_version(path))
    graph, without_chat = graph_of(
        model,
        settings,
        seed,
        labels,
        allow_control_tokens,
        template,
        system,
        max_text_tokens,
    )
    if _is_foreign(model):
        check_answers(model, graph)
    graph.vocabulary = VocabularyAssets(model.preprocessor.tokenizer)
    # A polling server takes no folder for a version that is not a number.
    with written_beside(version) as folder:
        try:
            tf.saved_model.save(graph, str(folder), signatures=graph.signatures)
        except tf.errors.OpError as error:  # such as a full disk
            raise OSError(error.message) from error
        servers = server_versions(check_operations(saved_graph(folder)))
        extra = folder / "assets.extra"
        extra.mkdir()
        write_warm_up(extra, path.name, graph.signatures)
        write_model_card(
            extra, model, settings, servers, source, system, without_chat
        )
    write_server_files(path, list(graph.signatures), servers, without_chat)
    return version


def next_version(path: Path) -> int:
    """The number that the next export into a folder of versions gets.

    Raises:
        InputError: It is a folder of something else, or a file.
    """
    earlier = versions(path)
    if not earlier and not is_free(path):
        raise InputError(
            f"{path} must be a new folder, or one of versions (1, 2 and so "
            f"on). Received: {'a folder of' if path.is_dir() else 'a file,'} "
            "something else. Pass another, such as saved_models/NAME."
        )
    return max(earlier, default=0) + 1


def _is_foreign(model: keras_hub.models.Task) -> bool:
    """Whether KerasHub's code decodes, which no test of ours has seen."""
    causal = isinstance(model, keras_hub.models.CausalLM)
    return causal and not isinstance(model, ScratchCausalLM)


def _check(model: keras_hub.models.Task, settings: GenerationSettings) -> None:
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise InputError(
            "Export needs the TensorFlow backend. Received: "
            f"KERAS_BACKEND={backend}. Save a preset, which every backend "
            "loads, and export it with KERAS_BACKEND=tensorflow."
        )
    models = keras_hub.models
    kinds = models.CausalLM | models.TextClassifier | models.MaskedLM
    if not isinstance(model, kinds):
        raise InputError(
            "Expected a keras_hub.models.CausalLM, such as a ScratchCausalLM, "
            "a MaskedLM or a TextClassifier. "
            f"Received: {type(model).__name__}"
        )
    if model.preprocessor is None:
        raise InputError(
            "The model needs a preprocessor, whose tokenizer is part of the "
            "export. Received: preprocessor=None. Make the model with one, "
            "such as a ScratchCausalLMPreprocessor."
        )
    if settings.sampler == "beam":
        raise InputError(
            "A SavedModel decodes by sampling or greedily. Received: "
            "sampler='beam'. Pass sampler 'sample' or 'greedy'."
        )
