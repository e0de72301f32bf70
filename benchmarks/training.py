"""Time a recipe's training against the plain ``fit`` of a book: the same network, optimizer, batches and epochs.

    python benchmarks/training.py [--recipe fashion] [--epochs N] [--repeat N]

Both run in one process, in turns after a short warm-up of TensorFlow, each with its own compilation in its time.
Prints a Markdown table of the fastest run of each.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import keras
import numpy as np

from advlab.datasets import load_dataset
from advlab.recipes import Recipe, load_recipe
from advlab.training import build, train


def plain(recipe: Recipe) -> tuple[float, float]:
    """Seconds and test accuracy of ``compile`` and ``fit`` without any further arguments."""
    settings = recipe.training
    data, test = load_dataset(recipe.dataset, split="train"), load_dataset(recipe.dataset, split="test")
    data = data.take(settings.train_samples)
    keras.utils.set_random_seed(settings.seed)
    model = build(recipe, data)
    shape = model.input_shape[1:]
    x, split = data.x.reshape(-1, *shape), settings.validation_split
    begun = time.perf_counter()
    model.compile(optimizer=settings.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    if settings.learning_rate is not None:
        model.optimizer.learning_rate = settings.learning_rate
    model.fit(x, data.y, batch_size=settings.batch_size, epochs=settings.epochs, validation_split=split, verbose=0)
    seconds = time.perf_counter() - begun
    predicted = model.predict(test.x.reshape(-1, *shape), batch_size=1000, verbose=0).argmax(1)
    return seconds, float(np.mean(predicted == test.y))


def ours(recipe: Recipe) -> tuple[float, float]:
    """Seconds and test accuracy of ``advlab.train``."""
    card = train(recipe, save=False).card
    return card["seconds"], card["test_accuracy"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="fashion")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each; the fastest counts")
    given = parser.parse_args()
    recipe = load_recipe(given.recipe)
    if given.epochs:
        recipe = replace(recipe, training=replace(recipe.training, epochs=given.epochs))
    ours(replace(load_recipe("digits"), training=replace(recipe.training, epochs=1, train_samples=None)))
    runs = [(plain(recipe), ours(recipe)) for _ in range(given.repeat)]
    (slow, slow_accuracy), (fast, fast_accuracy) = (min(results) for results in zip(*runs, strict=True))
    print(f"| `{recipe.name}`, {recipe.training.epochs} epochs | seconds | times as fast | test accuracy |")
    print("|---|---|---|---|")
    print(f"| plain `fit` | {slow:.1f} | 1.0 | {slow_accuracy:.2%} |")
    print(f"| `advlab train` | {fast:.1f} | {slow / fast:.1f} | {fast_accuracy:.2%} |")


if __name__ == "__main__":
    main()
