"""What a linear model of word counts makes of the same texts.

A classifier that does no better is not worth its cost.
"""

from collections.abc import Sequence

import numpy as np

from keras_llm.errors import InputError


def linear_scores(
    train: Sequence[str],
    classes: np.ndarray,
    texts: Sequence[str],
    multi_label: bool = False,
) -> np.ndarray:
    """Probabilities by logistic regression on TF-IDF of words and pairs.

    Args:
        train: Texts to learn from.
        classes: bool `(train, num_classes)`. Each occurs.
        texts: Texts to judge.
        multi_label: Whether a text may have several classes.

    Returns:
        float64 `(texts, num_classes)`.

    Raises:
        InputError: scikit-learn is missing.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
    except ImportError as error:
        raise InputError(
            "The linear baseline needs scikit-learn: "
            'pip install "keras-llm[classify]"'
        ) from error
    # One letter or mark is a word too, and so is every text's pair of them.
    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]"
    )
    seen = words.fit_transform([*train, "."])[:-1]
    regression = LogisticRegression(C=10.0, max_iter=1000)
    if multi_label:
        model = OneVsRestClassifier(regression).fit(seen, classes)
    else:
        model = regression.fit(seen, classes.argmax(axis=1))
    return model.predict_proba(words.transform(texts))
