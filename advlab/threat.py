"""What an attacker may do (the threat model), and how an attack is specified: plain data and its validation."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from advlab import renamed
from advlab.errors import InvalidValue, unknown
from advlab.validation import MOST, shown

DEFAULT_EPSILON = {"linf": 0.1, "l2": 1.5, "l1": 10.0, "l0": 20.0}
NORMS = (*DEFAULT_EPSILON, "none")
PRECISIONS = ("float32", "bfloat16")

Value = bool | int | float | str | None


@dataclass(frozen=True)
class ThreatModel:
    """The set of images an attacker may hand in, and what counts as success.

    ``norm`` is ``linf``, ``l2``, ``l1``, ``l0`` (image positions changed, over all channels) or ``none`` (any image
    in the box [0, 1]). ``epsilon`` is the radius in pixel units of a [0, 1] image, infinite where a method looks for
    the smallest perturbation. ``target`` is the class to reach; None counts any prediction other than the label.
    """

    norm: str = "linf"
    epsilon: float = 0.1
    target: int | None = None

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
            _require_int(self, "target", 0)


@dataclass(frozen=True)
class Attack:
    """A method with its threat model and settings: everything that the result depends on besides model and images.

    ``parameters`` holds every parameter of the method; ``overrides`` names those that differ from its defaults.
    ``code`` distinguishes versions of a user's own method.
    With ``early_stop`` each sample ends at its first success (of a minimal method: instead of the nearest one); without
    it a bounded method returns the success of highest loss.
    """

    method: str
    threat: ThreatModel
    parameters: Mapping[str, Value] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    seed: int = 0
    restarts: int = 1
    early_stop: bool = False
    precision: str = "float32"
    code: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.early_stop, bool):
            raise InvalidValue(f"early_stop must be True or False. Got {self.early_stop!r}.")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        _require_int(self, "restarts", 1)
        _require_int(self, "seed", 0, 2**64)

    @property
    def slug(self) -> str:
        """A short file name: ``pgd-linf-0.1`` plus whatever is not the default; hashed above 60 characters."""
        threat = self.threat
        parts = [self.method, threat.norm]
        if math.isfinite(threat.epsilon):
            parts.append(f"{threat.epsilon:.6g}")
        parts += [f"{name}={_format(self.parameters[name])}" for name in sorted(self.overrides)]
        if threat.target is not None:
            parts.append(f"target={threat.target}")
        parts += [f"{name}={value}" for name, value, default in self._run_settings() if value != default]
        slug = "-".join(parts)
        if len(slug) > 60:
            import hashlib

            slug = f"{slug[:51]}-{hashlib.sha256(slug.encode()).hexdigest()[:8]}"
        return slug

    @property
    def variant(self) -> str:
        """The method and what is not its default, apart from threat and early stopping: ``apgd loss=dlr``."""
        parts = [f"{name}={_format(self.parameters[name])}" for name in sorted(self.overrides)]
        run_settings = [
            f"{name}={value}"
            for name, value, default in self._run_settings()
            if value != default and name != "early_stop"
        ]
        return " ".join([self.method, *parts, *run_settings])

    def _run_settings(self) -> list[tuple[str, Value, Value]]:
        """Name, value and default of each setting apart from threat model and parameters."""
        return [
            ("restarts", self.restarts, 1),
            ("seed", self.seed, 0),
            ("early_stop", self.early_stop, False),
            ("precision", self.precision, "float32"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; an infinite epsilon is null."""
        threat = self.threat
        epsilon = threat.epsilon if math.isfinite(threat.epsilon) else None
        return {
            "method": self.method,
            "norm": threat.norm,
            "epsilon": epsilon,
            "target": threat.target,
            "parameters": dict(self.parameters),
            "overrides": list(self.overrides),
            "seed": self.seed,
            "restarts": self.restarts,
            "early_stop": self.early_stop,
            "precision": self.precision,
            "code": self.code,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attack:
        """The inverse of ``to_dict``, also of an earlier version's."""
        fields = renamed.attack_fields(data["method"], data)
        epsilon = fields.pop("epsilon")
        threat = ThreatModel(fields.pop("norm"), math.inf if epsilon is None else epsilon, fields.pop("target"))
        return cls(threat=threat, **{**fields, "overrides": tuple(fields["overrides"])})


def parse_norm(norm: str | float) -> str:
    """``linf``, ``l2``, ``l1``, ``l0`` or ``none``, from that or other spellings: ``Linf``, ``L2``, ``inf``, ``2``."""
    text = str(norm).lower().replace("_", "").replace("-", "").removesuffix(".0")
    return next((name for name in NORMS if text in (name, name.removeprefix("l"))), str(norm))


def parse_epsilon(text: str) -> float:
    """The number in ``"0.1"`` or ``"8/255"``."""
    try:
        numerator, _, denominator = text.partition("/")
        return float(numerator) / (float(denominator) if denominator else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InvalidValue(f"epsilon must be a number such as 0.1 or 8/255. Got '{text}'.") from None


def _require_int(instance: ThreatModel | Attack, name: str, low: int, high: int = MOST + 1) -> None:
    """Require an int, which may be NumPy's, and store it as Python's own."""
    value = getattr(instance, name)
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value < high:
        top = "2**64)" if high == 2**64 else f"{high - 1}]"
        raise InvalidValue(f"{name} must be an int in the range [{low}, {top}. Got {shown(value)}.")
    object.__setattr__(instance, name, operator.index(value))


def _format(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
