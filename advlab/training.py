"""Train a classifier as its recipe says, with Keras' ``fit``, and save it with a card of what was done and measured."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import advlab
from advlab import architectures, workspace
from advlab.classifier import Classifier
from advlab.datasets import load_dataset
from advlab.errors import AdvlabError, InvalidValue, Mismatch
from advlab.progress import Progress
from advlab.recipes import Recipe, Training, load_recipe
from advlab.samples import Dataset

# Batches for each call into TensorFlow. The result is the same bit for bit, a small network trains in under half the
# time, and the progress bar still moves. XLA is left to Keras, which uses it on a GPU only: on a CPU it gained nothing
# for dense networks and made convolutions several times slower.
STEPS_PER_EXECUTION = 64


def train(
    recipe: str | Path | Recipe,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    save: bool = True,
    progress: bool | None = None,
    force: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
) -> Classifier:
    """Train the classifier of a recipe (name, path to a TOML file, or ``Recipe``) and return it with its model card.

    ``epochs`` and ``seed`` replace the recipe's. ``save`` writes ``models/<name>.h5`` in the workspace; a file that is
    already there is refused before training unless ``force``. ``progress``: None shows it on a terminal only.
    ``tensorboard`` is a folder for logs. Equal seeds give bitwise equal weights on one machine; the global generators
    of Python, NumPy and TensorFlow are seeded for it.

    The card holds accuracies as shares in [0, 1] or None: ``test_accuracy`` of the saved weights, ``train_accuracy``
    and ``validation_accuracy`` as ``fit`` reports them for the epoch whose weights are kept (the training figure is a
    mean over that epoch with dropout active, which is what books print). ``seconds`` times ``fit`` alone.

    Raises ``UnknownName``, ``InvalidValue``, ``InvalidFile`` or ``Mismatch`` for a recipe or data that cannot be
    trained, ``FileExists``, and ``AdvlabError`` for a loss that is not finite; then nothing is saved.
    """
    chosen = _chosen(recipe, epochs, seed)
    path = workspace.weights_path(chosen.name)
    if save:
        what = f"training '{chosen.name}' (in Python: force=True, or save=False to leave the file alone)"
        workspace.refuse_existing(path, force, what)
        workspace.require_writable(path)
    callbacks = _tensorboard(tensorboard)
    data = _training_data(chosen)
    test = _test_data(chosen, data)
    keras.utils.set_random_seed(chosen.training.seed)
    model = build(chosen, data)
    begun = time.perf_counter()
    history, kept = _fit(model, data, chosen, progress, callbacks)
    seconds = time.perf_counter() - begun
    card = _card(chosen, data, model) | {
        "train_accuracy": history["accuracy"][kept],
        "validation_accuracy": history["val_accuracy"][kept] if "val_accuracy" in history else None,
        "epochs_run": len(history["loss"]),
        "seconds": round(seconds, 2),
    }
    classifier = Classifier.from_keras(model, name=chosen.name, card=card)
    classifier.card["test_accuracy"] = float(np.mean(classifier.probabilities(test.x).argmax(1) == test.y))
    if save:
        classifier.save(path)
    return classifier


def build(recipe: Recipe, data: Dataset) -> keras.Model:
    """The untrained network of a recipe for images and classes like those of ``data``."""
    arguments = dict(recipe.architecture)
    function = getattr(architectures, arguments.pop("kind"))
    return function(data.x.shape[1:], len(data.classes), **arguments)


def _chosen(recipe: str | Path | Recipe, epochs: int | None, seed: int | None) -> Recipe:
    given = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    settings = given.training
    epochs = settings.epochs if epochs is None else epochs
    seed = settings.seed if seed is None else seed
    return replace(given, training=replace(settings, epochs=epochs, seed=seed))


def _training_data(recipe: Recipe) -> Dataset:
    settings = recipe.training
    data = load_dataset(recipe.dataset, split="train")
    if settings.train_samples is not None:
        if settings.train_samples > len(data.x):
            raise Mismatch(
                f"training.train_samples is {settings.train_samples}, but data set '{data.name}' has {len(data.x)} "
                f"training images. Set at most {len(data.x)} in recipe '{recipe.name}'."
            )
        data = data.take(settings.train_samples)
    kept = _kept_for_training(len(data.x), settings)
    if kept < 1 or (settings.validation_split and kept == len(data.x)):
        raise Mismatch(
            f"training.validation_split {settings.validation_split:g} of {len(data.x)} images leaves {kept} for "
            f"training and {len(data.x) - kept} for validation. Both need at least one image."
        )
    return data


def _test_data(recipe: Recipe, data: Dataset) -> Dataset:
    test = load_dataset(recipe.dataset, split="test")
    if test.shape != data.shape or test.classes != data.classes:
        raise Mismatch(
            f"The test split of data set '{data.name}' has images {test.shape} in {len(test.classes)} classes, its "
            f"training split {data.shape} in {len(data.classes)}. Give both splits the same shape and classes."
        )
    return test


def _kept_for_training(images: int, settings: Training) -> int:
    return math.floor(images * (1 - settings.validation_split))


def _fit(
    model: keras.Model, data: Dataset, recipe: Recipe, progress: bool | None, callbacks: list[keras.callbacks.Callback]
) -> tuple[dict[str, list[float]], int]:
    """Fit in place; returns the history and the index of the epoch whose weights the model has."""
    settings = recipe.training
    x = data.x.reshape(-1, *model.input_shape[1:])
    stopping = _early_stopping(settings)
    batches = math.ceil(_kept_for_training(len(x), settings) / settings.batch_size)
    model.compile(
        optimizer=_optimizer(settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    with Progress(batches * settings.epochs, f"train {recipe.name}", show=progress) as bar:
        watch = _Watch(bar, batches, recipe)
        history = model.fit(
            x,
            data.y,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            validation_split=settings.validation_split,
            callbacks=[watch, *stopping, *callbacks],
            verbose=0,
        ).history
    kept = stopping[0].best_epoch if stopping else len(history["loss"]) - 1
    return history, kept


class _Watch(keras.callbacks.Callback):
    """Drives the progress bar and ends a training whose loss is no longer a finite number."""

    def __init__(self, bar: Progress, batches: int, recipe: Recipe):
        super().__init__()
        self._bar, self._batches, self._recipe = bar, batches, recipe
        self._epoch = self._done = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._done = epoch + 1, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        facts = logs or {}
        settings = self._recipe.training
        if not math.isfinite(facts.get("loss", 0.0)):
            rate = settings.learning_rate
            raise AdvlabError(
                f"The loss of recipe '{self._recipe.name}' became {facts['loss']} in epoch {self._epoch} of "
                f"{settings.epochs}. Nothing was saved. Lower training.learning_rate (now "
                f"{'the default of ' + settings.optimizer if rate is None else format(rate, 'g')})."
            )
        # The last execution of an epoch may be cut short, and is still numbered as if it were whole.
        done = min(batch + 1, self._batches)
        shown = {key: f"{facts[key]:.3f}" for key in ("loss", "accuracy") if key in facts}
        self._bar.advance(done - self._done, epoch=f"{self._epoch}/{settings.epochs}", **shown)
        self._done = done


def _optimizer(settings: Training) -> keras.optimizers.Optimizer:
    config = {} if settings.learning_rate is None else {"learning_rate": settings.learning_rate}
    return keras.optimizers.get({"class_name": settings.optimizer, "config": config})


def _early_stopping(settings: Training) -> list[keras.callbacks.EarlyStopping]:
    stopping = settings.early_stopping
    if stopping is None:
        return []
    return [
        keras.callbacks.EarlyStopping(
            monitor=stopping.monitor, patience=stopping.patience, restore_best_weights=True, verbose=0
        )
    ]


def _tensorboard(folder: str | os.PathLike[str] | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise InvalidValue(
            f"Logs for TensorBoard were asked for in '{os.fspath(folder)}', but the package 'tensorboard' is not "
            "installed. Install it: pip install 'advlab[tensorboard]'"
        )
    return [keras.callbacks.TensorBoard(log_dir=os.fspath(folder), write_graph=False)]


def _card(recipe: Recipe, data: Dataset, model: keras.Model) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipe": asdict(recipe),
        "dataset": data.name,
        "classes": len(data.classes),
        "class_names": list(data.classes),
        "data_digest": data.digest,
        "parameters": model.count_params(),
        "published": dict(recipe.published),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "advlab": advlab.__version__,
        },
    }
