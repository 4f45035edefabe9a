"""What KerasHub's `generate` does around a model: which tokens start and end.

Asked of the model itself, because models differ: Llama 3, Gemma 3 and Phi-3
each have a second end token, and Qwen has no start token.
"""

from typing import NamedTuple

import keras_hub

from keras_llm.errors import InputError

INPUTS = {"token_ids", "padding_mask"}


class GenerationRules(NamedTuple):
    """What `generate` adds to text.

    Args:
        start_token_id: int put before every prompt, or `None`.
        end_token_ids: tuple of int. Each ends an answer.
    """

    start_token_id: int | None
    end_token_ids: tuple[int, ...]


class _Asked(Exception):
    """Ends `generate` where the model would begin."""


def rules_of(model: keras_hub.models.CausalLM) -> GenerationRules:
    """Calls `generate` without a model behind it, and sees what it does.

    Raises:
        InputError: A model that does not generate, or takes more than text.
    """
    if type(model).generate_step is keras_hub.models.CausalLM.generate_step:
        raise _unable(model, "it has no generate_step of its own")
    inputs, end_token_ids = _generate_nothing(model)
    others = sorted(set(inputs) - INPUTS)
    if others:
        raise _unable(model, f"besides text it takes {', '.join(others)}")
    row = zip(inputs["token_ids"][0], inputs["padding_mask"][0], strict=True)
    start = [int(token) for token, is_real in row if is_real]
    if len(start) > 1:
        raise _unable(model, f"it puts {len(start)} tokens before a prompt")
    return GenerationRules(
        start[0] if start else None,
        tuple(dict.fromkeys(int(token) for token in end_token_ids)),
    )


def _generate_nothing(model):
    def ask(inputs, stop_token_ids=None):
        raise _Asked(inputs, stop_token_ids)

    before = getattr(model, "generate_function", None)
    try:
        model.generate_function = ask
        model.generate([""], max_length=8)
    except _Asked as asked:
        return asked.args
    except Exception as error:  # of any library, on text without an image
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        raise _unable(
            model, f"it does not generate from text alone ({first_line})"
        ) from error
    finally:
        model.generate_function = before
    raise _unable(model, "its generate does not call the model")


def _unable(model, reason):
    return InputError(
        f"{type(model).__name__} cannot generate text from text: {reason}."
    )
