"""The least margin of one region as a mixed-integer program, solved by HiGHS (SciPy): exact up to its tolerances.

The formulation of Tjeng et al. (arXiv:1711.07356): a binary variable for each open ReLU, whose big-M constants are its
bounds. Without an open ReLU it is a linear program.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from scipy import optimize, sparse

from advlab.certification.crown import Known, before_activations
from advlab.certification.network import Network
from advlab.certification.nodes import Linear
from advlab.certification.region import Region

TOLERANCE = 1e-6  # HiGHS keeps constraints to within 1e-7; a margin below this is taken as zero
_INFEASIBLE = 2


def least_margin(
    network: Network, region: Region, coefficients: np.ndarray, known: Known
) -> tuple[float, np.ndarray | None]:
    """A lower bound of ``coefficients · logits`` over one region (Linf), and the image ``(d,)`` of the best solution.

    ``known`` bounds the input of each activation, one row; they are constraints too. The bound is the solver's dual
    bound less ``TOLERANCE`` (infinite where no image is in the region); the image is None where none was found.
    """
    size = network.nodes[0].size
    maps = _affine_maps(network)
    starts = np.cumsum([size, *(network.nodes[number].size for number in network.activations)])
    free = int(starts[-1])  # one number for each pixel and each activation; binaries follow
    rows: list[sparse.csr_matrix] = []
    lows: list[np.ndarray] = []
    highs: list[np.ndarray] = []

    ends = {number: [np.ravel(end) for end in known[number]] for number in before_activations(network)}
    open_ones = {a: np.flatnonzero((ends[s][0] < 0) & (ends[s][1] > 0)) for a, s in _sources(network).items()}
    width = free + sum(map(len, open_ones.values()))

    def add(matrix: sparse.spmatrix, low: np.ndarray | float, high: np.ndarray | float) -> None:
        count = matrix.shape[0]
        rows.append(sparse.csr_matrix(matrix))
        lows.append(np.broadcast_to(low, count).astype(np.float64))
        highs.append(np.broadcast_to(high, count).astype(np.float64))

    binary = free
    for place, (number, source) in enumerate(_sources(network).items()):
        slope, (low, high) = network.node(number).slope, ends[source]
        kernel, shift = maps[source]
        z = sparse.hstack([kernel, sparse.csr_matrix((kernel.shape[0], width - free))]).tocsr()
        y = sparse.eye(kernel.shape[0], width, k=int(starts[place])).tocsr()
        add(z, low - shift, high - shift)
        active, inactive, open_now = (
            np.flatnonzero(low >= 0),
            np.flatnonzero((high <= 0) & (low < 0)),
            open_ones[number],
        )
        add((y - z)[active], shift[active], shift[active])
        add((y - slope * z)[inactive], slope * shift[inactive], slope * shift[inactive])
        switch = sparse.eye(len(open_now), width, k=binary).tocsr()
        binary += len(open_now)
        y, z, shift, low, high = y[open_now], z[open_now], shift[open_now], low[open_now], high[open_now]
        add(y - z, shift, np.inf)
        add(y - slope * z, slope * shift, np.inf)
        # Active: y <= z. Inactive: y <= slope z. The other one of the two is loose by just what the bounds need.
        add(y - z - sparse.diags((1 - slope) * low) @ switch, -np.inf, shift - (1 - slope) * low)
        add(y - slope * z - sparse.diags((1 - slope) * high) @ switch, -np.inf, slope * shift)

    kernel, shift = maps[network.output]
    objective = np.concatenate([coefficients @ kernel.toarray(), np.zeros(width - free)])
    pixels = [np.ravel(end) for end in region.interval()]
    lower = np.concatenate([pixels[0], np.full(free - size, -np.inf), np.zeros(width - free)])
    upper = np.concatenate([pixels[1], np.full(free - size, np.inf), np.ones(width - free)])
    solved = optimize.milp(
        objective,
        integrality=np.arange(width) >= free,
        bounds=optimize.Bounds(lower, upper),
        constraints=optimize.LinearConstraint(sparse.vstack(rows).tocsc(), np.concatenate(lows), np.concatenate(highs)),
    )
    if solved.status == _INFEASIBLE:
        return math.inf, None
    least = solved.mip_dual_bound if width > free else solved.fun
    bound = -math.inf if least is None else float(least) + float(coefficients @ shift) - TOLERANCE
    return bound, None if solved.x is None else np.clip(solved.x[:size], *pixels)


def _sources(network: Network) -> dict[int, int]:
    """By number of an activation the number of the node that it takes."""
    return {number: network.nodes[number].inputs[0] for number in network.activations}


def _affine_maps(network: Network) -> dict[int, tuple[sparse.csr_matrix, np.ndarray]]:
    """By number of a node, matrix and shift of its value as a function of the image and the activations' values."""
    sizes = [network.nodes[0].size, *(network.nodes[number].size for number in network.activations)]
    basis = np.eye(sum(sizes) + 1, sum(sizes))  # the last row is zero: what is left is the shift
    parts = iter(np.split(basis, np.cumsum(sizes)[:-1], axis=1))
    values: list[tf.Tensor] = []
    for node in network.nodes:
        if isinstance(node, Linear):
            values.append(node.apply([values[source] for source in node.inputs]))
        else:
            values.append(tf.constant(next(parts).reshape(-1, *node.shape)))
    wanted = {*_sources(network).values(), network.output}
    flat = {number: values[number].numpy().reshape(len(basis), -1) for number in wanted}
    return {number: (sparse.csr_matrix((v[:-1] - v[-1]).T), v[-1]) for number, v in flat.items()}
