"""Explains any artifact by what lies in its folder."""

import itertools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.quiet import quiet_native_code

EXAMPLE = "The quick brown fox jumps over the lazy dog.\n\tIt's 42°C — naïve!"
SHOWN_PIECES = 20


def inspect_artifact(path: Path) -> dict[str, Any]:
    """What an artifact is, and what it holds.

    Args:
        path: A corpus, tokenizer, token folder, run, sweep, preset, adapter,
            SavedModel, or a SentencePiece `.model` file.

    Returns:
        Nested values for people to read, `kind` first.

    Raises:
        InputError: None of these, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    for marker, explain in EXPLAINERS.items():
        if any(path.glob(marker)):
            return explain(path)
    if path.suffix == ".model":
        return _tokenizer(path)
    raise InputError(
        f"{path} must be a corpus, a tokenizer, tokens, a run, a sweep, a "
        "preset, an adapter or a SavedModel; it has none of the files of one."
    )


def _run(path: Path) -> dict[str, Any]:
    from keras_llm.run_folder import PRETRAINING, RECORDS, read_records
    from keras_llm.training.log import read_log

    records = read_records(path / RECORDS)
    stages = {}
    for name in dict.fromkeys([*PRETRAINING, *records]):
        record = records.get(name)
        done = record is not None and record["finished"]
        stages[name] = "done" if done else "begun" if record else "to do"
    if not {"tune", "data", "records"}.isdisjoint(records):
        stages = {name: stages[name] for name in records}  # of tuning
    explained = {"kind": "run", "recipe": str(path / "recipe.yaml")}
    explained["stages"] = stages
    log = read_log(path / "training" / "log.csv")
    if log:
        last, steps = log[-1], [int(row["step"]) for row in log]
        explained["training"] = {
            "steps": steps[-1],
            "tokens": int(last["tokens"]),
            "loss": last["loss"],
            "seconds": last["seconds"],
            "curves": str(path / "training" / "curves.png"),
        }
    if stages.get("evaluate") == "done":
        explained["evaluation"] = records["evaluate"]["report"]
    return explained


def _sweep(path: Path) -> dict[str, Any]:
    from keras_llm.artifacts import read_object
    from keras_llm.experiments.results import PAGE, REPORT

    explained = {"kind": "sweep", "page": str(path / PAGE)}
    if not (path / REPORT).is_file():
        trials = sum(1 for _ in path.glob("trials/[0-9]*"))
        return explained | {"trials": f"{trials} begun; not ended yet"}
    report = read_object(path / REPORT)
    return explained | {"trials": len(report.pop("trials", [])), **report}


def _corpus(path: Path) -> dict[str, Any]:
    from keras_llm.corpus.documents import read_documents
    from keras_llm.corpus.report.corpus_report import load_report

    report = load_report(path).to_dict()
    documents = read_documents(path, "train")
    begins = "".join(each.text for each in itertools.islice(documents, 1))
    return {"kind": "corpus", **report, "begins": repr(begins[:80])}


def _tokenizer(path: Path) -> dict[str, Any]:
    from keras_llm.tokenizers.processor import load_processor
    from keras_llm.tokenizers.training import REPORT_NAME, TokenizerReport

    processor = load_processor(path)
    size = processor.vocab_size()
    ids = processor.encode(EXAMPLE)
    explained = {"kind": "tokenizer", "vocabulary_size": size}
    if (path / REPORT_NAME).exists():
        explained |= asdict(TokenizerReport.load(path))
    pieces = [processor.id_to_piece(i) for i in range(size)]
    control = [
        piece for i, piece in enumerate(pieces) if _is_control(processor, i)
    ]
    plain = [
        piece
        for i, piece in enumerate(pieces)
        if not _is_control(processor, i) and not processor.is_byte(i)
    ]
    return explained | {
        "control_tokens": " ".join(control),
        "byte_pieces": sum(processor.is_byte(i) for i in range(size)),
        "first_pieces": " ".join(map(repr, plain[:SHOWN_PIECES])),
        "longest_pieces": " ".join(
            map(repr, sorted(plain, key=len, reverse=True)[:SHOWN_PIECES])
        ),
        "example": repr(EXAMPLE),
        "example_pieces": " ".join(repr(pieces[i]) for i in ids),
    }


def _is_control(processor, index: int) -> bool:
    return processor.is_control(index) or processor.is_unknown(index)


def _tokens(path: Path) -> dict[str, Any]:
    from keras_llm.datasets import TokenManifest, open_tokens

    manifest = TokenManifest.load(path)
    explained = {"kind": "tokens", **asdict(manifest)}
    for name, split in explained["splits"].items():
        # Reading verifies every shard.
        first = open_tokens(path, name).read(0, min(10, split["tokens"]))
        split["shards"] = len(split["shards"])
        split["bytes_per_token"] = split["text_bytes"] / split["tokens"]
        split["begins"] = " ".join(map(str, first))
    return explained


def _preset(path: Path) -> dict[str, Any]:
    from keras_llm.models import load_task

    model = load_task(path)
    tokenizer = model.preprocessor.tokenizer
    config = {
        name: value
        for name, value in model.backbone.get_config().items()
        if name not in ("trainable", "dtype")
    }
    return {
        "kind": "preset",
        "class": type(model).__name__,
        "parameters": model.count_params(),
        "dtype": model.dtype_policy.name,
        "tokenizer": type(tokenizer).__name__,
        "vocabulary_size": tokenizer.vocabulary_size(),
        "bytes": _size(path),
        "backbone": config,
    }


def _adapter(path: Path) -> dict[str, Any]:
    from keras_llm.export.huggingface.adapters import read_config

    config = read_config(path)
    said = ("peft_type", "r", "lora_alpha", "target_modules", "modules_to_save")
    return {
        "kind": "adapter",
        **{name: config.get(name) for name in said},
        "base_sha256": (config.get("keras_llm") or {}).get("base_sha256"),
        "bytes": _size(path),
    }


def _saved_model(path: Path) -> dict[str, Any]:
    from keras_llm.export import loading

    folder = loading.version_folder(path)
    tf = loading.import_tensorflow()
    try:
        with quiet_native_code():
            loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{folder} cannot be read: {error}") from error
    versions = sorted(loading.versions(path)) or [folder.name]
    signatures = {}
    for name, function in loaded.signatures.items():
        inputs = function.structured_input_signature[1]
        outputs = function.structured_outputs
        signatures[name] = f"{_specs(inputs)} -> {_specs(outputs)}"
    return {
        "kind": "SavedModel",
        "versions": ", ".join(map(str, versions)),
        "read": str(folder),
        "bytes": _size(folder),
        "signatures": signatures,
    }


def _specs(specs: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}: {spec.dtype.name}{spec.shape}" for name, spec in specs.items()
    )


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


# By a file that only such a folder has.
EXPLAINERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "stages.json": _run,
    "study.db": _sweep,
    "tokenizer.model": _tokenizer,
    "manifest.json": _tokens,
    "task.json": _preset,
    "adapter_config.json": _adapter,
    "saved_model.pb": _saved_model,
    "*/saved_model.pb": _saved_model,
    "train/*.jsonl": _corpus,
}
