"""The controls without knowledge of the model, noise and naive, and the strings that a method's parameters may take."""

from __future__ import annotations

import numpy as np
import pytest

from advlab.declarations.methods import load_method, method_names
from advlab.distances import distances
from advlab.errors import UnknownName
from advlab.problem.problem import Loop
from advlab.workflows.attack import attack

DISTRIBUTIONS = load_method("noise").choices["distribution"]


def change(result) -> np.ndarray:
    return result.x_adv.astype(float) - result.x


@pytest.mark.parametrize(
    ("norm", "distribution"),
    [
        pytest.param(
            norm, distribution, marks=() if norm == "linf" or distribution == DISTRIBUTIONS[0] else pytest.mark.thorough
        )
        for norm in load_method("noise").norms
        for distribution in DISTRIBUTIONS
    ],
)
def test_noise_of_every_distribution_stays_in_its_ball_and_differs_between_samples(trained, digits, norm, distribution):
    result = attack(trained, digits.take(40), "noise", norm=norm, distribution=distribution)
    sizes = getattr(distances(result.x, result.x_adv), "l2" if norm == "none" else norm)
    assert np.all(sizes > 0)
    assert np.all(sizes <= result.attack.threat.epsilon)
    assert len(np.unique(change(result).round(6).reshape(40, -1), axis=0)) == 40
    assert not result.backward_passes.any()


def test_gaussian_noise_reaches_epsilon_at_two_deviations(linear, grey):
    changes = change(attack(linear, of_two(grey), "noise", epsilon=0.1, distribution="gaussian"))
    assert np.mean(np.abs(changes) > 0.0999) == pytest.approx(0.0455, abs=0.02)
    assert np.median(np.abs(changes)) == pytest.approx(0.6745 * 0.05, rel=0.1)


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.3), ("l1", 1.5)])
def test_gaussian_noise_is_as_large_as_epsilon(linear, grey, norm, epsilon):
    result = attack(linear, of_two(grey), "noise", norm=norm, epsilon=epsilon, distribution="gaussian")
    sizes = getattr(distances(result.x, result.x_adv), norm)
    assert np.median(sizes) > 0.9 * epsilon
    assert len(np.unique(np.abs(change(result)).round(6))) > 1000


def test_salt_and_pepper_moves_a_fraction_of_the_pixels_by_epsilon(linear, grey):
    changes = change(attack(linear, of_two(grey), "noise", epsilon=0.1, distribution="salt-and-pepper", fraction=0.3))
    is_changed = changes != 0
    assert is_changed.mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(np.abs(changes[is_changed]), 0.1, rtol=1e-5)
    assert np.mean(changes[is_changed] > 0) == pytest.approx(0.5, abs=0.1)


def test_salt_and_pepper_under_l0_turns_epsilon_positions_black_or_white(linear, grey, rgb):
    result = attack(linear, of_two(grey), "noise", norm="l0", epsilon=5, distribution="salt-and-pepper", fraction=1)
    is_changed = result.x_adv != result.x
    np.testing.assert_array_equal(is_changed.sum((1, 2, 3)), 5)
    assert set(result.x_adv[is_changed]) == {0, 1}
    classifier, colours = rgb
    x_adv = attack(classifier, colours, "noise", norm="l0", epsilon=5, distribution="salt-and-pepper").x_adv
    np.testing.assert_array_equal(np.all(np.isin(x_adv, (0, 1)), axis=-1).sum((1, 2)), 5)


def test_naive_noise_ends_at_the_first_size_that_flips_the_prediction(trained, digits):
    result = attack(trained, digits.take(40), "naive", distribution="uniform", steps=60)
    rows = np.flatnonzero(result.success & result.correct)
    first = result.diagnostics.first_success
    assert len(rows) > 20
    np.testing.assert_array_equal(result.forward_passes[rows], first[rows] + 1)
    assert np.all(distances(result.x, result.x_adv).linf[rows] <= first[rows] / 60 + 1e-6)
    for row in rows:
        margin = result.diagnostics.loss_trace[row]
        assert np.all(margin[: first[row]] <= 0)
        assert margin[first[row]] > 0
        assert np.isnan(margin[first[row] + 1 :]).all()


def test_naive_noise_grows_along_one_pattern(trained, digits):
    long, short = (attack(trained, digits.take(40), "naive", steps=50 * size, size=size) for size in (2, 1))
    np.testing.assert_array_equal(long.x_adv[short.success], short.x_adv[short.success])
    assert np.all(long.diagnostics.first_success[long.success & ~short.success] > 50)


def test_naive_salt_and_pepper_turns_positions_one_after_the_other(trained, digits):
    result = attack(trained, digits.take(40), "naive", norm="l0", distribution="salt-and-pepper")
    is_changed = result.x_adv != result.x
    assert result.success.mean() > 0.7
    assert np.all(np.isin(result.x_adv[is_changed], (0, 1)))
    steps = result.diagnostics.first_success[result.success]
    is_extreme = np.isin(result.x_adv[result.success], (0, 1)) & is_changed[result.success]
    assert np.all(is_extreme.mean((1, 2, 3)) <= steps / 100 + 0.1)


def test_naive_noise_is_larger_than_a_gradient_needs(trained, digits):
    naive, ddn = (attack(trained, digits.take(40), name, norm="l2") for name in ("naive", "ddn"))
    both = naive.success & ddn.success & naive.correct
    assert np.all(distances(naive.x, naive.x_adv).l2[both] > distances(ddn.x, ddn.x_adv).l2[both])


def test_a_string_that_is_not_among_the_choices_is_refused(trained, digits):
    with pytest.raises(
        UnknownName, match=r"Unknown 'distribution' of method 'noise': 'gausian'. Did you mean 'gaussian'\?"
    ):
        attack(trained, digits, "noise", distribution="gausian")


@pytest.mark.parametrize("name", method_names())
def test_the_choices_of_a_method_are_of_its_parameters_and_allow_the_defaults(name):
    method = load_method(name)
    for parameter, allowed in method.choices.items():
        assert method.types[parameter] == "str"
        assert method.parameters[parameter] in allowed


def test_a_function_may_declare_its_choices(trained, digits):
    def paint(problem, *, colour: str = "white"):
        value = {"white": 1.0, "black": 0.0}[colour]
        return Loop(0, lambda: {"x": problem.ball.project(problem.x * 0 + value)}, lambda state, query, step: state)

    paint.CHOICES = {"colour": ("white", "black")}
    assert len(attack(trained, digits, paint, colour="black")) == len(digits)
    with pytest.raises(UnknownName, match=r"Unknown 'colour' of method 'paint': 'red'\. Available: black, white"):
        attack(trained, digits, paint, colour="red")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("GOAL", "minimum", "Unknown GOAL of method 'paint': 'minimum'.*minimal"),
        ("NORMS", ("linf", "l3"), "Unknown norm in NORMS of method 'paint': 'l3'.*linf"),
    ],
)
def test_a_function_with_an_unknown_goal_or_norm_is_refused(trained, digits, attribute, value, said):
    def paint(problem):
        return Loop(0, lambda: {"x": problem.x}, lambda state, query, step: state)

    setattr(paint, attribute, value)
    with pytest.raises(UnknownName, match=said):
        attack(trained, digits, paint)


def test_a_function_may_declare_one_norm_as_text(trained, digits):
    def paint(problem):
        return Loop(0, lambda: {"x": problem.ball.project(problem.x * 0)}, lambda state, query, step: state)

    paint.NORMS = "linf"
    assert attack(trained, digits.take(5), paint).attack.threat.norm == "linf"


def of_two(data):
    """The same images with labels of two classes."""
    from dataclasses import replace

    return replace(data, y=data.y % 2, classes=("a", "b"))
