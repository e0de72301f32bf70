"""Uniform noise in the ball: the control that every attack must beat.

One random point for each sample and restart; no gradient is used.
"""

from __future__ import annotations

from advlab.problem import START, Loop, Problem

NORMS = ("linf", "l2", "l1", "l0", "none")
KIND = "bounded"


def craft(problem: Problem) -> Loop:
    """Draw one point of the ball and look at it."""

    def start() -> dict:
        return {"x": problem.ball.start(lambda draw, kind: problem.random(START, draw, kind))}

    return Loop(0, start, lambda state, view, step: state, gradient=False)
