"""What an attack maximises: losses of logits, one number for each sample, larger the closer it is to an error.

``top`` is the number of likeliest classes among which the label must not be: where it is k, the k-th largest of the
other logits has to overtake the label's.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (logits, labels) -> float32 (n,)


def log_odds(logits: tf.Tensor, labels: tf.Tensor, top: int = 1) -> tf.Tensor:
    """logsumexp over the other classes minus the logit of the label: ``-log(p / (1 - p))`` of the label.

    Cross-entropy is softplus of it, so direction and ranking are the same, but it never saturates: in float32 the
    gradient of cross-entropy vanishes, or is rounding noise, once p(label) rounds to 1. The ``top - 1`` largest other
    classes, whose rise gains nothing, are left out.
    """
    label_logit, other_logits = _split(logits, labels)
    if top > 1:
        largest = tf.math.top_k(other_logits, top - 1)[1]
        is_largest = tf.reduce_any(tf.one_hot(largest, logits.shape[-1], on_value=True, off_value=False), 1)
        other_logits = tf.where(is_largest, tf.constant(float("-inf")), other_logits)
    return tf.reduce_logsumexp(other_logits, -1) - label_logit


def margin(logits: tf.Tensor, labels: tf.Tensor, top: int = 1) -> tf.Tensor:
    """The ``top``-th largest other logit minus that of the label; positive exactly when the sample is misclassified."""
    label_logit, other_logits = _split(logits, labels)
    if top > 1:
        return tf.math.top_k(other_logits, top)[0][:, -1] - label_logit
    return tf.reduce_max(other_logits, -1) - label_logit


def dlr(logits: tf.Tensor, labels: tf.Tensor, top: int = 1) -> tf.Tensor:
    """Difference of logits ratio: the margin over the spread between the first and the third logit.

    Croce, Hein 2020, arXiv:2003.01690, equation 6; invariant to shifts and scales of the logits. With two classes there
    is no third logit: the margin itself. With ``top`` the spread is between the first and the (top + 2)-th logit.
    """
    if logits.shape[-1] < top + 2:
        return margin(logits, labels, top)
    first, *_, last = _highest(logits, 3) if top == 1 else tf.unstack(tf.math.top_k(logits, top + 2)[0], axis=-1)
    return margin(logits, labels, top) / (first - last + 1e-12)


def difference(logits: tf.Tensor, labels: tf.Tensor, aim: tf.Tensor) -> tf.Tensor:
    """The logit of the class aimed at minus that of the label: zero on the boundary between the two."""
    return _split(logits, aim)[0] - _split(logits, labels)[0]


def targeted_dlr(logits: tf.Tensor, labels: tf.Tensor, aim: tf.Tensor) -> tf.Tensor:
    """The logit of the class aimed at minus that of the label, over the spread of the four highest logits.

    Croce, Hein 2020, arXiv:2003.01690, equation 7. With three classes there is no fourth logit: the difference itself.
    """
    gap = difference(logits, labels, aim)
    if logits.shape[-1] < 4:
        return gap
    first, _, third, fourth = _highest(logits, 4)
    return gap / (first - (third + fourth) / 2 + 1e-12)


def divergence(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """The Kullback-Leibler divergence of the softmax of ``logits`` from that of ``reference``: KL(reference || logits).

    Zhang et al. 2019 (TRADES), arXiv:1901.08573, maximise it within the ball; it needs no label.
    """
    log_p, log_q = tf.nn.log_softmax(reference), tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)


def _highest(logits: tf.Tensor, count: int) -> list[tf.Tensor]:
    """The largest logits in order, each float32 ``(n,)``: for few classes far faster than sorting."""
    highest = []
    for _ in range(count):
        highest.append(tf.reduce_max(logits, -1))
        is_highest = tf.one_hot(tf.argmax(logits, -1), logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
        logits = tf.where(is_highest, tf.fill(tf.shape(logits), tf.constant(float("-inf"))), logits)
    return highest


LOSSES = {"ce": log_odds, "margin": margin, "dlr": dlr, "difference": margin}
TARGETED_LOSSES = {"dlr": targeted_dlr, "difference": difference}  # the others change sign


def _split(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    label_logit = tf.reduce_sum(tf.where(is_label, logits, tf.zeros_like(logits)), -1)
    # Masked with -inf: a zero would count as the best other class when all other logits are negative.
    return label_logit, tf.where(is_label, tf.fill(tf.shape(logits), tf.constant(float("-inf"))), logits)
