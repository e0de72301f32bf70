"""Train a classifier as its recipe says, with a model card of what was done and measured."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers import architectures, devices
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.words import word_model
from advlab.data.conversion import ValueRange
from advlab.data.dataset import Dataset
from advlab.declarations.recipes import Recipe, Training
from advlab.errors import InvalidValue, Mismatch
from advlab.progress import Progress
from advlab.provenance import versions
from advlab.training import adversary, augmentation, certified, checkpoint, fit, fixed_set
from advlab.training.averaging import Averaging
from advlab.training.callback import TrainingCallback
from advlab.training.certified_words import WordSubject
from advlab.training.trainable_words import NEIGHBOURS, TrainableWords
from advlab.training.training_data import count_for_training, load_test_data, load_training_data, require_fitting

# Listing a model reads its card: it need not hold each of a thousand epochs.
_MAX_POINTS = 200
_RISING, _START_DIVISOR = 0.2, 25  # of one cycle: the fraction of steps in which the rate rises, and from where


def fit_recipe(
    recipe: Recipe,
    *,
    checkpoint_path: Path | None = None,
    resume: bool = False,
    resize: tuple[int, int] | None = None,
    value_range: ValueRange | None = None,
    progress: bool | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
) -> Classifier:
    """Train the classifier of a recipe and return it with its model card; ``advlab.train`` says what that holds.

    ``checkpoint_path`` is the file for the state between epochs; with ``resume`` training continues from that state.
    Several GPUs share each batch (``tf.distribute.MirroredStrategy``).
    """
    devices.prepare()
    callbacks = _tensorboard(tensorboard)
    data = load_training_data(recipe, resize, value_range)
    test = load_test_data(recipe, data, value_range)
    settings = recipe.training
    require_fitting(settings, data)
    train_count = count_for_training(len(data), settings)
    added, base = None, None
    is_augmented = settings.adversary is not None and settings.adversary.method == "augment"
    flips_words = settings.adversary is not None and settings.adversary.norm == "l0"
    if is_augmented or settings.word_substitution:
        base = fit_recipe(fixed_set.plain(recipe), resize=resize, value_range=value_range, progress=progress)
    if is_augmented and base is not None and settings.adversary is not None:
        added = fixed_set.crafted(base, data.take(train_count), settings.adversary, settings.seed, progress)
    fit_count = train_count + (0 if added is None else len(added))
    keras.utils.set_random_seed(settings.seed)
    with _devices(), _precision(settings.precision):
        start_time = time.perf_counter()
        model = build(recipe, data)
        batches = fit.batch_count(fit_count, settings.batch_size)
        model.compile(optimizer=_optimizer(settings, batches), loss=_loss(settings, data, model), metrics=["accuracy"])
        x = np.asarray(data.x).reshape(-1, *model.input_shape[1:])
        fit.prepare(model, x, data.y)
        subject = _subject(model, settings, data)
        recovering, words = None, TrainableWords(model, data.vocabulary) if flips_words else None
        if added is None and (settings.adversary is not None or settings.gaussian_noise):
            recovering = adversary.attach(model, settings, data.shape, batches, words)
        if settings.certified is not None and subject is not None:
            certified.attach(model, settings.certified, subject, batches, settings.seed)
        if settings.word_substitution and base is not None:
            augmentation.attach_words(model, settings, word_model(base).neighbours(NEIGHBOURS, "substitute", "", ""))
        if settings.random_shift or settings.random_flip:
            augmentation.attach(model, settings, data.shape)
        specification = checkpoint.specification(recipe, data)
        state = checkpoint.TrainingState()
        if resume and checkpoint_path is not None and checkpoint_path.exists():
            state = checkpoint.load(checkpoint_path, specification, model)
            if state.epochs > settings.epochs:
                raise Mismatch(
                    f"'{checkpoint_path}' has completed {state.epochs} epochs, more than the {settings.epochs} "
                    f"requested. Request at least {state.epochs}, or leave out --resume and use --force to start over."
                )
        start_time -= state.seconds
        validation = (x[train_count:], data.y[train_count:]) if train_count < len(x) else None
        with Progress(batches * settings.epochs, f"train {recipe.name}", show=progress) as bar:
            sample = x[: settings.batch_size]
            judges = _judges(model, data.x[train_count:], data.y[train_count:], settings, words, subject)
            averaging = Averaging() if settings.weight_averaging else None
            callback = TrainingCallback(
                recipe, fit_count, sample, state, bar, checkpoint_path, specification, averaging, recovering
            )
            if not state.ended:
                fit.fit(
                    model,
                    *_with(x[:train_count], data.y[:train_count], added),
                    settings,
                    validation=validation,
                    callbacks=[*([averaging] if averaging else []), *judges, callback, *callbacks],
                    first_epoch=state.epochs,
                )
        seconds = time.perf_counter() - start_time
    # Outside of the devices and the precision used for training.
    model = build(recipe, data)
    model.set_weights(state.weights)
    judged = {
        f"{kind}_validation_accuracy": state.history.get(f"val_{kind}_accuracy") for kind in ("robust", "certified")
    }
    card = _card(recipe, data, model) | {
        "train_accuracy": state.history["accuracy"][state.weights_epoch],
        "validation_accuracy": state.history["val_accuracy"][state.weights_epoch] if validation else None,
        **{key: values[state.weights_epoch] if values else None for key, values in judged.items()},
        "epochs_run": state.epochs,
        "ended": state.ended,
        "history": _thin(state.history),
        "seconds": round(seconds, 2),
    }
    classifier = Classifier.from_keras(model, name=recipe.name, card=card)
    classifier.card["test_accuracy"] = float(np.mean(classifier.probabilities(test.x).argmax(1) == test.y))
    return classifier


def _with(x: np.ndarray, y: np.ndarray, added: Dataset | None) -> tuple[np.ndarray, np.ndarray]:
    if added is None:
        return x, y
    return np.concatenate([x, np.reshape(added.x, (-1, *x.shape[1:]))]), np.concatenate([y, added.y])


def build(recipe: Recipe, data: Dataset) -> keras.Model:
    """The untrained network of a recipe for images and classes like those of ``data``."""
    arguments = dict(recipe.architecture)
    name = arguments.pop("name")
    function = getattr(architectures, name)
    words = arguments.get("words")
    if bool(data.vocabulary) != (words is not None) or len(data.vocabulary) > (words or 0):
        found = f"texts of {len(data.vocabulary):,} words" if data.vocabulary else "images"
        wanted = "images" if words is None else f"texts of at most {words:,} words"
        raise Mismatch(
            f"Architecture '{name}' of recipe '{recipe.name}' is for {wanted}, and data set '{data.name}' holds "
            f"{found}. Choose other data, or change the recipe."
        )
    return function(data.x.shape[1:], len(data.classes), **arguments)


@contextlib.contextmanager
def _devices() -> Iterator[None]:
    """Without effect on a CPU or one GPU; several GPUs share each batch."""
    names = _gpus()
    with tf.distribute.MirroredStrategy(names).scope() if len(names) > 1 else contextlib.nullcontext():
        yield


def _gpus() -> list[str]:
    return [device.name for device in tf.config.list_logical_devices("GPU")]


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous_policy)


def _optimizer(settings: Training, batches: int) -> keras.optimizers.Optimizer:
    rate: Any = settings.learning_rate
    if rate is not None and settings.schedule == "cosine":
        steps = batches * settings.epochs
        rising = math.ceil(_RISING * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / _START_DIVISOR, max(steps - rising, 1), warmup_target=rate, warmup_steps=rising
        )
    config: dict[str, Any] = {} if rate is None else {"learning_rate": rate}
    if settings.weight_averaging:
        config |= {"use_ema": True, "ema_momentum": settings.weight_averaging}
    return keras.optimizers.get({"class_name": settings.optimizer, "config": config})


def _loss(settings: Training, data: Dataset, model: keras.Model) -> Any:
    if model.output_shape[-1] == 1:
        return keras.losses.BinaryCrossentropy(label_smoothing=settings.label_smoothing)
    if not settings.label_smoothing:
        return "sparse_categorical_crossentropy"

    def smoothed(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        targets = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), len(data.classes))
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=settings.label_smoothing)

    return smoothed


def _judges(
    model: keras.Model,
    x: np.ndarray,
    labels: np.ndarray,
    settings: Training,
    words: TrainableWords | None,
    subject: certified.Subject | None,
) -> list[keras.callbacks.Callback]:
    """What is measured on the validation images after each epoch, besides Keras' own."""
    if settings.adversary is not None:
        count = settings.adversary.validation_images
        judged = Classifier.from_keras(model), settings.adversary, x[:count], labels[:count], settings.seed, words
        return [adversary.RobustValidation(*judged)]
    if settings.certified is not None and subject is not None:
        count = settings.certified.validation_images
        return [certified.CertifiedValidation(subject, x[:count], labels[:count])]
    return []


def _subject(model: keras.Model, settings: Training, data: Dataset) -> certified.Subject | None:
    """What certified training bounds; None where there is none."""
    if settings.certified is None:
        return None
    if data.vocabulary:
        return WordSubject(model, data.vocabulary, int(settings.certified.epsilon))
    return certified.ImageSubject(Classifier.from_keras(model), data.shape, settings.certified.epsilon)


def _tensorboard(folder: str | os.PathLike[str] | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise InvalidValue(
            f"TensorBoard logs were requested in '{os.fspath(folder)}', but the package 'tensorboard' is not "
            "installed. Install it: pip install 'advlab[tensorboard]'"
        )
    return [keras.callbacks.TensorBoard(log_dir=os.fspath(folder), write_graph=False)]


def _thin(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """The figures of each epoch, numbered from 1; of a long history evenly spaced ones with the first and the last."""
    epochs = len(history["loss"])
    selected = np.unique(np.linspace(0, epochs - 1, min(epochs, _MAX_POINTS)).round().astype(int))
    return {"epoch": (selected + 1).tolist()} | {
        name: [float(f"{values[epoch]:.5g}") for epoch in selected] for name, values in history.items()
    }


def _card(recipe: Recipe, data: Dataset, model: keras.Model) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipe": asdict(recipe),
        "dataset": data.name,
        "classes": len(data.classes),
        "class_names": list(data.classes),
        "data_digest": data.digest,
        "data_provenance": data.provenance,
        **({"vocabulary": list(data.vocabulary)} if data.vocabulary else {}),
        "parameters": model.count_params(),
        "published": dict(recipe.published),
        "versions": versions(),
    }
