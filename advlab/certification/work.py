"""The answers of a certificate while it is made: bounds in batches, attack, search, verification, smoothing."""

from __future__ import annotations

import math
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
from advlab.certification.words import WordSubject, word_subject
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset, subset
from advlab.declarations.attack import Attack
from advlab.engine.attack import craft
from advlab.errors import InvalidValue
from advlab.problem.balls import LinfBall
from advlab.results.bracket import MISCLASSIFIED, PROVEN

Report = Callable[[int], None]
_HALVINGS = 8  # of the gap in which the largest proven radius lies
_ATTACKED = 256  # images attacked together: between two such batches the time limit is looked at


class Work:
    """The answers so far, rows first; see ``Certificate``. ``finished``: there is nothing more to try on an image.

    Of an image the status is written last, so that an interruption at any time leaves answers that hold.
    """

    def __init__(self, classifier: Classifier, dataset: Dataset, norm: str, epsilon: float):
        self.classifier, self.dataset, self.norm, self.epsilon = classifier, dataset, norm, epsilon
        self.stop: Callable[[], bool] = lambda: False
        n = len(dataset)
        self.finished = np.zeros(n, bool)
        self.correct = classifier.probabilities(dataset.x).argmax(1) == dataset.y
        self.status = np.where(self.correct, 0, MISCLASSIFIED).astype(np.int8)
        self.margin, self.radius, self.rounding = (np.full(n, math.nan) for _ in range(3))
        self.branches = np.zeros(n, np.int64)
        self.x_adv = np.array(dataset.x)
        self._words: WordSubject | None = None

    @property
    def answers(self) -> dict[str, np.ndarray]:
        """The arrays by name, which the file of an interrupted call holds."""
        names = ("status", "correct", "margin", "radius", "rounding", "branches", "x_adv", "finished")
        return {name: getattr(self, name) for name in names}

    def smooth(self, settings: dict[str, Any], report: Report) -> None:
        """Randomised smoothing: the smoothed classifier is judged on its own, whatever the base classifier says."""
        left = np.flatnonzero(~self.finished)
        self.correct[left], self.status[left] = False, 0
        report(len(self.dataset) - len(left))
        for row in left:
            if self.stop():
                break
            only = slice(row, row + 1)
            image, index = np.asarray(self.dataset.x[only]), self.dataset.indices[only]
            found = smoothed(self.classifier, image, index, **settings)
            predicted, right = int(found.predicted[0]), bool(found.predicted[0] == self.dataset.y[row])
            self.correct[row] = right
            self.radius[row] = found.radius[0] if right else 0.0
            proven = right and found.radius[0] >= self.epsilon
            self.status[row] = PROVEN if proven else 0 if right or predicted < 0 else MISCLASSIFIED
            self.finished[row] = True
            report(1)

    def bound(self, method: str, report: Report) -> None:
        """The methods that bound the network, each after the cheaper ones."""
        network = self._network()
        report(int((self.status != 0).sum()))
        first = "ibp" if method == "ibp" else "crown"
        known = self._bounds(network, first, report, last=method == first)
        if method == "exact":
            self._attack(report)
            if network.piecewise_linear and self.norm == "linf":
                self._search(network, known, report)
                return
        if method in ("alpha", "exact"):
            self._bounds(network, "alpha", report, last=True)
        report(int((self.status == 0).sum()))

    def radii(self, method: str, report: Report) -> None:
        """The largest radius up to epsilon that bounds prove, by bisection; ``exact`` has those of ``alpha``."""
        network = self._network()
        self.radius[~self.correct] = 0.0
        self.radius[self.status == PROVEN] = self.epsilon
        rows = np.flatnonzero(np.isnan(self.radius))
        report(len(self.dataset) - len(rows))
        for part in _parts(rows, network):
            low, high = np.zeros(len(part)), np.full(len(part), self.epsilon)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                least = self._bound(network, "alpha" if method == "exact" else method, part, middle)[0]
                low, high = np.where(least > 0, middle, low), np.where(least > 0, high, middle)
                if self.stop():
                    return
            self.radius[part] = low
            report(len(part))

    def _network(self) -> Network:
        """What is bounded: the whole network, or of one of texts what lies behind the maximum over its words."""
        if not self.classifier.vocabulary:
            return network_of(self.classifier, self.dataset.shape)
        self._words = self._words or word_subject(self.classifier)
        return self._words.network

    def _region(self, rows: np.ndarray, epsilon: float | np.ndarray) -> Region:
        x = self.dataset.x[rows]
        return region_of(x, self.norm, epsilon) if self._words is None else self._words.region(np.asarray(x), epsilon)

    def _open(self) -> np.ndarray:
        """The numbers of the images without an answer, on which something is left to try."""
        return np.flatnonzero((self.status == 0) & ~self.finished)

    def _bounds(self, network: Network, method: str, report: Report, last: bool) -> dict[int, Known]:
        """Bound the margins of open images; returns the hidden bounds of those that stay open, by number.

        ``last``: nothing else is tried on them.
        """
        hidden: dict[int, Known] = {}
        for part in _parts(self._open(), network):
            if self.stop():
                break
            least, rounding, known = self._bound(network, method, part, self.epsilon)
            self.margin[part], self.rounding[part] = least, rounding
            self.status[part[least > 0]] = PROVEN
            self.finished[part] = last and not self.stop()
            ends = {n: (low.numpy(), high.numpy()) for n, (low, high) in known.items()}
            for row in np.flatnonzero(~(least > 0)):
                hidden[int(part[row])] = {n: (low[row], high[row]) for n, (low, high) in ends.items()}
            report(int((least > 0).sum()))
        return hidden

    def _bound(
        self, network: Network, method: str, rows: np.ndarray, epsilon: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Known]:
        """The least margin ``(n,)`` that one method proves, what float32 may add, and the hidden bounds."""
        region, labels = self._region(rows, epsilon), tf.constant(self.dataset.y[rows])
        known: Known = {}
        if method == "ibp":
            found, _ = ibp(network, region, labels)
        elif method == "alpha":
            found, known = alpha(network, region, labels, stop=self.stop)
        else:
            found, known = crown(network, region, labels)
        rounding = compiled(network, "rounding", _rounding)(region, known).numpy()
        least = found.numpy().min(1)
        if not np.isfinite(least).all() or not np.isfinite(rounding).all():
            raise InvalidValue(
                f"The bounds of model '{self.classifier.name}' overflow at {self.norm} epsilon {self.epsilon:g}. "
                "Use a smaller epsilon, or a model whose weights are smaller."
            )
        return least, rounding, known

    def _attack(self, report: Report) -> None:
        """Look for counterexamples by gradient before any search."""
        open_ones = self._open()
        spec = Attack("pgd", norm=self.norm, epsilon=self.epsilon, early_stop=True)
        for start in range(0, len(open_ones), _ATTACKED):
            if self.stop():
                return
            rows = open_ones[start : start + _ATTACKED]
            found = craft(self.classifier, subset(self.dataset, rows), spec, progress=False)
            self._keep(rows[found.success], found.x_adv[found.success])
            report(int(found.success.sum()))

    def _search(self, network: Network, hidden: dict[int, Known], report: Report) -> None:
        """Branch and bound on what is open and has bounds."""
        rows = np.array([row for row in self._open() if row in hidden], np.int64)
        if not len(rows):
            return
        first = hidden[int(rows[0])]
        known = {n: tuple(tf.stack([hidden[int(row)][n][end] for row in rows]) for end in (0, 1)) for n in first}
        region, labels = region_of(self.dataset.x[rows], self.norm, self.epsilon), self.dataset.y[rows]
        first_bounds = compiled(network, "start", _margins)(region, known, tf.constant(labels)).numpy()
        ball = LinfBall.around(tf.constant(self.dataset.x[rows]), tf.constant(self.epsilon, tf.float64))
        low, high = ball.low.numpy(), ball.high.numpy()

        def verify(images: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            inside = np.clip(images.reshape(-1, *self.dataset.shape).astype(np.float32), low[numbers], high[numbers])
            return inside, self.classifier.probabilities(inside).argmax(1) != labels[numbers]

        found = search(network, region, labels, first_bounds, known, verify, self.stop, report)
        self.branches[rows] += found.branches
        self._keep(rows[found.misclassified], found.images[found.misclassified])
        self.margin[rows[found.proven]] = 0.0
        self.status[rows[found.proven]] = PROVEN

    def _keep(self, rows: np.ndarray, images: np.ndarray) -> None:
        self.x_adv[rows] = images
        self.status[rows] = MISCLASSIFIED


def _parts(rows: np.ndarray, network: Network) -> list[np.ndarray]:
    """The rows in parts whose bounds fit into memory together."""
    size = int(np.clip(CELLS // (8 * max(node.size for node in network.nodes)), 1, 512))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _rounding(network: Network, region: Region, known: Known) -> tf.Tensor:
    return float32_error(network, propagate(network, region, known))


def _margins(network: Network, region: Region, known: Known, labels: tf.Tensor) -> tf.Tensor:
    return margin_bounds(network, region, known, margins(network, labels))
