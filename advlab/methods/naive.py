"""Growing noise (Linf, L2, L1, L0): what an attack without any knowledge of the model costs.

The experiment with which books begin: each sample has a random pattern of its own, drawn once, whose size grows from 0
in equal steps until the prediction changes; a sample whose prediction never changes fails. ``distribution`` is the
pattern at size s: ``gaussian``, a direction that favours none, adds normal numbers of standard deviation s to the
pixels, ``uniform`` numbers from [-s, s], and ``salt-and-pepper`` turns a fraction s of the positions black or white.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.problem import START, Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1", "l0")
GOAL = "minimal"
CHOICES = {"distribution": ("gaussian", "uniform", "salt-and-pepper")}


def craft(problem: Problem, *, steps: int = 100, size: float = 1.0, distribution: str = "gaussian") -> Loop:
    """Grow the noise until the prediction changes.

    Args:
        steps: Equal steps up to the size.
        size: Of the noise at the last step: a standard deviation, a half-width, or a fraction of positions.
        distribution: Of the noise.
    """

    def noisy(fraction: tf.Tensor) -> tf.Tensor:
        if distribution == "salt-and-pepper":
            is_noisy = problem.random(START, 0)[..., :1] < fraction
            return tf.where(is_noisy, tf.round(problem.random(START, 1)[..., :1]), problem.x)
        pattern = problem.random(START, 0, "normal") if distribution == "gaussian" else 2 * problem.random(START, 0) - 1
        return tf.clip_by_value(problem.x + fraction * pattern, 0, 1)

    def start() -> State:
        return {"x": problem.x, "done": tf.zeros_like(problem.labels, tf.bool)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        return {"x": noisy(size * tf.cast(step + 1, tf.float32) / steps), "done": query.success}

    return Loop(steps, start, update, loss="margin", gradient=False, refine=False)
