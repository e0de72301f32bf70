"""Basic iterative method: FGSM in small steps from the clean image.

Kurakin, Goodfellow, Bengio 2016, "Adversarial examples in the physical world", arXiv:1607.02533, section 2.2. ``step``
is in units of epsilon / steps; the authors take a quarter more steps than needed to reach the edge, hence 1.25.
"""

from __future__ import annotations

from advlab.methods import pgd
from advlab.problem.problem import Loop, Problem

NORMS = ("linf", "l2", "l1")
KIND = "bounded"


def craft(problem: Problem, *, steps: int = 10, step: float = 1.25) -> Loop:
    """Projected gradient descent without a random start."""
    return pgd.craft(problem, steps=steps, step=step, random_start=False)
