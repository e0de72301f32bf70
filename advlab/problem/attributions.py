"""Which pixels speak for a class: gradients of its logit, at the image or along the way to it."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from advlab.problem.gradients import value_and_gradient

Logits = Callable[[tf.Tensor], tf.Tensor]


def saliency(logits: Logits, x: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """float32 ``(b, h, w, c)``: the gradient of each image's logit of its class, int32 ``(b,)``.

    Simonyan, Vedaldi, Zisserman 2013, "Deep inside convolutional networks: visualising image classification models and
    saliency maps", arXiv:1312.6034, section 3; their map is the largest absolute value over the channels.
    """

    def chosen(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return x, tf.gather(logits(x), classes, batch_dims=1)

    return value_and_gradient(chosen, x)[-1]


def integrated_gradients(
    logits: Logits, x: tf.Tensor, classes: tf.Tensor, baseline: tf.Tensor, steps: int
) -> tf.Tensor:
    """float32 ``(b, h, w, c)``: how much of the logit's difference from ``baseline`` each pixel accounts for.

    Sundararajan, Taly, Yan 2017, "Axiomatic attribution for deep networks", arXiv:1703.01365, equation 3, by the
    midpoint rule in ``steps`` gradients. They add up to the difference (their axiom of completeness), but for the error
    of that rule.
    """

    def add_gradient(step: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        fraction = (tf.cast(step, tf.float32) + 0.5) / steps
        return step + 1, total + saliency(logits, baseline + fraction * (x - baseline), classes)

    _, total = tf.while_loop(lambda step, _: step < steps, add_gradient, (tf.constant(0), tf.zeros_like(x)))
    return (x - baseline) * total / steps
