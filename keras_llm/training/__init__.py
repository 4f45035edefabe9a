"""Training by `model.compile` and `model.fit`, resumable at any step."""

from keras_llm.training.loss import NextTokenLoss
from keras_llm.training.muon import BatchedMuon
from keras_llm.training.pretrain import pretrain
from keras_llm.training.run import (
    TrainingInterrupted,
    TrainingResult,
    TrainingRun,
    compile_for_training,
)
from keras_llm.training.schedules import WarmupSchedule

__all__ = [
    "BatchedMuon",
    "TrainingInterrupted",
    "NextTokenLoss",
    "TrainingResult",
    "TrainingRun",
    "WarmupSchedule",
    "compile_for_training",
    "pretrain",
]
