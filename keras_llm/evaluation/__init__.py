"""How good a model is, in the field's own numbers."""

from keras_llm.evaluation.likelihood import Likelihood, LikelihoodScorer
from keras_llm.evaluation.loss import Evaluation, Evaluator

__all__ = ["Evaluation", "Evaluator", "Likelihood", "LikelihoodScorer"]
