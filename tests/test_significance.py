"""Two attacks or classifiers on the same samples, against SciPy and numbers worked out by hand."""

import math

import numpy as np
import pytest
from results import build
from scipy.stats import binom, binomtest

from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.compare import compare
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.significance import at_most, images_needed, mcnemar


def pair(only_first, only_second, both=3, neither=2):
    first = [True] * only_first + [False] * only_second + [True] * both + [False] * neither
    second = [False] * only_first + [True] * only_second + [True] * both + [False] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize("counts", [(1, 0), (0, 5), (5, 5), (3, 12), (40, 41), (700, 811), (9, 2000)])
def test_the_p_value_is_that_of_the_exact_binomial_test(counts):
    test = mcnemar(*pair(*counts))
    assert (test.only_first, test.only_second) == counts
    assert test.p_value == pytest.approx(binomtest(counts[0], sum(counts)).pvalue, rel=1e-9)


@pytest.mark.parametrize(("count", "total"), [(0, 0), (0, 1), (6, 10), (10, 10), (19, 20), (900, 1000)])
def test_at_most_so_many_is_the_binomial_distribution(count, total):
    assert at_most(count, total, 0.95) == pytest.approx(binom.cdf(count, total, 0.95), rel=1e-9)


def test_by_hand():
    test = mcnemar(*pair(1, 5, both=10, neither=4))
    assert test.p_value == 2 * (1 + 6) / 64
    assert test.discordant_fraction == 6 / 20
    assert test.images_needed == 23550


def test_no_discordant_pair_is_no_difference():
    assert mcnemar(*pair(0, 0)) == (0, 0, 0.0, 1.0, 785)


def test_order_does_not_matter_to_the_p_value():
    assert mcnemar(*pair(3, 9)).p_value == mcnemar(*pair(9, 3)).p_value


def test_many_pairs_neither_overflow_nor_take_long():
    assert mcnemar(*pair(5000, 5000)).p_value == 1
    assert mcnemar(*pair(4900, 5100)).p_value == pytest.approx(2 * binom.cdf(4900, 10000, 0.5), rel=1e-9)
    assert mcnemar(*pair(0, 20_000)).p_value == 0


@pytest.mark.parametrize(
    ("discordant", "difference", "images"),
    [(0.1, 0.01, 7850), (0.2, 0.05, 628), (0.0123, 0.01, 966), (1, 1, 8), (0, 0.01, 785), (0.001, 0.01, 785)],
)
def test_images_needed_to_see_a_difference(discordant, difference, images):
    assert images_needed(discordant, difference) == images


def test_the_images_needed_show_the_difference_in_four_of_five_draws():
    fraction, difference = 0.1, 0.02
    n = images_needed(fraction, difference)
    rng = np.random.default_rng(0)
    probabilities = [(fraction + difference) / 2, (fraction - difference) / 2, 1 - fraction]
    draws = rng.multinomial(n, probabilities, size=2000)
    z = (draws[:, 0] - draws[:, 1]) / np.sqrt(draws[:, 0] + draws[:, 1])
    assert np.mean(abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("arguments", [(-0.1,), (1.1,), (math.nan,), (0.1, 0), (0.1, -0.01), (0.1, 2), (0.1, math.nan)])
def test_impossible_fractions_are_refused(arguments):
    with pytest.raises(InvalidValue, match="Got"):
        images_needed(*arguments)


@pytest.mark.parametrize(
    ("first", "second"),
    [([True], [True, False]), ([], []), ([1, 0], [True, False]), ([[True]], [[False]])],
)
def test_arrays_that_cannot_be_compared_are_refused(first, second):
    with pytest.raises(InvalidValue, match="same samples"):
        mcnemar(np.array(first), np.array(second))


def test_two_attacks_are_compared_by_what_is_still_robust():
    weak, strong = build([0] * 8, [0] * 8, [0] * 6 + [1] * 2, method="fgsm"), build([0] * 8, [0] * 8, [1] * 8)
    test = compare(evaluate(weak), evaluate(strong))
    assert test[:2] == (6, 0)
    assert test.p_value == 2 / 2**6


def test_other_samples_are_refused():
    one = evaluate(build([0], [0], [1]))
    for other in (build([0], [0], [1], dataset_digest="e" * 64), build([0, 0], [0, 0], [1, 1])):
        with pytest.raises(Mismatch, match="different samples"):
            compare(one, evaluate(other))
