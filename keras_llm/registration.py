"""Keras serialisation under the package name `keras_llm`."""

import keras

register = keras.saving.register_keras_serializable(package="keras_llm")
