"""Evaluate a classifier on noise: how confidently it predicts a class for images that show nothing."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from advlab.data.conversion import default_class_names
from advlab.data.dataset import Dataset
from advlab.data.loading import IMAGES_PER_NOISE
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
    """The confidence of a classifier on ``samples`` images of each distribution of noise (see ``data.noise``).

    A network must predict one of its classes, and often does so with high confidence where there is nothing to see:
    *Strengthening Deep Neural Networks*. ``classifier`` may be a name or a path, ``trust`` is ``load_classifier``'s.
    ``distributions`` None: all. ``shuffled`` takes the first ``samples`` test images of ``dataset`` (a name or a path,
    None: what the model card names); where None leads to no images it is skipped, and ``left_out`` of the result says
    why.

    Raises ``InvalidValue``, ``UnknownName``, or ``Mismatch`` for a model that takes no images of that shape.
    """
    require_int("samples", samples, 1)
    require_int("seed", seed, 0, 2**64 - 1)
    names = DISTRIBUTIONS if distributions is None else tuple(distributions)
    for distribution in names:
        if distribution not in DISTRIBUTIONS:
            raise unknown("distribution of noise", distribution, DISTRIBUTIONS)
    if not names:
        raise InvalidValue(
            f"Name at least one distribution of noise. Got none; choose from: {', '.join(DISTRIBUTIONS)}."
        )

    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("Noise")
    real_images, left_out = None, None
    if dataset is not None or SHUFFLED in names:
        try:
            real_images = _real_images(classifier, dataset, samples)
        except AdvlabError as error:
            if dataset is not None or distributions is not None:
                raise
            names = tuple(distribution for distribution in names if distribution != SHUFFLED)
            left_out = f"The distribution '{SHUFFLED}' is left out: {error}"
    height, width, channels = _shape(classifier) if real_images is None else real_images.shape[1:]
    shape = (height, width, channels)
    classifier.check_images(shape)
    class_names = classifier.card.get("class_names") or default_class_names([classifier.classes - 1], classifier.name)
    scores = []
    with Progress(len(names), f"noise on {classifier.name}", show=progress) as bar:
        for distribution in names:
            if distribution == SHUFFLED and real_images is not None:
                x = shuffled(real_images, seed)
            else:
                x = noise_images(samples, shape, distribution, seed)
            scores.append(noise_score(distribution, classifier.probabilities(x), class_names))
            bar.advance()
    return NoiseEvaluation(classifier.name, classifier.digest, seed, tuple(scores), left_out)


def _real_images(classifier: Classifier, dataset: Dataset | str | None, samples: int) -> np.ndarray:
    """The first images that show something: those of the class ``unknown`` are noise."""
    limit = samples + samples // IMAGES_PER_NOISE
    data = resolve_dataset(dataset, classifier, limit)
    is_real = data.y != data.classes.index(UNKNOWN) if UNKNOWN in data.classes else np.ones(len(data), bool)
    if not is_real.any():
        raise InvalidValue(f"Data set '{data.name}' has only images of the class '{UNKNOWN}'. Choose another one.")
    return data.x[is_real][:samples]


def _shape(classifier: Classifier) -> tuple[int, int, int]:
    """The shape ``(h, w, c)`` of the images that a model takes, from its input."""
    height, width, channels = classifier.image_shape or (None, None, None)
    if height is None or width is None or channels is None:
        raise InvalidValue(
            f"Model '{classifier.name}' takes inputs of shape {classifier.adapted.shape}, which does not tell the "
            "shape of its images. Give their size with --resize (resize= in Python), or name a data set that it can "
            "classify with --dataset."
        )
    return height, width, channels
