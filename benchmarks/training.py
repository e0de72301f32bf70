"""Time the training of recipes against the plain ``fit`` of the books: the same network, optimizer, batches and epochs.

    python benchmarks/training.py [NAME...] [--epochs N] [--seeds 3] [--write]

Both run in one process, alternating, after a short warm-up of TensorFlow; building and compiling count. Prints a
Markdown table of the median over the seeds and the range; ``--write`` stores it in benchmarks/RESULTS.md. Needs the
real data (ADVLAB_DATA).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from importlib import metadata

import keras
import numpy as np
from blocks import RESULTS, machine, write_block

import advlab
from advlab.declarations.recipes import Recipe, load_recipe
from advlab.training.train import build
from models import architecture, training

RECIPES = (
    "fashion",
    "mnist-mlp-256",
    "mnist-dropout-adam",
    "mnist-mlp-512",
    "mnist",
    "mnist-rnn",
)
# Epochs of those that take minutes: what an epoch costs shows in the first ones.
SHORT = {"mnist": 1, "mnist-rnn": 1}
HEAD = (
    "| recipe | network | training | plain `fit`, s | `advlab train`, s | times as fast | test accuracy, plain "
    "| test accuracy, advlab |"
)
Run = tuple[float, float]


def plain(recipe: Recipe) -> Run:
    """Seconds and test accuracy of ``compile`` and ``fit`` with nothing but the settings of the recipe."""
    settings = recipe.training
    data, test = (advlab.load_dataset(recipe.dataset, split=split) for split in ("train", "test"))
    data = data.take(settings.train_samples)
    keras.utils.set_random_seed(settings.seed)
    start_time = time.perf_counter()
    model = build(recipe, data)
    shape = model.input_shape[1:]
    x, split = np.asarray(data.x).reshape(-1, *shape), settings.validation_split
    model.compile(optimizer=settings.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    if settings.learning_rate is not None:
        model.optimizer.learning_rate = settings.learning_rate
    model.fit(x, data.y, batch_size=settings.batch_size, epochs=settings.epochs, validation_split=split, verbose=0)
    seconds = time.perf_counter() - start_time
    predicted = model.predict(np.asarray(test.x).reshape(-1, *shape), batch_size=1000, verbose=0).argmax(1)
    return seconds, float(np.mean(predicted == test.y))


def ours(recipe: Recipe) -> Run:
    """Seconds and test accuracy of ``advlab.train``."""
    card = advlab.train(recipe, save=False, progress=False).card
    return card["seconds"], card["test_accuracy"]


def with_settings(recipe: Recipe, epochs: int | None, seed: int) -> Recipe:
    """The recipe with another seed, and with this number of epochs if given."""
    return replace(recipe, training=replace(recipe.training, epochs=epochs or recipe.training.epochs, seed=seed))


def row(recipe: Recipe, epochs: int | None, seeds: int) -> str:
    """One recipe, trained both ways from each seed; which goes first alternates."""
    runs: dict[Callable[[Recipe], Run], list[Run]] = {plain: [], ours: []}
    for seed in range(seeds):
        seeded = with_settings(recipe, epochs, seed)
        for function in list(runs)[:: -1 if seed % 2 else 1]:
            runs[function].append(function(seeded))
    slow, fast = ([seconds for seconds, _ in run] for run in runs.values())
    cells = [f"`{recipe.name}`", architecture(recipe), training(seeded), in_seconds(slow), in_seconds(fast)]
    cells.append(f"{statistics.median(slow) / statistics.median(fast):.1f}")
    cells += [in_percent([accuracy for _, accuracy in run]) for run in runs.values()]
    return f"| {' | '.join(cells)} |"


def in_seconds(values: list[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def in_percent(fractions: list[float]) -> str:
    """The mean and the range."""
    return f"{statistics.mean(fractions):.2%} ({100 * min(fractions):.2f} to {100 * max(fractions):.2f})"


def report(names: list[str], epochs: int | None, seeds: int) -> Iterator[str]:
    """The lines of the block, each as soon as it is measured."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("advlab", "tensorflow", "keras", "numpy"))
    yield from (
        "# Training beside the plain `fit` of the books",
        "",
        f"Generated on {date.today()} by `{' '.join(['python', *sys.argv])}`: do not edit.",
        "",
        f"- {machine()}.",
        f"- Python {platform.python_version()}, {versions}.",
        "- Plain: Keras' `compile` and `fit` with the settings of the recipe and no further arguments. Both ways train "
        f"the same network on the same images from the seeds 0 to {seeds - 1}, in one process and in turns.",
        "- Seconds are those of the training alone, with everything that is built and compiled for it: the median over "
        "the seeds, and the range. TensorFlow was warmed up before by one epoch of `digits`, both ways.",
        "- Accuracy is that on all test images after the last epoch: the mean over the seeds, and the range.",
        "",
        HEAD,
        f"|{'---|' * (HEAD.count('|') - 1)}",
    )
    warm = with_settings(load_recipe("digits"), 1, 0)
    plain(warm)
    ours(warm)
    for name in names:
        yield row(load_recipe(name), epochs or SHORT.get(name), seeds)


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", default=RECIPES, metavar="NAME", help=f"recipes; default: {' '.join(RECIPES)}"
    )
    parser.add_argument("--epochs", type=int, help="instead of the recipes'")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--write", action="store_true", help=f"put the table into benchmarks/{RESULTS.name}")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments.names, arguments.epochs, arguments.seeds):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("training", "\n".join(lines))


if __name__ == "__main__":
    main()
