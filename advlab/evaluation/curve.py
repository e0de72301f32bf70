"""The security curve: robust accuracy at every epsilon, from each sample's smallest epsilon with a success."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from advlab.declarations.attack import Attack
from advlab.distances import distance, exceeds
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation import metrics
from advlab.evaluation.metrics import Rate
from advlab.formatting import Grid, Page, frame, page_width
from advlab.results.bracket import require_same
from advlab.results.certificate import Certificate
from advlab.results.result import AttackResult
from advlab.threat import parse_epsilon

SCHEMA = 1
_ROWS = 10  # a table without epsilons of the user's own has at most about so many
_ROUNDING = 0.01  # a success nearer than what is proven by more than this fraction is no matter of float32
_ROUND_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, eq=False, repr=False)
class SecurityCurve:
    """Robust accuracy over epsilon of one classifier on ``n`` samples, in one norm.

    ``smallest`` float64 ``(n,)``: the smallest epsilon, in the unit of the norm, at which the sample is known to be
    misclassified; 0 where the clean image is, infinite where no attack succeeded. ``misclassified_by`` int64 ``(n,)``:
    the number of the result that did, -1 for none. ``limit``: the largest epsilon that was searched, infinite where any
    was allowed; beyond it the curve says nothing. As with any attack the true robust accuracy can only be lower.
    ``proven`` float64 ``(n,)``: the largest epsilon at which the sample is proven, below which it cannot be;
    -inf where the clean image is misclassified, and None without a certificate.
    """

    results: tuple[AttackResult, ...]
    smallest: np.ndarray
    misclassified_by: np.ndarray
    limit: float
    proven: np.ndarray | None = None

    @classmethod
    def from_results(cls, results: Sequence[AttackResult], certificates: Sequence[Certificate] = ()) -> SecurityCurve:
        """The curve that one or more results on the same classifier, samples and norm make together.

        A perturbation of size d succeeds at every epsilon from d on, whichever attack found it; ``certificates`` of the
        same images and norm, best with ``radii``, are its lower side. Raises ``Mismatch``, naming what differs, and
        ``InvalidValue`` where there is no result or no norm, or for a certificate of ``smoothing``.
        """
        refuse_unlike(results)
        sizes = np.stack([_success_epsilon(result) for result in results])
        smallest, correct = sizes.min(0), results[0].correct
        misclassified_by = np.where(np.isfinite(smallest) & correct, sizes.argmin(0), -1)
        return cls(
            results=tuple(results),
            smallest=np.where(correct, smallest, 0.0),
            misclassified_by=misclassified_by,
            limit=max(result.attack.threat.epsilon for result in results),
            proven=_proven(results[0], certificates, smallest) if certificates else None,
        )

    def __len__(self) -> int:
        return len(self.smallest)

    @property
    def classifier(self) -> str:
        """The name of the classifier."""
        return self.results[0].classifier

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.results[0].dataset

    @property
    def norm(self) -> str:
        """The norm that epsilon is measured in."""
        return self.results[0].attack.threat.norm

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """What was run."""
        return tuple(result.attack for result in self.results)

    @property
    def clean_accuracy(self) -> Rate:
        """The fraction of samples that are classified correctly without any perturbation."""
        return metrics.rate(self.results[0].correct)

    @property
    def median_epsilon(self) -> float:
        """The epsilon at which half of the initially correct samples are misclassified.

        Infinite where more than half of them are still robust at every one, NaN where none is correct.
        """
        ordered = np.sort(self.smallest[self.results[0].correct])
        if not len(ordered):
            return math.nan
        return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)

    def robust_accuracy(self, epsilon: float | str) -> Rate:
        """The fraction of all samples on which no attack up to ``epsilon`` succeeded, with its Wilson interval.

        ``epsilon`` may be written ``"8/255"``. Raises ``InvalidValue`` below 0 and beyond ``limit``.
        """
        return metrics.rate((self.smallest > self._valid_epsilon(epsilon)) | np.isinf(self.smallest))

    def proven_accuracy(self, epsilon: float | str) -> Rate | None:
        """The fraction of all samples that are proven within ``epsilon``; None without a certificate."""
        return None if self.proven is None else metrics.rate(self.proven >= self._valid_epsilon(epsilon))

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """The exact step function: epsilons ascending from 0 and the robust accuracy from each on, float64 ``(m,)``."""
        epsilons = np.unique(np.append(self.smallest[np.isfinite(self.smallest)], 0.0))
        misclassified = np.searchsorted(np.sort(self.smallest), epsilons, side="right")
        return epsilons, 1 - misclassified / max(len(self), 1)

    def table(self, epsilons: Sequence[float | str] | None = None) -> str:
        """Robust accuracy at some epsilons (None: round ones, as far as the curve decreases) as lines of text."""
        values = [self._valid_epsilon(epsilon) for epsilon in self._table_epsilons(epsilons)]
        if not values:
            raise InvalidValue("A table needs at least one epsilon. Got none; leave epsilons out for round ones.")
        heads = ["epsilon", *([] if self.proven is None else ["proven %"]), "robust %", "[95%]"]
        rows = []
        for epsilon in values:
            below, rate = self.proven_accuracy(epsilon), self.robust_accuracy(epsilon)
            shown = [f"{100 * found.value:.1f}" for found in (below, rate) if found is not None]
            rows.append([f"{epsilon:.4g}", *shown, rate.interval])
        return Page.of(Grid(heads, rows, heads[-1:]), "", *textwrap.wrap(self.summary(), page_width()))

    def summary(self) -> str:
        """What was measured, and at which epsilon half of the images are misclassified."""
        methods = ", ".join(dict.fromkeys(attack.variant for attack in self.attacks))
        median = (
            f"Half of the images that are correct when clean are misclassified at epsilon {self.median_epsilon:.4g}."
        )
        if math.isinf(self.median_epsilon):
            reach = "every epsilon" if math.isinf(self.limit) else f"epsilon {self.limit:.4g}"
            median = f"More than half of the images that are correct when clean are still robust at {reach}."
        elif math.isnan(self.median_epsilon):
            median = "No image is classified correctly."
        first = self.results[0]
        images = f"{len(self):,} {first.split} image{'s' * (len(self) != 1)} of {first.dataset}"
        minimal = any(result.minimal for result in self.results)
        caution = "" if minimal else " No attack sought the smallest change, so smaller epsilons tell little."
        return f"{self.classifier} on {images}, {self.norm}, by {methods}. {median}{caution}"

    def to_dict(self, epsilons: Sequence[float | str] | None = None) -> dict[str, Any]:
        """A JSON-ready dictionary: the step function, and rates at some epsilons; NaN and infinity are null."""
        first = self.results[0]
        steps, accuracies = self.points()
        return {
            "schema": SCHEMA,
            "classifier": {"name": first.classifier, "digest": first.classifier_digest},
            "dataset": {"name": first.dataset, "split": first.split, "digest": first.dataset_digest},
            "samples": len(self),
            "norm": self.norm,
            "attacks": [attack.to_dict() for attack in self.attacks],
            "limit": _finite(self.limit),
            "median_epsilon": _finite(self.median_epsilon),
            "rates": [
                {
                    "epsilon": epsilon,
                    **{name: _finite(value) for name, value in asdict(rate).items()},
                    "proven": None if below is None else _finite(below.value),
                }
                for epsilon in map(self._valid_epsilon, self._table_epsilons(epsilons))
                for rate, below in [(self.robust_accuracy(epsilon), self.proven_accuracy(epsilon))]
            ],
            "steps": {"epsilon": steps.tolist(), "robust_accuracy": accuracies.tolist()},
        }

    def to_frame(self) -> Any:
        """The step function as a pandas data frame: columns ``epsilon``, ``robust_accuracy``, ``low``, ``high``."""
        epsilons, accuracies = self.points()
        rates = [self.robust_accuracy(epsilon) for epsilon in epsilons]
        low, high = [rate.low for rate in rates], [rate.high for rate in rates]
        columns = {"epsilon": epsilons, "robust_accuracy": accuracies, "low": np.array(low), "high": np.array(high)}
        return frame(columns)

    def __repr__(self) -> str:
        return f"SecurityCurve {self.summary()}"

    def _repr_html_(self) -> str:
        from advlab import figures

        svg = figures.svg(figures.security_curve(self))
        return f"<figure>{svg}<figcaption>{html.escape(self.summary())}</figcaption></figure>"

    def _valid_epsilon(self, epsilon: float | str) -> float:
        value = parse_epsilon(epsilon) or 0.0
        if math.isnan(value) or value < 0:
            raise InvalidValue(
                f"epsilon must be a float in the range [0, inf). Got {value:g}. Try epsilon=0.1 or 8/255."
            )
        if value > self.limit:
            raise InvalidValue(
                f"The curve reaches up to epsilon {self.limit:g} in {self.norm}; beyond that nothing was searched. "
                f"Got {value:g}. Craft a longer curve with a larger epsilon, or with a method that seeks the "
                "smallest perturbation."
            )
        return value

    def _table_epsilons(self, epsilons: Sequence[float | str] | None) -> Sequence[float | str]:
        if epsilons is not None:
            return epsilons
        reach = self._reach()
        if not reach:
            return [0.0]
        power = 10.0 ** math.floor(math.log10(reach / _ROWS))
        step = next(power * factor for factor in _ROUND_STEPS if power * factor >= reach / _ROWS * (1 - 1e-9))
        step = max(1.0, round(step)) if self.norm == "l0" else step
        # Up to the first round one at which the last of them is misclassified.
        count = math.ceil(reach / step - 1e-9)
        return [min(float(f"{step * number:.12g}"), self.limit) for number in range(count + 1)]

    def _reach(self) -> float:
        """The limit where some samples are still robust there, else where all but the hardest 5 % are misclassified."""
        if math.isfinite(self.limit) and np.any(np.isinf(self.smallest)):
            return self.limit
        epsilons = self.smallest[self.misclassified_by >= 0]
        return float(np.quantile(epsilons, 0.95)) if len(epsilons) else 0.0


def refuse_unlike(results: Sequence[AttackResult]) -> None:
    """Raise unless the results have one classifier, the same samples, one target and one norm that has sizes."""
    if not results:
        raise InvalidValue("A curve needs at least one result. Got none.")
    first = results[0]
    if first.attack.threat.norm == "none":
        raise InvalidValue("Norm 'none' has no sizes to draw a curve over. Choose results in linf, l2, l1 or l0.")
    if any(result.per_image.epsilon is not None for result in results):
        raise InvalidValue(
            "A curve is over one epsilon of all images; here each image has its own. Use a minimal method, such as "
            "'ddn', or a bounded one with one epsilon."
        )
    for other in results[1:]:
        pairs = {
            "classifier": (first.classifier_digest, other.classifier_digest),
            "samples": (first.dataset_digest, other.dataset_digest),
            "norm": (first.attack.threat.norm, other.attack.threat.norm),
            "target": (first.attack.threat.target, other.attack.threat.target),
            "targets": (first.attack.threat.targets, other.attack.threat.targets),
            "top": (first.attack.threat.top, other.attack.threat.top),
            "masks": (first.attack.threat.per_image, other.attack.threat.per_image),
        }
        differ = [f"{name} ({one} and {two})" for name, (one, two) in pairs.items() if one != two]
        if differ:
            raise Mismatch(
                f"'{first.attack.slug}' and '{other.attack.slug}' make no curve together; they differ in: "
                f"{', '.join(differ)}. Draw one curve for each."
            )


def _proven(result: AttackResult, certificates: Sequence[Certificate], smallest: np.ndarray) -> np.ndarray:
    """float64 ``(n,)``: the largest radius that any certificate proves, -inf where the clean image is misclassified.

    Where rounding lets an attack succeed at a radius that is proven, the attack counts.
    """
    threat = result.attack.threat
    for certificate in certificates:
        # A curve has no epsilon of its own.
        anywhere = result.attack.replace(threat=replace(threat, epsilon=certificate.epsilon))
        require_same(certificate, replace(result, attack=anywhere))
    proven = np.max([certificate.largest_proven for certificate in certificates], 0)
    if (wrong := proven > smallest * (1 + _ROUNDING)).any():
        raise Mismatch(
            f"Archive and certificate contradict each other: image {result.indices[wrong][0]} is misclassified within "
            "a radius that is proven. One of them is at fault: verify the archive, or report this."
        )
    return np.minimum(proven, smallest)


def _success_epsilon(result: AttackResult) -> np.ndarray:
    """float64 ``(n,)``: from which epsilon on this result succeeds on each sample, infinite where it does not."""
    threat = result.attack.threat
    sizes = distance(result.x, result.x_adv, threat.norm)
    # An image inside its ball up to rounding succeeds at the radius that it was crafted for.
    sizes = np.where(exceeds(sizes, threat.norm, threat.epsilon), sizes, np.minimum(sizes, threat.epsilon))
    success = result.attempted & ~threat.accepts(result.adversarial_probabilities, result.labels)
    # An earlier attack of a cascade succeeded within the same epsilon.
    return np.where(success, sizes, np.where(result.left_out, threat.epsilon, np.inf))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
