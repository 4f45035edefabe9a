"""Typed settings of tuning, checked where they are built."""

from dataclasses import dataclass, field
from typing import Literal

from keras_llm.recipes.checks import check, check_ranges, check_types
from keras_llm.recipes.corpus_settings import CorpusSettings
from keras_llm.recipes.settings import GenerationSettings, TrainingSettings

SplitName = Literal["auto", "hash", "position", "given"]
PreferenceLoss = Literal["dpo", "ipo", "simpo", "kto"]
Pooling = Literal["last", "mean", "first"]
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class DataSettings:
    """Which records a model is tuned on, and how they are read.

    Args:
        shape: Name of the records' shape; recognised by their columns if
            omitted.
        columns: The two columns of prompt and answer, or of text and label,
            where they have other names; by number, from 1, in a table without
            a header.
        template: A file with the Jinja template of the conversation; the
            tokenizer's own if omitted.
        sequence_length: Most tokens of an example; the model's context if
            omitted.
        split: `"given"` by the source, `"hash"` of each record, `"position"`
            (first train, then validation, then test), or `"auto"`: given
            where the source has splits, else hash.
        validation: Share of the records for validation, in [0, 1).
        test: Share of the records for testing, in [0, 1).
    """

    shape: str | None = None
    columns: list[str] = field(default_factory=list)
    template: str | None = None
    sequence_length: int | None = None
    split: SplitName = "auto"
    validation: float = 0.05
    test: float = 0.1

    def __post_init__(self) -> None:
        check_types(self, "data")
        ranges = {
            "in [0, 1)": ["validation", "test"],
            "at least 2": ["sequence_length"],
            "at most 10,000,000": ["sequence_length"],
        }
        check_ranges(self, "data", ranges)
        held = self.validation + self.test
        expected = "below 1, so that records are left to train on"
        check(held < 1, "data.validation + test", expected, held)
        expected = "two names, of prompt and answer or of text and label"
        check(
            len(self.columns) in (0, 2), "data.columns", expected, self.columns
        )


@dataclass(frozen=True)
class AdapterSettings:
    """Which weights are trained: all, or an adapter beside frozen ones.

    LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) adds the product
    of two thin matrices, times `alpha / rank`, to the kernel of a projection.

    Args:
        rank: Width of the matrices; 0 trains all weights and makes no adapter.
        alpha: See above; `2 * rank` if omitted.
        targets: Names of the projections that get an adapter, e.g. `query` and
            `value`, or regular expressions of their paths; every projection
            if empty.
        embeddings: Whether token embeddings are trained too, and the output
            projection with them.
        norms: Whether normalisation layers are trained too.
    """

    rank: int = 0
    alpha: float | None = None
    targets: list[str] = field(default_factory=list)
    embeddings: bool = False
    norms: bool = False

    def __post_init__(self) -> None:
        check_types(self, "adapter")
        ranges = {
            "at least 0": ["rank"],
            "above 0": ["alpha"],
            "at most 10,000": ["rank"],
        }
        check_ranges(self, "adapter", ranges)


@dataclass(frozen=True)
class PreferenceSettings:
    """What is learned from better and worse answers.

    Args:
        loss: `"dpo"` (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290),
            `"ipo"` (Azar et al. 2023, https://arxiv.org/abs/2310.12036),
            `"simpo"` (Meng et al. 2024, https://arxiv.org/abs/2405.14734; it
            needs no reference) or `"kto"` for single answers that are judged
            (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306).
        beta: How far answers may move from the reference: less, the higher.
        label_smoothing: Share of pairs that are taken for mistaken, in
            [0, 0.5); of `"dpo"` and `"simpo"`.
        margin: By how much the better answer's reward should be higher; of
            `"simpo"`.
        desirable_weight: Weight of good answers; of `"kto"`.
        undesirable_weight: Weight of bad answers; of `"kto"`.
    """

    loss: PreferenceLoss = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    margin: float = 0.5
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "preferences")
        ranges = {
            "above 0": ["beta", "desirable_weight", "undesirable_weight"],
            "at least 0": ["margin"],
            "in [0, 0.5)": ["label_smoothing"],
        }
        check_ranges(self, "preferences", ranges)


@dataclass(frozen=True)
class ClassifierSettings:
    """How a model is made to tell classes apart.

    Args:
        multi_label: Whether a text may have several classes, or none.
        pooling: What of a text's states the classes are told by: the
            `"last"`, the `"first"`, or their `"mean"`; the last of a causal
            model and the mean of another if omitted.
        pooler: Whether that goes through a projection and a tanh, as in BERT.
        trained_blocks: How many of the last blocks are trained beside the new
            layer: 0 for that layer alone; all weights if omitted. With an
            adapter, what it adds is trained instead.
        class_weights: `"balanced"`, if a rare class should count as much as a
            frequent one.
        dropout: Share of the state dropped while training, in [0, 1).
        compare: Whether the same network is trained without what the preset
            knows, too, to see what that was worth.
        learning_curve: Whether it is trained on an eighth, a quarter and half
            of the texts, too, to see what more of them would be worth. Takes
            almost as long again.
    """

    multi_label: bool = False
    pooling: Pooling | None = None
    pooler: bool = False
    trained_blocks: int | None = None
    class_weights: ClassWeights = "none"
    dropout: float = 0.1
    compare: bool = True
    learning_curve: bool = False

    def __post_init__(self) -> None:
        check_types(self, "classifier")
        ranges = {
            "at least 0": ["trained_blocks"],
            "at most 10,000": ["trained_blocks"],
            "in [0, 1)": ["dropout"],
        }
        check_ranges(self, "classifier", ranges)


@dataclass(frozen=True)
class ReplaySettings:
    """How a model is kept from forgetting what it knew.

    Args:
        tokens: Folder of token shards that it was trained on before, or the
            run that has them.
        share: Share of rows that are of those, in [0, 1).
    """

    tokens: str | None = None
    share: float = 0.25

    def __post_init__(self) -> None:
        check_types(self, "replay")
        check_ranges(self, "replay", {"in [0, 1)": ["share"]})


@dataclass(frozen=True)
class TuningRecipe:
    """All settings of tuning, from records to a preset.

    Args:
        seed: Decides every random number of the run.
        data: Which records, and how they are read.
        adapter: Which weights are trained.
        corpus: How raw text becomes documents, where it is tuned on text.
        preferences: What is learned from better and worse answers.
        classifier: How classes are told apart.
        replay: How it is kept from forgetting.
        training: How it is trained.
        generation: How samples are drawn.
    """

    seed: int = 0
    data: DataSettings = field(default_factory=DataSettings)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    preferences: PreferenceSettings = field(default_factory=PreferenceSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)

    def __post_init__(self) -> None:
        check_types(self)
        check(0 <= self.seed < 2**32, "seed", "in [0, 2^32)", self.seed)
        stateful = self.training.stateful
        expected = "false, but for pretraining"
        check(not stateful, "training.stateful", expected, stateful)
