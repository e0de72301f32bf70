"""Attacks on few positions: optima and choices that are known, one pixel at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from advlab.methods.jsma import best_pair
from advlab.workflows.attack import attack
from tests.conftest import linear_classifier


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def changed(result) -> np.ndarray:
    """bool ``(n, positions)``."""
    return (result.x != result.x_adv).any(-1).reshape(len(result.x), -1)


def weights_of(classifier) -> np.ndarray:
    return classifier.keras_model.get_weights()[0].astype(np.float64)


def fewest(weights: np.ndarray, x: np.ndarray, label: int) -> int:
    """How many pixels must change until a linear classifier of two classes errs: the most useful ones first."""
    gradient = weights[:, 1 - label] - weights[:, label]
    gain = np.sort(np.where(gradient > 0, gradient * (1 - x), -gradient * x))[::-1]
    return int(np.searchsorted(gain.cumsum(), -(x @ gradient)) + 1)


def test_sigma_zero_finds_the_fewest_pixels_of_a_linear_classifier(linear, two):
    result = attack(linear, two, "sigma_zero", steps=300)
    rows = np.flatnonzero(result.correct)
    optimum = np.array([fewest(weights_of(linear), result.x[row].ravel(), result.labels[row]) for row in rows])
    counts = changed(result)[rows].sum(1)
    assert len(rows) >= 10
    assert optimum.max() > 1
    assert result.success.all()
    assert np.all(counts >= optimum)
    assert np.mean(counts == optimum) >= 0.9


@pytest.mark.parametrize("parameters", [{"sigma": 0.0}, {"step_size": 0.0}, {"threshold": 1.0, "rate": 1.0}])
def test_sigma_zero_stays_finite_with_extreme_parameters(linear, two, parameters):
    result = attack(linear, two, "sigma_zero", steps=20, **parameters)
    assert np.isfinite(result.x_adv).all()


def points(case: str) -> np.ndarray:
    """float32 ``(200, 2, 30)``."""
    draw = np.random.default_rng(0)
    gradients = draw.normal(size=(200, 2, 30)).astype(np.float32)
    if case == "opposed":
        gradients[:, 1] = 0.1 * gradients[:, 1] - gradients[:, 0]
    elif case == "ties":
        gradients = gradients.round()
    elif case == "few left":
        gradients[:, :, 2:] = -np.inf
    elif case == "none left":
        gradients[:] = -np.inf
    elif case == "hopeless":
        gradients[:, 0] = -abs(gradients[:, 0])
    return gradients


@pytest.mark.parametrize("case", ["any", "opposed", "ties", "few left", "none left", "hopeless"])
def test_the_best_pair_is_that_of_all_pairs(case):
    gradients = points(case)
    products = np.maximum(gradients[:, :, :, None] + gradients[:, :, None], 0).prod(1)
    products[:, range(30), range(30)] = 0
    best = products.max((1, 2))
    marked = best_pair(tf.constant(gradients)).numpy()
    np.testing.assert_array_equal(marked.sum(1), np.where(best > 0, 2, 0))
    sums = np.where(marked[:, None], gradients, 0).sum(2)
    np.testing.assert_allclose(np.where(best > 0, sums.prod(1), 0), best, rtol=1e-5)


def by_hand(weights: np.ndarray, x: np.ndarray, aim: int, limit: float) -> np.ndarray:
    """The positions that algorithm 3 of arXiv:1511.07528 changes until a linear classifier says ``aim``."""
    sign = 1 if limit else -1
    gain, loss = sign * weights[:, aim], sign * (weights[:, aim] - weights.sum(1))
    x = x.astype(np.float64).copy()
    while (x @ weights).argmax() != aim:
        product = np.maximum(gain[:, None] + gain, 0) * np.maximum(loss[:, None] + loss, 0)
        product *= (x != limit)[:, None] & (x != limit) & ~np.eye(len(x), dtype=bool)
        if not product.max() > 0:
            break
        x[list(np.unravel_index(product.argmax(), product.shape))] = limit
    return x == limit


@pytest.mark.parametrize("increase", [True, False])
def test_jsma_changes_the_pairs_of_the_papers_algorithm(grey, increase):
    classifier = linear_classifier(4)
    result = attack(classifier, grey, "jsma", target=0, fraction=1.0, increase=increase)
    rows = np.flatnonzero(result.success & changed(result).any(1))
    assert len(rows) == 30
    for row in rows:
        expected = by_hand(weights_of(classifier), grey.x[row].ravel(), 0, float(increase))
        np.testing.assert_array_equal(changed(result)[row], expected)
    np.testing.assert_array_equal(result.x_adv[result.x != result.x_adv], float(increase))


def test_jsma_changes_no_more_than_its_fraction(trained, digits):
    data = digits.take(60)
    few, more = (attack(trained, data, "jsma", fraction=fraction) for fraction in (0.01, 0.05))
    assert changed(few).sum(1).max() == 6  # of the 7 positions allowed
    assert 6 < changed(more).sum(1).max() <= 39
    assert few.success.sum() < more.success.sum()


def test_jsma_ends_each_sample_by_itself_and_queries_no_more(trained, digits):
    result = attack(trained, digits.take(60), "jsma", fraction=0.05)
    rows = result.correct & result.success
    # Each query, also the one that succeeds, is followed by a forward pass for each of two gradients.
    np.testing.assert_array_equal(result.forward_passes[rows], 3 * (changed(result)[rows].sum(1) // 2 + 1))


@pytest.mark.thorough
def test_jsma_aimed_at_more_classes_in_turn_is_never_worse(trained, digits):
    data = digits.take(60)
    one, three = (attack(trained, data, "jsma", fraction=0.05, n_target_classes=targets) for targets in (1, 3))
    assert np.all(three.success >= one.success)
    assert np.all(changed(three).sum(1)[one.success] <= changed(one).sum(1)[one.success])


@pytest.mark.parametrize("method", ["jsma", "sigma_zero"])
def test_all_channels_of_a_position_are_one(rgb, method):
    classifier, data = rgb
    parameters = {"fraction": 1.0} if method == "jsma" else {"steps": 100}
    result = attack(classifier, data, method, **parameters)
    rows = result.correct & result.success
    assert rows.any()
    assert changed(result)[rows].sum(1).max() < 72
    if method == "jsma":
        whites = result.x_adv.reshape(len(data), -1, 3)[changed(result)]
        np.testing.assert_array_equal(whites, 1)
