"""What the audit says of a row of the gallery, beside the truth."""

from __future__ import annotations

import time
from typing import NamedTuple

import advlab
from tests.gallery import defences, honest
from tests.gallery.truth import Row, robust

DEFENCES, HONEST = defences.ROWS, honest.ROWS
SAMPLES = 100
POINTS = 0.03  # by which the audit's number may differ from the truth
FAR = 0.2  # by which plain PGD does on no honest classifier


class Measured(NamedTuple):
    """Shares of all images, and what was found; ``pgd``: under the plain attack that a mask is there to fool.

    ``recovered``: the steps of the recovery that brought the number down.
    """

    name: str
    clean: float
    truth: float
    pgd: float
    audit: float
    findings: tuple[str, ...]
    recovered: tuple[str, ...]
    seconds: float

    @property
    def off(self) -> bool:
        """Whether the audit's number is not the truth."""
        return abs(self.audit - self.truth) > POINTS + 1e-9

    @property
    def silent(self) -> bool:
        """Whether an attack is fooled, and no finding says so: the whole audit, or plain PGD by far."""
        fooled = self.audit > self.truth + POINTS + 1e-9 or self.pgd > self.truth + FAR
        return fooled and not self.findings


def measure(row: Row, samples: int = SAMPLES) -> Measured:
    """Build a classifier, attack it by all that is known of it, and audit it."""
    model, ways = row.build()
    data = row.data(samples)
    truth = robust(row, model, ways, data)
    classifier = advlab.Classifier.from_keras(model, name=row.name.replace(" ", "-"))
    start_time = time.perf_counter()
    audit = advlab.audit(classifier, data, epsilon=row.epsilon, norm=row.norm, samples=samples, progress=False)
    seconds = time.perf_counter() - start_time
    pgd = audit.evaluations["pgd"]
    # A note is no finding against the number: it says how many images there are.
    codes = tuple(f.code for f in audit.findings if f.severity != "info" and f.code not in row.allowed)
    steps = audit.recovery.steps if audit.recovery else ()
    recovered = tuple(step.name for step in steps if step.after.count < step.before.count)
    clean, plain = pgd.clean_accuracy.value, pgd.robust_accuracy.value
    number = audit.robust_accuracy.value
    return Measured(row.name, clean, float(truth.mean()), plain, number, codes, recovered, seconds)
