"""The open branches of a search: which come next, and how one becomes two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from advlab.certification.crown import Known
from advlab.certification.network import Network
from advlab.certification.relaxation import steeper
from advlab.certification.subproblem import Branch

CELLS = 2**27  # numbers that the pool may hold before it is worked off from the other end
Arrays = list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Pool:
    """Open branches, rows first.

    ``image`` and ``rival`` int, ``bound`` float64, ``place`` of the ReLU to split next, and the flat arrays of a
    ``Branch``.
    """

    image: np.ndarray
    rival: np.ndarray
    bound: np.ndarray
    place: np.ndarray
    arrays: Arrays

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: np.ndarray) -> Pool:
        """The branches with these numbers."""
        arrays = [array[rows] for array in self.arrays]
        return Pool(self.image[rows], self.rival[rows], self.bound[rows], self.place[rows], arrays)

    def join(self, other: Pool) -> Pool:
        """The branches of both."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("image", "rival", "bound", "place")]
        image, rival, bound, place = (np.concatenate(pair) for pair in pairs)
        arrays = [np.concatenate(pair) for pair in zip(self.arrays, other.arrays, strict=True)]
        return Pool(image, rival, bound, place, arrays)


def root_branch(network: Network, known: Known, rows: np.ndarray) -> Branch:
    """The whole regions of the images with these numbers, each as one branch."""
    mine = {number: tuple(tf.gather(end, rows) for end in ends) for number, ends in known.items()}
    signs = {a: tf.zeros_like(mine[network.nodes[a].inputs[0]][0]) for a in network.activations}
    alphas = {a: steeper(*mine[network.nodes[a].inputs[0]]) for a in network.activations}
    return Branch(mine, signs, alphas, dict(signs))


def roots(network: Network, known: Known, images: np.ndarray, rivals: np.ndarray) -> Pool:
    """A branch for each image and rival class whose margin is open."""
    arrays = [a.numpy() for a in tf.nest.flatten(root_branch(network, known, images))]
    count = len(tf.nest.flatten(known))
    # Bounds stay in float64. Signs, lines and multipliers may be any numbers: half of the bits are enough.
    arrays = [a if place < count else a.astype(np.float32) for place, a in enumerate(arrays)]
    return Pool(images, rivals, np.full(len(images), -np.inf), np.zeros(len(images), np.int64), arrays)


def next_branches(pool: Pool, size: int) -> np.ndarray:
    """The numbers of the branches to split: of images with few open ones first, the lowest bounds first."""
    if len(pool.image) <= size:
        return np.arange(len(pool.image))
    if sum(array.size for array in pool.arrays) > CELLS:
        return np.argpartition(-pool.bound, size)[:size]
    count = np.bincount(pool.image)[pool.image]
    return np.lexsort((pool.bound, pool.image, count))[:size]


def split(network: Network, parents: Pool, template: Branch) -> Pool:
    """Both branches of each parent at its chosen ReLU: inactive ones first, then active ones."""
    twice = parents.take(np.tile(np.arange(len(parents.image)), 2))
    branch = tf.nest.pack_sequence_as(template, twice.arrays)
    active = np.repeat([False, True], len(parents.image))
    start = 0
    for number in network.activations:
        size = network.nodes[number].size
        rows = np.flatnonzero((twice.place >= start) & (twice.place < start + size))
        at, up = twice.place[rows] - start, active[rows]
        low, high = (end.reshape(len(active), -1) for end in branch.known[network.nodes[number].inputs[0]])
        low[rows[up], at[up]] = np.maximum(low[rows[up], at[up]], 0)
        high[rows[~up], at[~up]] = np.minimum(high[rows[~up], at[~up]], 0)
        branch.signs[number].reshape(len(active), -1)[rows, at] = np.where(up, 1, -1)
        start += size
    return twice
