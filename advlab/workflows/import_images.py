"""Adversarial images from another program as an archive, evaluated like any other."""

from __future__ import annotations

import hashlib
import math
import time
import zipfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advlab.data.arrays import read_npy
from advlab.data.dataset import Dataset
from advlab.data.loading import load_dataset
from advlab.declarations.attack import Attack
from advlab.errors import InvalidFile, InvalidValue, Mismatch
from advlab.provenance import command_line, versions
from advlab.results.diagnostics import Diagnostics
from advlab.results.execution import Execution
from advlab.results.result import AttackResult
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
from advlab.workflows.inputs import resolve_classifier, training_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

METHOD = "imported"
_MAX_OUTSIDE = 0.5  # farther outside the box an image is in other units; a little outside is a finding


def import_images(
    images: np.ndarray | str | PathLike[str],
    classifier: Classifier | str | PathLike[str],
    dataset: Dataset | str | None = None,
    *,
    norm: str = "linf",
    epsilon: float | str | None = None,
    output: str | PathLike[str] | None = None,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
) -> AttackResult:
    """Perturbed images that another program made, as the result of a method called ``imported``.

    ``images`` is an array, or the path of an ``.npy`` file: floating point in [0, 1], ``(n, h * w * c)``, ``(n, h, w)``
    or ``(n, h, w, c)``, row i the i-th test image perturbed: the layout of MNIST's public attack challenge
    (github.com/MadryLab/mnist_challenge). ``dataset`` None means the one that the model card names. ``epsilon`` None
    means linf 0.1, l2 1.5, l1 10, l0 20. Images beyond that budget are accepted: the evaluation then raises the finding
    ``budget-exceeded``.

    ``save`` writes the archive to ``output`` (None: the usual path in the workspace). Raises ``InvalidFile``,
    ``InvalidValue`` or ``Mismatch`` for other arrays, before TensorFlow is loaded where names are given.
    """
    radius = parse_epsilon(epsilon)
    threat = ThreatModel(norm, DEFAULT_EPSILON.get(norm, math.inf) if radius is None else radius)
    array = _validated(images if isinstance(images, np.ndarray) else _read(Path(images)))
    if dataset is None:
        dataset = training_dataset(str(classifier)) if isinstance(classifier, str | PathLike) else classifier.dataset
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, limit=len(array))
    array = _reshaped(array, dataset)
    data = dataset.take(len(array))

    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("An import")
    classifier.check(data)
    start = time.perf_counter()
    clean = classifier.probabilities(data.x)
    result = AttackResult(
        attack=Attack.recorded(METHOD, threat, "bounded", code=hashlib.sha256(array.tobytes()).hexdigest()[:8]),
        classifier=classifier.name,
        classifier_digest=classifier.digest,
        dataset=data.name,
        split=data.split,
        dataset_digest=data.digest,
        classes=data.classes,
        x=data.x,
        x_adv=array,
        labels=data.y,
        indices=data.indices,
        clean_probabilities=clean,
        adversarial_probabilities=classifier.probabilities(array),
        attempted=np.ones(len(array), bool),
        forward_passes=np.zeros(len(array), np.int32),
        backward_passes=np.zeros(len(array), np.int32),
        seconds=round(time.perf_counter() - start, 3),
        versions=versions(),
        command=command_line(),
        execution=Execution(**classifier.record),
        notes=classifier.notes,
        provenance=data.provenance,
        diagnostics=Diagnostics(repeat_difference=classifier.repeat_difference(data.x, clean)),
    )
    if save:
        result.save(output, force=force)
    return result


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InvalidFile(f"No images at '{path}'. Give the path of an .npy file.")
    if zipfile.is_zipfile(path):
        raise InvalidFile(f"'{path}' holds several arrays. Write one, with numpy.save(path, images).")
    return read_npy(path, "It is not a complete .npy file of numbers: write it with numpy.save(path, images).")


def _validated(array: np.ndarray) -> np.ndarray:
    """The images as float32; raises ``InvalidValue`` unless type and values are those of images in [0, 1]."""
    if array.ndim not in (2, 3, 4) or not array.size:
        raise InvalidValue(f"Images to import have shape {array.shape}. Give (n, h * w), (n, h, w) or (n, h, w, c).")
    if array.dtype.kind != "f":
        raise InvalidValue(
            f"Images to import are of type {array.dtype}, not floating point in [0, 1]. The likely cause is images in "
            "0-255: divide by 255, as in images.astype('float32') / 255."
        )
    finite = np.isfinite(array.reshape(len(array), -1)).all(1)
    if not finite.all():
        raise InvalidValue(
            f"Images to import have pixels that are NaN or infinite, first in image {int(finite.argmin())}. "
            "Fix these images, or replace them with the clean ones."
        )
    low, high = float(array.min()), float(array.max())
    if low < -_MAX_OUTSIDE or high > 1 + _MAX_OUTSIDE:
        cause = "standardised images: undo the scaling" if low < -_MAX_OUTSIDE else "images in 0-255: divide by 255"
        raise InvalidValue(
            f"Images to import have pixels from {low:g} to {high:g}, not in [0, 1]. The likely cause is {cause}."
        )
    return np.ascontiguousarray(array, np.float32)


def _reshaped(array: np.ndarray, data: Dataset) -> np.ndarray:
    """The images in the shape of the data set."""
    height, width, channels = data.shape
    allowed = [(height * width * channels,), (height, width), data.shape]
    if array.shape[1:] not in (allowed if channels == 1 else [allowed[0], allowed[2]]):
        raise Mismatch(
            f"Images to import have shape {array.shape[1:]} each, those of {data.name} {data.shape}. "
            "Give them in that shape, or flat."
        )
    if len(array) > len(data):
        raise Mismatch(
            f"There are {len(array):,} images to import, but {data.name} has {len(data):,} test images. "
            "Import at most as many, in their order."
        )
    return array.reshape(len(array), *data.shape)
