"""DeepFool, by the adversarial-robustness-toolbox: linearise, step to the nearest class boundary, repeat.

Moosavi-Dezfooli, Fawzi, Frossard 2015, "DeepFool: a simple and accurate method to fool deep neural networks",
arXiv:1511.04599, algorithm 2. ``overshoot`` is the relative step beyond the boundary.
"""

from __future__ import annotations

from advlab.methods._art import adapt
from advlab.problem import Host, Problem

NORMS = ("l2",)
KIND = "minimal"


def craft(problem: Problem, *, steps: int = 50, overshoot: float = 0.02) -> Host:
    """At most ``steps`` linearisations for each image."""
    return adapt("DeepFool", max_iter=steps, epsilon=overshoot, batch_size=len(problem.x))
