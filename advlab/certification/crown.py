"""Bounds of a batch of images: ``ibp``, and ``crown`` with every hidden bound computed backwards too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.certification.intervals import Bounds, Interval, propagate
from advlab.certification.linear import lower_bound
from advlab.certification.network import Network
from advlab.certification.nodes import Activation, AveragePool, Convolution, Dense, Sum
from advlab.certification.region import Region, rows_of
from advlab.certification.relaxation import is_open

CELLS = 2**22  # float64 numbers of the largest array of coefficients: 32 MiB
Known = dict[int, Interval]


def before_activations(network: Network) -> list[int]:
    """The numbers of the nodes that activations take, each once, in order."""
    return sorted({network.nodes[number].inputs[0] for number in network.activations})


def behind_activations(network: Network) -> list[int]:
    """Of ``before_activations`` those that a pass backwards bounds better than intervals do, under Linf."""
    return [number for number in before_activations(network) if not _mixed_once(network, number)]


def margins(network: Network, labels: tf.Tensor) -> tf.Tensor:
    """float64 ``(n, k - 1, k)``: coefficients of the logits, the label's minus that of each other class in order."""
    classes = network.classes
    others = tf.range(classes - 1, dtype=labels.dtype)
    others = others + tf.cast(others >= labels[:, None], labels.dtype)
    return tf.one_hot(labels, classes, dtype=tf.float64)[:, None] - tf.one_hot(others, classes, dtype=tf.float64)


def ibp(network: Network, region: Region, labels: tf.Tensor) -> tuple[tf.Tensor, Bounds]:
    """Lower bounds of the margins ``(n, k - 1)``, and the intervals of all nodes.

    The last affine maps are taken as one. Under ``l2`` and ``l1`` what the image alone decides is bounded in that norm.
    """
    known: Known = {}
    if region.norm != "linf":
        first = [n for n in before_activations(network) if not _activated(network, n)]
        known = refined(network, region, first, {})
    return compiled(network, "ibp", _by_intervals)(region, known, margins(network, labels))


def crown(network: Network, region: Region, labels: tf.Tensor) -> tuple[tf.Tensor, Known]:
    """Lower bounds of the margins ``(n, k - 1)``, no lower than those of ``ibp``, and bounds before each activation."""
    by_intervals, bounds = ibp(network, region, labels)
    targets = before_activations(network) if region.norm != "linf" else behind_activations(network)
    known = {number: (bounds.low[number], bounds.high[number]) for number in before_activations(network)}
    known = refined(network, region, targets, known, bounds)
    bound = compiled(network, "margins", margin_bounds)(region, known, margins(network, labels))
    return tf.maximum(bound, by_intervals), known


def refined(network: Network, region: Region, targets: list[int], known: Known, bounds: Bounds | None = None) -> Known:
    """``known`` with the bounds of the nodes ``targets`` tightened backwards, in order.

    ``bounds`` are those of all nodes that follow from ``known``, where they are at hand.
    Numbers go through in portions, so that no array exceeds ``CELLS`` coefficients by more than one row of each image;
    an image is in the portions that it has numbers for.
    """
    n = int(region.center.shape[0])
    widest = max(node.size for node in network.nodes)
    known = dict(known)
    for number in targets:
        bounds = bounds or compiled(network, ("before", number), _bounds_before(number))(region, known)
        low, high = (tf.reshape(end, [n, -1]) for end in (bounds.low[number], bounds.high[number]))
        counts, chosen = worth_bounding(network, number, low, high)
        portion = max(1, CELLS // (2 * n * widest))
        backwards = compiled(network, ("node", number), _node_bounds(number))
        for start in range(0, counts.max(), portion):
            images = np.flatnonzero(counts > start)
            low, high = backwards(bounds, region, images, chosen[:, start : start + portion], low, high)
        shape = network.nodes[number].shape
        known[number], bounds = (tf.reshape(low, [n, *shape]), tf.reshape(high, [n, *shape])), None
    return known


def worth_bounding(network: Network, number: int, low: tf.Tensor, high: tf.Tensor) -> tuple[np.ndarray, tf.Tensor]:
    """How many numbers of a node, of bounds ``(n, size)``, a pass backwards may help, and which, int32 ``(n, most)``.

    Where a ReLU is all that follows, those whose sign is open. An image with fewer of them has others behind them.
    """
    wanted = tf.cast(is_open(low, high) if _only_relu(network, number) else tf.ones_like(low), tf.int32)
    counts = tf.reduce_sum(wanted, 1).numpy()
    return counts, tf.math.top_k(wanted, counts.max()).indices


def _node_bounds(number: int) -> Callable[..., Interval]:
    def backwards(
        network: Network,
        bounds: Bounds,
        region: Region,
        images: tf.Tensor,
        chosen: tf.Tensor,
        low: tf.Tensor,
        high: tf.Tensor,
    ) -> Interval:
        """Bounds ``(n, size)`` of the chosen numbers, int32 ``(n, r)``, of some images; of the others as they were."""
        chosen = tf.gather(chosen, images)
        some = Bounds(*(tuple(tf.gather(value, images) for value in part) for part in bounds))
        new = rows_bounds(network, number, some, rows_of(region, images), chosen)
        ends = replaced(tf.gather(low, images), tf.gather(high, images), chosen, *new)
        low, high = (
            tf.tensor_scatter_nd_update(all_of, images[:, None], end)
            for all_of, end in zip((low, high), ends, strict=True)
        )
        return low, high

    return backwards


def _bounds_before(number: int) -> Callable[..., Bounds]:
    def forwards(network: Network, region: Region, known: Known) -> Bounds:
        return propagate(network, region, known, number)

    return forwards


def rows_bounds(
    network: Network,
    number: int,
    bounds: Bounds,
    region: Region,
    chosen: tf.Tensor,
    alphas: Mapping[int, tf.Tensor] | None = None,
) -> Interval:
    """Bounds ``(n, r)`` of the chosen numbers, int32 ``(n, r)``, of a node; ``alphas`` have ``2 r`` rows."""
    node = network.nodes[number]
    rows = tf.one_hot(chosen, node.size, dtype=tf.float64)
    rows = tf.reshape(tf.concat([rows, -rows], 1), [tf.shape(chosen)[0], -1, *node.shape])
    found = lower_bound(network, number, rows, bounds, region, alphas).bound
    below, above = tf.split(found, 2, 1)
    return below, -above


def replaced(low: tf.Tensor, high: tf.Tensor, chosen: tf.Tensor, new_low: tf.Tensor, new_high: tf.Tensor) -> Interval:
    """``low`` and ``high`` ``(n, size)``, tightened at the chosen numbers; the gradient is that of the new bounds."""
    images = tf.broadcast_to(tf.range(tf.shape(chosen)[0])[:, None], tf.shape(chosen))
    places = tf.stack([images, chosen], 2)
    tighter_low = _larger(new_low, tf.gather(low, chosen, axis=1, batch_dims=1))
    tighter_high = -_larger(-new_high, -tf.gather(high, chosen, axis=1, batch_dims=1))
    return (
        tf.tensor_scatter_nd_update(low, places, tighter_low),
        tf.tensor_scatter_nd_update(high, places, tighter_high),
    )


@tf.custom_gradient
def _larger(new: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
    """The larger one, with the gradient of ``new`` even where that is smaller: else none would lead back up."""
    return tf.maximum(new, known), lambda upstream: [upstream, tf.zeros_like(upstream)]


def margin_bounds(network: Network, region: Region, known: Known, coefficients: tf.Tensor) -> tf.Tensor:
    """Lower bounds ``(n, r)`` of ``coefficients · logits`` from bounds before each activation."""
    bounds = propagate(network, region, known)
    return lower_bound(network, network.output, coefficients, bounds, region).bound


def _by_intervals(network: Network, region: Region, known: Known, coefficients: tf.Tensor) -> tuple[tf.Tensor, Bounds]:
    """``(n, k - 1)``: the last affine maps as one, of the intervals of what they are given, and all intervals."""
    bounds = propagate(network, region, known)
    return lower_bound(network, network.output, coefficients, bounds, region, through=False).bound, bounds


def _before(network: Network, number: int) -> set[int]:
    """The numbers of all nodes that a node depends on."""
    found: set[int] = set()
    for one in range(number, 0, -1):
        if one == number or one in found:
            found |= set(network.nodes[one].inputs)
    return found


def _activated(network: Network, number: int) -> bool:
    return bool(_before(network, number) & set(network.activations))


def _mixed_once(network: Network, number: int) -> bool:
    """Whether one affine map leads to the node from the image: its intervals are exact under Linf."""
    path = [network.nodes[one] for one in (*_before(network, number), number)]
    mixing = sum(isinstance(node, Dense | Convolution | AveragePool | Sum) for node in path)
    return mixing <= 1 and not _activated(network, number)


def _only_relu(network: Network, number: int) -> bool:
    followers = [node for node in network.nodes if number in node.inputs]
    return all(isinstance(node, Activation) and node.function == "relu" for node in followers)


def compiled(network: Network, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of the network, traced once for it and kept with it."""
    if key not in network.compiled:
        # TensorFlow warns where one code object is traced often; a partial has none, so each function counts alone.
        network.compiled[key] = tf.function(partial(function, network), autograph=False, reduce_retracing=True)
    return network.compiled[key]
