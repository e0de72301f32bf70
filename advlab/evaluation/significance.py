"""Is a difference more than chance? McNemar's exact test, how many images it takes, and the binomial distribution."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from advlab.errors import InvalidValue

SIGNIFICANCE = 0.01  # p-value of the two-sided exact test below which a difference is not taken for chance
POINT = 0.01  # of all samples: a smaller difference does not count, however certain it is
_POWER = 7.85  # (1.960 + 0.842)^2: two-sided 5 % and 80 % power of the normal distribution


class McNemar(NamedTuple):
    """``only_first`` and ``only_second`` count the samples that hold in one of the two only (discordant pairs).

    ``discordant_fraction`` is their fraction of all; ``p_value`` in [0, 1] the chance of a difference as large as this
    or larger where the two do not differ; ``images_needed`` as the function of that name says, for one point.
    """

    only_first: int
    only_second: int
    discordant_fraction: float
    p_value: float
    images_needed: int


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two bool arrays ``(n,)``, such as correct or robust, of the same samples in one order.

    Under the null hypothesis a discordant pair goes to either side with probability 1/2; the p-value is that of the
    two-sided binomial test. Q. McNemar, Psychometrika 12 (1947), 153-157. Raises ``InvalidValue`` unless both are
    bool, of one length, and not empty.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.dtype != bool or second.dtype != bool or first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InvalidValue(
            f"McNemar's test compares two bool arrays (n,) of the same samples. Got {first.dtype} {first.shape} and "
            f"{second.dtype} {second.shape}. Give one True or False per sample in each, as 'evaluation.robust' has."
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = (only_first + only_second) / len(first)
    p_value = _binomial(only_first, only_second)
    return McNemar(only_first, only_second, discordant, p_value, images_needed(discordant))


def significantly_more(more: np.ndarray, less: np.ndarray) -> bool:
    """Whether the first, bool ``(n,)``, holds for more samples than the second, by a point and not by chance."""
    test = mcnemar(more, less)
    return test.only_first - test.only_second >= POINT * len(more) and test.p_value < SIGNIFICANCE


def images_needed(discordant: float, difference: float = 0.01) -> int:
    """How many images show a difference of two accuracies in four of five draws (80 % power) at the 5 % level.

    7.85 d / difference^2 with d the discordant fraction, which is never below the difference itself. Connett, Smith and
    McHugh, Statistics in Medicine 6 (1987), 53-59, where the difference is small against d. Raises ``InvalidValue``
    for fractions outside [0, 1] or a difference of zero.
    """
    if not 0 <= discordant <= 1:
        raise InvalidValue(f"discordant is a fraction and must lie in [0, 1]. Got {discordant:g}.")
    if not 0 < difference <= 1:
        raise InvalidValue(f"difference must lie in (0, 1]. Got {difference:g}. One point is 0.01.")
    # Rounded first: 7.85 * 0.1 / 0.01**2 is a hair above 7850.
    return math.ceil(round(_POWER * max(discordant, difference) / difference**2, 6))


def at_most(count: int, total: int, rate: float) -> float:
    """The probability in [0, 1] of at most ``count`` successes in ``total`` tries of probability ``rate`` in (0, 1)."""
    logarithms = (
        math.lgamma(total + 1)
        - math.lgamma(i + 1)
        - math.lgamma(total - i + 1)
        + i * math.log(rate)
        + (total - i) * math.log1p(-rate)
        for i in range(count + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logarithms)))


def _binomial(a: int, b: int) -> float:
    """Two-sided p-value of ``a`` against ``b`` at even odds, in integers and so exact and without overflow."""
    n = a + b
    term = tail = 1
    for i in range(1, min(a, b) + 1):
        term = term * (n - i + 1) // i
        tail += term
    return min(1.0, 2 * tail / 2**n)
