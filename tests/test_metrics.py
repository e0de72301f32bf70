"""Every number is checked against one worked out by hand."""

import math

import numpy as np
import pytest

from advlab.distances import distance, distances, exceeds, nearest_other_class
from advlab.errors import InvalidValue
from advlab.evaluation import metrics


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(10, 20, 0.2993, 0.7007), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (41, 1000, 0.0304, 0.0551)],
)
def test_wilson_interval_equals_published_values(successes, n, low, high):
    assert metrics.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_of_no_samples_is_all_of_zero_to_one():
    assert metrics.wilson(0, 0) == (0.0, 1.0)


def test_wilson_interval_widens_with_confidence():
    (low, high), (lower, higher) = metrics.wilson(30, 100, 0.9), metrics.wilson(30, 100, 0.99)
    assert lower < low < 0.3 < high < higher


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 0.0), (1, 2, 1.0), (1, 2, 95)])
def test_wilson_refuses_impossible_counts_and_confidences(arguments):
    with pytest.raises(InvalidValue, match="Got"):
        metrics.wilson(*arguments)


def test_rate_counts_only_among_the_chosen_samples():
    hits = np.array([True, True, False, False])
    rate = metrics.rate(hits, np.array([True, False, True, True]))
    assert (rate.count, rate.total) == (1, 3)
    assert rate.value == pytest.approx(1 / 3)
    assert rate.low < rate.value < rate.high


def test_rate_of_nothing_is_not_a_number():
    rate = metrics.rate(np.array([True]), np.array([False]))
    assert math.isnan(rate.value)
    assert (rate.low, rate.high, rate.count, rate.total) == (0.0, 1.0, 0, 0)


def test_summary_and_size_by_hand():
    values = np.array([1.0, 2.0, 3.0, 10.0])
    assert metrics.summary(values) == (4.0, 2.5, 1.75, 4.75)
    assert metrics.size(values) == (2.5, 4.0, 10.0)
    assert all(math.isnan(v) for v in (*metrics.summary(values[:0]), *metrics.size(values[:0])))


def test_confidence_shift_is_adversarial_minus_clean_of_the_given_class():
    clean = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    adversarial = np.array([[0.25, 0.75], [0.125, 0.875]], np.float32)
    shift = metrics.confidence_shift(clean, adversarial, np.array([0, 1]))
    assert shift.tolist() == [-0.5, 0.375]
    assert shift.dtype == np.float64


def test_distances_by_hand_and_l0_counts_positions_over_all_channels():
    x = np.zeros((2, 2, 2, 3), np.float32)
    x_adv = x.copy()
    x_adv[1, 0, 0] = (0.25, 0.5, 0)
    x_adv[1, 1, 1, 2] = 0.5
    sizes = distances(x, x_adv)
    assert [values[0] for values in sizes] == [0, 0, 0, 0]
    assert (sizes.linf[1], sizes.l2[1], sizes.l1[1], sizes.l0[1]) == (0.5, 0.75, 1.25, 2)


def test_distances_do_not_depend_on_the_chunks_they_are_computed_in():
    rng = np.random.default_rng(0)
    x, x_adv = (rng.random((1500, 3, 3, 1), np.float32) for _ in range(2))
    flat = (x_adv.astype(np.float64) - x).reshape(1500, -1)
    sizes = distances(x, x_adv)
    np.testing.assert_allclose(sizes.l2, np.linalg.norm(flat, axis=1), rtol=1e-12)
    np.testing.assert_allclose(sizes.linf, np.abs(flat).max(1), rtol=0)
    np.testing.assert_allclose(sizes.l1, np.abs(flat).sum(1), rtol=1e-12)
    for norm, values in sizes._asdict().items():
        np.testing.assert_array_equal(distance(x, x_adv, norm), values)


@pytest.mark.parametrize(
    ("norm", "epsilon", "inside", "outside"),
    [
        ("linf", 0.1, 0.1 + 0.9e-7, 0.1 + 1.1e-7),
        ("l2", 2.0, 2 * (1 + 0.9e-6), 2 * (1 + 1.1e-6)),
        ("l1", 10.0, 10 * (1 + 0.9e-6), 10 * (1 + 1.1e-6)),
        ("l0", 5.0, 5, 6),
    ],
)
def test_budget_allows_rounding_and_nothing_more(norm, epsilon, inside, outside):
    assert exceeds(np.array([inside, outside, math.nan]), norm, epsilon).tolist() == [False, True, True]


def test_transitions_count_label_to_prediction_among_the_chosen_samples():
    labels, predicted = np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0])
    counts = metrics.transitions(labels, predicted, np.array([True, True, True, False]), 3)
    assert counts.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_per_class_splits_by_label():
    rates = metrics.per_class(np.array([True, False, True]), np.array([0, 0, 2]), 3)
    assert [(rate.count, rate.total) for rate in rates] == [(1, 2), (0, 0), (1, 1)]


def test_the_nearest_of_another_class_by_hand():
    x = np.array([0, 0.1, 0.4, 1], np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1), np.float32)
    labels = np.array([0, 0, 1, 0])
    for norm, factor in {"linf": 1, "l2": 2, "l1": 4}.items():
        assert nearest_other_class(x, labels, norm) == pytest.approx(factor * np.array([0.4, 0.3, 0.3, 0.6]))
    assert nearest_other_class(x, labels, "l0").tolist() == [4, 4, 4, 4]
    assert np.isinf(nearest_other_class(x, np.zeros(4, int), "l2")).all()


def test_equal_images_of_two_classes_say_nothing_about_their_distance():
    x = np.array([0, 0, 0.5], np.float32).reshape(-1, 1, 1, 1)
    assert nearest_other_class(x, np.array([0, 1, 1]), "linf").tolist() == [0.5, math.inf, 0.5]


def test_of_many_images_the_first_are_compared():
    x = np.random.default_rng(0).random((300, 28, 28, 1), np.float32)
    labels = np.arange(300) % 3
    nearest = nearest_other_class(x, labels, "l2")
    assert len(nearest) == 159
    assert np.array_equal(nearest, nearest_other_class(x[:159], labels[:159], "l2"))
    assert len(nearest_other_class(np.zeros((60, 1000, 1000, 1), bool), np.zeros(60), "l2")) == 50


def test_flow_distance_is_the_median_of_each_pair_among_the_chosen_samples():
    labels, predicted = np.array([0, 0, 0, 0, 1, 2]), np.array([1, 1, 1, 1, 2, 0])
    sizes, among = np.array([0.5, 0.1, 0.2, 0.4, 0.7, 9.0]), np.array([True] * 5 + [False])
    flow = metrics.flow_distance(labels, predicted, sizes, among, 3)
    assert flow[0, 1] == pytest.approx(0.3)
    assert flow[1, 2] == 0.7
    assert np.isnan(flow).sum() == 7


def test_flow_distance_equals_a_median_for_each_pair():
    rng = np.random.default_rng(0)
    labels, predicted, sizes = rng.integers(0, 4, 500), rng.integers(0, 4, 500), rng.random(500)
    among = rng.random(500) < 0.6
    flow = metrics.flow_distance(labels, predicted, sizes, among, 4)
    for a in range(4):
        for b in range(4):
            assert flow[a, b] == np.median(sizes[among & (labels == a) & (predicted == b)])


def test_flow_distance_of_nothing_is_not_a_number():
    nothing = np.zeros(3, bool)
    assert np.isnan(metrics.flow_distance(np.zeros(3, int), np.ones(3, int), np.ones(3), nothing, 2)).all()


def test_shift_histogram_has_forty_bins_and_leaves_out_nan():
    counts = metrics.shift_histogram(np.array([-1, -0.96, -0.94, 0, 0.99, 1 + 1e-7, math.nan]))
    assert len(counts) == 40
    assert {number: count for number, count in enumerate(counts) if count} == {0: 2, 1: 1, 20: 1, 39: 2}
