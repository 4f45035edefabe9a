"""A model of KerasHub, as EleutherAI's `lm_eval` knows models.

Importing this needs `lm_eval`.
"""

import json

import keras_hub
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from keras_llm.evaluation.likelihood import LikelihoodScorer
from keras_llm.evaluation.truncation import TruncatingGenerator
from keras_llm.recipes.settings import GenerationSettings

MAX_NEW_TOKENS = 256  # where a task does not say
GENERATION_BATCH = 16


class HarnessModel(TemplateLM):
    """Answers `lm_eval` as its own `hf` models would on the same weights.

    Args:
        model: a `keras_hub.models.CausalLM` with a preprocessor.
        batch_size: Rows at once; does not change the result.

    Example:
        >>> lm_eval.simple_evaluate(HarnessModel(model), tasks=["arc_easy"])
    """

    def __init__(
        self, model: keras_hub.models.CausalLM, batch_size: int | None = None
    ):
        super().__init__()
        self.model = model
        self.batch_size = batch_size
        self.scorer = LikelihoodScorer(model, batch_size)
        self._generator: TruncatingGenerator | None = None

    @property
    def eot_token_id(self) -> int:
        return self.scorer.encoder.end_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.scorer.encoder.prefix_token_id

    @property
    def max_length(self) -> int:
        return self.scorer.max_length

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs
    ) -> list[int]:
        with_start = add_special_tokens is not False
        return self.scorer.encoder.encode([string], with_start)[0]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        # All at once, where the parent encodes one text after the other.
        found = self.scorer.score([request.args for request in requests])
        return [(each.log_likelihood, each.is_greedy) for each in found]

    def _loglikelihood_tokens(
        self, requests, disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        found = self.scorer.score_tokens([row[1:] for row in requests])
        return [(each.log_likelihood, each.is_greedy) for each in found]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        texts = [request.args[0] for request in requests]
        return [x.log_likelihood for x in self.scorer.score_rolling(texts)]

    def generate_until(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[str]:
        if self._generator is None:
            self._generator = TruncatingGenerator(self.model)
        alike: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            key = json.dumps(request.args[1], sort_keys=True)
            alike.setdefault(key, []).append(index)
        texts = [""] * len(requests)
        for rows in alike.values():
            answers = self._generator.generate_batches(
                [requests[row].args[0] for row in rows],
                _settings_of(requests[rows[0]].args[1]),
                self.batch_size or GENERATION_BATCH,
            )
            for row, answer in zip(rows, answers, strict=True):
                texts[row] = answer
        return texts


def _settings_of(gen_kwargs: dict) -> GenerationSettings:
    """What a task's `generation_kwargs` are called here."""
    given = normalize_gen_kwargs(gen_kwargs, MAX_NEW_TOKENS)
    until = given["until"]
    return GenerationSettings(
        sampler="sample" if given["do_sample"] else "greedy",
        max_new_tokens=given["max_gen_toks"],
        temperature=float(given.get("temperature", 0.0)),
        top_k=int(given.get("top_k") or 0),
        top_p=float(given.get("top_p") or 1.0),
        repetition_penalty=float(given.get("repetition_penalty") or 1.0),
        stop=[text for text in until if text],
    )
