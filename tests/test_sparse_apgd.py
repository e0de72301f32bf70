"""Auto-PGD under L1: the sparse step, the larger radii, and the projection that both rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq

from advlab.methods._apgd_l1 import _largest
from advlab.problem.balls import L1Ball
from advlab.problem.losses import log_odds
from advlab.workflows.attack import attack
from tests.test_linear import direction, margin_drop


def test_a_linear_classifier_loses_epsilon_times_its_largest_weight(linear, grey):
    two = replace(grey, y=grey.y % 2, classes=("a", "b"))
    result = attack(linear, two, "apgd", norm="l1", epsilon=0.3)
    np.testing.assert_allclose(margin_drop(linear, result), 0.3 * np.abs(direction(linear)).max(), rtol=1e-3)


@pytest.mark.thorough
def test_aiming_at_each_wrong_class_fools_as_many_as_pgd_with_as_many_steps(trained, digits):
    data = digits.take(60)
    plain = attack(trained, data, "pgd", norm="l1", epsilon=3, steps=30, restarts=3)
    aimed = attack(trained, data, "apgd", norm="l1", epsilon=3, steps=30, loss="dlr", n_target_classes=3)
    assert aimed.success.sum() >= plain.success.sum()


@pytest.mark.parametrize(
    "steps", [1, 2, 4, pytest.param(3, marks=pytest.mark.thorough), pytest.param(7, marks=pytest.mark.thorough)]
)
def test_a_few_steps_are_enough_for_an_image_inside_the_ball(trained, digits, steps):
    result = attack(trained, digits.take(8), "apgd", norm="l1", epsilon=3, steps=steps)
    size = np.abs(result.x_adv.astype(float) - result.x).sum((1, 2, 3))
    assert np.all(size > 0)
    assert np.all(size <= 3)


def test_the_iterates_in_larger_balls_are_not_kept(trained, digits):
    result = attack(trained, digits.take(50), "apgd", norm="l1", epsilon=3)
    trace, outside = result.diagnostics.loss_trace, result.diagnostics.trace_steps < 60
    assert trace[:, outside].max(1).mean() > trace[:, ~outside].max(1).mean()
    loss = log_odds(trained.logits(tf.constant(result.x_adv)), tf.constant(result.labels, tf.int32))
    np.testing.assert_allclose(loss, trace[:, ~outside].max(1), atol=0.05)


largest = tf.function(_largest, jit_compile=True)
projected = tf.function(lambda x, epsilon, far: L1Ball(x, epsilon).project(far), jit_compile=True)


@pytest.mark.parametrize("scale", [1.0, 1e-30])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_the_largest_entries_are_found_whatever_their_size(scale, count):
    values = np.random.default_rng(0).exponential(size=(50, 6, 6, 1)).astype(np.float32) ** 3 * np.float32(scale)
    counts = tf.fill([50, 1, 1, 1], float(count))
    is_largest = largest(tf.constant(values), counts).numpy()
    last = np.sort(values.reshape(50, -1))[:, -count].reshape(-1, 1, 1, 1)
    assert np.all(is_largest[values >= last.repeat(6, 1).repeat(6, 2)])
    assert np.all(values[is_largest] >= 0.999 * np.broadcast_to(last, values.shape)[is_largest])


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 12.0])
def test_the_projection_is_exact_however_far_the_point(scale, epsilon):
    """Against its one multiplier, found in float64; many pixels have no room. The radius is kept short
    of epsilon by a few millionths, which may all fall on one pixel."""
    draw = np.random.default_rng(int(scale))
    x = draw.uniform(-0.3, 1.3, (20, 28, 28, 1)).clip(0, 1).astype(np.float32)
    far = (x + scale * draw.standard_t(2, x.shape)).astype(np.float32)
    result = projected(tf.constant(x), tf.constant(epsilon, tf.float64), tf.constant(far)).numpy().astype(float) - x
    assert np.all(np.abs(result).sum((1, 2, 3)) <= epsilon)
    for row in range(len(x)):
        change = far[row].astype(float) - x[row]
        room = np.where(change > 0, 1.0 - x[row], x[row])

        def size(t: float, change: np.ndarray = change, room: np.ndarray = room) -> np.ndarray:
            return np.clip(np.abs(change) - t, 0, room)

        top = np.abs(change).max()
        t = 0.0 if size(0).sum() <= epsilon else brentq(lambda t, s=size: s(t).sum() - epsilon, 0, top, xtol=1e-14)
        np.testing.assert_allclose(np.abs(result[row]), size(t), atol=3e-6 * epsilon + 3e-5 * max(1, scale))
