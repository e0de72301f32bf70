"""What an attack climbs: losses of logits, one number for each sample, larger when the sample is closer to falling."""

from __future__ import annotations

import tensorflow as tf


def log_odds(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """logsumexp over the other classes minus the logit of the label: ``-log(p / (1 - p))`` of the label.

    Cross-entropy is softplus of it, so direction and ranking are the same, but it never saturates: in float32 the
    gradient of cross-entropy vanishes, or is rounding noise, once p(label) rounds to 1.
    """
    own, others = _split(logits, labels)
    return tf.reduce_logsumexp(others, -1) - own


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The largest other logit minus the logit of the label; positive exactly when the sample is misclassified."""
    own, others = _split(logits, labels)
    return tf.reduce_max(others, -1) - own


LOSSES = {"ce": log_odds, "margin": margin}


def _split(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    own = tf.reduce_sum(tf.where(is_label, logits, tf.zeros_like(logits)), -1)
    # Masked with -inf: a zero would count as the best other class when all other logits are negative.
    return own, tf.where(is_label, tf.fill(tf.shape(logits), tf.constant(float("-inf"))), logits)
