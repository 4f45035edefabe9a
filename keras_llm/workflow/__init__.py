"""Composes the stages of a run, from text or data to an evaluated preset."""

from keras_llm.workflow.classifying import (
    evaluate_classifier,
    tune_classifier,
)
from keras_llm.workflow.evaluating import evaluate_preset, held_out_splits
from keras_llm.workflow.improvement import improve
from keras_llm.workflow.labelling import classify
from keras_llm.workflow.pretraining import (
    encode_corpus,
    make_tokenizer,
    prepare_corpus,
    pretrain_run,
    train,
)
from keras_llm.workflow.tuning import (
    tune_domain,
    tune_instructions,
    tune_preferences,
)

# By what the command is called: `keras-llm tune KIND`.
TUNINGS = {
    "classifier": tune_classifier,
    "domain": tune_domain,
    "instructions": tune_instructions,
    "preferences": tune_preferences,
}

__all__ = [
    "TUNINGS",
    "classify",
    "encode_corpus",
    "evaluate_classifier",
    "evaluate_preset",
    "held_out_splits",
    "improve",
    "make_tokenizer",
    "prepare_corpus",
    "pretrain_run",
    "train",
    "tune_classifier",
    "tune_domain",
    "tune_instructions",
    "tune_preferences",
]
