"""What an attacker may do: the threat model, plain data and its validation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from advlab.errors import InvalidValue, unknown
from advlab.validation import as_int, shown

DEFAULT_EPSILON = {"linf": 0.1, "l2": 1.5, "l1": 10.0, "l0": 20.0}
NORMS = (*DEFAULT_EPSILON, "none")
NAMED_TARGETS = ("least-likely", "random")  # a class for each image, chosen by the clean prediction or by the seed
GIVEN = "array"

Value = bool | int | float | str | None


@dataclass(frozen=True)
class ThreatModel:
    """The set of images an attacker may hand in, and what counts as success.

    ``norm`` is ``linf``, ``l2``, ``l1``, ``l0`` (image positions changed, over all channels) or ``none`` (any image
    in the box [0, 1]). ``epsilon`` is the radius in pixel units of a [0, 1] image, infinite where a method looks for
    the smallest perturbation, and the largest where each image has its own. ``target`` is the class to reach; None
    counts any prediction other than the label. ``targets`` says how the class of each image was chosen instead:
    ``least-likely``, ``random``, or ``array`` where the user did. ``per_image`` is the digest of what was given for
    each image, masks, epsilons and targets (``results.per_image``); empty for none. Of a union ``any_of`` has the
    threat models, each with a ball; the images of any of them count, so that ``norm`` is ``none`` and ``epsilon``
    infinite. Without a target an image counts as classified correctly while its label is among the ``top`` likeliest
    classes.
    """

    norm: str = "linf"
    epsilon: float = 0.1
    target: int | None = None
    targets: str = ""
    per_image: str = ""
    any_of: tuple[ThreatModel, ...] = ()
    top: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", parse_norm(self.norm))
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)
        if math.isnan(self.epsilon) or self.epsilon < 0:
            raise InvalidValue(
                f"epsilon must be a float in the range [0, inf). Got {self.epsilon:g}. Try epsilon=0.1 or 8/255."
            )
        if self.norm == "linf" and 1 < self.epsilon < math.inf:
            raise InvalidValue(
                f"epsilon must be at most 1 with norm 'linf', since pixels lie in [0, 1]. Got {self.epsilon:g}. "
                f"If it counts steps of 0-255 pixels, write {self.epsilon:g}/255."
            )
        if self.norm == "l0" and math.isfinite(self.epsilon) and self.epsilon != int(self.epsilon):
            raise InvalidValue(
                f"epsilon must be an int with norm 'l0', where it counts image positions. Got {self.epsilon:g}. "
                f"Try epsilon={math.ceil(self.epsilon)}."
            )
        if self.target is not None:
            object.__setattr__(self, "target", as_int("target", self.target, 0))
        if self.targets not in ("", GIVEN, *NAMED_TARGETS):
            raise unknown("target", self.targets, NAMED_TARGETS, "A class is given by its number.")
        object.__setattr__(self, "top", as_int("top", self.top, 1))
        if self.top > 1 and self.targeted:
            raise InvalidValue(
                f"A target must come first; top counts where any wrong class does. Got top={self.top} and a target; "
                "leave one of them out."
            )

    @property
    def targeted(self) -> bool:
        """Whether one class counts, of all images or of each."""
        return self.target is not None or bool(self.targets)

    @classmethod
    def union(cls, threats: Iterable[ThreatModel]) -> ThreatModel:
        """What an attacker may do who chooses one of several threat models for each image."""
        return cls("none", math.inf, any_of=tuple(threats))

    @property
    def text(self) -> str:
        """Norm and epsilon as people write them: ``linf 0.1``, ``l2`` (any size), ``linf 0.1 or l2 1.5``."""
        if self.any_of:
            return " or ".join(threat.text for threat in self.any_of)
        return f"{self.norm} {self.epsilon_text}" if math.isfinite(self.epsilon) else self.norm

    def accepts(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """bool ``(n,)``: the label is among the ``top`` likeliest of ``(n, k)``; of equal ones the first count."""
        if self.top == 1:
            return np.asarray(probabilities.argmax(1) == labels)
        own = np.take_along_axis(probabilities, labels[:, None], 1)
        is_before = np.arange(probabilities.shape[1]) < labels[:, None]
        return np.asarray(((probabilities > own) | ((probabilities == own) & is_before)).sum(1) < self.top)

    @property
    def epsilon_text(self) -> str:
        """Epsilon as people write it: ``0.1``, ``8/255``; six digits where it is neither."""
        short, levels = f"{self.epsilon:.4g}", self.epsilon * 255
        if not math.isfinite(levels) or float(short) == self.epsilon:
            return short
        return f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-9 else f"{self.epsilon:.6g}"


def parse_norm(norm: str | float) -> str:
    """``linf``, ``l2``, ``l1``, ``l0`` or ``none``, from that or other spellings: ``Linf``, ``L2``, ``inf``, ``2``."""
    text = str(norm).lower().replace("_", "").replace("-", "").removesuffix(".0")
    return next((name for name in NORMS if text in (name, name.removeprefix("l"))), str(norm))


def parse_epsilon(epsilon: float | str | None) -> float | None:
    """The number in ``0.1``, ``"0.1"`` or ``"8/255"``; None stays None."""
    if epsilon is None:
        return None
    try:
        if isinstance(epsilon, str):
            numerator, _, denominator = epsilon.partition("/")
            return float(numerator) / (float(denominator) if denominator else 1.0)
        if not isinstance(epsilon, bool):
            return float(epsilon)
    except (OverflowError, TypeError, ValueError, ZeroDivisionError):
        pass
    raise InvalidValue(f"epsilon must be a number such as 0.1 or 8/255. Got {shown(epsilon)}.")
