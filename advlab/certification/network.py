"""A Keras classifier as a piecewise network: affine maps and increasing activations between image and logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import tensorflow as tf

from advlab.certification.nodes import Activation, Linear, Node

ROUNDING = 2.0**-53  # the relative error of one operation in float64
ROUNDING32 = 2.0**-24  # and in float32


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in an order in which each comes after its inputs: the first is the image, the last gives the ``k`` logits.

    Its weights are the classifier's float32 numbers, taken as exact real numbers and held in float64. ``compiled``
    keeps the functions that were traced for it.
    """

    nodes: tuple[Node, ...]
    compiled: dict[Any, Callable[..., Any]] = field(default_factory=dict)

    @property
    def output(self) -> int:
        """The number of the node of the logits."""
        return len(self.nodes) - 1

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.nodes[-1].size

    @cached_property
    def activations(self) -> tuple[int, ...]:
        """The numbers of the nodes that are not affine, in order."""
        return tuple(number for number, node in enumerate(self.nodes) if isinstance(node, Activation))

    @property
    def piecewise_linear(self) -> bool:
        """Whether it has activations, all of two linear pieces, which branch and bound can tell apart."""
        return bool(self.activations) and all(self.node(number).function == "relu" for number in self.activations)

    def node(self, number: int) -> Activation:
        """The activation of that number."""
        node = self.nodes[number]
        if not isinstance(node, Activation):
            raise TypeError(f"Node {number} is not an activation.")
        return node

    @cached_property
    def gamma(self) -> float:
        """A bound on the relative rounding error of any sum that the bounds compute, in float64.

        A sum of m products computed in any order is off by at most m u / (1 - m u) of the sum of their absolute values
        (N. J. Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). m is here the most terms that any
        node adds up, forwards or backwards, plus a few for the relaxation; the factor 4 covers the rounding of the
        error terms themselves and of sums over nodes.
        """
        return 4 * (self._terms + 2 * len(self.nodes) + 64) * ROUNDING

    @cached_property
    def _terms(self) -> int:
        forwards = [node.terms for node in self.nodes if isinstance(node, Linear)]
        return max([*forwards, *(node.size for node in self.nodes)])

    def values(self, x: tf.Tensor) -> list[tf.Tensor]:
        """The value of every node, float64, for images ``(n, h, w, c)``."""
        values = [tf.cast(x, tf.float64)]
        for node in self.nodes[1:]:
            given = [values[number] for number in node.inputs]
            values.append(node.apply(given))
        return values

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """float64 ``(n, k)`` from images ``(n, h, w, c)``."""
        return self.values(x)[-1]
