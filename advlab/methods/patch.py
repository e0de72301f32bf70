"""Adversarial patch (no norm): one square picture that fools wherever it lies on an image, turned and scaled.

Brown, Mané, Roy, Abadi, Gilmer 2017, "Adversarial patch", arXiv:1712.09665, equation 1: the expectation of the loss
over images and transformations is maximised, here by Adam, with a new place, angle and size of each image at each step.
The loss of each image is clipped, so that those already fooled do not drown the others. The images returned have the
patch at one more random place each. ``learning_rate=0`` is the control: a patch of random pixels.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._placement import place, side_of
from advlab.problem.problem import START, Problem, Query, State, UniversalLoop

NORMS = ("none",)
GOAL = "bounded"
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # Adam's


def craft(
    problem: Problem,
    *,
    epochs: int = 100,
    side: int = 0,
    rotation: float = 20.0,
    scaling: float = 0.2,
    learning_rate: float = 0.05,
    bound: float = 2.0,
) -> UniversalLoop:
    """One picture is shown at another place of each image at each step.

    Args:
        epochs: Passes over all images.
        side: Of the patch, in pixels; 0: two fifths of the image's shorter one.
        rotation: The largest angle either way, in degrees.
        scaling: The largest change of the side either way, relative to it.
        learning_rate: Of Adam; 0 is the control, a patch of random pixels.
        bound: Images whose log-odds exceed it do not count.
    """
    side = side_of(problem, side)

    def start() -> State:
        patch = problem.random(START, 0)[:1, :side, :side]
        return {"delta": patch, "first": 0 * patch, "second": 0 * patch, "step": tf.constant(0)}

    def show(state: State) -> tf.Tensor:
        return place(problem, state["delta"], state["step"], rotation, scaling)

    def update(state: State, query: Query, progress: tf.Tensor) -> State:
        is_counted = (query.loss < bound)[:, None, None, None]
        upstream = tf.where(is_counted, query.gradient, tf.zeros_like(query.gradient))
        with tf.GradientTape() as tape:
            tape.watch(state["delta"])
            shown = show(state)
        gradient = tape.gradient(shown, state["delta"], output_gradients=upstream)
        count = tf.cast(state["step"] + 1, tf.float32)
        first = FIRST * state["first"] + (1 - FIRST) * gradient
        second = SECOND * state["second"] + (1 - SECOND) * gradient**2
        step = first / (1 - FIRST**count) / (tf.sqrt(second / (1 - SECOND**count)) + TINY)
        patch = tf.clip_by_value(state["delta"] + learning_rate * step, 0, 1)
        return {"delta": patch, "first": first, "second": second, "step": state["step"] + 1}

    return UniversalLoop(epochs, start, update, show=show)
