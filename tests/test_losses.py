"""Losses: the log-odds of the label, its ranking and its gradient where that of cross-entropy vanishes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from advlab.problem.losses import dlr, log_odds, margin, targeted_dlr

LOGITS = np.random.default_rng(0).normal(0, 5, (50, 10)).astype(np.float32)
LABELS = np.arange(50, dtype=np.int32) % 10


def test_cross_entropy_is_softplus_of_the_log_odds():
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, LOGITS)
    np.testing.assert_allclose(tf.nn.softplus(log_odds(tf.constant(LOGITS), LABELS)), expected, rtol=1e-5)


def test_the_log_odds_keep_their_gradient_when_the_softmax_is_saturated():
    logits = tf.constant([[60.0, -1.0, 2.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = log_odds(logits, tf.constant([0]))
        theirs = tf.nn.sparse_softmax_cross_entropy_with_logits([0], logits)
    assert np.abs(tape.gradient(theirs, logits)[0, 1:]).max() < 1e-20
    gradient = tape.gradient(ours, logits)[0].numpy()
    assert gradient[0] == pytest.approx(-1)
    assert gradient[1:].sum() == pytest.approx(1)


def test_the_margin_is_right_when_all_other_logits_are_negative():
    assert float(margin(tf.constant([[-5.0, -1.0, -2.0]]), tf.constant([1]))[0]) == pytest.approx(-1)
    wrong = margin(tf.constant(LOGITS), LABELS).numpy() > 0
    np.testing.assert_array_equal(wrong, LOGITS.argmax(1) != LABELS)


def test_dlr_is_as_the_paper_defines_it_and_blind_to_shift_and_scale():
    ordered = -np.sort(-LOGITS, axis=1)
    own = LOGITS[np.arange(50), LABELS]
    other = np.where(own == ordered[:, 0], ordered[:, 1], ordered[:, 0])
    np.testing.assert_allclose(
        dlr(tf.constant(LOGITS), LABELS), -(own - other) / (ordered[:, 0] - ordered[:, 2]), rtol=1e-4
    )
    np.testing.assert_allclose(dlr(tf.constant(7 * LOGITS + 3), LABELS), dlr(tf.constant(LOGITS), LABELS), rtol=1e-3)
    aim = (LABELS + 1) % 10
    gap = LOGITS[np.arange(50), aim] - own
    spread = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    np.testing.assert_allclose(targeted_dlr(tf.constant(LOGITS), LABELS, aim), gap / spread, rtol=1e-4)


def test_dlr_falls_back_to_differences_where_there_are_too_few_classes():
    two, labels = tf.constant(LOGITS[:, :2]), tf.constant(LABELS % 2)
    np.testing.assert_array_equal(dlr(two, labels), margin(two, labels))
    np.testing.assert_allclose(targeted_dlr(two, labels, 1 - labels), margin(two, labels), rtol=1e-6)
