"""What an audit did after it found that gradients are masked, and what that brought."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, NamedTuple

from advlab.evaluation.metrics import Rate
from advlab.formatting import Grid, Page, page_width, printable


class Step(NamedTuple):
    """One way to see through a mask: what was done, to how many images, and what it left.

    ``did`` says it in words, also why there was nothing to do; ``tried`` counts the images attacked, of ``images`` that
    were still robust (0 where there was nothing to do); ``before`` and ``after`` are the robust accuracies.
    """

    name: str
    did: str
    images: int
    tried: int
    before: Rate
    after: Rate
    seconds: float


@dataclass(frozen=True, eq=False)
class Recovery:
    """What an audit did after it had found that gradients are masked.

    ``steps`` in their order; ``before`` and ``after`` are the robust accuracies without and with them, ``unknown`` what
    may still bring the number down, ``allowed`` the seconds it was given. ``passes`` is how many predictions are
    averaged where a random classifier is judged, otherwise 1.
    """

    steps: tuple[Step, ...]
    before: Rate
    after: Rate
    unknown: tuple[str, ...]
    allowed: float
    passes: int

    def sentence(self) -> str:
        """What brought the number down, in one sentence."""
        drops = [
            f"{step.name} ({step.before.value:.1%} to {step.after.value:.1%})"
            for step in self.steps
            if step.after.count < step.before.count
        ]
        if not drops:
            return f"Nothing brought the number below {self.before.value:.1%}."
        return f"From {self.before.value:.1%} to {self.after.value:.1%}: brought down by {', '.join(drops)}."

    def table(self) -> Page:
        """What was done and what it brought, as text of at most 100 columns."""
        heads = ("recovery", "robust %", "images tried", "seconds", "what was done")
        rows = [
            (
                step.name,
                f"{100 * step.before.value:.1f} -> {100 * step.after.value:.1f}" if step.images else "",
                f"{step.tried:,} of {step.images:,}" if step.images else "",
                f"{step.seconds:.1f}" if step.images else "",
                printable(step.did),
            )
            for step in self.steps
        ]
        notes = [self.sentence(), *(f"Unknown: {text}." for text in self.unknown)]
        if self.passes > 1:
            notes.insert(1, f"Predictions are random: what counts is the mean of {self.passes}.")
        lines = [line for note in notes for line in textwrap.wrap(note, page_width())]
        return Page.of(Grid(heads, rows, (heads[0], heads[-1]), wraps=True), *lines)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        steps = [step._asdict() | {"before": vars(step.before), "after": vars(step.after)} for step in self.steps]
        return {
            "before": vars(self.before),
            "after": vars(self.after),
            "passes": self.passes,
            "steps": steps,
            "unknown": list(self.unknown),
            "allowed_seconds": self.allowed,
        }
