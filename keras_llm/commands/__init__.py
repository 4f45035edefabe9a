"""What each subcommand does: call one function, print what it returns."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from keras_llm.commands.command import KEY
from keras_llm.errors import InputError
from keras_llm.recipes import load_recipe, recipe_names
from keras_llm.recipes.parameters import count_parameters
from keras_llm.recipes.settings import GenerationSettings

SAVED_MODEL_OPTIONS = (
    "labels",
    "allow_control_tokens",
    "template",
    "system",
    "max_text_tokens",
)


def train(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the metrics, a sample, and what to do next."""
    from keras_llm import workflow

    result = workflow.train(
        values.source,
        values.recipe,
        values.out,
        values.redo,
        console,
        values.execution,
    )
    show(result, values)
    if not values.json:
        samples = Path(result["samples"])
        if samples.exists():
            last = samples.read_text(encoding="utf-8").rstrip()
            print(last[last.rfind("=== step") :])
        print(
            f"\nNext: keras-llm generate {values.out} --prompt TEXT\n"
            f"      keras-llm inspect {values.out}\n"
            f"      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def prepare(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what each rule did, what looks wrong, and what came out."""
    from keras_llm.corpus.report.corpus_report import load_report
    from keras_llm.corpus.report.table import funnel_table
    from keras_llm.corpus.report.timings import load_timings
    from keras_llm.workflow import prepare_corpus

    result = prepare_corpus(
        values.source, values.out, values.recipe, console, values.execution
    )
    if not values.json:
        report = load_report(values.out)
        Console().print(funnel_table(report, load_timings(values.out)))
        print(f"{report.files}\n")
        for warning in report.warnings:
            print(f"! {warning}")
        show({"splits": result["splits"]}, values)
        print(f"\nThe whole report: {values.out / 'report.html'}")
    return result


def tokenizer(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the report of the tokenizer."""
    from keras_llm.workflow import make_tokenizer

    result = make_tokenizer(values.corpus, values.out, values.recipe, console)
    return show(result, values)


def encode(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the manifest of the tokens."""
    from keras_llm.workflow import encode_corpus

    result = encode_corpus(
        values.corpus, values.tokenizer, values.out, console, values.execution
    )
    return show(result, values)


def pretrain(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows how the training ended."""
    from keras_llm.workflow import pretrain_run

    result = pretrain_run(
        values.tokens,
        values.tokenizer,
        values.out,
        values.recipe,
        values.redo,
        console,
    )
    return show(result, values)


def generate(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Streams a single answer; several are generated together."""
    from keras_llm.export import is_saved_model

    if is_saved_model(values.preset):
        return _ask_saved_model(values)
    from keras_llm.generation import TextGenerator
    from keras_llm.models import load_preset

    generator = TextGenerator(load_preset(values.preset))
    settings, seed = values.recipe.generation, values.recipe.seed
    if len(values.prompt) == 1 and not values.json:
        prompt = values.prompt[0]
        pieces = generator.stream(prompt, settings, seed)
        # Taken before the prompt is shown, for it may be an error instead.
        first = next(pieces, "")
        print(prompt + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return []
    answers = generator.generate(values.prompt, settings, seed)
    return _show_answers([vars(answer) for answer in answers], values)


def chat(values: Namespace, console: Console) -> list[dict[str, str]]:
    """Answers what is typed, until the end of standard input."""
    from keras_llm.generation.terminal import talk

    is_served = values.preset.startswith(("http://", "https://"))
    conversation = (_served if is_served else _conversation)(values)
    conversation.system = values.system
    talk(conversation, is_silent=values.json)
    return conversation.messages()


def _served(values: Namespace) -> Any:
    """A conversation with a server's model."""
    from keras_llm.serving.client import ServedConversation, ServedGenerator

    if values.template is not None:
        raise InputError(
            "--template is of a preset; a server has its own. Leave it out."
        )
    generator = ServedGenerator(values.preset, os.environ.get(KEY))
    return ServedConversation(
        generator, values.recipe.generation, values.recipe.seed
    )


def _conversation(values: Namespace) -> Any:
    """A conversation with a preset's model."""
    from keras_hub.models import CausalLM

    from keras_llm.generation import TextGenerator
    from keras_llm.generation.conversation import Conversation
    from keras_llm.models import load_task
    from keras_llm.tokenizers.chat_templates import chat_template

    model = load_task(values.preset)
    if not isinstance(model, CausalLM):
        raise InputError(
            f"{values.preset} must be a model that generates text. Received: "
            f"that of a {type(model).__name__}"
        )
    template = chat_template(model.preprocessor.tokenizer, values.template)
    return Conversation(
        TextGenerator(model, template),
        values.recipe.generation,
        values.recipe.seed,
    )


def _ask_saved_model(values: Namespace) -> list[dict[str, Any]]:
    """Asks a SavedModel, whose settings were fixed when it was exported."""
    from keras_llm.export import load_saved_model

    if values.recipe.generation != GenerationSettings() or values.seed:
        raise InputError(
            "A SavedModel decodes by the settings that it was exported with. "
            "Pass --generation.… and --seed to `keras-llm export`."
        )
    texts = load_saved_model(values.preset)(values.prompt)
    return _show_answers([{"text": text} for text in texts], values)


def _show_answers(
    answers: list[dict[str, Any]], values: Namespace
) -> list[dict[str, Any]]:
    answers = [
        {"prompt": prompt, **answer}
        for prompt, answer in zip(values.prompt, answers, strict=True)
    ]
    if not values.json:
        for answer in answers:
            print(f"{answer['prompt']}{answer['text']}\n")
    return answers


def export(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows where the exported model is, and how to use it."""
    if values.format == "saved_model":
        return _export_saved_model(values, console)
    for option in SAVED_MODEL_OPTIONS:
        if values[option] not in (None, False):
            raise InputError(
                f"--{option} is of a SavedModel, which has a tokenizer and "
                f"answers text. Received: --format {values.format}"
            )
    from keras_llm.models import load_task

    write = _writer(values.format)
    with console.status("exporting"):
        path = write(load_task(values.preset), values.out)
    result = show({values.format: str(path)}, values)
    _show_page(path / "README.txt", values)
    return result


def _writer(format: str) -> Callable[[Any, Path], Path]:
    """Writes a model to a folder in a format that has no settings."""
    if format == "huggingface":
        from keras_llm.export.huggingface import to_hugging_face

        return to_hugging_face
    if format == "pytorch":
        from keras_llm.pytorch.folder import to_pytorch_folder
        from keras_llm.pytorch.require import require_torch

        require_torch("safetensors")  # before seconds of loading
        return to_pytorch_folder
    from keras_llm.export.step_formats import to_step_function

    return partial(to_step_function, format=format)


def _export_saved_model(values: Namespace, console: Console) -> dict[str, Any]:
    from keras_llm.export import to_saved_model
    from keras_llm.export.server_files import README_NAME
    from keras_llm.models import load_task

    folder = Path(values.preset)  # unless it is a name
    with console.status("exporting"):
        path = to_saved_model(
            load_task(values.preset),
            values.out,
            values.recipe.generation,
            values.recipe.seed,
            values.labels,
            allow_control_tokens=values.allow_control_tokens,
            source=folder if folder.is_dir() else None,
            template=values.template,
            system=values.system,
            max_text_tokens=values.max_text_tokens,
        )
    result = show({"saved_model": str(path)}, values)
    _show_page(path.with_name(README_NAME), values)
    return result


def import_model(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows where the preset is, and what to do next."""
    from keras_llm.export.huggingface import from_hugging_face, from_llama2c
    from keras_llm.files import check_free
    from keras_llm.models import save_preset

    check_free(values.out)
    with console.status("importing"):
        if values.tokenizer is None:
            model = from_hugging_face(values.source)
        else:
            model = from_llama2c(values.source, values.tokenizer)
        save_preset(model, values.out)
    result = show(
        {"preset": str(values.out), "parameters": model.count_params()}, values
    )
    if not values.json:
        print(
            f"\nNext: keras-llm generate {values.out} --prompt TEXT\n"
            f"      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def compare_pytorch(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the verdict and where the report is; exits with 1 if it is no."""
    from keras_llm.files import check_free, written_beside
    from keras_llm.pytorch.require import require_torch

    require_torch()
    from keras_llm.pytorch.certificate import certify
    from keras_llm.pytorch.report import PAGE, save_certificate, summary
    from keras_llm.pytorch.sides import SIDES, check_rounds
    from keras_llm.pytorch.subject import Sizes, open_subject

    check_free(values.out)
    check_rounds(values.rounds, values.seconds)
    sizes = Sizes(values.steps, values.batch_size, values.sequence_length)
    with console.status("comparing") as status:
        certificate = certify(
            open_subject(
                values.preset_or_recipe, sizes, values.tokens, values.seed
            ),
            values.rounds,
            values.seconds,
            values.sides or list(SIDES),
            status.update,
        )
        with written_beside(values.out) as folder:
            save_certificate(certificate, folder)
    result = show(summary(certificate), values)
    if not values.json:
        print(f"\nThe whole report: {values.out / PAGE}")
    if certificate.holds:
        return result
    if values.json:
        print(json.dumps(result))
    raise SystemExit(1)


def _show_page(page: Path, values: Namespace) -> None:
    if page.is_file() and not values.json:
        print("\n" + page.read_text(encoding="utf-8"), end="")


def inspect(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what the artifact holds."""
    from keras_llm.inspection import inspect_artifact

    return show(inspect_artifact(values.path), values)


def recipes(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Shows a table of the recipes."""
    rows = []
    for name in recipe_names():
        recipe = load_recipe(name)
        rows.append(
            {
                "name": name,
                "parameters": count_parameters(
                    recipe.model, recipe.tokenizer.vocabulary_size
                ),
                "minutes": recipe.expected_minutes,
                "description": recipe.description,
            }
        )
    if not values.json:
        table = Table("recipe", "parameters", "minutes", "description")
        for row in rows:
            millions = f"{row['parameters'] / 1e6:.1f}M"
            table.add_row(
                row["name"], millions, row["minutes"], row["description"]
            )
        Console().print(table)
        print("Minutes on two CPU cores unless said otherwise.")
    return rows


def show(result: dict[str, Any], values: Namespace) -> dict[str, Any]:
    """Prints nested values as indented lines, unless JSON was asked for."""
    if not values.json:
        _print_lines(result, "")
    return result


def _print_lines(values: dict[str, Any], indent: str) -> None:
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        if value == []:
            continue
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print_lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and value:
            print(f"{indent}{name}")
            for item in value:
                print(f"{indent}  {_readable(item)}")
        else:
            print(f"{indent}{name:<{width}}  {_readable(value)}")


def _readable(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "  ".join(f"{k} {_readable(v)}" for k, v in value.items())
    return str(value)
