"""Basic iterative method (Linf, L2, L1): FGSM in small steps from the clean image.

Kurakin, Goodfellow, Bengio 2016, "Adversarial examples in the physical world", arXiv:1607.02533, section 2.2.
``relative_step_size`` is in units of epsilon / steps: the authors take a quarter more steps than needed to reach the
edge, hence 1.25. ``step_size`` replaces it, in pixel units.
"""

from __future__ import annotations

from advlab.methods import pgd
from advlab.problem.problem import Loop, Problem

NORMS = ("linf", "l2", "l1")
GOAL = "bounded"


def craft(
    problem: Problem,
    *,
    steps: int = 10,
    relative_step_size: float = 1.25,
    step_size: float | None = None,
) -> Loop:
    """Projected gradient descent without a random start."""
    return pgd.craft(
        problem, steps=steps, relative_step_size=relative_step_size, step_size=step_size, random_start=False
    )
