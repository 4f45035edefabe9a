"""What a SavedModel is, for people: a page inside it."""

import json
from pathlib import Path

import keras_hub

from keras_llm.artifacts import read_object
from keras_llm.files import write_text
from keras_llm.recipes.settings import GenerationSettings, to_dict

CARD_NAME = "model_card.md"


def write_model_card(
    folder: Path,
    model: keras_hub.models.Task,
    settings: GenerationSettings,
    servers: str,
    source: Path | None,
    system: str | None = None,
    without_chat: str | None = None,
) -> None:
    """Writes `model_card.md`: the model, and the run that it is from.

    Args:
        folder: `assets.extra` of a SavedModel.
        model: what was exported.
        settings: what `serving_default` decodes by.
        servers: which ones load it.
        source: the preset, or the run that has one.
        system: what the system message of `chat` says.
        without_chat: why a model that generates has no signature `chat`.
    """
    parts = [_model(model, servers), _fenced("Decoding", to_dict(settings))]
    if system is not None:
        parts.append(_fenced("Chat", {"system": system}))
    if without_chat is not None:
        parts.append(f"## Chat\n\nNo signature chat. {without_chat}")
    run = _run_of(source)
    if run is not None:
        recipe = (run / "recipe.yaml").read_text(encoding="utf-8").rstrip()
        parts.append(f"## Recipe\n\n```yaml\n{recipe}\n```")
        for title, file in (
            ("Metrics", "evaluation/report.json"),
            ("Tokenizer", "tokenizer/report.json"),
            ("Tokens", "tokens/manifest.json"),
        ):
            if (run / file).is_file():
                found = read_object(run / file)
                parts.append(_fenced(title, _summary(found)))
    write_text(folder / CARD_NAME, "\n\n".join(parts))


def _model(model, servers: str) -> str:
    tokenizer = model.preprocessor.tokenizer
    rows = {
        "class": type(model).__name__,
        "backbone": type(model.backbone).__name__,
        "parameters": f"{model.count_params():,}",
        "dtype": model.backbone.dtype_policy.name,
        "tokenizer": type(tokenizer).__name__,
        "vocabulary size": f"{tokenizer.vocabulary_size():,}",
        "loads in": servers,
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in rows.items())
    return f"# {model.name}\n\n{lines}"


def _run_of(source: Path | None) -> Path | None:
    """The run that a preset is in, or that is given."""
    if source is None:
        return None
    folders = Path(source), Path(source).absolute().parent
    return next((x for x in folders if (x / "recipe.yaml").is_file()), None)


def _summary(report: dict) -> dict:
    """A report without its lists, such as that of all shards."""
    kept = {}
    for name, value in report.items():
        if isinstance(value, dict):
            value = _summary(value)
        if not isinstance(value, list):
            kept[name] = value
    return kept


def _fenced(title: str, values: dict) -> str:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    return f"## {title}\n\n```json\n{text}\n```"
