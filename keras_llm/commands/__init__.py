"""The subcommands of `keras-llm`: call one function, print what it returns."""

from keras_llm.commands import (
    classifying,
    evaluation,
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
    **generation.COMMANDS,
    **classifying.COMMANDS,
    **formats.COMMANDS,
    **inspection.COMMANDS,
}
