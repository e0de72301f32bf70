"""Interval bounds (IBP, arXiv:1810.12715): least and largest value of every number of the network, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from advlab.certification.network import ROUNDING32, Network
from advlab.certification.nodes import Activation, Linear, Maximum, Node
from advlab.certification.region import Region

_ACTIVATION_ULPS = 8 * ROUNDING32  # of sigmoid and tanh, whose values are at most 1
Interval = tuple[tf.Tensor, tf.Tensor]


class Bounds(NamedTuple):
    """The bounds of each node, by number, float64 ``(n, *shape)``.

    ``magnitude`` is the largest sum of absolute values that computing it, or a linear bound of it, adds up: what its
    rounding error is a small multiple of.
    """

    low: tuple[tf.Tensor, ...]
    high: tuple[tf.Tensor, ...]
    magnitude: tuple[tf.Tensor, ...]


def propagate(network: Network, region: Region, known: Mapping[int, Interval], last: int | None = None) -> Bounds:
    """Bounds of the nodes up to number ``last`` (None: all), each widened by its rounding error.

    ``known`` has bounds of some nodes from elsewhere; the tighter ones count.
    """
    shape = network.nodes[0].shape
    low, high = (tf.reshape(end, [-1, *shape]) for end in region.interval())
    lows, highs, magnitudes = [low], [high], [tf.ones_like(low)]
    for number, node in enumerate(network.nodes[1 : None if last is None else last + 1], 1):
        largest = [tf.maximum(tf.abs(lows[source]), tf.abs(highs[source])) for source in node.inputs]
        if isinstance(node, Linear):
            magnitude = node.absolute(largest)
            magnitude += 0.0 if node.bias is None else tf.abs(node.bias)
        else:
            magnitude = 2 * largest[0] + 2
        low, high = interval_of(node, lows, highs)
        error = network.gamma * magnitude
        low, high = low - error, high + error
        if number in known:
            low, high = tf.maximum(low, known[number][0]), tf.minimum(high, known[number][1])
        lows.append(low)
        highs.append(high)
        magnitudes.append(magnitude)
    return Bounds(tuple(lows), tuple(highs), tuple(magnitudes))


def interval_of(node: Node, lows: Sequence[tf.Tensor], highs: Sequence[tf.Tensor]) -> Interval:
    """Least and largest value of a node, from those of the nodes before it, but for rounding."""
    given = [(lows[source], highs[source]) for source in node.inputs]
    if not isinstance(node, Linear):
        return node.apply([given[0][0]]), node.apply([given[0][1]])
    middle = node.apply([(a + b) / 2 for a, b in given])
    radius = node.absolute([(b - a) / 2 for a, b in given])
    low, high = middle - radius, middle + radius
    if isinstance(node, Maximum):
        (a, b), (c, d) = [(lows[one], highs[one]) for one in node.pair]
        low, high = tf.maximum(low, tf.maximum(a, c)), tf.minimum(high, tf.maximum(b, d))
    return low, high


def float32_error(network: Network, bounds: Bounds) -> tf.Tensor:
    """``(n,)``: how far the difference of two logits, computed in float32, may stray from that of real numbers.

    The forward error of each sum, by its terms and magnitude (Higham, section 3.1; in whatever order it is added up,
    which leaves out convolutions by transforms), passed on through the absolute weights of the layers behind it.
    """
    errors = [tf.zeros_like(bounds.low[0])]
    for number, node in enumerate(network.nodes[1:], 1):
        given = [errors[source] for source in node.inputs]
        if isinstance(node, Linear):
            passed = node.absolute(given)
            gamma = node.terms * ROUNDING32 / (1 - node.terms * ROUNDING32)
            errors.append(passed + gamma * (bounds.magnitude[number] + passed))
        elif isinstance(node, Activation):
            # Activations do not spread errors, and below zero by more than the error a ReLU shrinks them.
            below = tf.cast(bounds.high[node.inputs[0]] < -given[0], tf.float64)
            slope = 1 - below * (1 - node.slope) if node.function == "relu" else 1.0
            errors.append(given[0] * slope + _rounded(node, bounds.magnitude[number]))
    return 2 * tf.reduce_max(tf.reshape(errors[-1], [-1, network.classes]), 1)


def _rounded(node: Activation, magnitude: tf.Tensor) -> tf.Tensor:
    """How far one activation's own rounding takes it: nowhere for a ReLU, one product for a leaky one."""
    if node.function == "relu":
        return tf.zeros_like(magnitude) if node.slope == 0 else ROUNDING32 * magnitude
    return _ACTIVATION_ULPS * tf.ones_like(magnitude)
