"""Boundary attack (L2), by the adversarial-robustness-toolbox: a random walk along the boundary, labels only.

Brendel, Rauber, Bethge 2017, "Decision-based adversarial attacks: reliable attacks against black-box machine learning
models", arXiv:1712.04248.
"""

from __future__ import annotations

from advlab.methods._art import adapt
from advlab.problem.problem import ExternalLoop, Problem

NORMS = ("l2",)
GOAL = "minimal"


def craft(
    problem: Problem, *, steps: int = 200, trials: int = 20, spherical_step: float = 0.01, source_step: float = 0.01
) -> ExternalLoop:
    """Walk from a misclassified random image towards each clean image.

    Args:
        steps: Steps of the walk.
        trials: Predictions that each step tries, about.
        spherical_step: First step along the sphere around the clean image, relative to the distance; it adapts.
        source_step: First step towards the clean image, relative to the distance; it adapts.
    """
    return adapt(
        "BoundaryAttack",
        max_iter=steps,
        sample_size=trials,
        delta=spherical_step,
        epsilon=source_step,
        batch_size=len(problem.x),
    )
