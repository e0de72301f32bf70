"""Universal perturbation (Linf, L2): one change for all images, by gradient ascent over the whole data set.

Moosavi-Dezfooli et al. 2016, "Universal adversarial perturbations", arXiv:1610.08401, posed the question; the ascent is
that of Shafahi et al. 2018, "Universal adversarial training", arXiv:1811.11304, algorithm 2: the loss of each image is
clipped, so that those already fooled do not drown the others. ``relative_step_size`` is in units of epsilon / epochs
and decays along a cosine; ``step_size`` replaces it, in pixel units.
"""

from __future__ import annotations

import math

import tensorflow as tf

from advlab.problem.problem import START, Problem, Query, State, UniversalLoop, absolute_step_size

NORMS = ("linf", "l2")
GOAL = "bounded"
MOMENTUM = 0.9


def craft(
    problem: Problem,
    *,
    epochs: int = 100,
    relative_step_size: float = 30.0,
    step_size: float | None = None,
    bound: float = 2.0,
) -> UniversalLoop:
    """Climb on the mean loss of all images.

    Args:
        epochs: Passes over all images.
        relative_step_size: Of a step, in units of epsilon / epochs.
        step_size: Of a step, in pixel units; None: as relative_step_size says.
        bound: Images whose log-odds exceed it do not count.
    """
    epsilon = tf.cast(problem.ball.epsilon, tf.float32)
    initial_size = absolute_step_size(problem, epochs, relative_step_size, step_size)
    linf = problem.ball.norm == "linf"

    def inside(delta: tf.Tensor) -> tf.Tensor:
        if linf:
            return tf.clip_by_value(delta, -epsilon, epsilon)
        return delta * tf.minimum(epsilon / tf.maximum(_norm(delta), 1e-30), 1)

    def start() -> State:
        delta = inside(epsilon * (2 * problem.random(START, 0)[:1] - 1))
        return {"delta": delta, "momentum": tf.zeros_like(delta)}

    def update(state: State, query: Query, progress: tf.Tensor) -> State:
        # Where the box stops delta, only a step back changes the image.
        unclipped, sign = problem.x + state["delta"], tf.sign(query.gradient)
        is_blocked = ((unclipped >= 1) & (sign > 0)) | ((unclipped <= 0) & (sign < 0))
        is_counted = (query.loss < bound)[:, None, None, None] & ~is_blocked
        gradient = tf.reduce_sum(tf.where(is_counted, query.gradient, tf.zeros_like(query.gradient)), 0, keepdims=True)
        momentum = MOMENTUM * state["momentum"] + gradient / tf.maximum(_norm(gradient), 1e-30)
        size = initial_size * (1 + tf.cos(math.pi * progress)) / 2
        direction = tf.sign(momentum) if linf else momentum / tf.maximum(_norm(momentum), 1e-30)
        return {"delta": inside(state["delta"] + size * direction), "momentum": momentum}

    return UniversalLoop(epochs, start, update)


def _norm(delta: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(delta**2))
