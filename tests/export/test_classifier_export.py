"""Any KerasHub text classifier becomes a SavedModel that tells labels."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from graph_checks import check_saved_model
from served import serve
from stock_classifiers import ROBERTA, stock_classifier

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model

LABELS = ["bad", "so so", "good é"]
TEXTS = [
    "The people of, the union!",
    "",
    "[CLS] peace",
    "é日本 treaty",
    "\ta b\n",
    " war " * 40,
]
# One for each kind of tokenizer.
CUSTOM_OPS = {
    "Bert": {
        "CaseFoldUTF8",
        "FastWordpieceTokenizeWithOffsets",
        "RegexSplitWithOffsets",
    },
    "Roberta": set(),
    "DebertaV3": {"SentencepieceOp", "SentencepieceTokenizeOp"},
}

pytestmark = pytest.mark.slow  # minutes


def loaded(model, path, **options):
    folder = to_saved_model(model, path, **options)
    return folder, tf.saved_model.load(str(folder))


@pytest.mark.parametrize("name", CUSTOM_OPS)
def test_scores_are_those_of_predict(tmp_path, name):
    model = stock_classifier(name)
    folder, saved = loaded(model, tmp_path, labels=LABELS)
    expected = model.predict(TEXTS, verbose=0)
    for signature in ("serving_default", "classify"):
        outputs = saved.signatures[signature](text=tf.constant(TEXTS))
        scores = outputs["scores"].numpy()
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        names = [label.decode() for label in outputs["label"].numpy()]
        assert names == [LABELS[index] for index in expected.argmax(1)]
        classes = [label.decode() for label in outputs["classes"][0].numpy()]
        assert classes == LABELS
    assert len(np.unique(scores.round(4), axis=0)) == len(TEXTS)
    assert check_saved_model(folder) == CUSTOM_OPS[name]
    written = (folder / "assets" / "labels.txt").read_text(encoding="utf-8")
    assert written.splitlines() == LABELS


def test_labels_are_numbers_by_default(tmp_path):
    _, saved = loaded(stock_classifier("Roberta"), tmp_path)
    classify = saved.signatures["classify"]
    outputs = classify(text=tf.constant(TEXTS))
    best = outputs["scores"].numpy().argmax(1)
    assert outputs["label"].numpy().tolist() == [b"%d" % i for i in best]
    # Typed control tokens are text, of more than one token each.
    typed = classify(text=tf.constant([*ROBERTA, "peace", b"\xff", "\ufffd"]))
    scores = typed["scores"].numpy().round(5)
    assert len(np.unique(scores, axis=0)) == len(ROBERTA) + 2
    assert (scores[-1] == scores[-2]).all()


HOSTILE = [
    "",
    "\0",
    "\ufeff\n\n",
    "[CLS]<s></s>[PAD]",
    "a" * 2**20,
    "war " * 2**18,
    b"the\xff",
    b"\xed\xa0\x80",
]


@pytest.mark.parametrize("name", CUSTOM_OPS)
def test_hostile_texts(name):
    served = serve(stock_classifier(name))
    before = served.call("classify", text=["war"])
    together = served.call("classify", text=[*HOSTILE, "war"])
    for i, text in enumerate([*HOSTILE, "war"]):
        alone = served.call("classify", text=[text])
        assert alone["label"] == [together["label"][i]]
        np.testing.assert_allclose(
            alone["scores"][0], together["scores"][i], atol=1e-6
        )
        assert np.isfinite(alone["scores"]).all()
    none = served.call("classify", text=[])
    assert none == {"label": [], "scores": [], "classes": []}
    assert served.call("classify", text=["war"]) == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "3 classes. Received: 2 labels"),
        (["a", "b\nc", "d"], "must be one line"),
        (["a", "", "c"], "must be one line"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, message):
    model = stock_classifier("Roberta")
    with pytest.raises(InputError, match=message):
        to_saved_model(model, tmp_path, labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_one_class_is_refused(tmp_path):
    model = stock_classifier("Roberta", num_classes=1)
    with pytest.raises(InputError, match="at least two classes"):
        to_saved_model(model, tmp_path)


def test_an_unknown_tokenizer_is_refused(tmp_path):
    class Letters(keras_hub.tokenizers.UnicodeCodepointTokenizer):
        start_token_id, end_token_id, pad_token_id = 1, 2, 0

    model = stock_classifier("Roberta")
    preprocessor = keras_hub.models.RobertaTextClassifierPreprocessor(
        Letters(), sequence_length=16
    )
    model = keras_hub.models.RobertaTextClassifier(
        model.backbone, num_classes=3, preprocessor=preprocessor
    )
    with pytest.raises(InputError, match="Letters cannot be exported"):
        to_saved_model(model, tmp_path)
