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
from advlab.classifiers.inputs import as_size
from advlab.classifiers.words import word_model
from advlab.data.conversion import ValueRange
from advlab.data.dataset import Dataset
from advlab.data.loading import load_dataset
from advlab.declarations.recipes import Recipe, Training
from advlab.errors import InvalidValue, Mismatch
from advlab.progress import Progress
from advlab.provenance import versions
from advlab.training import adversary, augmentation, certified, checkpoint, fit, fixed_set
from advlab.training.averaging import Averaging
from advlab.training.callback import TrainingCallback
from advlab.training.certified_words import WordSubject
from advlab.training.trainable_words import NEIGHBOURS, TrainableWords

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
    data = _training_data(recipe, resize, value_range)
    test = _test_data(recipe, data, value_range)
    settings = recipe.training
    _check_adversary(settings, data)
    train_count = _train_count(len(data), settings)
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


def _training_data(recipe: Recipe, resize: tuple[int, int] | None, value_range: ValueRange | None) -> Dataset:
    settings = recipe.training
    if resize is not None and not Path(recipe.dataset).expanduser().is_dir():
        raise InvalidValue(
            f"resize (--resize) is for folders of image files, and '{recipe.dataset}' is none. Leave it out."
        )
    shape = None if resize is None else (*as_size(resize), None)
    data = load_dataset(recipe.dataset, split="train", shape=shape, value_range=value_range)
    if recipe.classes not in (None, len(data.classes)):
        raise Mismatch(
            f"Recipe '{recipe.name}' is for {recipe.classes} classes, but data set '{data.name}' has "
            f"{len(data.classes)}. Use other data, or set 'classes' in a recipe of your own."
        )
    if settings.train_samples is not None:
        if settings.train_samples > len(data.x):
            raise Mismatch(
                f"training.train_samples is {settings.train_samples}, but data set '{data.name}' has {len(data.x)} "
                f"training images. Set at most {len(data.x)} in recipe '{recipe.name}'."
            )
        data = data.take(settings.train_samples)
    train_count = _train_count(len(data.x), settings)
    if train_count < 1 or (settings.validation_split and train_count == len(data.x)):
        raise Mismatch(
            f"training.validation_split {settings.validation_split:g} of {len(data.x)} images leaves {train_count} for "
            f"training and {len(data.x) - train_count} for validation. Both need at least one image."
        )
    return data


def _check_adversary(settings: Training, data: Dataset) -> None:
    adversary = settings.adversary
    of_images = ("gaussian_noise", "random_shift", "random_flip")
    given = next((name for name in of_images if getattr(settings, name)), None)
    if adversary is not None and adversary.norm != "l0":
        given = "adversary.norm"
    if settings.certified is not None and settings.certified.norm != "l0":
        given = "certified.norm"
    if data.vocabulary and given is not None:
        raise Mismatch(
            f"training.{given} is for images, and data set '{data.name}' holds texts. Leave it out; for texts "
            "there are training.word_substitution, training.adversary with method 'hotflip' or 'augment', and "
            "training.certified, the last two with norm 'l0'."
        )
    of_texts = {
        "word_substitution": bool(settings.word_substitution),
        "adversary.norm 'l0'": adversary is not None and adversary.norm == "l0",
        "certified.norm 'l0'": settings.certified is not None and settings.certified.norm == "l0",
    }
    name = next((name for name, is_given in of_texts.items() if is_given), None)
    if not data.vocabulary and name is not None:
        raise Mismatch(f"training.{name} is for texts, and data set '{data.name}' holds images. Leave it out.")
    farthest = math.sqrt(math.prod(data.shape))
    if adversary is not None and adversary.norm == "l2" and adversary.epsilon > farthest:
        raise Mismatch(
            f"training.adversary.epsilon is {adversary.epsilon:g} with norm 'l2', but no two images of data set "
            f"'{data.name}' can be farther apart than {farthest:.4g}. Set less."
        )


def _test_data(recipe: Recipe, data: Dataset, value_range: ValueRange | None) -> Dataset:
    test = load_dataset(recipe.dataset, split="test", shape=data.shape, value_range=value_range)
    if test.shape != data.shape or test.classes != data.classes:
        raise Mismatch(
            f"The test split of data set '{data.name}' has images {test.shape} in {len(test.classes)} classes, its "
            f"training split {data.shape} in {len(data.classes)}. Give both splits the same shape and classes."
        )
    return test


def _train_count(images: int, settings: Training) -> int:
    return math.floor(images * (1 - settings.validation_split))


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
