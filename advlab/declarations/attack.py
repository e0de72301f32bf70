"""How an attack is specified: a method with its threat model and settings, checked before any work."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from advlab import renamed
from advlab.declarations.methods import Method, code_of, describe, load_method
from advlab.errors import InvalidFile, InvalidValue, in_words, unknown
from advlab.threat import DEFAULT_EPSILON, NORMS, ThreatModel, Value, parse_epsilon, parse_norm
from advlab.validation import as_int, invalid

PRECISIONS = ("float32", "bfloat16")
IDENTITY = "identity"
STAND_INS = (IDENTITY, "smoothed")


@dataclass(frozen=True, init=False)
class Attack:
    """A method with its threat model and settings: all that a result depends on besides the classifier and the images.

    Attributes:
        method: The name of the method.
        threat: Norm, epsilon and target.
        goal: ``bounded`` (the worst image within epsilon) or ``minimal`` (the nearest adversarial example).
        parameters: Every parameter of the method, with its value.
        overrides: The names of those that differ from the defaults of the method.
        seed: Of all random draws.
        restarts: Attacks on each image, each from a random start of its own; the best counts.
        early_stop: Each image ends at its first success (of a minimal method: instead of its nearest).
        precision: Of gradients, ``float32`` or ``bfloat16``; success is verified in float32.
        passes: Of a random classifier, so many are averaged in each query.
        loss: A user's own, raised in place of the method's; empty for the method's. An archive has its name.
        backward: Layer -> what its gradient is taken from: ``identity``, ``smoothed`` or a function. An archive has
            their names.
        code: Distinguishes versions of a user's own functions by their source, not by the values that they refer to,
            and of a file of ``vectors`` by its content.
        craft: A user's own method, None for those of advlab.
    """

    method: str
    threat: ThreatModel
    goal: str
    parameters: Mapping[str, Value]
    overrides: tuple[str, ...]
    seed: int
    restarts: int
    early_stop: bool
    precision: str
    passes: int
    loss: str | Callable[..., Any]
    backward: Mapping[str, str | Callable[..., Any]]
    code: str
    craft: Callable[..., Any] | None = field(repr=False, compare=False)

    def __init__(
        self,
        method: str | Callable[..., Any] = "fgsm",
        *,
        norm: str | float | None = None,
        epsilon: float | str | None = None,
        target: int | str | None = None,
        top: int = 1,
        seed: int = 0,
        restarts: int = 1,
        early_stop: bool = False,
        precision: str = "float32",
        passes: int = 1,
        loss: str | Callable[..., Any] | None = None,
        backward: Mapping[str, str | Callable[..., Any]] | None = None,
        **parameters: Any,
    ):
        """Specify an attack.

        Args:
            method: A name, see ``advlab.available("methods")``, or a function ``craft(problem, *, ...)``.
            norm: ``linf``, ``l2``, ``l1``, ``l0`` or ``none``; also ``np.inf``, ``2`` or ``"Linf"``. None: the method's
                first.
            epsilon: In pixel units of a [0, 1] image, such as 0.1 or ``"8/255"``; not for a minimal method. None: linf
                0.1, l2 1.5, l1 10, l0 20.
            target: The class to reach, counted from 0; or for each image the ``"least-likely"`` or a ``"random"``
                wrong one. None: any wrong class.
            top: Without a target an image is misclassified where its label is not among so many likeliest classes.
            seed: Of all random draws, in [0, 2**64).
            restarts: Attacks on each image.
            early_stop: Whether each image ends at its first success.
            precision: ``float32`` or ``bfloat16``.
            passes: Forward (and backward) passes that each query averages: the expectation over what a random
                classifier draws (EOT, arXiv:1707.07397).
            loss: A TensorFlow function ``(logits, labels)`` -> float32 ``(n,)`` to raise in place of the loss of a
                bounded method; logits float32 ``(n, k)``, labels int32 ``(n,)``. With a target, or a class to aim at,
                it is given that class as the label, and lowered. A name is the method's own parameter ``loss``.
            backward: Name of a layer -> what its gradient is taken from (BPDA, arXiv:1802.00420): ``identity``,
                ``smoothed`` (its slopes, measured) or a function of its inputs. What it outputs stays as it is.
            **parameters: Those of the method, such as ``steps=100``.

        Raises:
            UnknownName: For a method, norm or parameter that does not exist.
            InvalidValue: For a value out of range.
        """
        declaration = load_method(method) if isinstance(method, str) else describe(method)
        own_loss = loss if callable(loss) else ""
        resolved = declaration.resolve(parameters if own_loss or loss is None else {**parameters, "loss": loss})
        if not declaration.native and (own_loss or passes != 1):
            raise InvalidValue(
                f"Method '{declaration.name}' runs in another library, with its own loss and one pass for each query. "
                f"Got {'loss' if own_loss else 'passes'}; leave it out, or choose a method such as 'pgd'."
            )
        if own_loss and declaration.goal == "minimal":
            raise InvalidValue(
                f"Method '{declaration.name}' looks for the boundary between classes, and its loss is what tells where "
                f"that lies. Got the loss '{_name(own_loss)}'; choose a bounded method, such as 'pgd'."
            )
        if own_loss:
            resolved.pop("loss", None)
        stand_ins = _stand_ins({} if backward is None else backward)
        functions = [f for f in (method, own_loss, *stand_ins.values()) if callable(f)]
        self._set(
            method=declaration.name,
            threat=_threat(declaration, norm, epsilon, target, top),
            goal=declaration.goal,
            parameters=resolved,
            overrides=tuple(sorted(n for n in resolved if resolved[n] != declaration.parameters[n])),
            seed=seed,
            restarts=restarts,
            early_stop=early_stop,
            precision=precision,
            passes=passes,
            loss=own_loss,
            backward=stand_ins,
            code=_code(functions, resolved),
            craft=None if isinstance(method, str) else method,
        )

    @classmethod
    def from_settings(
        cls, method: str | Callable[..., Any], parameters: Mapping[str, Any] | None = None, **settings: Any
    ) -> Attack:
        """The same from a table of parameters, which may carry any name, as those of a command line or a file do.

        Raises ``UnknownName`` where a parameter bears the name of a setting, such as ``norm``.
        """
        named = sorted(set(parameters or {}) & _SETTINGS)
        if named:
            raise unknown("parameter", named[0], (), f"'{named[0]}' is a setting of its own; give it outside of these.")
        return cls(method, **settings, **(parameters or {}))

    @classmethod
    def recorded(cls, method: str, threat: ThreatModel, goal: str, **fields: Any) -> Attack:
        """What was run, by a method that need not exist here: another program's, or several attacks joined."""
        defaults = {
            "parameters": {},
            "overrides": (),
            "seed": 0,
            "restarts": 1,
            "early_stop": False,
            "precision": "float32",
            "passes": 1,
            "loss": "",
            "backward": {},
            "code": "",
            "craft": None,
        }
        attack = cls.__new__(cls)
        attack._set(method=method, threat=threat, goal=goal, **{**defaults, **fields})
        return attack

    def replace(self, **changes: Any) -> Attack:
        """The same with other values of some attributes."""
        attack = copy.copy(self)
        attack._set(**{f.name: changes.get(f.name, getattr(self, f.name)) for f in fields(self)})
        return attack

    def with_backward(self, backward: Mapping[str, str | Callable[..., Any]]) -> Attack:
        """The same with these stand-ins for layers, and with a code that tells versions of them apart."""
        stand_ins = _stand_ins(backward)
        functions = [f for f in (self.craft, self.loss, *stand_ins.values()) if callable(f)]
        return self.replace(backward=stand_ins, code=_code(functions, self.parameters))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.early_stop, bool):
            raise InvalidValue(f"early_stop must be True or False. Got {self.early_stop!r}.")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "passes", as_int("passes", self.passes, 1))
        object.__setattr__(self, "restarts", as_int("restarts", self.restarts, 1))
        object.__setattr__(self, "seed", as_int("seed", self.seed, 0, 2**64 - 1))

    @property
    def loss_function(self) -> Callable[..., Any] | None:
        """The user's own loss; None where there is none, or only its name is known."""
        return None if isinstance(self.loss, str) else self.loss

    @property
    def slug(self) -> str:
        """A short file name: ``pgd-linf-0.1`` plus whatever is not the default; hashed above 60 characters."""
        threat = self.threat
        parts = [self.method, *threat.text.split()]
        parts += [f"{name}={_format(self.parameters[name])}" for name in sorted(self.overrides)]
        if threat.targeted:
            parts.append(f"target={threat.targets if threat.target is None else threat.target}")
        if threat.top > 1:
            parts.append(f"top={threat.top}")
        if threat.per_image:
            parts.append(f"per-image={threat.per_image[:8]}")
        parts += [f"{name}={value}" for name, value, default in self._run_settings() if value != default]
        slug = "-".join(parts)
        if len(slug) > 60:
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
            ("passes", self.passes, 1),
            ("loss", _name(self.loss), ""),
            *((f"backward.{layer}", _name(stand_in), "") for layer, stand_in in sorted(self.backward.items())),
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; an infinite epsilon is null."""
        threat = self.threat
        return {
            "method": self.method,
            "goal": self.goal,
            "norm": threat.norm,
            "epsilon": threat.epsilon if math.isfinite(threat.epsilon) else None,
            "target": threat.target,
            "targets": threat.targets or None,
            "per_image": threat.per_image or None,
            "any_of": [{"norm": ball.norm, "epsilon": ball.epsilon} for ball in threat.any_of],
            "top": threat.top,
            "parameters": dict(self.parameters),
            "overrides": list(self.overrides),
            "seed": self.seed,
            "restarts": self.restarts,
            "early_stop": self.early_stop,
            "precision": self.precision,
            "passes": self.passes,
            "loss": _name(self.loss),
            "backward": {layer: _name(stand_in) for layer, stand_in in self.backward.items()},
            "code": self.code,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attack:
        """The inverse of ``to_dict``, also of an earlier version's."""
        values = renamed.attack_fields(data["method"], data)
        epsilon = values.pop("epsilon")
        balls = tuple(ThreatModel(ball["norm"], ball["epsilon"]) for ball in values.pop("any_of", ()))
        threat = ThreatModel(
            values.pop("norm"),
            math.inf if epsilon is None else epsilon,
            values.pop("target"),
            values.pop("targets", None) or "",
            values.pop("per_image", None) or "",
            balls,
            values.pop("top", 1),
        )
        goal = values.pop("goal", "minimal" if math.isinf(threat.epsilon) and threat.norm != "none" else "bounded")
        return cls.recorded(values.pop("method"), threat, goal, **{**values, "overrides": tuple(values["overrides"])})


def _code(functions: Sequence[Callable[..., Any]], parameters: Mapping[str, Any]) -> str:
    path = parameters.get("vectors")
    if not path:
        return code_of(*functions)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InvalidFile(f"The file of vectors cannot be read: {in_words(error)}") from None
    return hashlib.sha256(code_of(*functions).encode() + content).hexdigest()[:8]


def _stand_ins(backward: Mapping[str, str | Callable[..., Any]]) -> dict[str, str | Callable[..., Any]]:
    """The same, in the order of the layers' names, once it is what it must be."""
    if not isinstance(backward, Mapping):
        raise invalid("backward", backward, "a mapping from names of layers, such as {'quantise': 'identity'}")
    for layer, stand_in in backward.items():
        if not callable(stand_in) and stand_in not in STAND_INS:
            raise invalid(
                f"The stand-in of layer '{layer}'", stand_in, "'identity', 'smoothed' or a function of its inputs"
            )
    return dict(sorted(backward.items()))


def _threat(
    declaration: Method, norm: str | float | None, epsilon: float | str | None, target: int | str | None, top: int
) -> ThreatModel:
    name, covered = declaration.name, declaration.norms
    chosen = covered[0] if norm is None else parse_norm(norm)
    if chosen not in covered:
        if chosen not in NORMS:
            raise unknown("norm", norm, covered)
        raise InvalidValue(f"Method '{name}' does not cover norm '{chosen}'. It covers: {', '.join(covered)}.")
    bounded = declaration.goal == "bounded" and chosen != "none"
    radius = parse_epsilon(epsilon)
    if radius is None:
        radius = DEFAULT_EPSILON[chosen] if bounded else math.inf
    elif declaration.goal == "minimal" and math.isfinite(radius):
        raise InvalidValue(
            f"Method '{name}' looks for the smallest perturbation and takes no epsilon. Got {radius:g}. "
            "Leave epsilon out; a bounded method such as 'pgd' takes one."
        )
    elif chosen == "none" and math.isfinite(radius):
        raise InvalidValue(
            f"Norm 'none' has no radius: any image in [0, 1] counts. Got epsilon {radius:g}; leave it out."
        )
    elif bounded and math.isinf(radius):
        raise InvalidValue(
            f"Method '{name}' needs a finite epsilon in the range [0, inf). Got {radius:g}. Try epsilon=0.1."
        )
    if isinstance(target, str):
        return ThreatModel(chosen, radius, targets=target, top=top)
    return ThreatModel(chosen, radius, target, top=top)


_SETTINGS = {"norm", "epsilon", "target", "top", "seed", "restarts", "early_stop", "precision", "passes", "backward"}
_SETTINGS |= {"method"}


def _name(function: str | Callable[..., Any]) -> str:
    return function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)


def _format(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
