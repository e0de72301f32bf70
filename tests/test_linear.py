"""On a linear classifier the best perturbation is known in closed form; grey images keep every pixel off the box."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from advlab.workflows.attack import attack
from tests.conftest import linear_classifier


def margins(classifier, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logit of the label minus logit of the other class, in float64."""
    weights = classifier.keras_model.get_weights()[0].astype(np.float64)
    logits = x.reshape(len(x), -1).astype(np.float64) @ weights
    rows = np.arange(len(x))
    return logits[rows, labels] - logits[rows, 1 - labels]


def margin_drop(classifier, result) -> np.ndarray:
    return margins(classifier, result.x, result.labels) - margins(classifier, result.x_adv, result.labels)


@pytest.fixture(scope="module")
def two(grey):
    from dataclasses import replace

    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def direction(classifier) -> np.ndarray:
    weights = classifier.keras_model.get_weights()[0].astype(np.float64)
    return weights[:, 0] - weights[:, 1]


@pytest.mark.parametrize("method", ["fgsm", "bim", "pgd"])
def test_linf_lowers_the_margin_by_epsilon_times_the_1_norm(linear, two, method):
    result = attack(linear, two, method, epsilon=0.05)
    np.testing.assert_allclose(margin_drop(linear, result), 0.05 * np.abs(direction(linear)).sum(), rtol=1e-5)


@pytest.mark.parametrize(("method", "parameters"), [("fgsm", {}), ("bim", {}), ("pgd", {"random_start": False})])
def test_l2_lowers_the_margin_by_epsilon_times_the_2_norm(linear, two, method, parameters):
    result = attack(linear, two, method, norm="l2", epsilon=0.3, **parameters)
    np.testing.assert_allclose(margin_drop(linear, result), 0.3 * np.linalg.norm(direction(linear)), rtol=1e-5)


@pytest.mark.parametrize(("method", "parameters"), [("fgsm", {}), ("bim", {}), ("pgd", {"random_start": False})])
def test_l1_lowers_the_margin_by_epsilon_times_the_largest_weight(linear, two, method, parameters):
    result = attack(linear, two, method, norm="l1", epsilon=0.3, **parameters)
    np.testing.assert_allclose(margin_drop(linear, result), 0.3 * np.abs(direction(linear)).max(), rtol=1e-5)


def test_the_final_softmax_is_stripped_and_the_logits_are_exact(linear, two):
    expected = two.x.reshape(len(two), -1) @ linear.keras_model.get_weights()[0]
    np.testing.assert_allclose(linear.logits(two.x), expected, atol=1e-5)
    assert linear.notes == ()


def test_a_target_is_approached_along_its_own_weights(grey):
    classifier = linear_classifier(4)
    result = attack(classifier, grey, "bim", epsilon=0.4, norm="l2", target=2)
    towards = classifier.logits(result.x_adv).numpy()[:, 2] > classifier.logits(result.x).numpy()[:, 2]
    assert np.all(towards[result.attempted])
    np.testing.assert_array_equal(result.attempted, grey.y != 2)
    np.testing.assert_array_equal(result.x_adv[grey.y == 2], grey.x[grey.y == 2])


@pytest.mark.parametrize(
    ("method", "norm"), [("ddn", "l2"), ("fmn", "linf"), ("fmn", "l2"), ("fmn", "l1"), ("alma", "l2"), ("alma", "l1")]
)
def test_a_minimal_method_finds_the_distance_to_the_boundary(linear, two, method, norm):
    result = attack(linear, two, method, norm=norm, steps=400)
    change = np.abs(result.x_adv - result.x).reshape(len(two), -1).astype(float)
    sizes = {"linf": change.max(1), "l2": np.linalg.norm(change, axis=1), "l1": change.sum(1)}[norm]
    rows = np.flatnonzero(result.correct)
    assert len(rows) >= 10
    assert result.success.all()
    ratio = [sizes[row] / smallest(linear, result.x[row], result.labels[row], norm) for row in rows]
    assert min(ratio) >= 1 - 1e-5
    assert np.median(ratio) < 1.03


def smallest(classifier, x: np.ndarray, label: int, norm: str, mask: np.ndarray | float = 1.0) -> float:
    """The distance of one image to the boundary within the box: the radius at which the best change of that norm, each
    pixel of the mask as far as the box lets it, takes up the whole margin."""
    gradient = direction(classifier) * (1 if label else -1) * mask
    margin = margins(classifier, x[None], np.array([label]))[0]
    room = np.where(gradient > 0, 1 - x.ravel(), x.ravel()).astype(float)
    if norm == "l1":
        order = np.argsort(-np.abs(gradient))
        gain = np.cumsum(np.abs(gradient[order]) * room[order])
        full = np.searchsorted(gain, margin)
        rest = margin - (gain[full - 1] if full else 0)
        return room[order][:full].sum() + rest / np.abs(gradient[order[full]])

    def remaining_margin(radius: float) -> float:
        step = radius if norm == "linf" else radius * np.abs(gradient)  # in l2 the length of the ray, not of the change
        return margin - (np.abs(gradient) * np.minimum(step, room)).sum()

    radius = brentq(remaining_margin, 0, 1e3)
    return radius if norm == "linf" else float(np.linalg.norm(np.minimum(radius * np.abs(gradient), room)))


@pytest.mark.parametrize(("norm", "order"), [("linf", 1), ("l2", 2)])
def test_apgd_reaches_the_edge_of_the_ball(linear, two, norm, order):
    result = attack(linear, two, "apgd", norm=norm, epsilon=0.05)
    np.testing.assert_allclose(
        margin_drop(linear, result),
        0.05 * np.linalg.norm(direction(linear), ord=order),
        rtol=1e-5 if norm == "linf" else 1e-3,
    )


def test_momentum_changes_nothing_where_the_gradient_is_constant(linear, two):
    same, plain = (attack(linear, two, method, epsilon=0.05) for method in ("mim", "bim"))
    np.testing.assert_array_equal(same.x_adv, plain.x_adv)


def test_deepfool_finds_the_distance_to_the_boundary(linear, two):
    """The distance of a point to a plane: the margin over the 2-norm of its normal."""
    result = attack(linear, two, "deepfool", overshoot=0.0001)
    margin = margins(linear, result.x, result.labels)
    distance = np.linalg.norm((result.x_adv - result.x).reshape(len(two), -1), axis=1)
    inside = result.correct & (result.x_adv > 0).all((1, 2, 3)) & (result.x_adv < 1).all((1, 2, 3))
    assert inside.sum() >= 10
    np.testing.assert_allclose(distance[inside], (margin / np.linalg.norm(direction(linear)))[inside], rtol=1e-3)
