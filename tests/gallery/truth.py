"""How robust a classifier truly is: the strongest attack that someone writes who knows how it was built.

Independent of what it is there to check: nothing here uses advlab's methods, losses or findings. Each row of the
gallery names its ways: differentiable functions that end in the same decision, or nearly so, as the classifier itself.
The attack climbs each of them towards every wrong class from several starts, and what counts is judged by the
classifier as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import advlab
from tests.gallery import nets

Way = Callable[[tf.Tensor], tf.Tensor]  # images (n, h, w, c) -> logits (n, k), differentiable
Exact = Callable[[np.ndarray, np.ndarray], np.ndarray]  # images and labels -> bool (n,): truly robust
STEPS, STARTS, PASSES, SEARCHES = 60, 2, 30, 4000


class Row(NamedTuple):
    """One classifier of the gallery: how it is built, where it is audited, and how it is truly attacked.

    ``build`` returns the model that is audited and the ways of the attack. ``half``: what the audit's findings were
    tuned on, or what was kept aside from that. ``random``: its answer differs from one query to the next; then the
    majority of its answers counts. ``exact`` takes the place of an attack where a closed form exists. ``allowed``:
    findings that are true of this honest classifier. ``parity``: it tells even digits from odd ones.
    ``known``: what the audit gets wrong here, in words.
    """

    name: str
    half: str
    build: Callable[[], tuple[keras.Model, tuple[Way, ...]]]
    norm: str = "linf"
    epsilon: float = 0.1
    random: bool = False
    exact: Exact | None = None
    allowed: frozenset[str] = frozenset()
    parity: bool = False
    known: str = ""

    def data(self, samples: int) -> advlab.Dataset:
        """The first test images, with the labels that this classifier knows."""
        data = nets.images("test").take(samples)
        return replace(data, y=data.y % 2, classes=("even", "odd")) if self.parity else data


def robust(row: Row, model: keras.Model, ways: tuple[Way, ...], data: advlab.Dataset) -> np.ndarray:
    """bool ``(n,)``: correct, and correct on all that the attack finds within epsilon."""
    x, y = np.asarray(data.x), data.y
    if row.exact is not None:
        return row.exact(x, y)
    attack = _Attack(row, model)
    left = ~attack.wrong(x, y)
    for start in range(STARTS):
        for number, way in enumerate(ways):
            rows = np.flatnonzero(left)
            if len(rows):
                found = attack.climb(way, x[rows], y[rows], start, seed=100 * start + number)
                left[rows[found]] = False
    rows = np.flatnonzero(left)
    if len(rows) and row.norm == "linf" and not row.random:
        left[rows[attack.search(x[rows], y[rows])]] = False
    return left


class _Attack:
    """Steps along the gradient of a way, from one start, towards each class."""

    def __init__(self, row: Row, model: keras.Model):
        self.row, self.model = row, model
        self.predict = tf.function(
            lambda x: tf.argmax(_scores(model(x, training=False)), -1), autograph=False, reduce_retracing=True
        )

        self.margin = tf.function(
            lambda x, y: -_lead(_scores(model(x, training=False)), y), autograph=False, reduce_retracing=True
        )

    def wrong(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """bool ``(n,)``: the classifier is wrong, a random one more often than not."""
        passes = PASSES if self.row.random else 1
        return np.mean([self.predict(tf.constant(x)).numpy() != y for _ in range(passes)], axis=0) > 0.5

    def climb(self, way: Way, x: np.ndarray, y: np.ndarray, start: int, seed: int) -> np.ndarray:
        """bool ``(n,)``: where it found an image that the classifier gets wrong."""
        classes = int(way(tf.constant(x[:1])).shape[-1])
        gradient = tf.function(
            lambda x, aim, label: _ascent(way, x, aim, label), autograph=False, reduce_retracing=True
        )
        generator = np.random.default_rng(seed)
        image = np.repeat(np.arange(len(x)), classes)
        aim = np.tile(np.arange(classes), len(x))  # the label's own turn is the attack without an aim
        found = np.zeros(len(x), bool)
        x_adv = self.project(x[image] + (start > 0) * self.noise(x[image].shape, generator), x[image])
        for step in range(STEPS):
            slope = gradient(tf.constant(x_adv), tf.constant(aim), tf.constant(y[image])).numpy()
            size = 2 * self.row.epsilon * 0.01 ** (step / STEPS)
            x_adv = self.project(x_adv + size * self.direction(slope, generator), x[image])
            # Not at each step: judging costs as much as climbing, of a random classifier many times that.
            if (step + 1) % (12 if self.row.random else 3) == 0:
                for candidate in self.candidates(x_adv, x[image]):
                    found[image[self.wrong(candidate, y[image])]] = True
                left = ~found[image]
                image, aim, x_adv = image[left], aim[left], x_adv[left]
                if not len(image):
                    break
        return found

    def search(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """bool ``(n,)``: where a random search finds one, which no way has to lead to.

        It begins with stripes of plus and minus epsilon, and sets ever smaller squares anew where that lowers the
        margin of the classifier's own outputs.
        """
        generator = np.random.default_rng(0)
        n, height, width, channels = x.shape
        side = self.row.epsilon * generator.choice([-1, 1], (n, 1, width, channels))
        x_adv, margin = self.project(x + side, x), np.full(n, np.inf)
        for query in range(SEARCHES):
            proposed, length = x_adv.copy(), max(1, round(0.6 * height * (1 - query / SEARCHES) ** 2))
            for row in range(n) if query else ():
                top, left = generator.integers(0, height - length + 1), generator.integers(0, width - length + 1)
                window = row, slice(top, top + length), slice(left, left + length)
                proposed[window] = x[window] + self.row.epsilon * generator.choice([-1, 1], channels)
            proposed = self.project(proposed, x)
            value = self.margin(tf.constant(proposed), tf.constant(y)).numpy()
            better = value < margin
            x_adv[better], margin[better] = proposed[better], value[better]
        return self.wrong(x_adv, y)

    def candidates(self, x_adv: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
        """The iterate, and under Linf the corner it leans to, which crosses most levels of whatever is quantised."""
        if self.row.norm != "linf":
            return [x_adv]
        return [x_adv, self.project(x + self.row.epsilon * np.sign(x_adv - x), x)]

    def noise(self, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        if self.row.norm == "linf":
            return generator.uniform(-self.row.epsilon, self.row.epsilon, shape).astype(np.float32)
        size = self.row.epsilon * generator.random((shape[0], 1, 1, 1))
        return size * _unit(generator.normal(size=shape))

    def direction(self, slope: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        still = ~np.any(slope, axis=(1, 2, 3), keepdims=True)
        slope = np.where(still, generator.normal(size=slope.shape), slope)
        return np.sign(slope) if self.row.norm == "linf" else _unit(slope)

    def project(self, x_adv: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Into the box, and then towards the clean image, which never leaves the box, into the ball."""
        # In float64, a little inward: what counts here must lie within epsilon.
        epsilon, change = self.row.epsilon * (1 - 1e-6), np.clip(x_adv.astype(np.float64), 0, 1) - x
        if self.row.norm == "linf":
            change = np.clip(change, -epsilon, epsilon)
        else:
            size = np.sqrt(np.sum(change**2, axis=(1, 2, 3), keepdims=True))
            change *= np.minimum(1, epsilon / np.maximum(size, 1e-12))
        return np.clip(x + change, 0, 1).astype(np.float32)


def _unit(change: np.ndarray) -> np.ndarray:
    return change / np.maximum(np.sqrt(np.sum(change**2, axis=(1, 2, 3), keepdims=True)), 1e-12)


def _ascent(way: Way, x: tf.Tensor, aim: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """The gradient of the margin by which the aim, or the likeliest wrong class, is ahead of the label."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = way(x)
        of_label = tf.gather(logits, label, batch_dims=1)
        others = tf.where(tf.one_hot(label, logits.shape[-1], on_value=True, off_value=False), -np.inf, logits)
        aimed = tf.gather(logits, aim, batch_dims=1)
        margin = tf.where(aim == label, tf.reduce_max(others, -1), aimed) - of_label
    return tape.gradient(margin, x)


def _lead(scores: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """By how much the likeliest wrong class is ahead of the label."""
    is_label = tf.one_hot(label, scores.shape[-1], on_value=True, off_value=False)
    return tf.reduce_max(tf.where(is_label, -np.inf, scores), -1) - tf.gather(scores, label, batch_dims=1)


def _scores(outputs: tf.Tensor) -> tf.Tensor:
    """A score for each class; one unit is the probability of the second of two."""
    return tf.concat([1 - outputs, outputs], -1) if outputs.shape[-1] == 1 else outputs


def linear(kernel: np.ndarray, bias: np.ndarray, norm: str, epsilon: float) -> Exact:
    """The exact truth of a linear classifier: for each wrong class the most that its margin can gain in ball and box.

    Every pixel gains its own weight for each unit it moves, up to the edge of the box. Under Linf all move by epsilon;
    under L1 those of the largest weights move first, until epsilon is spent.
    """

    def exact(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1).astype(np.float64)
        logits = flat @ kernel + bias
        left = logits.argmax(1) == y
        for aim in range(kernel.shape[1]):
            weights = kernel[:, aim][None] - kernel.T[y]
            room = np.where(weights > 0, 1 - flat, flat)
            if norm == "linf":
                moved = np.minimum(room, epsilon)
            else:
                order = np.argsort(-np.abs(weights), axis=1)
                sorted_room = np.take_along_axis(room, order, 1)
                before = np.cumsum(sorted_room, axis=1) - sorted_room
                moved = np.empty_like(room)
                np.put_along_axis(moved, order, np.clip(epsilon - before, 0, sorted_room), 1)
            rows = np.arange(len(x))
            margin = logits[:, aim] - logits[rows, y] + np.sum(np.abs(weights) * moved, axis=1)
            left &= (margin <= 0) | (aim == y)
        return left

    return exact
