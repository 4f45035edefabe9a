"""Which operations a stock TensorFlow Serving has, and what a graph needs.

A server refuses a model, and with a `models.config` ends, for one operation
that is not linked into it.
"""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_llm.errors import InputError

OLDEST = "2.12"
# Servers 2.12 to 2.19 link TensorFlow Text 2.12.1: this is all that importing
# tensorflow_text 2.12.1 adds to the operations of TensorFlow 2.12.1.
TEXT_OPERATIONS = frozenset(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize
    FastWordpieceTokenizeWithOffsets FindSourceOffsets MaxSpanningTree
    NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize
    RegexSplitWithOffsets RougeL SentenceFragments SentenceFragmentsV2
    SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp
    SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TFText>BoiseTagsToOffsets
    TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
    TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize
    TFText>FastWordpieceDetokenize TFText>NgramsStringJoin
    TFText>OffsetsToBoiseTags TFText>PhraseDetokenize
    TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits
    UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets
    WordpieceTokenizeWithOffsets
    """.split()
)
# What TensorFlow Text 2.21.1 adds to these.
LATER_TEXT_OPERATIONS = frozenset(
    [
        "TFText>RoundRobinGenerateMasks",
        "TFText>RoundRobinTrim",
        "TFText>Utf8Binarize",
    ]
)
# What `tf.raw_ops` of TensorFlow 2.21.0 has and that of 2.12.1 has not.
LATER_OPERATIONS = LATER_TEXT_OPERATIONS | frozenset(
    """
    CheckPinned CollectiveAllToAllV2 Conv ConvertToCooTensor
    ConvertToListOfSparseCoreCooTensors
    ConvertToSparseCoreCsrWrappedCooTensor DatasetFingerprint
    DebugIdentityV3 DecodeJxl DecodeWebP
    DynamicEnqueueTPUEmbeddingRaggedTensorBatch FFTND
    GetMinibatchSplitsWithPhysicalReplica
    GetMinibatchesInCsrWithPhysicalReplica
    GetStatsFromListOfSparseCoreCooTensors GlobalIterId GlobalShuffleDataset
    IFFTND IRFFTND IndexFlatMapDataset IteratorGetModelProto
    ListSnapshotChunksDataset RFFTND RaggedFillEmptyRows
    RaggedFillEmptyRowsGrad SegmentMaxV2 SegmentMinV2 SnapshotChunkDataset
    SortListOfSparseCoreCooTensors SparseSegmentMeanGradV2
    SparseSegmentSqrtNGradV2 SparseSegmentSumGradV2
    StoreMinibatchStatisticsInFdo TFRecordDatasetV2
    TPUAnnotateTensorsWithDynamicShape TPUCopyWithDynamicShape TPUDummyInput
    WeightedFlatMapDataset
    """.split()
)
COMPILED = ("_XlaMustCompile", "_XlaCompile", "_xla_compile")


def saved_graph(folder: Path) -> GraphDef:
    """The graph of a SavedModel, with its library of functions."""
    data = (Path(folder) / "saved_model.pb").read_bytes()
    [meta_graph] = SavedModel.FromString(data).meta_graphs
    return meta_graph.graph_def


def check_operations(graph: GraphDef) -> set[str]:
    """Refuses a graph that no stock server runs, wherever in it that is.

    Args:
        graph: with its functions.

    Returns:
        Names of all operations that it has.

    Raises:
        InputError: XLA, Python, or what is neither TensorFlow's nor
            TensorFlow Text's.
    """
    nodes, functions = list(graph.node), set()
    for function in graph.library.function:
        _check_not_compiled(function.signature.name, function.attr)
        functions.add(function.signature.name)
        nodes += function.node_def
    for node in nodes:
        _check_not_compiled(node.name, node.attr)
        if node.op not in functions and not _is_served(node.op):
            _refuse(f"{node.op} of {node.name}")
    return {node.op for node in nodes} - functions


def later_operations(operations: set[str]) -> list[str]:
    """Those that a server of the `OLDEST` version does not have."""
    return sorted(LATER_OPERATIONS & operations)


def text_operations(operations: set[str]) -> set[str]:
    """Those that are TensorFlow Text's."""
    return (TEXT_OPERATIONS | LATER_TEXT_OPERATIONS) & operations


def server_versions(operations: set[str]) -> str:
    """Which servers have all of the operations, in words."""
    later = later_operations(operations)
    if not later:
        return f"TensorFlow Serving {OLDEST} or later"
    return (
        f"a TensorFlow Serving that has {', '.join(later)}, which "
        f"{OLDEST} to 2.19 have not"
    )


def _check_not_compiled(name: str, attributes) -> None:
    if any(attributes[key].b for key in COMPILED if key in attributes):
        _refuse(f"{name}, which XLA has to compile")


def _is_served(op: str) -> bool:
    if op.startswith("Xla") or "PyFunc" in op:
        return False
    # TensorFlow Text's operations are not among TensorFlow's.
    return bool(text_operations({op})) or hasattr(tf.raw_ops, op)


def _refuse(what: str) -> None:
    raise InputError(
        "No stock TensorFlow Serving runs the graph of this model, which has "
        f"{what}. Expected operations of TensorFlow and TensorFlow Text only. "
        "Save it as a preset, and serve it from Python."
    )
