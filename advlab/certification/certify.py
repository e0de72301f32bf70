"""certify(): everything about a certificate that is not its bounds: batches, attack, search, verification, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.certification.alpha import alpha
from advlab.certification.branch import search
from advlab.certification.crown import CELLS, Known, compiled, crown, ibp, margin_bounds, margins
from advlab.certification.intervals import float32_error, propagate
from advlab.certification.network import Network
from advlab.certification.region import Region, region_of
from advlab.certification.smoothing import smoothed
from advlab.certification.translate import network_of
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.engine.attack import craft
from advlab.errors import InvalidValue
from advlab.problem.balls import LinfBall
from advlab.progress import Progress
from advlab.provenance import command_line, versions
from advlab.results.bracket import MISCLASSIFIED, PROVEN
from advlab.results.certificate import Certificate

Report = Callable[[int], None]


def certify(
    classifier: Classifier,
    dataset: Dataset,
    *,
    norm: str,
    epsilon: float,
    method: str,
    time_limit: float = math.inf,
    smoothing: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Certificate:
    """What ``method`` proves within ``epsilon`` of each image; ``smoothing`` are the settings of that method.

    After ``time_limit`` seconds the images that are left stay unknown. Raises ``InvalidValue`` for a layer without
    bounds, and where bounds overflow.
    """
    classifier.check(dataset)
    began = time.perf_counter()
    work = _Work(classifier, dataset, norm, epsilon, began + time_limit)
    with Progress(len(dataset), f"{method} on {classifier.name}", "image", show=progress) as bar:
        if method == "smoothing":
            work.smooth(smoothing or {}, bar.advance)
        else:
            work.bound(method, bar.advance)
    settings = {"smoothing": smoothing} if method == "smoothing" else {}
    return Certificate(
        classifier=classifier.name,
        classifier_digest=classifier.digest,
        dataset=dataset.name,
        split=dataset.split,
        dataset_digest=dataset.digest,
        norm=norm,
        epsilon=epsilon,
        method=method,
        status=work.status,
        correct=work.correct,
        margin=work.margin,
        radius=work.radius,
        rounding=work.rounding,
        branches=work.branches,
        x_adv=work.x_adv,
        labels=dataset.y,
        indices=dataset.indices,
        seconds=round(time.perf_counter() - began, 3),
        settings=settings | {"time_limit": time_limit if math.isfinite(time_limit) else None},
        versions=versions(),
        command=command_line(),
    )


class _Work:
    """The answers so far, rows first; see ``Certificate``."""

    def __init__(self, classifier: Classifier, dataset: Dataset, norm: str, epsilon: float, deadline: float):
        self.classifier, self.dataset, self.norm, self.epsilon = classifier, dataset, norm, epsilon
        self.deadline = deadline
        n = len(dataset)
        self.correct = classifier.probabilities(dataset.x).argmax(1) == dataset.y
        self.status = np.where(self.correct, 0, MISCLASSIFIED).astype(np.int8)
        self.margin, self.radius, self.rounding = (np.full(n, math.nan) for _ in range(3))
        self.branches = np.zeros(n, np.int64)
        self.x_adv = np.array(dataset.x)

    def smooth(self, settings: dict[str, Any], report: Report) -> None:
        """Randomised smoothing: the smoothed classifier is judged on its own, whatever the base classifier says."""
        found = smoothed(self.classifier, np.asarray(self.dataset.x), self.dataset.indices, report=report, **settings)
        right = found.predicted == self.dataset.y
        self.correct = right
        self.radius = np.where(right, found.radius, 0.0)
        self.status = np.where(found.predicted >= 0, MISCLASSIFIED, 0).astype(np.int8)
        self.status[right] = 0
        self.status[right & (found.radius >= self.epsilon)] = PROVEN

    def bound(self, method: str, report: Report) -> None:
        """The methods that bound the network, each after the cheaper ones."""
        network = network_of(self.classifier, self.dataset.shape)
        report(int((~self.correct).sum()))
        known = self._bounds(network, "ibp" if method == "ibp" else "crown", self._open(), report)
        if method == "exact":
            self._attack(report)
            if network.piecewise_linear and self.norm == "linf":
                self._search(network, known, report)
                return
        if method in ("alpha", "exact"):
            self._bounds(network, "alpha", self._open(), report)
        report(len(self._open()))

    def _open(self) -> np.ndarray:
        """The numbers of the images without an answer."""
        return np.flatnonzero(self.status == 0)

    def _bounds(self, network: Network, method: str, rows: np.ndarray, report: Report) -> dict[int, Known]:
        """Bound the margins of these images; returns the hidden bounds of those that stay open, by number."""
        size = int(np.clip(CELLS // (32 * max(node.size for node in network.nodes)), 1, 256))
        hidden: dict[int, Known] = {}
        for start in range(0, len(rows), size):
            if time.perf_counter() > self.deadline:
                break
            part = rows[start : start + size]
            region, labels = self._region(part), tf.constant(self.dataset.y[part])
            known: Known = {}
            if method == "ibp":
                found, _ = ibp(network, region, labels)
            else:
                found, known = (alpha if method == "alpha" else crown)(network, region, labels)
            rounding = compiled(network, "rounding", _rounding)(region, known).numpy()
            least = found.numpy().min(1)
            if not np.isfinite(least).all() or not np.isfinite(rounding).all():
                raise InvalidValue(
                    f"The bounds of model '{self.classifier.name}' overflow at {self.norm} epsilon {self.epsilon:g}. "
                    "Use a smaller epsilon, or a model whose weights are smaller."
                )
            self.margin[part], self.rounding[part] = least, rounding
            self.status[part[least > 0]] = PROVEN
            for row in np.flatnonzero(~(least > 0)):
                hidden[int(part[row])] = {n: (low[row], high[row]) for n, (low, high) in known.items()}
            report(int((least > 0).sum()))
        return hidden

    def _attack(self, report: Report) -> None:
        """Look for counterexamples by gradient before any search."""
        rows = self._open()
        if not len(rows) or time.perf_counter() > self.deadline:
            return
        spec = Attack("pgd", norm=self.norm, epsilon=self.epsilon, early_stop=True)
        found = craft(self.classifier, _rows(self.dataset, rows), spec, progress=False)
        self._keep(rows[found.success], found.x_adv[found.success])
        report(int(found.success.sum()))

    def _search(self, network: Network, hidden: dict[int, Known], report: Report) -> None:
        """Branch and bound on what is open and has bounds."""
        rows = np.array([row for row in self._open() if row in hidden], np.int64)
        if not len(rows):
            return
        first = hidden[int(rows[0])]
        known = {n: tuple(tf.stack([hidden[int(row)][n][end] for row in rows]) for end in (0, 1)) for n in first}
        region, labels = self._region(rows), self.dataset.y[rows]
        first_bounds = compiled(network, "start", _margins)(region, known, tf.constant(labels)).numpy()
        ball = LinfBall.around(tf.constant(self.dataset.x[rows]), tf.constant(self.epsilon, tf.float64))
        low, high = ball.low.numpy(), ball.high.numpy()

        def verify(images: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            inside = np.clip(images.reshape(-1, *self.dataset.shape).astype(np.float32), low[numbers], high[numbers])
            return inside, self.classifier.probabilities(inside).argmax(1) != labels[numbers]

        found = search(network, region, labels, first_bounds, known, verify, self.deadline, report)
        self._keep(rows[found.misclassified], found.images[found.misclassified])
        self.status[rows[found.proven]] = PROVEN
        self.margin[rows[found.proven]] = 0.0
        self.branches[rows] = found.branches

    def _keep(self, rows: np.ndarray, images: np.ndarray) -> None:
        self.x_adv[rows] = images
        self.status[rows] = MISCLASSIFIED

    def _region(self, rows: np.ndarray) -> Region:
        return region_of(self.dataset.x[rows], self.norm, self.epsilon)


def _rows(data: Dataset, rows: np.ndarray) -> Dataset:
    return Dataset(data.name, data.split, data.x[rows], data.y[rows], data.indices[rows], data.classes)


def _rounding(network: Network, region: Region, known: Known) -> tf.Tensor:
    return float32_error(network, propagate(network, region, known))


def _margins(network: Network, region: Region, known: Known, labels: tf.Tensor) -> tf.Tensor:
    return margin_bounds(network, region, known, margins(network, labels))
