"""The adversary of adversarial training, as a recipe declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advlab.declarations.methods import method_names
from advlab.errors import InvalidValue
from advlab.threat import parse_epsilon, parse_norm
from advlab.validation import invalid, is_number, require_choice, require_int

ADVERSARY_NORMS = ("linf", "l2")
# Method of an adversary: its steps, and the relative step size of its authors.
ADVERSARIES = {"fgsm-rs": (1, 1.25), "n-fgsm": (1, 1.0), "pgd": (10, 2.5), "trades": (10, 2.5)}


@dataclass(frozen=True)
class Adversary:
    """Adversarial training: every batch is replaced, inside the train step, by adversarial examples against it.

    ``method`` is ``fgsm-rs`` (one step of 1.25 epsilon from a random start; Wong et al. 2020, arXiv:2001.03994),
    ``n-fgsm`` (one step from noise of twice epsilon, not projected back, so up to 3 epsilon away; de Jorge et al. 2022,
    arXiv:2202.01181; Linf only), ``pgd`` (Madry et al. 2017, arXiv:1706.06083) or ``trades`` (the loss of the clean
    images plus ``beta`` times how far the predictions on the adversarial ones diverge from it; Zhang et al. 2019,
    arXiv:1901.08573). ``epsilon`` is in pixel units, a number or text such as ``8/255``; ``relative_step_size`` is in
    units of epsilon / steps. None: the method's own, and for ``beta`` 6, which only ``trades`` takes.
    Over the first ``warmup_epochs`` epsilon grows from 0, without which small networks may not begin to learn.
    After each epoch PGD with ``validation_steps`` steps attacks the first ``validation_images`` validation images.
    """

    method: str
    epsilon: float
    norm: str = "linf"
    steps: int | None = None
    relative_step_size: float | None = None
    beta: float | None = None
    warmup_epochs: int = 0
    validation_images: int = 256
    validation_steps: int = 10

    def __post_init__(self) -> None:
        key = "training.adversary"
        if self.method not in ADVERSARIES and self.method in method_names():
            raise InvalidValue(
                f"{key}.method '{self.method}' is a method of attacks that cannot run inside a train step. "
                f"Use one of {', '.join(ADVERSARIES)}."
            )
        require_choice(f"{key}.method", self.method, tuple(ADVERSARIES))
        object.__setattr__(self, "norm", parse_norm(self.norm))
        require_choice(f"{key}.norm", self.norm, ADVERSARY_NORMS)
        if self.method == "n-fgsm" and self.norm != "linf":
            raise InvalidValue(f"{key}.norm must be 'linf' with method 'n-fgsm'. Got '{self.norm}'. Use 'fgsm-rs'.")
        object.__setattr__(self, "epsilon", self._parse_epsilon(f"{key}.epsilon"))
        own_steps, own_size = ADVERSARIES[self.method]
        steps = own_steps if self.steps is None else self.steps
        require_int(f"{key}.steps", steps, 1)
        if own_steps == 1 and steps != 1:
            raise InvalidValue(f"{key}.steps must be 1 with method '{self.method}'. Got {steps}. Use 'pgd'.")
        size = own_size if self.relative_step_size is None else self.relative_step_size
        if not (is_number(size) and 0 < size < math.inf):
            raise invalid(f"{key}.relative_step_size", size, "a number above 0")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "relative_step_size", size)
        if self.method == "trades":
            beta = 6.0 if self.beta is None else self.beta
            object.__setattr__(self, "beta", beta)
            if not (is_number(beta) and 0 <= beta < math.inf):
                raise invalid(f"{key}.beta", beta, "a float in the range [0, inf)")
        elif self.beta is not None:
            raise InvalidValue(f"{key}.beta belongs to method 'trades', not to '{self.method}'. Leave it out.")
        require_int(f"{key}.warmup_epochs", self.warmup_epochs, 0)
        require_int(f"{key}.validation_images", self.validation_images, 1)
        require_int(f"{key}.validation_steps", self.validation_steps, 1)

    @property
    def schedule(self) -> tuple[int, float]:
        """Steps, and the relative step size."""
        own_steps, own_size = ADVERSARIES[self.method]
        return self.steps or own_steps, self.relative_step_size or own_size

    def _parse_epsilon(self, key: str) -> float:
        try:
            epsilon = parse_epsilon(self.epsilon) or 0.0
        except InvalidValue:
            epsilon = math.nan
        if not 0 < epsilon < math.inf:
            raise invalid(key, self.epsilon, 'a number above 0, such as 0.1 or "8/255"')
        if self.norm == "linf" and epsilon > 1:
            raise InvalidValue(
                f"{key} must be at most 1 with norm 'linf', since pixels lie in [0, 1]. Got {epsilon:g}. "
                f'If it counts steps of 0-255 pixels, write "{epsilon:g}/255".'
            )
        return epsilon
