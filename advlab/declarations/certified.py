"""Certified training, as a recipe declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advlab.errors import InvalidValue
from advlab.threat import parse_epsilon
from advlab.validation import invalid, require_fraction, require_int


@dataclass(frozen=True)
class Certified:
    """Certified training by interval bounds: what is lowered is the loss of the worst logits that bounds allow (Linf).

    ``epsilon`` is in pixel units, a number or text such as ``8/255``. For ``warmup_epochs`` training is plain; over the
    next ``ramp_epochs`` epsilon grows from 0, and the share of the plain loss falls from 1 to ``clean_weight``
    (IBP: Gowal et al. 2018, arXiv:1810.12715). Kernels begin at a spread at which bounds neither grow nor shrink from
    layer to layer (Shi et al. 2021, arXiv:2103.17268). After each epoch the share of the first ``validation_images``
    validation images that interval bounds prove at ``epsilon`` is measured.
    """

    epsilon: float
    warmup_epochs: int = 1
    ramp_epochs: int = 20
    clean_weight: float = 0.0
    validation_images: int = 1000

    def __post_init__(self) -> None:
        key = "training.certified"
        try:
            epsilon = parse_epsilon(self.epsilon) or 0.0
        except InvalidValue:
            epsilon = math.nan
        if not 0 < epsilon <= 1:
            raise invalid(f"{key}.epsilon", self.epsilon, 'a number above 0 and at most 1, such as 0.1 or "8/255"')
        object.__setattr__(self, "epsilon", epsilon)
        require_int(f"{key}.warmup_epochs", self.warmup_epochs, 0)
        require_int(f"{key}.ramp_epochs", self.ramp_epochs, 1)
        require_fraction(f"{key}.clean_weight", self.clean_weight)
        require_int(f"{key}.validation_images", self.validation_images, 1)
