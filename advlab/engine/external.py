"""Methods that run outside the graph: another library loops, the engine counts and checks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from advlab.problem.problem import ExternalLoop, Problem

Logits = Callable[[tf.Tensor], tf.Tensor]


def run_external(loop: ExternalLoop, problem: Problem) -> dict[str, np.ndarray]:
    """Run a method of another library on a concrete problem, count its passes, and query what it returns."""
    passes = {name: tf.Variable(0) for name in ("forward", "backward")}
    counting_problem = problem._replace(
        logits=_count_passes(tf.function(problem.logits, autograph=False, reduce_retracing=True), passes)
    )
    x_adv = tf.clip_by_value(tf.constant(np.asarray(loop.run(counting_problem), np.float32)), 0, 1)
    query = problem.query(x_adv, gradient=False)
    success = query.success.numpy()
    # A sample that is still robust gets its clean image back, whatever the library returned for it.
    rows = len(success)
    passes_per_row = {name: np.full(rows, math.ceil(int(count) / rows), np.int32) for name, count in passes.items()}
    return passes_per_row | {
        "x": np.where(success[:, None, None, None], x_adv, problem.x),
        "loss": query.loss.numpy(),
        "success": success,
        "distance": np.where(success, problem.ball.distance(x_adv), np.inf).astype(np.float32),
    }


def _count_passes(logits: Logits, passes: dict[str, tf.Variable]) -> Logits:
    """The same function, adding its rows to ``passes`` in each forward and backward pass, in a compiled graph too."""

    @tf.custom_gradient
    def count_backward(output: tf.Tensor) -> tuple[tf.Tensor, Logits]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            passes["backward"].assign_add(tf.shape(output)[0])
            return upstream

        return tf.identity(output), gradient

    def counting_logits(x: tf.Tensor) -> tf.Tensor:
        passes["forward"].assign_add(tf.shape(x)[0])
        return count_backward(logits(x))

    return counting_logits
