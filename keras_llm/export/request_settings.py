"""What a request may ask for: every value has a meaning, none an error.

A server puts the rows of several clients into one batch, so that an error of
one row would be an error of all. Values outside the sensible ones therefore
mean the nearest sensible one.
"""

import tensorflow as tf

from keras_llm.generation.decoding import Sampling

PENALTIES = (0.01, 100.0)

# What decoding takes, of any number of rows.
SPEC = Sampling(
    temperature=tf.TensorSpec([None], tf.float32),
    top_k=tf.TensorSpec([None], tf.int32),
    top_p=tf.TensorSpec([None], tf.float32),
    min_p=tf.TensorSpec([None], tf.float32),
    repetition_penalty=tf.TensorSpec([None], tf.float32),
    key=tf.TensorSpec([None, 2], tf.uint32),
)


def request_sampling(
    temperature: tf.Tensor,
    top_k: tf.Tensor,
    top_p: tf.Tensor,
    repetition_penalty: tf.Tensor,
    seed: tf.Tensor,
) -> Sampling:
    """Settings of each row, all in range.

    Args:
        temperature: float32 `(batch,)`; 0, less and NaN are greedy. Infinite
            makes all tokens that top_k and top_p leave equally likely.
        top_k: int32 `(batch,)`; 0 and less are off, and more than there are
            tokens is all.
        top_p: float32 `(batch,)`; 1, more and NaN are off; 0 and less leave
            the likeliest token.
        repetition_penalty: float32 `(batch,)`; 1, infinite, NaN, 0 and less
            are off; others count as 0.01 to 100.
        seed: int64 `(batch,)`.
    """
    penalized = tf.math.is_finite(repetition_penalty) & (repetition_penalty > 0)
    penalty = tf.clip_by_value(repetition_penalty, *PENALTIES)
    return Sampling(
        temperature=tf.where(temperature > 0, temperature, 0.0),
        top_k=tf.maximum(top_k, 0),
        top_p=tf.where(top_p < 1, tf.maximum(top_p, 0.0), 1.0),
        min_p=tf.zeros_like(top_p),
        repetition_penalty=tf.where(penalized, penalty, 1.0),
        key=tf.bitcast(seed, tf.uint32),  # the low word, then the high
    )


def checked_rows(**fields: tf.Tensor) -> dict[str, tf.Tensor]:
    """The same fields, each of which must have a value a row of the first.

    What is made of them waits for the check: else the graph might fail first
    on shapes that do not fit, which names no field.
    """
    (first, column), *others = fields.items()
    rows = tf.shape(column)[0]
    checks = [
        tf.debugging.assert_equal(
            tf.shape(field)[0],
            rows,
            f"{name} must have as many rows as {first}",
        )
        for name, field in others
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(field) for name, field in fields.items()}
