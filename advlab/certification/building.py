"""The nodes of a network, added one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.certification.nodes import Activation, Dense, Gather, Input, Maximum, Node, Reshape, Scale, Shape, Sum


class Building:
    """The nodes so far, the first of them the image; each method adds what it is named for and returns its number.

    ``read`` makes a tensor of a weight; None: its present value, in float64.
    """

    def __init__(self, shape: Shape, read: Callable[[Any], tf.Tensor] | None = None):
        self.nodes: list[Node] = [Input((), shape)]
        self.read = read or _constant

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def dense(self, at: int, kernel: Any, bias: Any) -> int:
        weights = self.read(kernel)
        shift = tf.zeros(weights.shape[1], weights.dtype) if bias is None else self.read(bias)
        return self.add(Dense((at,), (*self.nodes[at].shape[:-1], int(weights.shape[1])), weights, shift))

    def scaled(self, at: int, factor: Any, shift: Any) -> int:
        shape = self.nodes[at].shape
        wide = [tf.broadcast_to(self.read(value), shape) for value in (factor, shift)]
        return self.add(Scale((at,), shape, *wide))

    def reshaped(self, at: int, shape: Shape) -> int:
        before = self.nodes[at].shape
        return at if before == shape else self.add(Reshape((at,), shape, before))

    def permuted(self, at: int, order: tuple[int, ...]) -> int:
        """The axes in another order."""
        before = self.nodes[at].shape
        positions = np.arange(math.prod(before)).reshape(before).transpose(order)
        return self.add(Gather((at,), positions.shape, before, tf.constant(positions.ravel(), tf.int32)))

    def pooled_maximum(self, at: int, window: Shape, strides: Shape, padding: str) -> int:
        """A maximum over windows, as maxima of pairs of gathered numbers."""
        before = self.nodes[at].shape
        places = windows(before, window, strides, padding)
        shape = (*places.shape[:2], before[2])
        # A place outside repeats another of its window: the maximum is the same.
        inside = np.where(places >= 0, places, places.max(2, keepdims=True))
        full = inside[..., None] * before[2] + np.arange(before[2])
        open_ones = [
            self.add(Gather((at,), shape, before, tf.constant(full[:, :, j].ravel(), tf.int32)))
            for j in range(full.shape[2])
        ]
        while len(open_ones) > 1:
            pairs = zip(open_ones[0::2], open_ones[1::2], strict=False)
            odd = open_ones[-1:] if len(open_ones) % 2 else []
            open_ones = [self.maximum(a, b, shape) for a, b in pairs] + odd
        return open_ones[0]

    def maximum(self, a: int, b: int, shape: Shape) -> int:
        above = self.add(Activation((self.add(Sum((a, b), shape, (1.0, -1.0))),), shape, "relu"))
        return self.add(Maximum((b, above), shape, (1.0, 1.0), (a, b)))


def windows(before: Shape, window: Shape, strides: Shape, padding: str) -> np.ndarray:
    """int ``(h', w', window)``: the flat position of each place of each window; -1 outside the image."""
    grid = np.arange(before[0] * before[1]).reshape(before[:2])
    if padding == "SAME":
        total = [max((math.ceil(b / s) - 1) * s + w - b, 0) for b, s, w in zip(before, strides, window, strict=False)]
        grid = np.pad(grid, [(t // 2, t - t // 2) for t in total], constant_values=-1)
    view = np.lib.stride_tricks.sliding_window_view(grid, window)[:: strides[0], :: strides[1]]
    return view.reshape(*view.shape[:2], -1)


def _constant(value: Any) -> tf.Tensor:
    return tf.constant(np.asarray(value, np.float64), tf.float64)
