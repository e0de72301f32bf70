"""Time an epoch of each adversary of training against a plain epoch of the same network, and ART's trainer beside it.

    python benchmarks/adversarial_training.py [--images 6000] [--rounds 3] [--write]

All train the network of recipe ``mnist-robust`` on the same images of MNIST in one process, in turns. Prints a Markdown
table; ``--write`` stores it in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA).
"""

from __future__ import annotations

import argparse
import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from importlib import metadata

import keras
from blocks import RESULTS, machine, write_block

import advlab
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import Recipe, load_recipe
from advlab.training.train import build

ADVERSARIES = ("fgsm-rs", "n-fgsm", "pgd", "trades", "mart")
LIMITS = {"fgsm-rs": 2.5, "pgd": 11.0}  # times a plain epoch
EPSILON, STEPS, EPOCHS = 0.3, 10, 8
Run = Callable[[], float]


def ours(recipe: Recipe) -> tuple[Run, Run]:
    """Two runs, in seconds of processor time, which other work on the machine changes less: one epoch, and more."""

    def seconds(epochs: int) -> float:
        settings = replace(recipe.training, epochs=epochs)
        start_time = time.process_time()
        advlab.train(replace(recipe, training=settings), save=False, progress=False)
        return time.process_time() - start_time

    return partial(seconds, 1), partial(seconds, 1 + EPOCHS)


def art(recipe: Recipe, steps: int) -> Run:
    """Seconds of one epoch of ART's adversarial trainer, all images of each batch replaced by those of its PGD."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import TensorFlowV2Classifier

    logging.getLogger("art").setLevel(logging.ERROR)
    data = advlab.load_dataset(recipe.dataset, split="train", limit=recipe.training.train_samples)
    model = build(recipe, data)
    optimizer, loss = keras.optimizers.Adam(recipe.training.learning_rate), keras.losses.SparseCategoricalCrossentropy()
    classifier = TensorFlowV2Classifier(
        model, 10, data.shape, loss_object=loss, optimizer=optimizer, clip_values=(0, 1)
    )
    attack = ProjectedGradientDescent(
        classifier, eps=EPSILON, eps_step=2.5 * EPSILON / steps, max_iter=steps, num_random_init=1, verbose=False
    )
    trainer = AdversarialTrainer(classifier, attack, ratio=1.0)

    def seconds() -> float:
        start_time = time.process_time()
        trainer.fit(data.x, data.y, batch_size=recipe.training.batch_size, nb_epochs=1)
        return time.process_time() - start_time

    return seconds


def report(images: int, rounds: int) -> Iterator[str]:
    """The lines of the block."""
    recipe = load_recipe("mnist-robust")
    settings = replace(recipe.training, train_samples=images, adversary=None, early_stopping=None, weight_averaging=0.0)
    plain = replace(recipe, training=settings)
    runs = {"plain": ours(plain)}
    for name in ADVERSARIES:
        adversary = Adversary(name, EPSILON, validation_images=1, validation_steps=1)
        runs[name] = ours(replace(plain, training=replace(settings, adversary=adversary)))
    theirs = art(plain, STEPS)
    fastest = {name: [math.inf, math.inf] for name in runs}
    art_fastest = math.inf
    for _ in range(rounds):
        for name, pair in runs.items():
            fastest[name] = [min(least, run()) for least, run in zip(fastest[name], pair, strict=True)]
        art_fastest = min(art_fastest, theirs())
    epochs = {name: (several - one) / EPOCHS for name, (one, several) in fastest.items()}
    epochs[f"pgd by ART, {STEPS} steps"] = art_fastest
    versions = ("advlab", "tensorflow", "keras", "adversarial-robustness-toolbox")
    yield from (
        "# Adversarial training beside plain training",
        "",
        f"Generated on {date.today()} by `{' '.join(['python', *sys.argv])}`: do not edit.",
        "",
        f"- {machine()}.",
        f"- Python {platform.python_version()}, {', '.join(f'{name} {metadata.version(name)}' for name in versions)}.",
        f"- An epoch of {images:,} images of MNIST, batch {settings.batch_size}, the network of `mnist-robust`; Linf "
        f"{EPSILON}, {STEPS} steps where a method has several. Seconds are of processor time, over all cores, which "
        "other work on the machine changes less. Of ours an epoch is an eighth of what eight more take, by the fastest "
        f"of {rounds} runs in turns; of ART its fastest epoch.",
        "- Limits are those that were set before: no more than so many times a plain epoch.",
        "",
        "| adversary | seconds of an epoch | times a plain epoch | limit |",
        "|---|---|---|---|",
    )
    for name, seconds in epochs.items():
        limit = f"{LIMITS[name]:g}" if name in LIMITS else ""
        yield f"| {name} | {seconds:.2f} | {seconds / epochs['plain']:.1f} | {limit} |"


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=6000, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--write", action="store_true", help=f"put the table into benchmarks/{RESULTS.name}")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments.images, arguments.rounds):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("adversarial-training", "\n".join(lines))


if __name__ == "__main__":
    main()
