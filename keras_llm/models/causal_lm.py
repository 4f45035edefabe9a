"""The language model: a backbone, its output projection and generation."""

import keras
import keras_hub
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.models.causal_lm_preprocessor import ScratchCausalLMPreprocessor
from keras_llm.models.compiling import compile_again
from keras_llm.recipes.loading import nearest
from keras_llm.registration import register

SAMPLERS = ("beam", "greedy", "random", "top_k", "top_p")


@register
class ScratchCausalLM(keras_hub.models.CausalLM):
    """Predicts the next token at every position, and generates text.

    Args:
        backbone: a `ScratchBackbone` with `causal=True`.
        preprocessor: a `ScratchCausalLMPreprocessor`, or `None` to work on
            token ids.
        **kwargs: forwarded to `keras_hub.models.CausalLM`.

    Call arguments:
        inputs: dict of int32 `token_ids` and `padding_mask`, each
            `(batch, length)`.

    Returns:
        float logits `(batch, length, vocabulary_size)`.

    Raises:
        InputError: the backbone looks ahead.

    Example:
        >>> model = ScratchCausalLM(
        ...     ScratchBackbone(
        ...         vocabulary_size=100, num_layers=2, num_heads=2, hidden_dim=8
        ...     )
        ... )
        >>> ids = keras.ops.ones((1, 5), "int32")
        >>> model({"token_ids": ids, "padding_mask": ids}).shape
        (1, 5, 100)
    """

    backbone_cls = ScratchBackbone
    preprocessor_cls = ScratchCausalLMPreprocessor

    def __init__(
        self,
        backbone: ScratchBackbone,
        preprocessor: ScratchCausalLMPreprocessor | None = None,
        **kwargs,
    ):
        if not backbone.causal:
            raise InputError(
                "A causal language model needs a backbone with causal=True. "
                "Received: causal=False"
            )
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        # === Functional model ===
        inputs = backbone.input
        outputs = backbone.embedding(backbone(inputs), reverse=True)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def compile(self, *args, sampler="top_k", **kwargs):
        """See `keras_hub.models.CausalLM.compile`.

        Raises:
            InputError: an unknown sampler.
        """
        # KerasHub takes unknown names, and fails when text is generated.
        if isinstance(sampler, str) and sampler not in SAMPLERS:
            raise InputError(
                f"sampler must be one of {', '.join(SAMPLERS)}, or a "
                f"keras_hub.samplers.Sampler. Received: {sampler!r}."
                + nearest(sampler, list(SAMPLERS))
            )
        super().compile(*args, sampler=sampler, **kwargs)

    def fit(self, *args, **kwargs):
        """See `keras_hub.models.CausalLM.fit`.

        Raises:
            InputError: nothing to train.
        """
        if not self.trainable_weights:
            raise InputError(
                "fit needs weights to train. Received: none. Set "
                "model.backbone.trainable = True, or "
                "model.backbone.enable_lora(rank)."
            )
        return super().fit(*args, **kwargs)

    def initial_cache(self, batch_size, max_length: int, dtype=None) -> list:
        """Empty caches, one entry a block, for `max_length` positions."""
        return self.backbone.initial_cache(batch_size, max_length, dtype)

    def call_with_cache(
        self, token_ids, cache, cache_update_index, padding_mask=None
    ):
        """Logits of new tokens, given those before them.

        Args:
            token_ids: int32 `(batch, length)`.
            cache: list, as `initial_cache` makes it.
            cache_update_index: int32 `(batch,)`, position of each row's first
                new token.
            padding_mask: bool `(batch, length)`. Recurrent states do not
                advance where it is `False`.

        Returns:
            logits `(batch, length, vocabulary_size)`, hidden states
            `(batch, length, hidden_dim)` and the updated cache.
        """
        hidden, cache = self.backbone.call_with_cache(
            token_ids, cache, cache_update_index, padding_mask
        )
        return self.backbone.embedding(hidden, reverse=True), hidden, cache

    def generate(
        self, inputs, max_length=None, stop_token_ids="auto", strip_prompt=False
    ):
        """See `keras_hub.models.CausalLM.generate`.

        Raises:
            InputError: `max_length` beyond the model's context, or a prompt
                that leaves no room within it.
        """
        longest = self.backbone.max_sequence_length
        if max_length is not None and max_length > longest:
            raise InputError(
                f"max_length must be at most the model's max_sequence_length, "
                f"{longest}. Received: max_length={max_length}"
            )
        if stop_token_ids == "auto" and self.preprocessor is not None:
            # KerasHub would ask for the first end token only.
            stop_token_ids = list(self.preprocessor.tokenizer.end_token_ids)
        if max_length is None and self.preprocessor is not None:
            max_length = min(self.preprocessor.sequence_length, longest)
        return super().generate(
            inputs, max_length, stop_token_ids, strip_prompt
        )

    def make_generate_function(self):
        """See `keras_hub.models.CausalLM.make_generate_function`.

        Compiled by XLA whatever training is: on CPUs, where Keras does without
        unless told, a token takes half the time.
        """
        graphs = keras.config.backend() == "tensorflow" and not self.run_eagerly
        if self.generate_function is None and graphs:
            self.generate_function = compile_function(
                self.generate_step, self, jit_compile=True
            )
        return super().make_generate_function()

    def generate_step(self, inputs, stop_token_ids=None):
        """Continues a batch of prompts by `self.sampler`.

        Args:
            inputs: dict of int32 `token_ids` and bool `padding_mask`, each
                `(batch, length)`, with prompts at the left.
            stop_token_ids: list of int that end a row, or `None`.

        Returns:
            dict of the same form; the mask ends with a row's first stop token.
        """
        token_ids = inputs["token_ids"]
        prompt_mask = ops.cast(inputs["padding_mask"], "bool")
        batch_size, max_length = ops.shape(token_ids)
        # Rows grow together from the end of the shortest prompt; the longer
        # ones are fed their own tokens until they end.
        index = ops.min(ops.sum(ops.cast(prompt_mask, "int32"), axis=1))

        def at(position):
            return ops.broadcast_to(position, (batch_size,))

        def next(prompt, cache, index):
            rows = ops.shape(prompt)[0]  # more than batch_size in beam search
            position = ops.broadcast_to(index - 1, (rows,))
            token = ops.take_along_axis(prompt, position[:, None], axis=1)
            logits, hidden, cache = self.call_with_cache(token, cache, position)
            return logits[:, 0], hidden[:, 0], cache

        cache = self.initial_cache(batch_size, max_length)
        seen = ops.arange(max_length, dtype="int32") < index - 1
        _, _, cache = self.call_with_cache(
            token_ids,
            cache,
            at(ops.convert_to_tensor(0, "int32")),
            padding_mask=ops.broadcast_to(seen, (batch_size, max_length)),
        )
        token_ids = self.sampler(
            next=next,
            prompt=token_ids,
            cache=cache,
            index=index,
            mask=prompt_mask,
            stop_token_ids=stop_token_ids,
            model=self,
        )
        return {
            "token_ids": token_ids,
            "padding_mask": _until_stop(token_ids, prompt_mask, stop_token_ids),
        }

    # Keras does not save the compilation of a model that overrides `compile`,
    # as KerasHub's do, so that a `.keras` file would lose the optimizer.
    def get_compile_config(self):
        config = super().get_compile_config()
        if config is not None:
            config["sampler"] = keras_hub.samplers.serialize(self.sampler)
        return config

    def compile_from_config(self, config):
        sampler = keras_hub.samplers.deserialize(config["sampler"])
        config = {k: v for k, v in config.items() if k != "sampler"}
        compile_again(self, config, sampler=sampler)


def _until_stop(token_ids, prompt_mask, stop_token_ids):
    """bool `(batch, length)`: `False` after a row's first new stop token."""
    if stop_token_ids is None:
        return ops.ones_like(prompt_mask)
    stops = ops.zeros_like(prompt_mask)
    for stop in stop_token_ids:
        stops = ops.logical_or(stops, ops.equal(token_ids, stop))
    stops = ops.logical_and(stops, ops.logical_not(prompt_mask))
    stops = ops.cast(stops, "int32")
    return ops.equal(ops.cumsum(stops, axis=-1) - stops, 0)
