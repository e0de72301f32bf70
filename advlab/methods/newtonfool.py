"""NewtonFool (L2), by the adversarial-robustness-toolbox: Newton steps that lower the label's probability.

Jang, Wu, Jha 2017, "Objective metrics and gradient descent algorithms for adversarial examples in machine learning",
ACSAC 2017, doi:10.1145/3134600.3134635, algorithm 1. ``eta`` bounds a step relative to the norm of the image. The
iterates end near the point where the label's probability is that of chance. ``temperature`` divides the logits before
softmax: at 1, the paper's, nothing moves wherever the network is sure, since the probability has no gradient there.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._art import adapt
from advlab.problem.problem import ExternalLoop, Problem

NORMS = ("l2",)
GOAL = "minimal"


def craft(problem: Problem, *, steps: int = 50, eta: float = 0.02, temperature: float = 5.0) -> ExternalLoop:
    """Lower the probability of the label.

    Args:
        steps: Steps for each image, always so many.
        eta: The longest step, relative to the norm of the image.
        temperature: Divides the logits before softmax; 1 is the paper's.
    """
    toolbox = adapt("NewtonFool", max_iter=steps, eta=eta, batch_size=len(problem.x))
    # Its steps are for probabilities, alone among the toolbox's attacks.
    return ExternalLoop(
        lambda batch: toolbox.run(batch._replace(logits=lambda x: tf.nn.softmax(batch.logits(x) / temperature)))
    )
