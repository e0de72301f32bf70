"""Losses: the log-odds of the label, its ranking and its gradient where cross-entropy has none left."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from advlab.losses import log_odds, margin

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
