"""SentencePiece in TensorFlow, for as long as the process runs."""

import hashlib

import tensorflow as tf
from keras_hub.tokenizers import SentencePieceTokenizer
from tensorflow_text.python.ops import sentencepiece_tokenizer

from keras_llm.quiet import quiet_native_code


def outlive_kernels(tokenizer: SentencePieceTokenizer, proto: bytes) -> None:
    """Keeps a tokenizer alive when TensorFlow clears its kernel cache.

    TensorFlow Text's SentencePiece belongs to the kernel that made it, and
    every `keras.utils.set_random_seed` clears the cache of kernels: then all
    that has been made of the tokenizer is lost, datasets included. Under a
    name of its own it belongs to the process. Tokenizers of one model share
    it, and it is never freed.

    Args:
        tokenizer: One that has made its operations.
        proto: The SentencePiece model that it made them of.
    """
    # An operation sets these two on the model that it is given.
    options = f"{tokenizer.add_bos} {tokenizer.add_eos} "
    name = hashlib.sha256(options.encode() + proto).hexdigest()
    make = sentencepiece_tokenizer.gen_sentencepiece_tokenizer.sentencepiece_op
    with tf.init_scope(), quiet_native_code():
        resource = make(model=proto, shared_name=name)
    tokenizer._sentence_piece._model_resource._resource_handle = resource
