"""Attributions: which pixels speak for the class that an image, or its perturbed twin, is predicted as."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab.errors import InvalidValue, Mismatch, unknown
from advlab.results.attributions import Attributions
from advlab.results.result import AttackResult, load_result
from advlab.validation import as_int
from advlab.workflows.inputs import recorded_classifier, resolve_classifier

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike

METHODS = ("integrated-gradients", "saliency")
_BATCH = 32


def attribute(
    classifier: ClassifierLike,
    images: Any,
    classes: Any = None,
    *,
    method: str = "integrated-gradients",
    steps: int = 64,
    baseline: float = 0.0,
    trust: bool = False,
) -> np.ndarray:
    """How much each pixel of some images speaks for a class: float32, of the shape of ``images`` with channels.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        images: float ``(n, h, w)`` or ``(n, h, w, c)`` in [0, 1].
        classes: int ``(n,)``; None: the class that each image is predicted as.
        method: ``integrated-gradients`` (arXiv:1703.01365), which add up to the difference of the class's logit between
            the image and the baseline; or ``saliency`` (arXiv:1312.6034), the logit's gradient.
        steps: Gradients on the way from the baseline; saliency takes one.
        baseline: The grey of the image without any information: 0 is black.
        trust: Whether code in a model file may run.

    Raises:
        UnknownName: For a method that does not exist.
        InvalidValue: For images or classes that do not fit.
    """
    if method not in METHODS:
        raise unknown("attribution", method, METHODS)
    steps = as_int("steps", steps, 1)
    if not 0 <= baseline <= 1:
        raise InvalidValue(f"baseline must be a float in the range [0, 1], a grey. Got {baseline}.")
    network = resolve_classifier(classifier, trust)
    network.require_images("An attribution")
    x = np.asarray(images, np.float32)
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or not len(x) or not (x.min() >= 0 and x.max() <= 1):
        raise InvalidValue(
            f"images must be floats in [0, 1] of shape (n, h, w) or (n, h, w, c), at least one. Got {x.shape}."
        )
    chosen = network.probabilities(x).argmax(1) if classes is None else np.asarray(classes)
    is_int = chosen.shape == (len(x),) and chosen.dtype.kind in "iu"
    if not is_int or not 0 <= chosen.min() <= chosen.max() < network.classes:
        raise InvalidValue(
            f"classes must be an int in 0..{network.classes - 1} for each of the {len(x)} images. Got {chosen.dtype} "
            f"{chosen.shape}."
        )
    return _attributions(network, x, chosen.astype(np.int32), method, steps, baseline)


def explain(
    result: AttackResult | str | PathLike[str],
    *,
    method: str = "integrated-gradients",
    steps: int = 64,
    samples: int = 40,
    model: str | PathLike[str] | Classifier | None = None,
    trust: bool = False,
    save: bool = False,
) -> AttackResult:
    """A result, or the archive at a path, with the attributions of the images that a report shows.

    They are to the class that the clean and the perturbed image is predicted as. A report then draws them.

    Args:
        result: What to explain.
        method: As ``advlab.attribute`` takes it.
        steps: As there.
        samples: The first so many images that a report shows, of its random order.
        model: The classifier, its name or path; None: as recorded.
        trust: Whether code in a model file may run.
        save: Whether to write them into the archive.

    Raises:
        Mismatch: For another classifier than the one that was attacked.
    """
    if not isinstance(result, AttackResult):
        result = load_result(result)
    samples = as_int("samples", samples, 1)
    classifier = recorded_classifier(result, model, trust)
    if classifier.digest != result.classifier_digest:
        raise Mismatch(
            f"'{result.attack.slug}' was crafted against another '{result.classifier}' (digest "
            f"{result.classifier_digest}; this one has {classifier.digest}). Name the right file with --model."
        )
    rows = np.sort(result.shown_order[:samples])
    clean, adversarial = (
        attribute(classifier, x[rows], probabilities[rows].argmax(1), method=method, steps=steps)
        for x, probabilities in (
            (result.x, result.clean_probabilities),
            (result.x_adv, result.adversarial_probabilities),
        )
    )
    explained = replace(result, attributions=Attributions(method, rows, clean, adversarial))
    return replace(explained, location=explained.save()) if save else explained


def _attributions(
    network: Classifier, x: np.ndarray, classes: np.ndarray, method: str, steps: int, baseline: float
) -> np.ndarray:
    import tensorflow as tf

    from advlab.problem import attributions

    def compute(x: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        if method == "saliency":
            return attributions.saliency(network.logits, x, classes)
        empty = tf.fill(tf.shape(x), tf.constant(baseline, tf.float32))
        return attributions.integrated_gradients(network.logits, x, classes, empty, steps)

    shape = [tf.TensorSpec([None, *x.shape[1:]], tf.float32), tf.TensorSpec([None], tf.int32)]
    compiled = tf.function(compute, autograph=False, input_signature=shape)
    parts = [compiled(x[start : start + _BATCH], classes[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    return np.concatenate([part.numpy() for part in parts])
