"""The sections of the page that not every set of evaluations has: curves, calibration, class flow, transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from advlab import figures
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.transfer import TransferMatrix, transfer_matrix
from advlab.reporting.phrases import NORMS
from advlab.reporting.summary import Answer


class Curved(NamedTuple):
    """A security curve and the evaluations that it was made of, in the order of its results."""

    curve: SecurityCurve
    members: tuple[Evaluation, ...]


class Plot(NamedTuple):
    """A figure for the page: its SVG, the words for those who cannot see it, and those below it."""

    svg: Markup
    label: str
    caption: str


def curved(shown: Sequence[Evaluation]) -> list[Curved]:
    """A curve for each classifier, set of images and norm where some attack looked for the smallest change.

    The parts of a cascade stay out: of what those before them broke they have no image. Their worst case has.
    """
    groups: dict[tuple[str, str, str], list[Evaluation]] = {}
    for evaluation in shown:
        result, threat = evaluation.result, evaluation.attack.threat
        if threat.norm != "none" and threat.target is None and not result.left_out.any():
            key = (result.classifier_digest, result.dataset_digest, threat.norm)
            groups.setdefault(key, []).append(evaluation)
    minimal = [group for group in groups.values() if any(e.result.minimal for e in group)]
    return [Curved(SecurityCurve.from_results([e.result for e in group]), tuple(group)) for group in minimal]


def curve_plots(drawn: Sequence[Curved]) -> list[dict[str, Any]]:
    """One figure for each norm, with what it says in words."""
    norms = dict.fromkeys(each.curve.norm for each in drawn)
    return [_curve_plot(NORMS[norm], [each.curve for each in drawn if each.curve.norm == norm]) for norm in norms]


def _curve_plot(norm: str, curves: list[SecurityCurve]) -> dict[str, Any]:
    return {
        "norm": norm,
        "summaries": [curve.summary() for curve in curves],
        "plot": Plot(
            drawn(figures.security_curve(curves)),
            f"Security curve in {norm}; the text beside it holds the medians.",
            f"Robust accuracy by epsilon in {norm}; the band is the 95 % interval.",
        ),
    }


def calibration(shown: Sequence[Evaluation], names: Sequence[str], said: Sequence[Answer]) -> dict[str, Any]:
    """The calibration errors of all, the diagram of the strongest."""
    return {
        "rows": [
            (e, name, e.calibration_clean.error, e.calibration.error) for e, name in zip(shown, names, strict=True)
        ],
        "plot": Plot(
            drawn(figures.reliability([answer.first for answer in said])),
            "Reliability diagram; the table holds the calibration errors.",
            "Share of right answers by confidence, in 15 equal bins.",
        ),
    }


def flows(said: Sequence[Answer]) -> list[Plot]:
    """Where correct images go under the strongest attack on each classifier, where any goes anywhere."""
    return [_flow(answer.first) for answer in said if _moved(answer.first)]


def _moved(evaluation: Evaluation) -> int:
    return int(evaluation.transitions.sum() - evaluation.transitions.trace())


def _flow(evaluation: Evaluation) -> Plot:
    counts = evaluation.transitions.copy()
    counts[range(len(counts)), range(len(counts))] = 0
    row, column = divmod(int(counts.argmax()), len(counts))
    source, target = evaluation.per_class[row].name, evaluation.per_class[column].name
    share = f"{counts[row, column]:,} of {_moved(evaluation):,} changed images"
    often = f"{evaluation.classifier}: {source} becomes {target} most often: {share}."
    return Plot(drawn(figures.class_flow(evaluation)), often, often)


def transfer(shown: Sequence[Evaluation]) -> TransferMatrix | None:
    """Sources by targets, where any evaluation is of another classifier than the attacked one."""
    return transfer_matrix(shown) if any(e.transfer_from for e in shown) else None


def drawn(figure: Any) -> Markup:
    """A figure as SVG inside the page."""
    return Markup(figures.svg(figure))
