"""Basic iterative method (Linf, L2, L1): FGSM in small steps from the clean image.

Kurakin, Goodfellow, Bengio 2016, "Adversarial examples in the physical world", arXiv:1607.02533, section 2.2.
The authors take a quarter more steps than needed to reach the edge, hence a relative step size of 1.25.
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
    """Projected gradient descent without a random start.

    Args:
        steps: Gradient steps on each image.
        relative_step_size: Of a step, in units of epsilon / steps.
        step_size: Of a step, in pixel units; None: as relative_step_size says.
    """
    return pgd.craft(
        problem, steps=steps, relative_step_size=relative_step_size, step_size=step_size, random_start=False
    )
