"""The subcommands of `keras-llm`: call one function, print what it returns."""

from keras_llm.commands import (
    classifying,
    evaluation,
    experiments,
    formats,
    generation,
    inspection,
    serving,
    stages,
    tuning,
)

COMMANDS = {
    **stages.COMMANDS,
    **tuning.COMMANDS,
    **serving.COMMANDS,
    **evaluation.COMMANDS,
    **experiments.COMMANDS,
    **generation.COMMANDS,
    **classifying.COMMANDS,
    **formats.COMMANDS,
    **inspection.COMMANDS,
}
