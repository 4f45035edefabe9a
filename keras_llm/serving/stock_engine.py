"""KerasHub's own models behind the interface of `Engine`.

They decode by their own `generate_step`: one batch at a time, and no piece of
an answer before the whole batch is done.
"""

import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError
from keras_llm.generation.decoding import ends_with
from keras_llm.generation.engines import bucket, sampling_of
from keras_llm.generation.stock_decoding import decode_by_rows
from keras_llm.generation.text import TextGenerator
from keras_llm.serving.columns import ends_of
from keras_llm.serving.job import TokenJob
from keras_llm.serving.requests import Request
from keras_llm.serving.scores import Scores, scores_of
from keras_llm.serving.worker import TokenWorker

SLOTS = 8
MOST_WAITING = 256


class StockEngine(TokenWorker):
    """Answers requests to a causal model of KerasHub.

    Args:
        model: any `keras_hub.models.CausalLM` with a preprocessor.
        slots: Rows of a batch at most.
        most_waiting: Requests that may wait beside them.
    """

    def __init__(
        self,
        model: keras_hub.models.CausalLM,
        slots: int = SLOTS,
        most_waiting: int = MOST_WAITING,
    ):
        def decode(token_ids, lengths, limits, sampling, ends):
            stopped = ends_with(ends)
            return decode_by_rows(
                model, token_ids, lengths, sampling, limits, stopped
            )

        def score(token_ids, lengths):
            places = ops.arange(ops.shape(token_ids)[1], dtype="int32")
            mask = places[None] < lengths[:, None]
            inputs = {"token_ids": token_ids, "padding_mask": mask}
            logits = model(inputs, training=False)[:, :-1]
            return scores_of(logits, token_ids[:, 1:])

        self._decode = compile_function(decode, model)
        self._score = compile_function(score, model)
        super().__init__(TextGenerator(model), slots, most_waiting)

    def _check(self, request: Request) -> None:
        self.generator.encode_prompt(request.prompt)
        if request.logit_bias:
            raise InputError(
                "logit_bias is for models of this package. Leave it out."
            )

    def _work(self) -> None:
        jobs = [job for job in self._jobs if not job.is_over]
        if jobs:
            token_ids, lengths, limits = self._batch(jobs)
            requests = [job.request for job in jobs]
            token_ids, lengths = self._decode(
                *map(ops.convert_to_tensor, (token_ids, lengths, limits)),
                sampling_of(
                    [request.settings for request in requests],
                    [request.seed for request in requests],
                ),
                ends_of(requests),
            )
            token_ids = ops.convert_to_numpy(token_ids)
            lengths = ops.convert_to_numpy(lengths)
            for job, ids, length in zip(jobs, token_ids, lengths, strict=True):
                self._tell(job, ids[:length].tolist())
        self._forget()

    def _batch(self, jobs: list[TokenJob]) -> tuple[np.ndarray, ...]:
        """Prompts at the left, their lengths, and how long rows may become."""
        limits = np.array([job.limit for job in jobs], "int32")
        width = min(bucket(limits.max()), self.context)
        token_ids = np.zeros((len(jobs), width), "int32")
        for row, job in zip(token_ids, jobs, strict=True):
            row[: len(job.prompt)] = job.prompt
        lengths = np.array([len(job.prompt) for job in jobs], "int32")
        return token_ids, lengths, limits

    def _tell(self, job: TokenJob, token_ids: list[int]) -> None:
        scores, start = None, len(job.prompt)
        if job.request.alternatives is not None:
            wide = min(bucket(len(token_ids)), self.context)
            row = np.zeros((1, max(wide, 2)), "int32")
            row[0, : len(token_ids)] = token_ids
            lengths = np.array([len(token_ids)], "int32")
            found = self._score(*map(ops.convert_to_tensor, (row, lengths)))
            whole = Scores(*map(ops.convert_to_numpy, found)).row(0)
            if job.request.echo:
                job.add_prompt_scores(token_ids[1:start], whole)
            scores = Scores(*(part[start - 1 :] for part in whole))
        job.tell_prompt()
        if not job.is_over:
            job.update(token_ids, True, scores)
