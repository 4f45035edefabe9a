"""How good a model is, in the field's own numbers."""

from keras_llm.evaluation.likelihood import Likelihood, LikelihoodScorer
from keras_llm.evaluation.loss import Evaluation, Evaluator
from keras_llm.evaluation.questions import Answer, ask

__all__ = [
    "Answer",
    "Evaluation",
    "Evaluator",
    "Likelihood",
    "LikelihoodScorer",
    "ask",
]
