"""Balls: what is inside, what is nearest, what is steepest; against independent solvers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq, linprog

from advlab.problem import random
from advlab.problem.balls import BALLS

EPSILON = {"linf": 0.1, "l2": 1.0, "l1": 3.0, "l0": 5.0, "none": np.inf}
SHAPE = (20, 4, 4, 1)


def ball_around(x: np.ndarray, norm: str, epsilon: float | None = None):
    return BALLS[norm](tf.constant(x), tf.constant(EPSILON[norm] if epsilon is None else epsilon, tf.float64))


def images(seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(-0.3, 1.3, SHAPE)
    return x.clip(0, 1).astype(np.float32)  # many pixels lie exactly on the box


def size(change: np.ndarray, norm: str) -> np.ndarray:
    flat = np.abs(change.astype(np.float64)).reshape(len(change), -1)
    return {
        "linf": flat.max(1),
        "l2": np.sqrt((flat**2).sum(1)),
        "l1": flat.sum(1),
        "l0": (flat > 0).sum(1),
        "none": flat.max(1),
    }[norm]


@pytest.mark.parametrize("norm", BALLS)
def test_a_projection_lies_in_ball_and_box_and_leaves_inner_points_alone(norm):
    x = images()
    ball = ball_around(x, norm)
    far = (x + np.random.default_rng(1).normal(0, 2, SHAPE)).astype(np.float32)
    projected = ball.project(tf.constant(far)).numpy()
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert np.all(size(projected - x.astype(np.float64), norm) <= EPSILON[norm])
    np.testing.assert_allclose(ball.project(tf.constant(projected)), projected, atol=2e-6)
    np.testing.assert_array_equal(ball.project(tf.constant(x)), x)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_projection_is_the_nearest_point_of_the_intersection(norm):
    """Its optimality conditions have one multiplier: found here by a scalar search in float64."""
    x = images(2)
    ball = ball_around(x, norm)
    far = x.astype(np.float64) + np.random.default_rng(3).normal(0, 1, SHAPE)
    change = ball.project(tf.constant(far, tf.float32)).numpy() - x

    def at(multiplier: float, row: int) -> np.ndarray:
        d = far[row] - x[row]
        soft = d / (1 + multiplier) if norm == "l2" else np.sign(d) * np.maximum(np.abs(d) - multiplier, 0)
        return np.clip(soft, -x[row], 1 - x[row])

    for row in range(len(x)):

        def excess(multiplier: float, row: int = row) -> float:
            return size(at(multiplier, row)[None], norm)[0] - EPSILON[norm]

        best = brentq(excess, 0, 100, xtol=1e-12)
        np.testing.assert_allclose(change[row], at(best, row), atol=2e-5)
        distance = np.linalg.norm(change[row] - (far[row] - x[row]))
        assert distance <= np.linalg.norm(at(best, row) - (far[row] - x[row])) * (1 + 1e-5)


def test_projecting_then_clipping_would_stay_farther():
    x = images(4)
    far = x + np.random.default_rng(5).normal(0, 1, SHAPE).astype(np.float32)
    change = far - x
    scaled = change * np.minimum(1, 1 / np.sqrt((change**2).sum((1, 2, 3), keepdims=True)))
    naive = np.clip(x + scaled, 0, 1)
    exact = ball_around(x, "l2").project(tf.constant(far)).numpy()
    assert np.linalg.norm(exact - far) < 0.99 * np.linalg.norm(naive - far)


def test_linf_bounds_hold_in_float64_for_awkward_numbers():
    x = np.random.default_rng(0).random((4, 100, 100, 1)).astype(np.float32)
    for epsilon in (0.1, 8 / 255, 1e-3, 0.3):
        ball = ball_around(x, "linf", epsilon)
        for edge in (ball.project(tf.ones_like(x)), ball.project(tf.zeros_like(x))):
            assert np.abs(edge.numpy().astype(np.float64) - x.astype(np.float64)).max() <= epsilon


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_steepest_step_gains_as_much_as_any_of_its_norm(norm):
    x = images(6)
    gradient = np.random.default_rng(7).normal(0, 1, SHAPE).astype(np.float32)
    step = ball_around(x, norm).steepest(tf.constant(gradient), tf.constant(x), tf.constant(0.7)).numpy()
    assert np.all(size(step, norm) <= 0.7 * (1 + 1e-5))
    gains = (step * gradient).sum((1, 2, 3))
    if norm == "l1":  # inside the box: a linear programme over the positive and the negative part
        for row in range(len(x)):
            g, pixels = gradient[row].ravel().astype(float), x[row].ravel().astype(float)
            rooms = [(0, 1 - v) for v in pixels] + [(0, v) for v in pixels]
            best = -linprog(np.r_[-g, g], A_ub=np.ones((1, 2 * len(g))), b_ub=[0.7], bounds=rooms).fun
            assert gains[row] == pytest.approx(best, rel=1e-4)
    else:
        dual = size(gradient, "l2") if norm == "l2" else size(gradient, "l1")
        np.testing.assert_allclose(gains, 0.7 * dual, rtol=1e-5)


def test_steepest_steps_survive_tiny_gradients():
    x = images()
    gradient = np.full(SHAPE, 1e-30, np.float32)
    for norm in ("linf", "l2", "l1"):
        step = ball_around(x, norm).steepest(tf.constant(gradient), tf.constant(x), tf.constant(0.5)).numpy()
        assert np.all(np.isfinite(step))
        assert size(step, norm).max() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("norm", BALLS)
def test_random_starts_fill_the_ball(norm):
    x = np.full((300, 4, 4, 1), 0.5, np.float32)
    key = random.streams(0, 0, tf.range(300))

    def draw(number: int, distribution: str) -> tf.Tensor:
        return tf.reshape(getattr(random, distribution)(key, -1, number, 16), x.shape)

    start = ball_around(x, norm, 0.3 if norm in ("l2", "l1") else None).start(draw).numpy()
    sizes = size(start - x, norm)
    largest = {"linf": 0.1, "l2": 0.3, "l1": 0.3, "l0": 5, "none": 0.5}[norm]
    assert sizes.max() <= largest
    assert np.mean(sizes) > 0.8 * largest
    assert abs(np.mean(start - x)) < 0.02
