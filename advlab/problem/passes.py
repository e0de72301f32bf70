"""The mean over several passes of a classifier that is random: expectation over transformation (EOT).

Athalye et al. 2018, "Synthesizing robust adversarial examples", arXiv:1707.07397, equation 2: the gradient of the mean
loss over what the classifier draws is the mean of the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def mean_over_passes(compute: Callable[[tf.Tensor], Any], x: tf.Tensor, passes: int) -> Any:
    """The mean of the tensors ``compute(x)`` over so many calls, each of which draws anew what is random in it.

    Calls, not a larger batch: a defence that draws once for a whole batch, such as a random size, draws once a call.
    """
    first = compute(x)
    if passes == 1:
        return first

    def add_pass(number: tf.Tensor, sums: Any) -> tuple[tf.Tensor, Any]:
        # A gradient is taken within one graph: of the loop's own copy of the images.
        return number + 1, tf.nest.map_structure(tf.add, sums, compute(tf.identity(x)))

    _, sums = tf.while_loop(lambda number, _: number < passes, add_pass, (tf.constant(1), first))
    return tf.nest.map_structure(lambda value: value / passes, sums)
