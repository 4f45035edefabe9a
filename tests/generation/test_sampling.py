import numpy as np
import pytest

from keras_llm.generation.sampling import (
    choose_tokens,
    filter_logits,
    penalize_repetition,
    philox,
    philox_uniform,
)

PI = (
    (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
    (0xA4093822, 0x299F31D0),
    (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
)
ONES = 0xFFFFFFFF
# Counter, key and result: Random123's kat_vectors, philox4x32 10.
KNOWN_ANSWERS = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (ONES,) * 4,
        (ONES,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    PI,
]


def softmax(x):
    weights = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def keys(seeds):
    return np.array([[seed & ONES, seed >> 32] for seed in seeds], "uint32")


def choose(logits, uniform, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    rows = len(uniform)
    logits = np.broadcast_to(logits, (rows, np.shape(logits)[-1]))
    return choose_tokens(
        logits.astype("float32"),
        np.broadcast_to(np.float32(temperature), rows),
        np.broadcast_to(np.int32(top_k), rows),
        np.broadcast_to(np.float32(top_p), rows),
        np.broadcast_to(np.float32(min_p), rows),
        np.asarray(uniform, "float32"),
    ).numpy()


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, expected):
    words = philox(
        [np.array([word], "uint32") for word in counter],
        [np.array([word], "uint32") for word in key],
    )
    assert [int(word[0]) for word in words] == list(expected)


def test_random_numbers_are_the_top_bits_of_philox():
    uniform = philox_uniform(keys([0]), 0).numpy()
    assert uniform[0] == (0x6627E8D5 >> 8) / 2**24


def test_random_numbers_are_uniform_in_the_unit_interval():
    uniform = philox_uniform(keys(range(20_000)), 7).numpy()
    assert uniform.dtype == "float32"
    assert uniform.min() >= 0 and uniform.max() < 1
    counts, _ = np.histogram(uniform, bins=20, range=(0, 1))
    chi_square = np.sum((counts - 1000) ** 2 / 1000)
    assert chi_square < 43.8  # 99.9% of 19 degrees of freedom


def test_random_numbers_depend_on_seed_and_step_alone():
    some = philox_uniform(keys([5, 6, 5 + 2**32]), 3).numpy()
    assert len(set(some.tolist())) == 3
    assert philox_uniform(keys([6]), 3).numpy()[0] == some[1]
    assert philox_uniform(keys([6]), 4).numpy()[0] != some[1]
    steps = np.array([3, 4, 3], "int32")
    mixed = philox_uniform(keys([6, 6, 6]), steps).numpy()
    assert mixed[0] == mixed[2] == some[1] != mixed[1]


def kept_by_definition(logits, top_k, top_p, min_p):
    """Token numbers that may be drawn, by sorting one row."""
    order = list(np.argsort(-logits))
    if top_k:
        order = order[:top_k]
    probability = softmax(logits[order].astype("float64"))
    if top_p < 1:
        enough = int(np.argmax(np.cumsum(probability) >= top_p)) + 1
        order, probability = order[:enough], probability[:enough]
    kept = probability >= min_p * probability[0]
    return {int(token) for token, keep in zip(order, kept, strict=True) if keep}


FILTERS = [
    (0, 1.0, 0.0),
    (1, 1.0, 0.0),
    (5, 1.0, 0.0),
    (1000, 1.0, 0.0),
    (0, 0.6, 0.0),
    (0, 0.001, 0.0),
    (0, 1.0, 0.2),
    (7, 0.8, 0.0),
    (9, 0.9, 0.1),
]


def test_filters_keep_what_the_definition_keeps():
    logits = np.random.default_rng(0).normal(0, 2, (len(FILTERS), 30))
    logits = logits.astype("float32")
    top_k, top_p, min_p = map(np.array, zip(*FILTERS, strict=True))
    filtered = filter_logits(
        logits,
        top_k.astype("int32"),
        top_p.astype("float32"),
        min_p.astype("float32"),
    ).numpy()
    for row, settings in enumerate(FILTERS):
        kept = set(np.flatnonzero(filtered[row] > -1e8).tolist())
        assert kept == kept_by_definition(logits[row], *settings), settings
        for token in kept:
            assert filtered[row, token] == logits[row, token]


def test_equal_tokens_are_kept_together():
    logits = np.array([[1.0, 3.0, 1.0, 2.0, 1.0]], "float32")
    one, off = np.ones(1, "float32"), np.zeros(1, "float32")
    filtered = filter_logits(logits, np.array([3], "int32"), one, off)
    assert np.all(filtered.numpy() > -1e8)


def test_repetition_penalty_equals_the_definition():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(3, 12)).astype("float32")
    token_ids = draw.integers(0, 12, (3, 6)).astype("int32")
    lengths = np.array([6, 3, 1], "int32")
    penalty = np.array([1.5, 0.5, 1.0], "float32")
    expected = logits.copy()
    for row in range(3):
        for token in set(token_ids[row, : lengths[row]].tolist()):
            value = expected[row, token]
            by = penalty[row]
            expected[row, token] = value / by if value > 0 else value * by
    np.testing.assert_allclose(
        penalize_repetition(logits, token_ids, lengths, penalty),
        expected,
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 4},
        {"top_p": 0.7},
        {"temperature": 0.7, "min_p": 0.1},
    ],
)
def test_tokens_are_drawn_as_often_as_their_probability_says(settings):
    draws = 40_000
    logits = np.array([1.5, -1.0, 0.3, 2.0, 0.0, -0.5, 1.0, -4.0])
    uniform = philox_uniform(keys(range(draws)), 0).numpy()
    tokens = choose(logits, uniform, **settings)
    scaled = logits / settings.get("temperature", 1.0)
    kept = kept_by_definition(
        scaled,
        settings.get("top_k", 0),
        settings.get("top_p", 1.0),
        settings.get("min_p", 0.0),
    )
    allowed = np.isin(np.arange(len(logits)), list(kept))
    expected = draws * softmax(np.where(allowed, scaled, -np.inf))
    counts = np.bincount(tokens, minlength=len(logits))
    assert not np.any(counts[~allowed])
    chi_square = np.sum((counts - expected)[allowed] ** 2 / expected[allowed])
    assert chi_square < 24.3  # 99.9% of 7 degrees of freedom


def test_temperature_zero_is_greedy():
    logits = np.random.default_rng(0).normal(size=(50, 30))
    uniform = np.linspace(0, 1, 50, endpoint=False)
    np.testing.assert_array_equal(
        choose(logits, uniform, temperature=0.0), np.argmax(logits, axis=-1)
    )
    np.testing.assert_array_equal(
        choose(logits, uniform, top_k=1), np.argmax(logits, axis=-1)
    )


def test_the_extremes_of_the_random_number_draw_allowed_tokens():
    logits = np.array([0.0, 5.0, 1.0, 4.0, 0.0])
    extremes = [0.0, 1 - 2**-24]
    np.testing.assert_array_equal(choose(logits, extremes, top_k=2), [1, 3])


def test_settings_of_a_row_are_its_own():
    logits = np.random.default_rng(1).normal(size=(5, 30))
    uniform = np.array([0.1, 0.9, 0.5, 0.7, 0.3])
    settings = {
        "temperature": [0.0, 1.0, 2.0, 0.5, 1.0],
        "top_k": [0, 3, 0, 10, 0],
        "top_p": [1.0, 1.0, 0.8, 0.9, 0.5],
        "min_p": [0.0, 0.0, 0.0, 0.05, 0.2],
    }
    together = choose(logits, uniform, **settings)
    for row in range(5):
        alone = {name: values[row] for name, values in settings.items()}
        token = choose(logits[row], uniform[row : row + 1], **alone)
        assert token[0] == together[row]
