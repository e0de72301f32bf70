"""The adversary of adversarial training, as a recipe declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advlab.declarations.methods import method_names
from advlab.errors import InvalidValue
from advlab.threat import parse_epsilon, parse_norm
from advlab.validation import invalid, is_number, require_choice, require_fraction, require_int

ADVERSARY_NORMS = ("linf", "l2", "l0")
# Method of an adversary: its steps, and the relative step size of its authors.
ADVERSARIES = {
    "augment": (1, 1.0),
    "fgsm-rs": (1, 1.25),
    "n-fgsm": (1, 1.0),
    "pgd": (10, 2.5),
    "trades": (10, 2.5),
    "mart": (10, 2.5),
    "hotflip": (1, 1.0),
}
OF_TEXTS = ("hotflip", "augment")
_TRIES = 8  # of hotflip: a quarter of what the attack has, since it is paid for each word of each batch
_BETAS = {"trades": 6.0, "mart": 5.0}  # of their authors


@dataclass(frozen=True)
class Adversary:
    """Adversarial training: every batch is replaced, inside the train step, by adversarial examples against it.

    ``method`` is ``fgsm-rs`` (one step of 1.25 epsilon from a random start, which may leave [0, 1]; Wong et al. 2020,
    arXiv:2001.03994), ``n-fgsm`` (one step from noise of twice epsilon, not projected back, so up to 3 epsilon away; de
    Jorge et al. 2022, arXiv:2202.01181; Linf only), ``pgd`` (Madry et al. 2017, arXiv:1706.06083), ``trades`` (the loss
    of the clean images plus ``beta`` times how far the predictions on the adversarial ones diverge from it; Zhang et
    al. 2019, arXiv:1901.08573) or ``mart`` (the same with a boosted loss of the adversarial images, where images that
    the clean prediction is unsure of count more; Wang et al. 2020, openreview rklOg6EFwS). ``augment`` is the static
    defence of Strengthening Deep Neural Networks: the network is first trained plainly, FGSM images of the first
    ``augment_images`` training images are crafted on it once, and a new one is trained with them added; of texts they
    are those of ``hotflip``, the norm is ``l0``, and ``epsilon`` counts words. ``hotflip`` is for texts alone: of each
    text as many words as ``epsilon`` says are replaced one after the other by neighbours, the best of ``tries`` that
    the gradient proposes (Ebrahimi et al. 2018, arXiv:1712.06751); the neighbours are those by the network's own
    vectors, found anew before each epoch.
    ``epsilon`` is in pixel units, a number or text such as ``8/255``; ``relative_step_size`` is in units of
    epsilon / steps. None: the method's own, and for ``beta`` 6, of ``mart`` 5.
    ``weight_perturbation`` is the size, relative to the weights of each layer, of the adversarial perturbation of
    weights at which each gradient is taken, 0 for none; 0.005 is usual (AWP: Wu et al. 2020, arXiv:2004.05884).
    With ``recovery`` a single-step method that overfits catastrophically is not stopped: the next epoch goes on from
    the weights before, against PGD (as FastAdv+ of Li et al. 2020, arXiv:2006.03089).
    Over the first ``warmup_epochs`` epsilon grows from 0, without which small networks may not begin to learn.
    After each epoch PGD with ``validation_steps`` steps attacks the first ``validation_images`` validation images, and
    ``hotflip`` with all its tries where they are texts.
    """

    method: str
    epsilon: float
    norm: str = "linf"
    steps: int | None = None
    relative_step_size: float | None = None
    beta: float | None = None
    warmup_epochs: int = 0
    augment_images: int | None = None
    weight_perturbation: float = 0.0
    recovery: bool = False
    validation_images: int = 256
    validation_steps: int = 10
    tries: int | None = None

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
        if self.norm == "l0" and self.method not in OF_TEXTS:
            raise InvalidValue(
                f"{key}.norm 'l0' is for texts, with method 'hotflip' or 'augment'. Got '{self.method}'."
            )
        if self.norm != "l0" and self.method == "hotflip":
            raise InvalidValue(
                f"{key}.norm must be 'l0' with method 'hotflip', which replaces words. Got '{self.norm}'."
            )
        if self.method == "n-fgsm" and self.norm != "linf":
            raise InvalidValue(f"{key}.norm must be 'linf' with method 'n-fgsm'. Got '{self.norm}'. Use 'fgsm-rs'.")
        object.__setattr__(self, "epsilon", self._parse_epsilon(f"{key}.epsilon"))
        self._check_words(key)
        if self.method != "hotflip":
            self._set_schedule(key)
        if self.method in _BETAS:
            beta = _BETAS[self.method] if self.beta is None else self.beta
            object.__setattr__(self, "beta", beta)
            if not (is_number(beta) and 0 <= beta < math.inf):
                raise invalid(f"{key}.beta", beta, "a float in the range [0, inf)")
        elif self.beta is not None:
            raise InvalidValue(
                f"{key}.beta belongs to methods 'trades' and 'mart', not to '{self.method}'. Leave it out."
            )
        self._check_options(key)
        require_int(f"{key}.warmup_epochs", self.warmup_epochs, 0)
        require_int(f"{key}.validation_images", self.validation_images, 1)
        require_int(f"{key}.validation_steps", self.validation_steps, 1)

    def _set_schedule(self, key: str) -> None:
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

    @property
    def schedule(self) -> tuple[int, float]:
        """Steps, and the relative step size."""
        own_steps, own_size = ADVERSARIES[self.method]
        return self.steps or own_steps, self.relative_step_size or own_size

    @property
    def is_single_step(self) -> bool:
        """Whether one gradient step crafts each batch, so that it may overfit catastrophically."""
        return self.method not in OF_TEXTS and self.steps == 1

    def _check_words(self, key: str) -> None:
        if self.norm == "l0" and self.epsilon < 1:
            raise invalid(f"{key}.epsilon", self.epsilon, "a number of words, 1 or more, with norm 'l0'")
        if self.method == "hotflip":
            for name in ("steps", "relative_step_size"):
                if getattr(self, name) is not None:
                    raise InvalidValue(
                        f"{key}.{name} is of methods on pixels; 'hotflip' replaces as many words as epsilon says, each "
                        "the best of 'tries'. Leave it out."
                    )
            object.__setattr__(self, "tries", _TRIES if self.tries is None else self.tries)
            require_int(f"{key}.tries", self.tries, 2)
        elif self.tries is not None:
            raise InvalidValue(f"{key}.tries belongs to method 'hotflip', not to '{self.method}'. Leave it out.")

    def _check_options(self, key: str) -> None:
        if self.method == "augment":
            object.__setattr__(self, "augment_images", 6000 if self.augment_images is None else self.augment_images)
            require_int(f"{key}.augment_images", self.augment_images, 1)
        elif self.augment_images is not None:
            raise InvalidValue(
                f"{key}.augment_images belongs to method 'augment', not to '{self.method}'. Leave it out."
            )
        require_fraction(f"{key}.weight_perturbation", self.weight_perturbation)
        if not isinstance(self.recovery, bool):
            raise invalid(f"{key}.recovery", self.recovery, "true or false")
        if self.recovery and not self.is_single_step:
            raise InvalidValue(
                f"{key}.recovery is for methods of a single step, 'fgsm-rs' and 'n-fgsm'. Got '{self.method}'."
            )
        if self.method == "augment" and (self.weight_perturbation or self.warmup_epochs):
            raise InvalidValue(
                f"{key}.weight_perturbation and warmup_epochs are of methods that attack each batch. Leave them out of "
                "'augment'."
            )

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
