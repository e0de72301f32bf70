"""Show a classifier noise, and see how confidently it names what is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from advlab.data.dataset import Dataset, numbered
from advlab.data.loading import EVERY
from advlab.data.noise import DISTRIBUTIONS, SHUFFLED, UNKNOWN, noise_images, shuffled
from advlab.errors import AdvlabError, InvalidValue, unknown
from advlab.evaluation.noise import NoiseEvaluation, noise_score
from advlab.progress import Progress
from advlab.validation import require_int
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def evaluate_noise(
    classifier: Classifier | str | PathLike[str],
    dataset: Dataset | str | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
    distributions: Sequence[str] | None = None,
    trust: bool = False,
    progress: bool | None = None,
) -> NoiseEvaluation:
    """How confidently a classifier answers ``samples`` images of each distribution of noise (``data.noise`` has them).

    A network must name one of its classes, and often does so with high confidence where there is nothing to see:
    *Strengthening Deep Neural Networks*. ``classifier`` may be a name or a path, ``trust`` is ``load_classifier``'s.
    ``distributions`` None: all. ``shuffled`` takes the first ``samples`` test images of ``dataset`` (a name or a path,
    None: what the model card names); where None leads to no images it is left out, and ``left_out`` of the result says
    why.

    Raises ``InvalidValue``, ``UnknownName``, and ``Mismatch`` where the model takes no images of that shape.
    """
    require_int("samples", samples, 1)
    require_int("seed", seed, 0)
    chosen = DISTRIBUTIONS if distributions is None else tuple(distributions)
    for distribution in chosen:
        if distribution not in DISTRIBUTIONS:
            raise unknown("distribution of noise", distribution, DISTRIBUTIONS)
    if not chosen:
        raise InvalidValue(
            f"Name at least one distribution of noise. Got none; choose from: {', '.join(DISTRIBUTIONS)}."
        )

    classifier = resolve_classifier(classifier, trust)
    pictures, left_out = None, None
    if dataset is not None or SHUFFLED in chosen:
        try:
            pictures = _pictures(classifier, dataset, samples)
        except AdvlabError as error:
            if dataset is not None or distributions is not None:
                raise
            chosen = tuple(distribution for distribution in chosen if distribution != SHUFFLED)
            left_out = f"The distribution '{SHUFFLED}' is left out: {error}"
    height, width, channels = _shape(classifier) if pictures is None else pictures.shape[1:]
    shape = (height, width, channels)
    classifier.check_images(shape)
    names = classifier.card.get("class_names") or numbered([classifier.classes - 1], classifier.name)
    scores = []
    with Progress(len(chosen), f"noise on {classifier.name}", show=progress) as bar:
        for distribution in chosen:
            if distribution == SHUFFLED and pictures is not None:
                x = shuffled(pictures, seed)
            else:
                x = noise_images(samples, shape, distribution, seed)
            scores.append(noise_score(distribution, classifier.probabilities(x), names))
            bar.advance()
    return NoiseEvaluation(classifier.name, classifier.digest, seed, tuple(scores), left_out)


def _pictures(classifier: Classifier, dataset: Dataset | str | None, samples: int) -> np.ndarray:
    """The first images that show something: those of the class ``unknown`` are noise already."""
    enough = samples + samples // EVERY
    data = resolve_dataset(dataset, classifier, enough)
    real = data.y != data.classes.index(UNKNOWN) if UNKNOWN in data.classes else np.ones(len(data), bool)
    if not real.any():
        raise InvalidValue(f"Data set '{data.name}' has no image but of the class '{UNKNOWN}'. Choose another one.")
    return data.x[real][:samples]


def _shape(classifier: Classifier) -> tuple[int, ...]:
    """The shape ``(h, w, c)`` of the images that a model takes, as far as its input tells: flat ones are square."""
    inner = tuple(classifier.keras_model.input_shape[1:])
    if None not in inner:
        if len(inner) == 3:
            return inner
        if len(inner) == 2:
            return (*inner, 1)
        side = math.isqrt(inner[0])
        if side * side == inner[0]:
            return side, side, 1
    raise InvalidValue(
        f"Model '{classifier.name}' takes inputs of shape {inner}, which does not tell the shape of its images. "
        "Name a data set that it can classify with --dataset."
    )
