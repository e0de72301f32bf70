"""Bounds whose lower lines of open ReLUs are optimised by gradient (alpha-CROWN, arXiv:2011.13824).

Every row of every backward pass has slopes of its own; hidden bounds and margins are optimised together, for the sum of
the margins that are not proven yet. Each step gives sound bounds, so the best of all steps are kept, number by number;
the first step is CROWN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from advlab.certification.crown import (
    Known,
    behind_activations,
    compiled,
    crown,
    margins,
    replaced,
    rows_bounds,
    worth_bounding,
)
from advlab.certification.intervals import propagate
from advlab.certification.linear import lower_bound
from advlab.certification.network import Network
from advlab.certification.region import Region, rows_of
from advlab.certification.relaxation import steeper

STEPS, RATE, DECAY = 30, 0.5, 0.95
NUMBERS = 2**25  # coefficients of all passes of a step: with what their gradient keeps some gigabytes
Alphas = dict[int, dict[int, tf.Tensor]]


class Adam(NamedTuple):
    """Adam's two moments of each variable (arXiv:1412.6980), which may be gathered with their rows."""

    mean: list[tf.Tensor]
    square: list[tf.Tensor]

    @classmethod
    def of(cls, variables: list[tf.Tensor]) -> Adam:
        """The state before the first step."""
        return cls([tf.zeros_like(v) for v in variables], [tf.zeros_like(v) for v in variables])

    def step(self, gradients: list[tf.Tensor], step: tf.Tensor, rate: tf.Tensor) -> tuple[list[tf.Tensor], Adam]:
        """What to add to each variable to go up its gradient, and the next state; ``step`` counts from 1, float64."""
        mean = [0.9 * m + 0.1 * g for m, g in zip(self.mean, gradients, strict=True)]
        square = [0.99 * s + 0.01 * g * g for s, g in zip(self.square, gradients, strict=True)]
        first, second = 1 - tf.pow(tf.constant(0.9, tf.float64), step), 1 - tf.pow(tf.constant(0.99, tf.float64), step)
        change = [rate * (m / first) / (tf.sqrt(s / second) + 1e-12) for m, s in zip(mean, square, strict=True)]
        return change, Adam(mean, square)


def alpha(
    network: Network,
    region: Region,
    labels: tf.Tensor,
    steps: int = STEPS,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[tf.Tensor, Known]:
    """Lower bounds of the margins ``(n, k - 1)``, no lower than ``crown``'s, and bounds before each activation.

    ``stop`` ends it early, with the bounds so far. Images are optimised as many at a time as ``NUMBERS`` allows.
    """
    best, known = crown(network, region, labels)
    if not any(network.node(number).function == "relu" for number in network.activations):
        return best, known
    n, at_once = int(labels.shape[0]), max(1, NUMBERS // _numbers(network, known))
    parts = []
    for start in range(0, n, at_once):
        rows = tf.range(start, min(start + at_once, n))
        some_labels, some_best, some_known = tf.nest.map_structure(
            partial(tf.gather, indices=rows), (labels, best, known)
        )
        parts.append(_optimised(network, rows_of(region, rows), some_labels, some_best, some_known, steps, stop))
    return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *parts)


def _numbers(network: Network, known: Known) -> int:
    """How many coefficients the passes backwards of one image have: those with the most open ReLUs count."""
    sizes = [node.size for node in network.nodes]
    rows = {number: 2 * int(picked.shape[1]) for number, picked in _chosen(network, known).items()}
    rows[network.output] = network.classes - 1
    return sum(count * sum(sizes[: number + 1]) for number, count in rows.items())


def _optimised(
    network: Network,
    region: Region,
    labels: tf.Tensor,
    best: tf.Tensor,
    known: Known,
    steps: int,
    stop: Callable[[], bool],
) -> tuple[tf.Tensor, Known]:
    chosen = _chosen(network, known)
    coefficients = margins(network, labels)
    alphas = _start(network, known, chosen, coefficients)
    state = Adam.of(tf.nest.flatten(alphas))
    improve = compiled(network, "alpha", _improve)
    for step in range(1, steps + 1):
        rate = tf.constant(RATE * DECAY ** (step - 1), tf.float64)
        count = tf.constant(step, tf.float64)
        best, known, alphas, state = improve(region, known, best, chosen, coefficients, alphas, state, count, rate)
        if bool(tf.reduce_all(best > 0)) or stop():
            break
    return best, known


def _chosen(network: Network, known: Known) -> dict[int, tf.Tensor]:
    """By number of a node int32 ``(n, r)``: its numbers that are optimised."""
    flat = {number: [tf.reshape(end, [tf.shape(end)[0], -1]) for end in ends] for number, ends in known.items()}
    return {number: worth_bounding(network, number, *flat[number])[1] for number in behind_activations(network)}


def _start(network: Network, known: Known, chosen: dict[int, tf.Tensor], coefficients: tf.Tensor) -> Alphas:
    """CROWN's lower lines, for the rows of every backward pass that is optimised."""
    rows = {number: 2 * int(picked.shape[1]) for number, picked in chosen.items()}
    rows[network.output] = int(coefficients.shape[1])
    alphas: Alphas = {}
    for target, count in rows.items():
        alphas[target] = {}
        for number in network.activations:
            if number < target and network.node(number).function == "relu":
                first = steeper(*known[network.nodes[number].inputs[0]])[:, None]
                alphas[target][number] = tf.repeat(first, count, axis=1)
    return alphas


def _improve(
    network: Network,
    region: Region,
    known: Known,
    best: tf.Tensor,
    chosen: Mapping[int, tf.Tensor],
    coefficients: tf.Tensor,
    alphas: Alphas,
    state: Adam,
    step: tf.Tensor,
    rate: tf.Tensor,
) -> tuple[tf.Tensor, Known, Alphas, Adam]:
    """One step up the gradient: margins, hidden bounds, lower lines and Adam's state after it."""
    variables = tf.nest.flatten(alphas)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        found = dict(known)
        for number, picked in chosen.items():
            bounds = propagate(network, region, found, number)
            below, above = rows_bounds(network, number, bounds, region, picked, alphas[number])
            low, high = (tf.reshape(end, [-1, network.nodes[number].size]) for end in found[number])
            low, high = replaced(low, high, picked, below, above)
            shape = [-1, *network.nodes[number].shape]
            found[number] = (tf.reshape(low, shape), tf.reshape(high, shape))
        bounds = propagate(network, region, found)
        bound = lower_bound(network, network.output, coefficients, bounds, region, alphas[network.output]).bound
        gain = tf.reduce_sum(tf.minimum(bound, 0.0))
    gradients = tape.gradient(gain, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    change, state = state.step(gradients, step, rate)
    moved = [tf.clip_by_value(v + c, 0.0, 1.0) for v, c in zip(variables, change, strict=True)]
    return tf.maximum(best, bound), found, tf.nest.pack_sequence_as(alphas, moved), state
