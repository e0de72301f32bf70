"""Time attacks on the classifier `fashion` against the adversarial-robustness-toolbox, all in one run.

    python benchmarks/attacks.py [--samples 10000] [--steps 40] [--repeat 3]

The same classifier, images, norm, steps and step size; the fastest of the repetitions of each, after a first run that
compiles. Prints a Markdown table of seconds, ratio and robust accuracy. Needs the real data: set ADVLAB_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import advlab
from advlab.methods._art import harmless_import

EPSILON, STEP = 0.1, 0.01


def toolbox(
    classifier: advlab.Classifier, data: advlab.Dataset, steps: int, batch_size: int
) -> Callable[[], np.ndarray]:
    """PGD of the toolbox, from a random start, at one batch size."""
    with harmless_import():
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import TensorFlowV2Classifier

    wrapped = TensorFlowV2Classifier(
        model=lambda x, training=False: classifier.logits(x),
        nb_classes=classifier.classes,
        input_shape=data.shape,
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    tool = ProjectedGradientDescent(
        wrapped,
        eps=EPSILON,
        eps_step=STEP,
        max_iter=steps,
        num_random_init=1,
        batch_size=batch_size,
        verbose=False,
    )
    labels = np.eye(classifier.classes, dtype=np.float32)[data.y]
    return lambda: tool.generate(x=data.x, y=labels)


def timed(run: Callable[[], np.ndarray], repeat: int) -> tuple[float, np.ndarray]:
    """The fastest of ``repeat`` runs in seconds, and the last images."""
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        x_adv = run()
        seconds.append(time.perf_counter() - began)
    return min(seconds), x_adv


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="fashion")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    classifier = advlab.load_classifier(given.model)
    data = advlab.load_dataset(classifier.dataset, limit=given.samples)

    def ours(method: str, **parameters: float) -> Callable[[], np.ndarray]:
        return lambda: advlab.attack(classifier, data, method, epsilon=EPSILON, progress=False, **parameters).x_adv

    pgd = {"steps": given.steps, "step": STEP * given.steps / EPSILON}
    runs = {
        "advlab fgsm, first call": (ours("fgsm"), 1),
        "advlab fgsm": (ours("fgsm"), given.repeat),
        f"advlab pgd, {given.steps} steps, first call": (ours("pgd", **pgd), 1),
        f"advlab pgd, {given.steps} steps": (ours("pgd", **pgd), given.repeat),
        f"toolbox pgd, {given.steps} steps, batch 1,000": (toolbox(classifier, data, given.steps, 1000), given.repeat),
    }
    measured = {name: timed(run, repeat) for name, (run, repeat) in runs.items()}
    slowest = measured[list(runs)[-1]][0]
    print(f"{len(data):,} images of {data.name}, classifier {classifier.name}, Linf {EPSILON}, step {STEP}\n")
    print("| run | seconds | times faster than the toolbox's pgd | robust accuracy |\n|---|---|---|---|")
    for name, (seconds, x_adv) in measured.items():
        accuracy = np.mean(classifier.probabilities(x_adv).argmax(1) == data.y)
        print(f"| {name} | {seconds:.2f} | {slowest / seconds:.1f} | {accuracy:.2%} |")


if __name__ == "__main__":
    main()
