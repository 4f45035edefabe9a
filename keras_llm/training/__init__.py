"""Training by `model.compile` and `model.fit`, resumable at any step."""

from keras_llm.training.muon import BatchedMuon
from keras_llm.training.pretrain import (
    Interrupted,
    TrainingResult,
    compile_for_training,
    pretrain,
)
from keras_llm.training.schedules import WarmupSchedule

__all__ = [
    "BatchedMuon",
    "Interrupted",
    "TrainingResult",
    "WarmupSchedule",
    "compile_for_training",
    "pretrain",
]
