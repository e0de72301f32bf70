"""A defence before attackers who know more and more of it: which of the numbers counts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advlab.evaluation import metrics
from advlab.evaluation.findings.checks import Finding
from advlab.evaluation.html_table import html_table
from advlab.evaluation.metrics import Rate
from advlab.formatting import Grid, Page, page_width, plain, printable
from advlab.threat import ThreatModel

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

SCHEMA = 1
KNOWLEDGE = {  # of the attacker -> in words; what is called "all" is the worst of the others, image by image
    "none": "images crafted on {base}",
    "transfer": "images crafted on {base} to transfer",
    "black box": "queries without gradients",
    "full": "gradients",
    "all": "the worst of all these",
}


class Attacker(NamedTuple):
    """What an attacker of some knowledge leaves of the defended classifier, and by which attacks."""

    knowledge: str
    attacks: tuple[str, ...]
    robust_accuracy: Rate


@dataclass(frozen=True, eq=False)
class DefenseReport:
    """Static against adaptive: one defended classifier under attackers who know nothing, something and everything.

    ``base_evaluation`` is the attack on the undefended classifier, whose images the first attacker brings.
    ``evaluations`` by knowledge (``KNOWLEDGE`` but for ``all``) are those on the defended one, at one ``threat`` and on
    the same images. ``findings`` are what an audit of the defended classifier found against its own number.
    """

    base_evaluation: Evaluation
    evaluations: Mapping[str, tuple[Evaluation, ...]]
    findings: tuple[Finding, ...]

    @property
    def base(self) -> str:
        """The name of the undefended classifier."""
        return self.base_evaluation.classifier

    @property
    def defended(self) -> str:
        """The name of the defended one."""
        return self._first.classifier

    @property
    def threat(self) -> ThreatModel:
        """The one threat model of all attackers."""
        return self.base_evaluation.attack.threat

    @property
    def clean_accuracy(self) -> Rate:
        """Of the defended classifier."""
        return self._first.clean_accuracy

    @property
    def attackers(self) -> tuple[Attacker, ...]:
        """From no knowledge to full; the last is the worst of all for each image, and its number is the one to report.

        An attacker of more knowledge may do what one of less can: the last number is never above the others.
        """
        groups = {**self.evaluations, "all": tuple(e for group in self.evaluations.values() for e in group)}
        return tuple(
            Attacker(
                knowledge,
                tuple(dict.fromkeys(_name(e) for e in groups[knowledge])),
                metrics.rate(np.all([e.robust for e in groups[knowledge]], axis=0)),
            )
            for knowledge in KNOWLEDGE
        )

    @property
    def robust_accuracy(self) -> Rate:
        """The number that counts: correct under every attacker."""
        return self.attackers[-1].robust_accuracy

    def conclusion(self) -> str:
        """Which number counts, whether the defence gained anything, and what speaks against the number."""
        counts, static = self.robust_accuracy, self.attackers[0].robust_accuracy
        base = self.base_evaluation.robust_accuracy
        sentences = [
            f"The number that counts is {counts.value:.1%} [{counts.low:.1%}, {counts.high:.1%}]: so many images "
            f"'{self.defended}' classifies correctly under every attacker, one who knows it among them.",
            f"The {static.value:.1%} on images crafted on '{self.base}' say only whether yesterday's images still "
            "work.",
        ]
        if counts.value <= base.value:
            sentences.append(f"The defence gains nothing: a single attack leaves '{self.base}' {base.value:.1%}.")
        doubts = [finding.code for finding in self.findings if finding.severity == "warning"]
        if doubts:
            sentences.append(f"The true number may be lower still: {', '.join(doubts)}.")
        return " ".join(sentences)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Knowledge, what is attacked with, the attacks, and robust accuracy in percent with its 95 % interval."""
        rows = [("", "clean images", "", self.clean_accuracy.text)]
        for attacker in self.attackers:
            words = KNOWLEDGE[attacker.knowledge].format(base=self.base)
            attacks = "" if attacker.knowledge == "all" else ", ".join(attacker.attacks)
            rows.append((attacker.knowledge, printable(words), printable(attacks), attacker.robust_accuracy.text))
        return rows

    def table(self) -> str:
        """A row for each attacker and the conclusion, as text."""
        grid = Grid(_HEADS, self.rows(), left=_HEADS[:3])
        return Page.of(grid, "", *textwrap.wrap(printable(self.conclusion()), page_width()))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN and infinity are null."""
        return plain(
            {
                "schema": SCHEMA,
                "base": {"name": self.base, "digest": self.base_evaluation.result.classifier_digest},
                "defended": {"name": self.defended, "digest": self._first.result.classifier_digest},
                "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon, "target": None},
                "samples": len(self._first),
                "base_clean_accuracy": self.base_evaluation.clean_accuracy,
                "base_robust_accuracy": self.base_evaluation.robust_accuracy,
                "clean_accuracy": self.clean_accuracy,
                "robust_accuracy": self.robust_accuracy,
                "attackers": self.attackers,
                "findings": self.findings,
                "conclusion": self.conclusion(),
            }
        )

    def all_evaluations(self) -> list[Evaluation]:
        """Of the base and of the defended classifier, as ``advlab.report`` takes them."""
        return [self.base_evaluation, *(e for group in self.evaluations.values() for e in group)]

    def __repr__(self) -> str:
        return (
            f"DefenseReport of {self.defended} against {self.base} at {self.threat.norm} {self.threat.epsilon_text}: "
            f"static {self.attackers[0].robust_accuracy.value:.1%}, adaptive {self.robust_accuracy.value:.1%}"
        )

    def _repr_html_(self) -> str:
        return html_table(self.conclusion(), _HEADS, self.rows(), left=True)

    @property
    def _first(self) -> Evaluation:
        return self.evaluations["none"][0]


_HEADS = ("knowledge", "attacked with", "attacks", "robust % [95%]")


def _name(evaluation: Evaluation) -> str:
    """The method, and how it sees through an input defence."""
    attack = evaluation.attack
    ways = [*(["BPDA"] if attack.backward else []), *([f"EOT {attack.passes}"] if attack.passes > 1 else [])]
    return attack.method + (f" ({', '.join(ways)})" if ways else "")
