"""Instruction tuning: of a conversation, only the answers are learned."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_hub

from keras_llm.datasets.examples import AnswerBatches, Examples
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.evaluation.conversations import (
    answer_conversations,
    score_answers,
)
from keras_llm.generation import TextGenerator
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.tokenizers.chat_templates import ChatTemplate
from keras_llm.training import NextTokenLoss, TrainingRun
from keras_llm.tuning.data import (
    CONVERSATIONS,
    held_out,
    read_conversations,
)


def instruction_run(
    model: keras_hub.models.CausalLM,
    data: Path,
    recipe: TuningRecipe,
    template: ChatTemplate,
) -> TrainingRun:
    """What instruction tuning has of its own.

    Args:
        model: What is tuned.
        data: Folder of examples of one row each.
        recipe: All settings.
        template: How a question is put to the model; for samples.
    """
    examples = Examples(data / "train")
    size = model.backbone.vocabulary_size
    check_vocabulary(data, examples.vocabulary_size, size)
    batches = AnswerBatches(examples, recipe.training.batch_size, recipe.seed)
    return TrainingRun(
        model,
        batches,
        NextTokenLoss(),
        validate=answer_validation(model, data, recipe),
        columns=("val_accuracy",),
        sample=answer_sample(model, recipe, template),
    )


def answer_validation(
    model: keras_hub.models.CausalLM, data: Path, recipe: TuningRecipe
) -> Callable[[], dict[str, float]] | None:
    """Loss and accuracy on the answers of the validation split."""
    if not (data / "validation").is_dir():
        return None
    evaluator = Evaluator(model)
    batches = _in_order(data / "validation", recipe)

    def validate():
        limit = recipe.training.validation_batches
        found = evaluator.evaluate(batches, limit)
        return {"loss": found.loss, "accuracy": found.accuracy}

    return validate


def answer_sample(
    model: keras_hub.models.CausalLM,
    recipe: TuningRecipe,
    template: ChatTemplate,
) -> Callable[[], str] | None:
    """How a run is sampled: `training.sample_prompt`, and the answer to it.

    Raises:
        InputError: A prompt that the model cannot take.
    """
    prompt = recipe.training.sample_prompt
    if not prompt:
        return None
    generator = TextGenerator(model, template)
    messages = [{"role": "user", "content": prompt}]
    try:  # before steps are done that would be lost
        generator.encode_prompt(template.encode(messages, True).token_ids)
    except InputError as error:
        raise InputError(f"training.sample_prompt: {error}") from error
    settings = replace(
        recipe.generation, max_new_tokens=recipe.training.sample_tokens
    )
    return lambda: f"{prompt}\n{generator.chat(messages, settings).text}"


def evaluate_instructions(
    model: keras_hub.models.CausalLM,
    data: Path,
    recipe: TuningRecipe,
    template: ChatTemplate,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a tuned model answers what was held out.

    Args:
        model: What was tuned.
        data: Folder of examples, with a held-out split.
        recipe: All settings.
        template: How questions are put to the model.

    Returns:
        The loss on the answers wanted, what the model's own are like, and
        both side by side.
    """
    folder = data / held_out(data)
    found = Evaluator(model).evaluate(_in_order(folder, recipe))
    conversations = read_conversations(folder / CONVERSATIONS)
    asked = [messages[:-1] for messages in conversations]
    wanted = [messages[-1]["content"] for messages in conversations]
    answers = answer_conversations(
        TextGenerator(model, template), asked, recipe.generation
    )
    rows = [
        {
            "messages": messages,
            "wanted": completion,
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
        }
        for messages, completion, answer in zip(
            asked, wanted, answers, strict=True
        )
    ]
    report = {
        "loss": found.loss,
        "accuracy": found.accuracy,
        "answer_tokens": found.num_tokens,
        **score_answers(answers, wanted).to_dict(),
    }
    return {folder.name: report}, rows


def _in_order(folder: Path, recipe: TuningRecipe) -> AnswerBatches:
    return AnswerBatches(Examples(folder), recipe.training.batch_size)
