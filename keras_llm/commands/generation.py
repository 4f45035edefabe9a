"""Text from a model: prompts continued, and conversations."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.command import KEY, PRESET, Command
from keras_llm.errors import InputError
from keras_llm.quiet import import_keras
from keras_llm.recipes.checks import check
from keras_llm.recipes.settings import GenerationSettings


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


def fill(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Shows each text with its masks filled, and what else may stand there."""
    from keras_llm.generation.filling import MaskFiller
    from keras_llm.models.loading import load_masked_lm

    check(values.top_k >= 1, "--top_k", "at least 1", values.top_k)
    filler = MaskFiller(load_masked_lm(values.preset))
    found = filler.fill(values.text, values.top_k)
    if not values.json:
        for filled in found:
            print(filled.text)
            table = Table("mask", "token", "probability")
            for number, candidates in enumerate(filled.masks, 1):
                for each in candidates:
                    shown = f"{each.probability:.1%}"
                    table.add_row(str(number), escape(repr(each.token)), shown)
            Console().print(table)
    pairs = zip(values.text, found, strict=True)
    return [{"masked": text} | asdict(filled) for text, filled in pairs]


def chat(values: Namespace, console: Console) -> list[dict[str, str]]:
    """Answers what is typed, until the end of standard input."""
    from keras_llm.generation.terminal import talk

    is_served = values.preset.startswith(("http://", "https://"))
    if not is_served:
        import_keras()
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
    from keras_llm.generation import TextGenerator
    from keras_llm.generation.conversation import Conversation
    from keras_llm.models.loading import load_causal_lm
    from keras_llm.tokenizers.chat_templates import chat_template

    model = load_causal_lm(values.preset)
    template = chat_template(model.preprocessor.tokenizer, values.template)
    return Conversation(
        TextGenerator(model, template),
        values.recipe.generation,
        values.recipe.seed,
    )


COMMANDS = {
    "generate": Command(
        generate,
        "Continues prompts with a preset, or with a SavedModel as exported.",
        [("preset", Path, "A preset, a run that has one, or a SavedModel.")],
        {
            "--prompt": {
                "nargs": "+",
                "default": [""],
                "help": "One or several texts to continue.",
            }
        },
        ["generation"],
    ),
    "fill": Command(
        fill,
        "Tells what may stand at [MASK] in texts, with an encoder.",
        [
            ("preset", str, PRESET),
            ("text", list[str], 'Such as "The cat [MASK] on the mat."'),
        ],
        {
            "--top_k": {
                "type": int,
                "default": 5,
                "help": "Candidates for each mask.",
            }
        },
    ),
    "chat": Command(
        chat,
        "Talks with a preset, or with a server (http://…): in the terminal, or "
        "one message a line through a pipe.",
        [("preset", str, PRESET)],
        {
            "--system": {
                "help": "What the assistant is told before the conversation."
            },
            "--template": {
                "metavar": "FILE",
                "help": "A Jinja chat template, for a preset without one; or "
                "plain: turns of ordinary text, for a model tuned on these.",
            },
        },
        ["generation"],
        needs_keras=False,  # unless the model is here
    ),
}
