"""The Square attack: its windows, its pattern, and how far a random search gets where the optimum is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from advlab.methods import _square_pairs as pairs
from advlab.problem import random
from advlab.workflows.attack import attack
from tests.test_linear import direction, margin_drop


@pytest.mark.parametrize("width", [1, 3, 7])
def test_windows_have_their_width_and_reach_every_corner(width):
    draws = random.uniform(random.streams(0, 0, tf.range(3000)), 0, 0, 2)
    row, column = pairs.window_offsets(draws[:, 0], width, 7), pairs.window_offsets(draws[:, 1], width, 9)
    inside = pairs.window(row, column, width).numpy()[..., 0]
    np.testing.assert_array_equal(inside.sum((1, 2)), width**2)
    assert inside[:, [0, 0, -1, -1], [0, -1, 0, -1]].any(0).all()


def published_half(height: int, width: int, power: int) -> np.ndarray:
    """Algorithm 3's pattern as it is written down: rectangles that grow around the center, each weighing less."""
    half = np.zeros((height, width))
    for grown in range(max(height // 2, width // 2) + 1):
        top, left = max(height // 2 - grown, 0), max(width // 2 - grown, 0)
        half[top : height // 2 + grown + 1, left : width // 2 + grown + 1] += 1 / (grown + 1) ** 2
    return half / (np.abs(half) ** power).sum() ** (1 / power)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("width", [3, 5, 9, 13])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_the_pattern_is_the_published_one(width, power, is_transposed):
    upper, lower = published_half(width // 2, width, power), published_half(width - width // 2, width, power)
    expected = np.concatenate([upper, -lower])
    offsets = tf.range(width)[None]
    shape = tf.constant(pairs._shape(width, power))
    pattern = pairs._pattern(shape, offsets, offsets, tf.constant([is_transposed])).numpy()[0, :, :, 0]
    np.testing.assert_allclose(pattern, expected.T if is_transposed else expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "order", "fraction"),
    [
        ("linf", 1, 0.99),
        pytest.param("l2", 2, 0.7, marks=pytest.mark.thorough),
        pytest.param("l1", np.inf, 0.5, marks=pytest.mark.thorough),
    ],
)
def test_it_comes_near_the_optimum_of_a_linear_classifier(linear, grey, norm, order, fraction):
    two = replace(grey, y=grey.y % 2, classes=("a", "b"))
    result = attack(linear, two, "square", norm=norm, epsilon=0.05, steps=2000)
    best = 0.05 * np.linalg.norm(direction(linear), ord=order)
    assert np.all(margin_drop(linear, result) <= best * (1 + 1e-5))
    assert np.median(margin_drop(linear, result)) > fraction * best


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.thorough
def test_under_l2_and_l1_it_finds_more_than_noise_and_less_than_the_gradient(trained, digits, norm):
    data = digits.take(60)
    noise, square, gradient = (
        attack(trained, data, method, norm=norm, **parameters).success.sum()
        for method, parameters in (("noise", {}), ("square", {"steps": 300}), ("apgd", {"steps": 30}))
    )
    assert noise < square <= gradient


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_colour_images_are_attacked_in_each_channel(rgb, norm):
    classifier, data = rgb
    result = attack(classifier, data, "square", norm=norm, epsilon=2, steps=60)
    change = result.x_adv - result.x
    assert np.any(change != 0, axis=(1, 2)).all()
    assert not np.allclose(change[..., 0], change[..., 1], atol=1e-3)


def test_the_schedule_halves_the_area_where_the_paper_does(monkeypatch, trained, digits):
    widths = {}

    def spy(problem, steps, side):
        widths.update({step: int(side(tf.constant(step))) for step in (0, 10, 11, 50, 51, 200, 201, 8000, 8001)})
        return original(problem, steps, side)

    original = pairs.craft
    monkeypatch.setattr(pairs, "craft", spy)
    from advlab.declarations.attack import Attack
    from advlab.engine.steps import plan
    from advlab.methods import square

    plan(square.craft, Attack("square", norm="l2", steps=10_000), (28, 28, 1))
    halvings = [0, 0, 1, 1, 2, 2, 3, 8, 9]
    assert list(widths.values()) == [round((0.8 * 784 / 2**n) ** 0.5) for n in halvings]
