"""Predict single images: files, images of a data set, or arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from advlab.classifiers.classifier import Classifier
from advlab.data.conversion import ValueRange
from advlab.data.dataset import Dataset
from advlab.data.images import ImageShape, load_image
from advlab.data.official import DATASETS, WITH_NOISE
from advlab.errors import InvalidFile, InvalidValue, Mismatch
from advlab.evaluation.predictions import Predictions
from advlab.text import encode, words_of
from advlab.workflows.inputs import load_fitting, resolve_classifier

Reference = str | os.PathLike[str] | int
_INDEX = re.compile(r"(?:(?P<dataset>.+):)?(?P<first>\d{1,9})(?:-(?P<last>\d{1,9}))?")
_WHITE_ON_BLACK = ("digits", "fashion-mnist", "mnist")
_MAX_SHOWN, _MAX_PATH = 60, 250  # characters of a text, and of the path of one
_MAX_NAMED = 3  # files or classes that a note names


@dataclass(frozen=True)
class _Image:
    """One image, ``(h, w, c)``, its true class by name where it is known, and how it was converted."""

    x: np.ndarray
    source: str
    true_class: str | None = None
    conversions: tuple[str, ...] = ()


def predict(
    classifier: Classifier | str | os.PathLike[str],
    images: Dataset | np.ndarray | Reference | Sequence[Reference],
    *,
    invert: bool = False,
    value_range: ValueRange | None = None,
    trust: bool = False,
) -> Predictions:
    """The predictions of a classifier (or its name or path) for images.

    ``images``: a ``Dataset``; an array float ``(n, h, w)`` or ``(n, h, w, c)`` in [0, 1]; or one reference or several:
    the path of an image file, for a model of texts a text itself or a ``.txt`` file, ``fashion-mnist:6`` for test image
    6 of a data set (name or path), ``6`` for one of the data set that the model card names, ``0-14`` for fifteen. Files
    are converted and resized to what the model takes; ``notes`` of the result say so. ``invert`` swaps black and white
    in files. ``value_range`` are the pixels that are black and white in arrays and ``.npz`` files, such as (-1, 1).
    ``trust`` allows code in the model file.
    The true class is known where the data set's class has the name of one of the model's. Raises ``UnknownName``,
    ``InvalidFile``, ``InvalidValue`` or ``Mismatch``.
    """
    model = resolve_classifier(classifier, trust)
    if model.vocabulary and _is_reference(images):
        images = [images]
    if isinstance(images, Dataset):
        loaded, classes = _from_dataset(images, np.arange(len(images))), images.classes
    elif _is_reference(images):
        loaded, classes = _load(model, [images], invert, value_range)
    elif isinstance(images, Sequence) and all(_is_reference(item) for item in images):
        loaded, classes = _load(model, list(images), invert, value_range)
    else:
        array = _array(images)
        labels = np.zeros(len(np.atleast_1d(array)), np.int64)
        x = np.asarray(Dataset.from_arrays(array, labels, name="images", value_range=value_range).x)
        loaded, classes = [_Image(image, str(number)) for number, image in enumerate(x)], ()
    if not loaded:
        raise InvalidValue("There is no image to predict. Give at least one: a file, or an index of the test images.")
    names = _class_names(model, classes)
    class_numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    for image in loaded:
        model.check_images(image.x.shape)
    x = _stack(loaded)
    return Predictions(
        model.name,
        x,
        model.probabilities(x),
        np.array([-1 if image.true_class is None else class_numbers.get(image.true_class, -1) for image in loaded]),
        names,
        tuple(image.source for image in loaded),
        tuple(_notes(model, loaded, class_numbers)),
    )


def _is_reference(value: Any) -> TypeGuard[Reference]:
    return isinstance(value, str | os.PathLike | int | np.integer) and not isinstance(value, bool)


def _array(images: Any) -> np.ndarray:
    try:
        return np.asarray(images)
    except ValueError as error:
        raise InvalidValue(f"Images of one array must have one shape, (n, h, w, c). {error}.") from error


def _load(
    model: Classifier, references: Sequence[Reference], invert: bool, value_range: ValueRange | None
) -> tuple[list[_Image], tuple[str, ...]]:
    """The images in the order of the references, and the classes of the first data set among them."""
    sources: list[tuple[str, range] | Path | str] = [_parse(model, str(reference)) for reference in references]
    limits: dict[str, int] = {}
    for source in sources:
        if isinstance(source, tuple):
            name, rows = source
            limits[name] = max(limits.get(name, 0), rows.stop)
    data = {name: load_fitting(name, model, limit, value_range) for name, limit in limits.items()}
    images: list[_Image] = []
    for source in sources:
        if not isinstance(source, tuple):
            images.append(_from_text(model, source) if isinstance(source, str) else _from_file(model, source, invert))
            continue
        name, rows = source
        if rows.stop > len(data[name]):
            raise InvalidValue(
                f"Data set '{name}' has {len(data[name]):,} test images. Got index {rows.stop - 1}; give 0 to "
                f"{len(data[name]) - 1}."
            )
        images += _from_dataset(data[name], np.array(rows))
    return images, next((dataset.classes for dataset in data.values()), ())


def _parse(model: Classifier, reference: str) -> tuple[str, range] | Path | str:
    match = _INDEX.fullmatch(reference)
    if model.vocabulary and not (match and match["dataset"] in (None, *DATASETS)):
        return reference
    if Path(reference).is_file() or not match:
        return Path(reference)
    if not match["dataset"] and "dataset" not in model.card:
        raise InvalidValue(
            f"'{reference}' is an index, but model '{model.name}' does not say which data set it was trained on. Name "
            f"it, such as fashion-mnist:{reference}, or give an image file."
        )
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last < first:
        raise InvalidValue(f"A range of images goes up, such as 0-14. Got '{reference}'.")
    return match["dataset"] or model.dataset, range(first, last + 1)


def _from_dataset(data: Dataset, rows: np.ndarray) -> list[_Image]:
    name = data.name if data.split == "test" else f"{data.name} {data.split}"
    return [_Image(data.x[row], f"{name}:{data.indices[row]}", data.classes[data.y[row]]) for row in rows]


def _from_text(model: Classifier, content: str) -> _Image:
    """A text, or that of a ``.txt`` file: what the model reads of it, and what it does not know."""
    if content.endswith(".txt") and len(content) < _MAX_PATH and Path(content).is_file():
        try:
            content = Path(content).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidFile(f"'{content}' is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    words, vocabulary = words_of(content), model.vocabulary
    shown = content if len(content) <= _MAX_SHOWN else f"{content[:_MAX_SHOWN]}…"
    if not words:
        raise InvalidValue(f"'{shown}' has no word. Give a text in quotes, such as \"a wonderful film\".")
    length = int(np.prod([side for side in model.adapted.shape if side]))
    known = frozenset(vocabulary)
    unknown = list(dict.fromkeys(word for word in words if word not in known))
    notes = [f"{len(words) - length + 1:,} words at its beginning are not read"] * (len(words) >= length)
    notes += [f"not known: {', '.join(unknown[:_MAX_NAMED])}"] * bool(unknown)
    return _Image(encode([words], vocabulary, length)[0], shown, None, tuple(notes))


def _from_file(model: Classifier, path: Path, invert: bool) -> _Image:
    x, conversions = load_image(path, _file_shape(model))
    x = 1 - x if invert else x
    dataset = str(model.card.get("dataset")).removesuffix(WITH_NOISE)
    if dataset in _WHITE_ON_BLACK and _has_light_border(x):
        advice = "leave out --invert" if invert else "try --invert (invert=True)"
        conversions = (*conversions, f"light at its border, while images of '{dataset}' are light on black; {advice}")
    return _Image(x, str(path), None, conversions)


def _has_light_border(x: np.ndarray) -> bool:
    border = np.concatenate([x[0], x[-1], x[1:-1, 0], x[1:-1, -1]])
    return bool(np.median(border) > 0.5)


def _file_shape(model: Classifier) -> ImageShape:
    """Height, width and channels that an image file must have; None: any."""
    shape = model.image_shape
    if shape is None or shape[2] not in (None, 1, 3):
        raise Mismatch(
            f"Model '{model.name}' takes inputs of shape {model.adapted.shape}, which is no grey or RGB image. Give an "
            "array of images (n, h, w, c) instead of a file."
        )
    return shape


def _class_names(model: Classifier, classes: Sequence[str]) -> tuple[str, ...]:
    """Those of the model card, else those of the data set where their number fits, else numbers."""
    for names in (model.card.get("class_names", ()), classes):
        if len(names) == model.classes:
            return tuple(map(str, names))
    return tuple(map(str, range(model.classes)))


def _stack(images: Sequence[_Image]) -> np.ndarray:
    shapes = {image.x.shape: image.source for image in images}
    if len(shapes) > 1:
        listed = ", ".join(f"'{source}' is {shape}" for shape, source in shapes.items())
        raise Mismatch(f"Images of different shapes cannot be predicted together: {listed}. Give them one by one.")
    return np.stack([image.x for image in images])


def _notes(model: Classifier, images: Sequence[_Image], class_numbers: dict[str, int]) -> list[str]:
    """Which files were converted and how, and which classes of the data the model does not have."""
    files: dict[str, list[str]] = {}
    for image in images:
        if image.conversions:
            files.setdefault("; ".join(image.conversions), []).append(image.source)
    notes = []
    for conversions, sources in files.items():
        more = f" and {len(sources) - _MAX_NAMED} more" if len(sources) > _MAX_NAMED else ""
        notes.append(f"{', '.join(sources[:_MAX_NAMED])}{more}: {conversions}.")
    names = {image.true_class for image in images if image.true_class is not None}
    unknown = sorted(names - class_numbers.keys())
    if unknown:
        notes.append(
            f"Model '{model.name}' has no class called {', '.join(map(repr, unknown[:_MAX_NAMED]))}"
            f"{' or others like it' if len(unknown) > _MAX_NAMED else ''}: the true class of these images is not known."
        )
    return notes
