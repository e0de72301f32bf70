"""Evaluate adversarial images from archives on other classifiers, without crafting again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.transfer import TransferMatrix, transfer_matrix
from advlab.lazy import Images, equal
from advlab.results.result import AttackResult, load_result
from advlab.workflows.inputs import resolve_classifier

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def transfer(
    archives: Sequence[str | PathLike[str] | AttackResult],
    models: Sequence[Classifier | str | PathLike[str]],
    *,
    trust: bool = False,
) -> TransferMatrix:
    """Evaluate the images of archives (paths or results) on classifiers (names, paths, or loaded ones).

    On the classifier that it was crafted against, an archive is read as recorded: the white box. Archives of the same
    samples share one prediction of the clean images for each classifier. ``trust`` is ``load_classifier``'s. Raises
    ``InvalidValue`` if either list is empty, and ``Mismatch`` if images and classifiers do not fit or an archive is a
    part of a cascade.
    """
    if not archives or not models:
        raise InvalidValue(
            f"Transfer needs at least one archive and one classifier. Got {len(archives)} and {len(models)}."
        )
    results = _share_clean_images([a if isinstance(a, AttackResult) else load_result(a) for a in archives])
    for result in results:
        if result.left_out.any():
            raise Mismatch(
                f"'{result.attack.slug}' on '{result.classifier}' attacked only {result.attempted.sum():,} of "
                f"{len(result):,} images: it is a part of a cascade, whose earlier parts had succeeded on the rest. "
                "Give the archive of the cascade's worst case."
            )

    classifiers = [resolve_classifier(model, trust) for model in models]
    evaluations = [evaluate(result) for result in results]
    for classifier in classifiers:
        cached = _CachedClassifier(classifier, [result.x for result in results])
        evaluations += [evaluate(result, cached) for result in results if result.classifier_digest != cached.digest]
    return transfer_matrix(evaluations)


class _CachedClassifier:
    """A classifier that predicts each of the given arrays of clean images only once."""

    def __init__(self, classifier: Classifier, clean: Sequence[Images]):
        self.name, self.digest, self.vocabulary = classifier.name, classifier.digest, classifier.vocabulary
        self._classifier = classifier
        self._clean = {id(x): x for x in clean}
        self._cache: dict[int, np.ndarray] = {}

    def probabilities(self, x: Images, /) -> np.ndarray:
        if id(x) not in self._clean:
            return self._classifier.probabilities(x)
        if id(x) not in self._cache:
            self._cache[id(x)] = self._classifier.probabilities(x)
        return self._cache[id(x)]


def _share_clean_images(results: Sequence[AttackResult]) -> list[AttackResult]:
    """The results; those of the same samples share one array of clean images."""
    shared: dict[str, Images] = {}
    replaced = []
    for result in results:
        x = shared.setdefault(result.dataset_digest, result.x)
        # An archive may hold other images than its digest says.
        replaced.append(replace(result, x=x) if _is_same(x, result.x) else result)
    return replaced


def _is_same(x: Images, other: Images) -> bool:
    return x is other or (x.shape == other.shape and bool(equal(x, other).all()))
