"""ZOO (L2), by the adversarial-robustness-toolbox: the Carlini & Wagner attack with estimated gradients.

Chen, Zhang, Sharma, Yi, Hsieh 2017, "ZOO: zeroth order optimization based black-box attacks to deep neural networks
without training substitute models", arXiv:1708.03999, algorithm 2 (Adam). Each step takes two logits for each of
``coordinates`` random pixels. The weight of the loss begins at ``constant`` and follows a bisection of ``searches``.
"""

from __future__ import annotations

from advlab.methods._art import adapt
from advlab.problem.problem import ExternalLoop, Problem

NORMS = ("l2",)
GOAL = "minimal"


def craft(
    problem: Problem,
    *,
    steps: int = 40,
    searches: int = 2,
    coordinates: int = 128,
    learning_rate: float = 0.03,
    constant: float = 10.0,
) -> ExternalLoop:
    """Each step moves ``coordinates`` random pixels.

    Args:
        steps: Steps of each search.
        searches: Steps of the bisection over the weight of the loss.
        coordinates: Random pixels whose derivative each step estimates, two queries each.
        learning_rate: Length of a step.
        constant: The first weight of the loss.
    """
    return adapt(
        "ZooAttack",
        max_iter=steps,
        binary_search_steps=searches,
        nb_parallel=min(coordinates, problem.x[0].shape.num_elements()),
        learning_rate=learning_rate,
        initial_const=constant,
        # Resizing enlarges whatever is smaller than 32 x 32, and importance is learnt only beyond that size.
        use_resize=False,
        use_importance=False,
        abort_early=False,
        variable_h=1e-3,
        batch_size=1,
    )
