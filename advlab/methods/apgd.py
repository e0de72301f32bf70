"""Auto-PGD (Linf, L2, L1): projected gradient ascent with momentum that halves its step where progress ends.

Croce, Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
arXiv:2003.01690, algorithm 1 with its checkpoints (section 3.2): first step 2 epsilon, momentum 0.75, rho 0.75.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import tensorflow as tf

from advlab.methods import _apgd_l1
from advlab.problem.problem import START, Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1")
GOAL = "bounded"
CHOICES = {"loss": ("ce", "dlr", "margin")}
MOMENTUM, RHO = 0.75, 0.75


def craft(problem: Problem, *, steps: int = 100, loss: str = "ce", n_target_classes: int = 0) -> Loop:
    """Each restart begins elsewhere; with classes to aim at, each aims at another one.

    Args:
        steps: Gradient steps on each image.
        loss: What is raised: ce (the log-odds), dlr or margin.
        n_target_classes: Aim at so many likely wrong classes, one after the other; 0: at none.
    """
    ball = problem.ball
    if ball.norm == "l1":
        return _apgd_l1.craft(problem, steps, loss)
    gaps = checkpoint_gaps(steps)

    def start() -> State:
        x = ball.start(partial(problem.random, START))
        row = tf.zeros_like(x[:, 0, 0, 0])
        return {
            "x": x,
            "previous_x": x,
            "step_size": row + 2 * tf.reshape(tf.cast(ball.epsilon, tf.float32), [-1]),
            "best_x": x,
            "best_gradient": tf.zeros_like(x),
            "best": row - np.inf,
            "checkpoint_best": row - np.inf,
            "last_loss": row + np.inf,
            "rises": row,
            "halved": row > 1,
        }

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        is_better = query.loss > state["best"]
        best_x = _where(is_better, query.x, state["best_x"])
        best_gradient = _where(is_better, query.gradient, state["best_gradient"])
        best = tf.maximum(query.loss, state["best"])
        rises = state["rises"] + tf.cast(query.loss > state["last_loss"], tf.float32)

        gap = tf.cast(tf.gather(gaps, step), tf.float32)
        is_stuck = ~state["halved"] & (best <= state["checkpoint_best"])
        halve = (gap > 0) & ((rises <= RHO * gap) | is_stuck)
        step_size = tf.where(halve, state["step_size"] / 2, state["step_size"])
        x, gradient = _where(halve, best_x, query.x), _where(halve, best_gradient, query.gradient)

        gradient_x = ball.project(x + ball.steepest(gradient, x, step_size[:, None, None, None]))
        weight = tf.where(step > 0, MOMENTUM, 1.0)
        next_x = ball.project(x + weight * (gradient_x - x) + (1 - weight) * (x - state["previous_x"]))
        return {
            "x": next_x,
            "previous_x": x,
            "step_size": step_size,
            "best_x": best_x,
            "best_gradient": best_gradient,
            "best": best,
            "checkpoint_best": tf.where(gap > 0, best, state["checkpoint_best"]),
            "last_loss": query.loss,
            "rises": tf.where(gap > 0, tf.zeros_like(rises), rises),
            "halved": tf.where(gap > 0, halve, state["halved"]),
        }

    return Loop(steps, start, update, loss=loss)


def checkpoint_gaps(steps: int) -> np.ndarray:
    """int32 ``(steps + 1,)``: at each checkpoint the number of steps since the one before, else 0."""
    gaps = np.zeros(steps + 1, np.int32)
    previous, fraction, last_step = 0.0, 0.22, 0
    # 0.57 x 100 is 57.00000000000001 in floating point, which is not the fifty-eighth step.
    while (step := math.ceil(fraction * steps - 1e-9)) < steps:
        gaps[step], last_step = step - last_step, step
        previous, fraction = fraction, fraction + max(fraction - previous - 0.03, 0.06)
    return gaps


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(rows[:, None, None, None], yes, no)
