"""Certified training, as a recipe declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advlab.errors import InvalidValue
from advlab.threat import parse_epsilon, parse_norm
from advlab.validation import invalid, require_choice, require_fraction, require_int

CERTIFIED_NORMS = ("linf", "l0")


@dataclass(frozen=True)
class Certified:
    """Certified training by interval bounds: what is lowered is the loss of the worst logits that bounds allow.

    With norm ``linf`` ``epsilon`` is in pixel units, a number or text such as ``8/255``; with ``l0`` it is the number
    of words of a text that may be replaced by neighbours (Jia et al. 2019, arXiv:1909.00986). For ``warmup_epochs``
    training is plain; over the next ``ramp_epochs`` epsilon, of texts the box of all replacements, grows from 0, and
    the share of the plain loss falls from 1 to ``clean_weight`` (IBP: Gowal et al. 2018, arXiv:1810.12715). Kernels
    begin at a spread at which bounds neither grow nor shrink from layer to layer (Shi et al. 2021, arXiv:2103.17268).
    With ``train_epsilon`` the bounds of training are those of a larger ball: at 0.3 networks of MNIST prove more when
    they are trained at 0.4 (Gowal et al.). After each epoch the share of the first ``validation_images`` validation
    images that interval bounds prove at ``epsilon`` is measured.
    """

    epsilon: float
    warmup_epochs: int = 1
    ramp_epochs: int = 20
    clean_weight: float = 0.0
    train_epsilon: float | None = None
    validation_images: int = 1000
    norm: str = "linf"

    def __post_init__(self) -> None:
        key = "training.certified"
        object.__setattr__(self, "norm", parse_norm(self.norm))
        require_choice(f"{key}.norm", self.norm, CERTIFIED_NORMS)
        object.__setattr__(self, "epsilon", self._parse_epsilon(f"{key}.epsilon", self.epsilon))
        if self.train_epsilon is not None:
            if self.norm != "linf":
                raise InvalidValue(f"{key}.train_epsilon is for norm 'linf'. Got '{self.norm}'. Leave it out.")
            object.__setattr__(self, "train_epsilon", self._parse_epsilon(f"{key}.train_epsilon", self.train_epsilon))
            if self.train_epsilon < self.epsilon:
                raise invalid(f"{key}.train_epsilon", self.train_epsilon, f"at least epsilon, {self.epsilon:g}")
        require_int(f"{key}.warmup_epochs", self.warmup_epochs, 0)
        require_int(f"{key}.ramp_epochs", self.ramp_epochs, 1)
        require_fraction(f"{key}.clean_weight", self.clean_weight)
        require_int(f"{key}.validation_images", self.validation_images, 1)

    def _parse_epsilon(self, key: str, value: float | str) -> float:
        try:
            epsilon = parse_epsilon(value) or 0.0
        except InvalidValue:
            epsilon = math.nan
        if self.norm == "l0" and not (epsilon >= 1 and epsilon.is_integer()):
            raise invalid(key, value, "a whole number of words, 1 or more, with norm 'l0'")
        if self.norm == "linf" and not 0 < epsilon <= 1:
            raise invalid(key, value, 'a number above 0 and at most 1, such as 0.1 or "8/255"')
        return epsilon
