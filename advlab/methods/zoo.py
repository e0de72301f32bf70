"""ZOO, by the adversarial-robustness-toolbox: Carlini and Wagner's attack with slopes from differences of logits.

Chen, Zhang, Sharma, Yi, Hsieh 2017, "ZOO: zeroth order optimization based black-box attacks to deep neural networks
without training substitute models", arXiv:1708.03999, algorithm 2 (Adam). Each step takes two logits for each of
``coordinates`` random pixels. The price of failing begins at ``constant`` and follows a bisection of ``searches``.
"""

from __future__ import annotations

from advlab.methods._art import adapt
from advlab.problem.problem import Host, Problem

NORMS = ("l2",)
KIND = "minimal"


def craft(
    problem: Problem,
    *,
    steps: int = 40,
    searches: int = 2,
    coordinates: int = 128,
    step: float = 0.03,
    constant: float = 10.0,
) -> Host:
    """``searches`` x ``steps`` steps of length ``step`` for each image."""
    return adapt(
        "ZooAttack",
        max_iter=steps,
        binary_search_steps=searches,
        nb_parallel=min(coordinates, problem.x[0].shape.num_elements()),
        learning_rate=step,
        initial_const=constant,
        # Resizing enlarges whatever is smaller than 32 x 32, and importance is learnt only beyond that size.
        use_resize=False,
        use_importance=False,
        abort_early=False,
        variable_h=1e-3,
        batch_size=1,
    )
