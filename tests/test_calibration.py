"""Calibration and confident errors, against tables worked out by hand and other implementations."""

import math

import numpy as np
import pytest
from results import build, one_hot_like
from sklearn.calibration import calibration_curve

from advlab import figures
from advlab.errors import InvalidValue
from advlab.evaluation.calibration import confidently_wrong, reliability
from advlab.evaluation.evaluation import evaluate


def two_classes(confidence):
    """Probabilities float64 of two classes that predict the first with the given confidences."""
    confidence = np.asarray(confidence, np.float64)
    return np.stack([confidence, 1 - confidence], 1)


def random_predictions(n=3000, k=5, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(k, 0.4), n).astype(np.float32)
    return probabilities, rng.integers(0, k, n)


def test_reliability_by_hand():
    found = reliability(two_classes([0.55, 0.65, 0.6, 0.95]), np.array([0, 1, 0, 0]), bins=5)
    assert found.count.tolist() == [0, 0, 2, 1, 1]
    assert found.confidence == pytest.approx([math.nan, math.nan, 0.575, 0.65, 0.95], nan_ok=True)
    assert found.accuracy == pytest.approx([math.nan, math.nan, 1, 0, 1], nan_ok=True)
    assert found.error == pytest.approx((2 * 0.425 + 0.65 + 0.05) / 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(bins, dtype):
    edges = np.linspace(0, 1, bins + 1)[1:].astype(dtype)
    probabilities = np.stack([edges, np.zeros_like(edges)], 1)
    assert reliability(probabilities, np.zeros(bins, int), bins).count.tolist() == [1] * bins


def test_calibration_error_equals_a_sum_over_single_samples():
    probabilities, labels = random_predictions()
    cells = {}
    for row, label in zip(probabilities, labels, strict=True):
        bin_ = math.ceil(row.max() * 15)
        cells.setdefault(bin_, []).append((float(row.max()), float(row.argmax() == label)))
    gaps = [abs(sum(c for c, _ in cell) - sum(r for _, r in cell)) for cell in cells.values()]
    assert reliability(probabilities, labels).error == pytest.approx(sum(gaps) / len(labels), abs=1e-7)


def test_the_diagram_is_that_of_scikit_learn():
    probabilities, labels = random_predictions()
    found = reliability(probabilities, labels, bins=10)
    correct, confidence = probabilities.argmax(1) == labels, probabilities.max(1)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    assert found.accuracy[found.count > 0] == pytest.approx(accuracy)
    assert found.confidence[found.count > 0] == pytest.approx(mean)


def test_perfect_and_worst_calibration():
    labels = np.arange(10) % 2
    certain = one_hot_like(labels, 2, confidence=1.0)
    assert reliability(certain, labels).error == 0
    assert reliability(certain, 1 - labels).error == 1


def test_no_samples_and_no_numbers_give_nan():
    none = reliability(np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert math.isnan(none.error)
    assert none.count.tolist() == [0] * 15
    found = reliability(np.array([[0.9, 0.1], [math.nan, 0.5]]), np.array([0, 0]))
    assert found.count.sum() == 1
    assert found.error == pytest.approx(0.1)


def test_probabilities_that_rounding_put_beyond_one_stay_in_the_last_bin():
    assert reliability(np.array([[1 + 1e-6, 0.0]]), np.array([0])).count.tolist() == [0] * 14 + [1]


def test_confidently_wrong_means_wrong_above_nine_tenths():
    probabilities = two_classes([0.95, 0.95, 0.9, 0.6]).astype(np.float32)
    labels = np.array([1, 0, 1, 1])
    assert confidently_wrong(probabilities, labels).value == 0.25
    assert confidently_wrong(probabilities, labels, np.array([True, True, False, False])).value == 0.5
    assert confidently_wrong(np.full((1, 2), math.nan), np.array([1])).value == 0


@pytest.mark.parametrize("bins", [0, -1, 2.5, True])
def test_bins_are_counted_from_one(bins):
    with pytest.raises(InvalidValue, match="an int in the range"):
        reliability(two_classes([0.9]), np.array([0]), bins)


@pytest.mark.parametrize("call", [reliability, confidently_wrong])
def test_one_label_for_each_row_of_probabilities(call):
    with pytest.raises(InvalidValue, match=r"Got \(2, 2\) and \(3,\)"):
        call(two_classes([0.9, 0.8]), np.array([0, 1, 1]))
    with pytest.raises(InvalidValue, match=r"Got \(2,\)"):
        call(np.array([0.9, 0.8]), np.array([0, 1]))


def test_an_evaluation_has_both_diagrams_and_the_confident_errors():
    labels = np.zeros(10, int)
    evaluation = evaluate(build(labels, labels, [1] * 8 + [0] * 2))
    assert evaluation.calibration_clean.error == pytest.approx(0.1)
    assert evaluation.calibration.error == pytest.approx(0.7)
    assert evaluation.confidently_wrong.value == 0
    sure = one_hot_like(np.array([1] * 8 + [0] * 2), 3, confidence=0.95)
    evaluation = evaluate(build(labels, [0] * 9 + [1], [1] * 8 + [0] * 2, adversarial_probabilities=sure))
    assert (evaluation.confidently_wrong.count, evaluation.confidently_wrong.total) == (8, 9)


def test_the_diagram_is_drawn_with_its_error_in_the_legend():
    labels = np.arange(30) % 3
    evaluation = evaluate(build(labels, labels, (labels + 1) % 3))
    axis = figures.reliability(evaluation).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["clean, ECE 10.0%", "perturbed, ECE 90.0%"]
    diagonal, clean, perturbed = axis.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [100, 100]]
    assert clean.get_xydata() == pytest.approx(np.array([[90, 100]]), abs=1e-4)
    assert perturbed.get_xydata() == pytest.approx(np.array([[90, 0]]), abs=1e-4)
    assert len(figures.reliability([evaluation] * 3).axes) == 3
