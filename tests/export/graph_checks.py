"""What is in a SavedModel: nothing that stock TensorFlow Serving refuses."""

import numpy as np
import tensorflow as tf

from keras_llm.export.server_operations import (
    check_operations,
    later_operations,
    saved_graph,
    text_operations,
)

# All that SentencePiece takes.
SENTENCE_PIECE_OPS = {
    "SentencepieceOp",
    "SentencepieceTokenizeOp",
    "SentencepieceDetokenizeOp",
}


def check_saved_model(folder):
    """Fails on what servers since 2.12 lack; TensorFlow Text's operations."""
    operations = check_operations(saved_graph(folder))
    assert later_operations(operations) == []
    card = (folder / "assets.extra" / "model_card.md").read_text()
    assert "- loads in: TensorFlow Serving 2.12 or later" in card
    return text_operations(operations)


def saved_weights(folder):
    """dtype and number of values of each variable of a SavedModel."""
    path = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(path)
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    return [
        (dtypes[name], int(np.prod(shape)))
        for name, shape in shapes.items()
        if dtypes[name] != tf.string
    ]
