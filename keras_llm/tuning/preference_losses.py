"""Losses of preference tuning. Know nothing of models or of text.

They see log-likelihoods of whole answers, in nats: `y_pred` from the model
that is tuned, `y_true` from the reference, which is the model as it was. For
the formulas see `PreferenceSettings`.
"""

import keras
from keras import ops

from keras_llm.recipes.tuning_settings import PreferenceSettings
from keras_llm.registration import register


@register
class PairLoss(keras.losses.Loss):
    """Of pairs: the better answer's reward should exceed the worse one's.

    Call arguments:
        y_true: float `(batch, 2)`. Reference's log-likelihood of the better
            and of the worse answer; zeros without a reference.
        y_pred: float `(batch, 2)`. The same of the model. For `"ipo"` and
            `"simpo"` both are a mean over the answer's tokens.

    Args:
        kind: `"dpo"`, `"ipo"` or `"simpo"`.
        beta: float. See `PreferenceSettings`.
        label_smoothing: float. See there.
        margin: float. See there.
        **kwargs: forwarded to `keras.losses.Loss`.
    """

    def __init__(
        self,
        kind: str = "dpo",
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        margin: float = 0.0,
        reduction: str = "mean_with_sample_weight",
        **kwargs,
    ):
        super().__init__(reduction=reduction, **kwargs)
        self.kind = kind
        self.beta = beta
        self.label_smoothing = label_smoothing
        self.margin = margin

    def call(self, y_true, y_pred):
        gain = y_pred - y_true
        logits = gain[:, 0] - gain[:, 1]
        if self.kind == "ipo":
            return ops.square(logits - 1 / (2 * self.beta))
        logits = self.beta * logits
        if self.kind == "simpo":
            logits = logits - self.margin
        right, wrong = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
        return -(1 - self.label_smoothing) * right - (
            self.label_smoothing * wrong
        )

    def get_config(self):
        return super().get_config() | {
            "kind": self.kind,
            "beta": self.beta,
            "label_smoothing": self.label_smoothing,
            "margin": self.margin,
        }


@register
class JudgedLoss(keras.losses.Loss):
    """KTO, of single answers that are judged good or bad.

    The second answer of each row is another row's: what the model gains on
    answers that do not belong to the prompt is the point that gains are
    measured from.

    Call arguments:
        y_true: float `(batch, 3)`. Reference's log-likelihood of the answer
            and of the foreign one; 1 for good and 0 for bad.
        y_pred: float `(batch, 2)`. The model's of the two answers.

    Args:
        beta: float. See `PreferenceSettings`.
        desirable_weight: float. See there.
        undesirable_weight: float. See there.
        **kwargs: forwarded to `keras.losses.Loss`.
    """

    def __init__(
        self,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        reduction: str = "mean_with_sample_weight",
        **kwargs,
    ):
        super().__init__(reduction=reduction, **kwargs)
        self.beta = beta
        self.desirable_weight = desirable_weight
        self.undesirable_weight = undesirable_weight

    def call(self, y_true, y_pred):
        gain = y_pred - y_true[:, :2]
        # Rows that a short batch is filled up with are all zeros: no gain.
        there = ops.cast(ops.any(ops.not_equal(y_pred, 0), axis=1), gain.dtype)
        origin = ops.sum(gain[:, 1] * there) / ops.maximum(ops.sum(there), 1)
        origin = ops.stop_gradient(ops.maximum(origin, 0))
        good = y_true[:, 2]
        sign = 2 * good - 1
        loss = 1 - ops.sigmoid(self.beta * sign * (gain[:, 0] - origin))
        weight = good * self.desirable_weight
        return loss * (weight + (1 - good) * self.undesirable_weight)

    def get_config(self):
        return super().get_config() | {
            "beta": self.beta,
            "desirable_weight": self.desirable_weight,
            "undesirable_weight": self.undesirable_weight,
        }


def preference_loss(settings: PreferenceSettings) -> keras.losses.Loss:
    """The loss that the settings describe."""
    if settings.loss == "kto":
        return JudgedLoss(
            settings.beta,
            settings.desirable_weight,
            settings.undesirable_weight,
        )
    return PairLoss(
        settings.loss,
        settings.beta,
        settings.label_smoothing,
        settings.margin,
    )


def preference_metrics(
    settings: PreferenceSettings,
) -> list[keras.metrics.Metric]:
    """Rewards, `beta` times the gain; for pairs also margin and accuracy."""
    beta = settings.beta

    def rewards(y_true, y_pred):
        return beta * (y_pred - y_true[:, :2])

    if settings.loss == "kto":

        def of_good(y_true, y_pred):
            return rewards(y_true, y_pred)[:, 0] * y_true[:, 2]

        def of_bad(y_true, y_pred):
            return rewards(y_true, y_pred)[:, 0] * (1 - y_true[:, 2])

        functions = {"reward_good": of_good, "reward_bad": of_bad}
    else:

        def margin(y_true, y_pred):
            found = rewards(y_true, y_pred)
            return found[:, 0] - found[:, 1]

        functions = {
            "accuracy": lambda t, p: ops.cast(margin(t, p) > 0, "float32"),
            "margin": margin,
            "reward_chosen": lambda t, p: rewards(t, p)[:, 0],
            "reward_rejected": lambda t, p: rewards(t, p)[:, 1],
        }
    return [
        keras.metrics.MeanMetricWrapper(function, name=name)
        for name, function in functions.items()
    ]
