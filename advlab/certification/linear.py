"""Backward linear bounds (CROWN, arXiv:1811.00866): a linear function of a node's value, carried back to the image.

What is guaranteed: each bound holds for the classifier as a function of real numbers with its stored weights, on every
real image of the region. Bounds are computed in float64; at each node the magnitude of what is added up is known, and
``Network.gamma`` times the sum of these magnitudes is subtracted, which covers all rounding of the bound itself. Not
covered: how far the float32 forward pass of the classifier strays from those real numbers; ``float32_error`` bounds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from advlab.certification.intervals import Bounds
from advlab.certification.network import Network
from advlab.certification.nodes import Activation, Linear, Reshape
from advlab.certification.region import Region
from advlab.certification.relaxation import Relaxation, relax


class Pass(NamedTuple):
    """One pass back to the image: lower bounds ``(n, r)``, and the coefficients of the image ``(m, r, d)``.

    ``inward`` has, by number of an activation, the coefficients ``(n, r, *shape)`` that its value was given.
    """

    bound: tf.Tensor
    image: tf.Tensor
    inward: dict[int, tf.Tensor]


def lower_bound(
    network: Network,
    start: int,
    coefficients: tf.Tensor,
    bounds: Bounds,
    region: Region,
    alphas: Mapping[int, tf.Tensor] | None = None,
    multipliers: Mapping[int, tf.Tensor] | None = None,
    lines: Mapping[int, Relaxation] | None = None,
    through: bool = True,
) -> Pass:
    """Lower bounds of ``coefficients · value`` of node ``start`` over the region; coefficients ``(m, r, *shape)``.

    ``bounds`` are those of the nodes before it. ``alphas`` are the lower lines of ReLUs, see ``relax``. ``multipliers``
    ``(n, 1, *shape)`` belong to split ReLUs (beta-CROWN, arXiv:2103.06624, theorem 3.1): positive where the branch says
    z >= 0, negative for z <= 0, zero elsewhere. ``lines`` are those of all activations, instead of
    ``relax``'s. Without ``through`` the pass ends at the intervals of activations.
    """
    pending = {start: coefficients}
    total, error, inward = tf.zeros([1, 1], tf.float64), tf.zeros([1, 1], tf.float64), {}
    for number in range(start, 0, -1):
        given = pending.pop(number, None)
        if given is None:
            continue
        node = network.nodes[number]
        if not isinstance(node, Reshape):  # which computes nothing
            error += dot(tf.abs(given), bounds.magnitude[number])
        if isinstance(node, Activation) and not through:
            total += dot(tf.maximum(given, 0.0), bounds.low[number]) + dot(tf.minimum(given, 0.0), bounds.high[number])
            continue
        if isinstance(node, Activation):
            before, alpha = node.inputs[0], (alphas or {}).get(number)
            if lines is not None:
                line = lines[number]
            else:
                line = relax(node, bounds.low[before][:, None], bounds.high[before][:, None], alpha)
            above, below = tf.maximum(given, 0.0), tf.minimum(given, 0.0)
            total += _sum(above * line.lower_intercept + below * line.upper_intercept)
            parts = [above * line.lower_slope + below * line.upper_slope]
            if multipliers and number in multipliers:
                parts[0] -= multipliers[number]
            inward[number] = given
        elif isinstance(node, Linear):
            if node.bias is not None:
                total += _sum(given * node.bias)
            parts = node.transpose(given)
        for source, part in zip(node.inputs, parts, strict=True):
            pending[source] = pending[source] + part if source in pending else part
    if 0 not in pending:  # every path ended at an activation
        return Pass(total - network.gamma * error, tf.zeros([1, 1, network.nodes[0].size], tf.float64), inward)
    image = pending[0]
    lead = image.shape[0] or tf.shape(image)[0]
    image = tf.reshape(image, [lead, -1, network.nodes[0].size])
    # No pixel exceeds 1, and no term of the norm's bound exceeds epsilon.
    found = region.minimum(image, slack=network.gamma * (2 + region.epsilon))
    bound = total + found - network.gamma * tf.stop_gradient(error)
    return Pass(bound, image, inward)


def dot(coefficients: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """``(n, r)`` from coefficients ``(m, r, *shape)`` and values ``(n, *shape)``."""
    size = math.prod(values.shape[1:])
    flat = tf.reshape(values, [-1, size])
    if coefficients.shape[0] == 1:
        return tf.matmul(flat, tf.reshape(coefficients[0], [-1, size]), transpose_b=True)
    rows = tf.reshape(coefficients, [tf.shape(coefficients)[0], -1, size])
    return tf.linalg.matvec(rows, flat)


def _sum(products: tf.Tensor) -> tf.Tensor:
    """``(m, r)`` from ``(m, r, *shape)``."""
    return tf.reduce_sum(products, list(range(2, products.shape.rank)))
