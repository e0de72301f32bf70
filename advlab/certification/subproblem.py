"""Bounds of many branches at once: regions in which some ReLUs are held active or inactive (beta-CROWN).

arXiv:2103.06624: a branch's constraint on the input of a ReLU enters the bound with a multiplier >= 0, optimised with
the lower lines. On top of it, hidden bounds are computed again in every branch, which pays in small networks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from advlab.certification.alpha import Adam
from advlab.certification.crown import Known, before_activations, behind_activations, replaced, rows_bounds
from advlab.certification.intervals import Bounds, propagate
from advlab.certification.linear import Pass, lower_bound
from advlab.certification.network import Network
from advlab.certification.region import Region
from advlab.certification.relaxation import is_open, relax

STEPS, RATE, DECAY = 10, 0.25, 0.9
_EMPTY = 1e6  # the bound of a branch without any image
_CANDIDATES, _LEAST_GAIN = 8, 1e-4
_DESCENTS = 3  # steps of the attack on each branch
Maps = dict[int, tf.Tensor]  # by number of an activation, (n, *shape)


class Branch(NamedTuple):
    """``n`` branches: bounds before each activation, ``signs`` (1 active, -1 inactive), lines and multipliers."""

    known: Known
    signs: Maps
    alphas: Maps
    multipliers: Maps


class Bounded(NamedTuple):
    """The same branches with their lower bounds ``(n,)``.

    ``place`` int32 ``(n,)`` is that of the ReLU to split next among the numbers of all activations (-1: none is open);
    an image ``(n, d)`` of each region comes with its margin ``(n,)``.
    """

    branch: Branch
    bound: tf.Tensor
    place: tf.Tensor
    image: tf.Tensor
    margin: tf.Tensor


def bounded(network: Network, region: Region, coefficients: tf.Tensor, branch: Branch) -> Bounded:
    """Bound ``coefficients · logits`` ``(n, k)`` in each branch."""
    known, empty = _tightened(network, region, branch.known)
    bounds = propagate(network, region, known)
    rows = coefficients[:, None]

    def back(alphas: Maps, multipliers: Maps) -> Pass:
        lines = {number: alpha[:, None] for number, alpha in alphas.items()}
        forces = {number: (m * branch.signs[number])[:, None] for number, m in multipliers.items()}
        return lower_bound(network, network.output, rows, bounds, region, lines, forces)

    alphas, multipliers = branch.alphas, branch.multipliers
    best, kept = tf.fill([tf.shape(coefficients)[0]], tf.constant(-_EMPTY, tf.float64)), (alphas, multipliers)
    state = Adam.of(tf.nest.flatten(kept))

    def improve(step: tf.Tensor, best: tf.Tensor, kept: Any, now: Any, state: Adam) -> tuple[Any, ...]:
        variables = tf.nest.flatten(now)
        with tf.GradientTape() as tape:
            tape.watch(variables)
            bound = back(*now).bound[:, 0]
        gradients = tape.gradient(bound, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        better = bound > best
        kept = tf.nest.map_structure(lambda new, old: tf.where(_wide(better, new), new, old), now, kept)
        rate = RATE * tf.pow(tf.constant(DECAY, tf.float64), step)
        change, state = state.step(gradients, step + 1, rate)
        lines, forces = tf.nest.pack_sequence_as(now, [v + c for v, c in zip(variables, change, strict=True)])
        lines = {number: tf.clip_by_value(value, 0.0, 1.0) for number, value in lines.items()}
        forces = {number: tf.maximum(value, 0.0) for number, value in forces.items()}
        return step + 1, tf.maximum(best, bound), kept, (lines, forces), state

    loop = (tf.constant(0.0, tf.float64), best, kept, kept, state)
    _, best, kept, _, _ = tf.while_loop(lambda step, *rest: step < STEPS, improve, loop)
    last = back(*kept)
    image, margin = _attacked(network, region, coefficients, region.minimiser(last.image[:, 0]))
    best = tf.where(empty, tf.constant(_EMPTY, tf.float64), best)
    whole = Branch(known, branch.signs, *kept)
    place = _place(network, region, rows, bounds, whole, last)
    return Bounded(whole, best, place, image, margin)


def _tightened(network: Network, region: Region, known: Known) -> tuple[Known, tf.Tensor]:
    """The bounds before each activation, computed again backwards in the branch; and whether the branch is empty."""
    known, empty = dict(known), tf.constant(False)
    behind = behind_activations(network)
    for number in before_activations(network):
        node = network.nodes[number]
        bounds = propagate(network, region, known, number)
        low, high = (tf.reshape(end, [-1, node.size]) for end in (bounds.low[number], bounds.high[number]))
        if number in behind:
            open_ones = tf.cast(is_open(low, high), tf.int32)
            most = tf.reduce_max(tf.reduce_sum(open_ones, 1))
            chosen = tf.math.top_k(open_ones, most).indices
            low, high = replaced(low, high, chosen, *rows_bounds(network, number, bounds, region, chosen))
        empty = empty | tf.reduce_any(low > high, 1)
        # An empty branch is answered by that; its numbers only have to stay numbers.
        shape = [-1, *node.shape]
        known[number] = (tf.reshape(tf.minimum(low, high), shape), tf.reshape(tf.maximum(low, high), shape))
    return known, empty


def _place(network: Network, region: Region, rows: tf.Tensor, bounds: Bounds, branch: Branch, last: Pass) -> tf.Tensor:
    """The ReLU to split: of the few with the highest scores the one whose halves have the best bounds.

    Filtered smart branching (arXiv:2104.06718): both halves of each candidate are bounded in one pass, with the lines
    of the branch; the gains of the two halves, as far as they are needed, are multiplied.
    """
    scores = [
        tf.reshape(_score(network, a, last, branch.known), [-1, network.nodes[a].size]) for a in network.activations
    ]
    joined = tf.concat(scores, 1)
    count = min(_CANDIDATES, int(joined.shape[1]))
    score, place = tf.math.top_k(joined, count)
    lines, start = {}, 0
    for number in network.activations:
        node = network.node(number)
        low, high = (tf.reshape(end, [-1, 1, node.size]) for end in branch.known[node.inputs[0]])
        here = tf.one_hot(place - start, node.size, on_value=True, off_value=False, dtype=tf.bool)
        lower, upper = tf.where(here, tf.maximum(low, 0.0), low), tf.where(here, tf.minimum(high, 0.0), high)
        shape = [-1, 2 * count, *node.shape]
        low = tf.reshape(tf.concat([tf.repeat(low, count, 1), lower], 1), shape)
        high = tf.reshape(tf.concat([upper, tf.repeat(high, count, 1)], 1), shape)
        lines[number] = relax(node, low, high, branch.alphas[number][:, None])
        start += node.size
    forces = {number: (m * branch.signs[number])[:, None] for number, m in branch.multipliers.items()}
    tiled = tf.repeat(rows, 2 * count, 1)
    halves = lower_bound(network, network.output, tiled, bounds, region, None, forces, lines).bound
    inactive, active = tf.split(tf.maximum(tf.minimum(halves, 0.0) - last.bound, _LEAST_GAIN), 2, 1)
    best = tf.argmax(tf.where(score > 0, inactive * active, tf.zeros_like(score)), 1)
    chosen = tf.gather(place, best, axis=1, batch_dims=1)
    return tf.where(score[:, 0] > 0, chosen, -1)


def _score(network: Network, number: int, last: Pass, known: Known) -> tf.Tensor:
    """``(n, *shape)``: how much an open ReLU's lines may cost the bound (BaBSR, arXiv:1909.06588).

    That is its intercept, and half of the widest gap above its lower line.
    """
    low, high = known[network.node(number).inputs[0]]
    slope = network.node(number).slope
    gap = (1 - slope) * high * -low / (high - low + 1e-30)
    given = last.inward[number][:, 0]
    cost = tf.maximum(-given, 0.0) * gap + tf.maximum(given, 0.0) * (1 - slope) * tf.minimum(high, -low) / 2
    return tf.where(is_open(low, high), cost + 1e-12, tf.zeros_like(cost))


def _attacked(
    network: Network, region: Region, coefficients: tf.Tensor, image: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A few steps of descent on the margin from each image, with the steepest corner of the box; the best image."""
    shape = [-1, *network.nodes[0].shape]

    def margin(flat: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(coefficients * network.logits(tf.reshape(flat, shape)), 1)

    best, least = image, margin(image)
    for _ in range(_DESCENTS):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = margin(image)
        slope = tape.gradient(value, image)
        moved = image + 0.5 * (region.minimiser(slope) - image)
        image = moved
        value = margin(image)
        best = tf.where((value < least)[:, None], image, best)
        least = tf.minimum(value, least)
    return best, least


def _wide(flags: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.reshape(flags, [-1, *[1] * (like.shape.rank - 1)])
