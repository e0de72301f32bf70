"""From an attack's result to its numbers. NumPy only; a classifier is needed for transfer and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, NamedTuple, Protocol

import numpy as np

from advlab.declarations.attack import Attack
from advlab.distances import distances
from advlab.errors import Mismatch
from advlab.evaluation import calibration, metrics, records
from advlab.evaluation.calibration import Reliability
from advlab.evaluation.findings.checks import Finding, findings
from advlab.evaluation.findings.evidence import Facts
from advlab.evaluation.metrics import Rate, Size, Summary
from advlab.evaluation.table import as_html, table
from advlab.evaluation.texts import TextScore, text_score
from advlab.formatting import frame
from advlab.lazy import Images
from advlab.results.bracket import STATUSES, Bracket, bracket, statuses
from advlab.results.certificate import Certificate
from advlab.results.combine import refuse_different
from advlab.results.result import AttackResult, load_result

__all__ = ["ClassScore", "Evaluation", "Predictor", "WorstCase", "evaluate", "table", "worst_case"]


class Predictor(Protocol):
    """What ``evaluate`` asks of another classifier; ``advlab.Classifier`` is one."""

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    @property
    def digest(self) -> str:
        """Tells classifiers apart."""
        ...

    def probabilities(self, x: Images, /) -> np.ndarray:
        """float32 ``(n, k)`` of images ``(n, h, w, c)`` in [0, 1]."""
        ...


class ClassScore(NamedTuple):
    """One class by label; ``shift`` is the mean confidence shift of the label on initially correct samples."""

    name: str
    clean_accuracy: Rate
    robust_accuracy: Rate
    success_rate: Rate
    shift: float


class WorstCase(NamedTuple):
    """Several attacks as one. ``robust`` bool ``(n,)``: no attack succeeded; ``accuracy``: its fraction of all samples.

    ``misclassified_by`` int64 ``(n,)``: the first of ``attacks`` that succeeded on a correct sample; -1 where none did
    (it is robust, or was wrong before any attack). ``bracket`` is that of all with a certificate.
    """

    robust: np.ndarray
    misclassified_by: np.ndarray
    accuracy: Rate
    attacks: tuple[Attack, ...]
    bracket: Bracket | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The numbers of one attack on ``n`` samples.

    ``robust`` bool ``(n,)``: classified as its label on the clean **and** on the perturbed image. Rates carry 95 %
    Wilson intervals: ``clean_accuracy`` and ``robust_accuracy`` over all samples; ``success_rate`` over the initially
    correct ones that end misclassified, or with a target over those of another label that end as the target.
    ``shift`` is p_adv - p_clean of the label on initially correct samples; ``shift_predicted`` that of the class
    predicted on the clean image, on all samples; the histograms int64 ``(40,)`` count them in equal bins from -1 to 1.
    ``calibration_clean`` and ``calibration`` are reliability diagrams of all samples on the clean and on the perturbed
    image; ``confidently_wrong`` is the fraction of initially correct samples that end misclassified with more than 90 %
    confidence. ``distances`` are over successful, initially correct samples in each norm; ``median_distance`` is over
    all initially correct, attempted ones in the norm of the threat, infinite for each where it failed (NaN without
    a norm). ``transitions`` int64 ``(k, k)`` counts label -> prediction of the perturbed image on initially correct
    samples; ``flow_distance`` float64 ``(k, k)`` is the median distance in the norm of the threat of those where the
    attack succeeded, NaN where there is none. ``texts`` is what the successes left of texts, None for images.
    ``transfer_from`` names the classifier that the images were crafted
    against where that is another one. In a part of a cascade ``shift`` and all below it are over the images that the
    parts before it left; the accuracies stay over all. ``result`` holds the images and predictions behind the numbers,
    ``certificate`` what is proven of the same images under the same threat, if that was given.
    """

    result: AttackResult
    robust: np.ndarray
    clean_accuracy: Rate
    robust_accuracy: Rate
    success_rate: Rate
    shift: Summary
    shift_histogram: np.ndarray
    shift_predicted: Summary
    shift_predicted_histogram: np.ndarray
    calibration_clean: Reliability
    calibration: Reliability
    confidently_wrong: Rate
    distances: Mapping[str, Size]
    median_distance: float
    per_class: tuple[ClassScore, ...]
    transitions: np.ndarray
    flow_distance: np.ndarray
    findings: tuple[Finding, ...]
    texts: TextScore | None = None
    transfer_from: str | None = None
    certificate: Certificate | None = None

    def __len__(self) -> int:
        return len(self.robust)

    @property
    def attack(self) -> Attack:
        """What was run."""
        return self.result.attack

    @property
    def classifier(self) -> str:
        """The name of the classifier that was evaluated."""
        return self.result.classifier

    @property
    def forward_passes(self) -> float:
        """Mean forward passes per sample, spent on crafting."""
        return float(self.result.forward_passes.mean()) if len(self) else 0.0

    @property
    def backward_passes(self) -> float:
        """Mean backward passes per sample, spent on crafting."""
        return float(self.result.backward_passes.mean()) if len(self) else 0.0

    @property
    def joins(self) -> bool:
        """Whether it is the worst case, or the smallest change, of several attacks."""
        return self.result.diagnostics.misclassified_by is not None

    @property
    def bracket(self) -> Bracket | None:
        """Robust accuracy from both sides; None without a certificate."""
        return bracket(self.certificate, self.result) if self.certificate else None

    @property
    def certified(self) -> np.ndarray | None:
        """``proven``, ``misclassified`` or ``unknown``, str ``(n,)``; None without a certificate."""
        return np.array(STATUSES)[statuses(self.certificate, self.result)] if self.certificate else None

    def with_certificate(self, certificate: Certificate) -> Evaluation:
        """The same evaluation, bracketed by a certificate; raises as ``Certificate.bracket`` does."""
        bracket(certificate, self.result)
        return replace(self, certificate=certificate)

    @property
    def at_boundary(self) -> bool:
        """Whether samples end where first misclassified: their confidence shift says nothing about strength."""
        return self.attack.early_stop or math.isinf(self.attack.threat.epsilon)

    @property
    def images(self) -> str:
        """The samples in words: ``1,000 test images of fashion-mnist``."""
        noun = "text" if self.result.vocabulary else "image"
        words = (
            f"{len(self):,}",
            self.result.split,
            noun if len(self) == 1 else f"{noun}s",
            "of",
            self.result.dataset,
        )
        return " ".join(word for word in words if word)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary of everything but the per-sample arrays; NaN and infinity are null."""
        return records.to_record(self)

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each sample and the columns of ``records.per_sample``.

        Raises ``AdvlabError`` where pandas is not installed.
        """
        return frame(records.per_sample(self))

    def __repr__(self) -> str:
        robust = self.robust_accuracy
        origin = f" (crafted against {self.transfer_from})" if self.transfer_from else ""
        return (
            f"Evaluation {self.attack.slug} on {self.classifier}{origin}, {self.images}: "
            f"clean accuracy {self.clean_accuracy.value:.1%}, robust accuracy {robust.value:.1%} "
            f"[{robust.low:.1%}, {robust.high:.1%}], findings: {len(self.findings)}"
        )

    def _repr_html_(self) -> str:
        return as_html(self)


def evaluate(
    result: AttackResult | str | PathLike[str],
    classifier: Predictor | None = None,
    certificate: Certificate | str | PathLike[str] | None = None,
) -> Evaluation:
    """The numbers of a result, or of an archive at a path: as recorded, or as another classifier predicts the images.

    With ``classifier`` clean and perturbed images are predicted again; where it is not the one they were crafted
    against this is a transfer evaluation and ``transfer_from`` says so. ``certificate``, or its path, brackets robust
    accuracy from below. Raises ``Mismatch`` where classes or image shape do not fit, or where the certificate is of
    another classifier, other images or another threat, and ``InvalidValue`` for one of ``smoothing``.
    """
    if isinstance(result, str | PathLike):
        result = load_result(result)
    evaluation = _as_predicted(result, classifier)
    if certificate is None:
        return evaluation
    return evaluation.with_certificate(
        Certificate.load(certificate) if isinstance(certificate, str | PathLike) else certificate
    )


def _as_predicted(result: AttackResult, classifier: Predictor | None) -> Evaluation:
    if classifier is None:
        return _evaluated(result, None)
    clean, adversarial = (_predicted(classifier, x, result) for x in (result.x, result.x_adv))
    if classifier.digest == result.classifier_digest:
        rescored = replace(result, clean_probabilities=clean, adversarial_probabilities=adversarial)
        return _evaluated(rescored, None)
    transferred = result.with_predictions(classifier.name, classifier.digest, clean, adversarial)
    return _evaluated(transferred, result.classifier)


def worst_case(evaluations: Iterable[Evaluation]) -> WorstCase:
    """The per-sample worst over attacks: a sample counts only while no attack has succeeded on it.

    Raises ``Mismatch``, naming what differs, unless classifier, samples and threat model are equal.
    """
    evaluations = list(evaluations)
    refuse_different([evaluation.result for evaluation in evaluations])
    robust_by_attack = np.stack([evaluation.robust for evaluation in evaluations])
    success = evaluations[0].result.correct & ~robust_by_attack
    robust = np.asarray(robust_by_attack.all(0))
    misclassified_by = np.where(success.any(0), success.argmax(0), -1)
    certificate = next((e.certificate for e in evaluations if e.certificate), None)
    together = Bracket.of(certificate, evaluations[0].result.correct, robust) if certificate else None
    return WorstCase(robust, misclassified_by, metrics.rate(robust), tuple(e.attack for e in evaluations), together)


def _evaluated(result: AttackResult, transfer_from: str | None) -> Evaluation:
    labels, correct, robust = result.labels, result.correct, result.robust
    threat = result.attack.threat
    scope = correct & result.attempted
    # What earlier attacks of a cascade left to this one: an image that it never saw says nothing about it.
    shown = ~result.left_out
    compared = correct & shown
    success = result.success & scope
    k = result.clean_probabilities.shape[1]
    clean, adversarial = result.clean_probabilities, result.adversarial_probabilities
    predicted = adversarial.argmax(1)
    shift = metrics.confidence_shift(clean, adversarial, labels)
    shift_predicted = metrics.confidence_shift(clean, adversarial, clean.argmax(1))
    sizes_by_norm = distances(result.x, result.x_adv)
    sizes = sizes_by_norm._asdict().get(threat.norm, np.full(len(result), math.nan))
    clean_accuracy, robust_accuracy = metrics.rate(correct), metrics.rate(robust)
    scores = zip(
        result.class_names,
        metrics.per_class(correct, labels, k),
        metrics.per_class(robust, labels, k),
        metrics.per_class(success, labels, k, scope),
        (metrics.summary(shift[compared & (labels == c)]).mean for c in range(k)),
        strict=True,
    )
    return Evaluation(
        result=result,
        robust=robust,
        clean_accuracy=clean_accuracy,
        robust_accuracy=robust_accuracy,
        success_rate=metrics.rate(success, scope),
        shift=metrics.summary(shift[compared]),
        shift_histogram=metrics.shift_histogram(shift[compared]),
        shift_predicted=metrics.summary(shift_predicted[shown]),
        shift_predicted_histogram=metrics.shift_histogram(shift_predicted[shown]),
        calibration_clean=calibration.reliability(clean[shown], labels[shown]),
        calibration=calibration.reliability(adversarial[shown], labels[shown]),
        confidently_wrong=calibration.confidently_wrong(adversarial, labels, compared),
        distances={name: metrics.size(values[success]) for name, values in sizes_by_norm._asdict().items()},
        median_distance=_median_distance(sizes, threat.norm, success, scope),
        per_class=tuple(ClassScore(*score) for score in scores),
        transitions=metrics.transitions(labels, predicted, compared, k),
        flow_distance=metrics.flow_distance(labels, predicted, sizes, success, k),
        findings=findings(Facts(result, sizes_by_norm, clean_accuracy, robust_accuracy, transfer_from is not None)),
        texts=text_score(result, success),
        transfer_from=transfer_from,
    )


def _median_distance(sizes: np.ndarray, norm: str, success: np.ndarray, scope: np.ndarray) -> float:
    if norm == "none" or not scope.any():
        return math.nan
    ordered = np.sort(np.where(success, sizes, math.inf)[scope])
    middle = (ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2])
    return float(sum(middle) / 2)


def _predicted(classifier: Predictor, x: Images, result: AttackResult) -> np.ndarray:
    if getattr(classifier, "vocabulary", result.vocabulary) != result.vocabulary:
        raise Mismatch(
            f"'{classifier.name}' numbers words otherwise than '{result.classifier}', against which these texts were "
            "crafted, or one of them is for images. Choose a classifier of the same vocabulary."
        )
    try:
        probabilities = classifier.probabilities(x)
    except ValueError as error:
        raise Mismatch(
            f"'{classifier.name}' does not take the images of this archive, whose shape is {x.shape[1:]}: {error} "
            "Choose a classifier for images of that shape."
        ) from error
    expected = result.clean_probabilities.shape
    if probabilities.shape != expected:
        raise Mismatch(
            f"'{classifier.name}' has {probabilities.shape[-1]} classes; the archive of "
            f"'{result.classifier}' on {result.dataset} has {expected[-1]}. Choose a classifier of the same classes."
        )
    return probabilities
