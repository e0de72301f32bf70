"""Evaluations straight from files: archives, each with the certificate that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from advlab import storage
from advlab.errors import InvalidValue
from advlab.evaluation.evaluation import Evaluation, Predictor, evaluate
from advlab.results.bracket import differences
from advlab.results.certificate import Certificate
from advlab.results.layout import CERTIFICATE


def evaluate_files(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]], classifier: Predictor | None = None
) -> list[Evaluation]:
    """The numbers of the archives among ``paths``, in their order, bracketed by the certificates among them.

    An archive takes the certificate of its classifier, images and threat; of several the one with the fewest unknown
    images. ``classifier`` is as in ``evaluate``. Raises ``Mismatch`` for a certificate that belongs to none of the
    archives, and ``InvalidValue`` for one of ``smoothing``.
    """
    by_kind: dict[bool, list[Path]] = {True: [], False: []}
    for path in [paths] if isinstance(paths, str | PathLike) else paths:
        by_kind[storage.holds(Path(path), CERTIFICATE)].append(Path(path))
    certificates = sorted(map(Certificate.load, by_kind[True]), key=lambda one: -int(one.unknown.sum()))
    evaluations = [evaluate(path, classifier) for path in by_kind[False]]
    if not evaluations:
        raise InvalidValue("There is no archive to evaluate; a certificate stands beside one of the same images.")
    for certificate in certificates:
        differing = [differences(certificate, evaluation.result) for evaluation in evaluations]
        if all(differing):  # an error, which says how it differs from the archive most like it
            evaluations[min(range(len(differing)), key=lambda i: len(differing[i]))].with_certificate(certificate)
        pairs = zip(evaluations, differing, strict=True)
        evaluations = [each if other else each.with_certificate(certificate) for each, other in pairs]
    return evaluations
