"""Branch and bound on the ReLUs of a piecewise-linear network under Linf: what bounds leave open is split.

A branch holds some ReLUs active or inactive. It is closed once its lower bound is positive; an image whose branches are
all closed is proven. The branches of all images share one pool, and batches of them are bounded together: those of the
images with the fewest open branches first. A branch without an open ReLU is a linear program, which HiGHS solves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from advlab.certification.crown import Known, compiled, margins
from advlab.certification.milp import least_margin
from advlab.certification.network import Network
from advlab.certification.pool import Pool, next_branches, root_branch, roots, split
from advlab.certification.region import Region, rows_of
from advlab.certification.subproblem import Bounded, bounded

BATCH = 512  # branches that are bounded together
Verify = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Outcome(NamedTuple):
    """The answer for each image.

    ``proven`` and ``misclassified`` bool ``(n,)`` (a counterexample was found; neither: not decided), ``images``
    float32 ``(n, h, w, c)``, the counterexamples, and ``branches`` int ``(n,)``, how many were bounded.
    """

    proven: np.ndarray
    misclassified: np.ndarray
    images: np.ndarray
    branches: np.ndarray


def search(
    network: Network,
    region: Region,
    labels: np.ndarray,
    bound: np.ndarray,
    known: Known,
    verify: Verify,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[int], None] = lambda decided: None,
) -> Outcome:
    """Decide images by branch and bound, from bounds of their margins ``(n, k - 1)`` and before each activation.

    ``verify(images, rows)`` turns float64 candidates ``(m, d)`` for the images ``rows`` into float32 ones of their
    regions and says which are misclassified. ``stop`` ends it early, asked between two batches. ``report`` is told how
    many more images are decided.
    """
    found = _Search(network, region, labels, bound, known, verify, stop)
    waiting = roots(network, known, *np.nonzero(~(bound > 0)))
    undecided = found.open
    for start in range(0, len(waiting), BATCH):
        if not stop():
            found.add(waiting.take(np.arange(start, min(start + BATCH, len(waiting)))))
        else:
            found.stuck[waiting.image[start:]] = True
    while len(found.pool) and not stop():
        found.add(found.next())
        report(undecided - found.open)
        undecided = found.open
    return found.outcome()


class _Search:
    """The pool of open branches, and what is known of each image."""

    def __init__(
        self,
        network: Network,
        region: Region,
        labels: np.ndarray,
        bound: np.ndarray,
        known: Known,
        verify: Verify,
        stop: Callable[[], bool],
    ):
        self.network, self.region, self.verify, self.stop = network, region, verify, stop
        self.targets = margins(network, tf.constant(labels)).numpy()
        self.template = root_branch(network, known, np.zeros(1, np.int64))
        self.pool = roots(network, known, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.images = np.zeros((len(labels), *network.nodes[0].shape), np.float32)
        self.misclassified: np.ndarray = np.zeros(len(labels), bool)
        self.stuck: np.ndarray = np.zeros(len(labels), bool)
        self.waiting: np.ndarray = np.logical_not((bound > 0).all(1))
        self.branches = np.zeros(len(labels), np.int64)

    @property
    def open(self) -> int:
        """How many images are not decided."""
        return int(self._undecided().sum())

    def next(self) -> Pool:
        """Both halves of the branches to split next, taken out of the pool."""
        chosen = next_branches(self.pool, BATCH // 2)
        parents = self.pool.take(chosen)
        self.pool = self.pool.take(np.setdiff1d(np.arange(len(self.pool)), chosen, assume_unique=True))
        return split(self.network, parents, self.template)

    def add(self, batch: Pool) -> None:
        """Bound a batch, look for counterexamples in it, and keep what stays open."""
        given = [tf.constant(array.astype(np.float64)) for array in batch.arrays]
        branch = tf.nest.pack_sequence_as(self.template, given)
        step = compiled(self.network, "branch", bounded)
        coefficients = tf.constant(self.targets[batch.image, batch.rival])
        result: Bounded = step(rows_of(self.region, tf.constant(batch.image)), coefficients, branch)
        np.add.at(self.branches, batch.image, 1)
        self.waiting[batch.image] = False
        self._check(result.image.numpy(), result.margin.numpy(), batch.image)
        bound = result.bound.numpy()
        place = result.place.numpy().astype(np.int64)
        new = zip(tf.nest.flatten(result.branch), batch.arrays, strict=True)
        arrays = [tensor.numpy().astype(old.dtype) for tensor, old in new]
        bounded_ones = Pool(batch.image, batch.rival, bound, place, arrays)
        still_open = ~(bound > 0) & ~self.misclassified[batch.image]
        leaf = still_open & (place < 0)
        self._solve(bounded_ones.take(np.flatnonzero(leaf)))
        pool = self.pool.join(bounded_ones.take(np.flatnonzero(still_open & ~leaf)))
        gone = (self.misclassified | self.stuck)[pool.image]
        self.pool = pool.take(np.flatnonzero(~gone)) if gone.any() else pool

    def outcome(self) -> Outcome:
        """What is decided of each image."""
        return Outcome(~self._undecided() & ~self.misclassified, self.misclassified, self.images, self.branches)

    def _undecided(self) -> np.ndarray:
        pooled = np.isin(np.arange(len(self.stuck)), self.pool.image)
        return np.logical_and(self.stuck | self.waiting | pooled, ~self.misclassified)

    def _check(self, images: np.ndarray, margin: np.ndarray, numbers: np.ndarray) -> None:
        """Keep a candidate that the classifier itself misclassifies."""
        rows = np.flatnonzero((margin < 0) & ~self.misclassified[numbers])
        if len(rows):
            pictures, wrong = self.verify(images[rows], numbers[rows])
            self.images[numbers[rows[wrong]]] = pictures[wrong]
            self.misclassified[numbers[rows[wrong]]] = True

    def _solve(self, leaves: Pool) -> None:
        """Branches without an open ReLU: closed by a linear program, or their image stays undecided."""
        for row in range(len(leaves)):
            if self.stop():
                self.stuck[leaves.image[row:]] = True
                return
            image, leaf = leaves.image[row : row + 1], leaves.take(np.array([row]))
            branch = tf.nest.pack_sequence_as(self.template, leaf.arrays)
            target = self.targets[leaf.image[0], leaf.rival[0]]
            margin, picture = least_margin(self.network, rows_of(self.region, image), target, branch.known)
            if picture is not None:
                self._check(picture[None], np.array([margin]), image)
            if not margin > 0 and not self.misclassified[image[0]]:
                self.stuck[image] = True
