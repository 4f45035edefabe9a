"""Requests that TensorFlow Serving runs before it takes any.

The first request of a loaded model allocates and optimises, and would wait.
"""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_llm.errors import InputError

WARM_UP_NAME = "tf_serving_warmup_requests"

# A value for each input of our signatures, of one row.
EXAMPLES = {
    "prompt": "Once upon a time",
    "text": "Once upon a [MASK]",
    "turns": ["Good morning!", "Good morning.", "Who rules?"],
    "max_new_tokens": 4,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "repetition_penalty": 1.1,
    "seed": 0,
}


def write_warm_up(
    folder: Path, name: str, signatures: dict[str, Callable]
) -> None:
    """Writes one request for each signature, as records of `PredictionLog`.

    Args:
        folder: `assets.extra` of a SavedModel.
        name: of the model.
        signatures: the concrete function of each, by its name.

    Raises:
        InputError: The package that describes requests is missing.
    """
    with tf.io.TFRecordWriter(str(folder / WARM_UP_NAME)) as writer:
        for signature, function in signatures.items():
            inputs = {
                spec.name: spec.dtype
                for spec in function.structured_input_signature[0]
            }
            log = _request(name, signature, inputs)
            writer.write(log.SerializeToString(deterministic=True))


def _request(name: str, signature: str, inputs: dict[str, tf.DType]):
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise InputError(
            f"Requests to warm a server up need TensorFlow Serving's: {error}. "
            'Install them with `pip install "tensorflow-serving-api>=2.21"`.'
        ) from error
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for field, dtype in inputs.items():
        example = tf.make_tensor_proto([EXAMPLES[field]], dtype)
        request.inputs[field].CopyFrom(example)
    return log
