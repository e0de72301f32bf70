"""The optional sections of the page: curves, calibration, class flow, transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from advlab import figures
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.transfer import TransferMatrix, transfer_matrix
from advlab.figures.style import WIDTH
from advlab.reporting.phrases import NORMS
from advlab.reporting.summary import Summary

_COLUMN = 38  # rem: the width of a plot in style.css


class CurveGroup(NamedTuple):
    """A security curve and its evaluations, in the order of its results."""

    curve: SecurityCurve
    members: tuple[Evaluation, ...]


class Plot(NamedTuple):
    """A figure for the page: its SVG, its label for screen readers, and its caption."""

    svg: Markup
    label: str
    caption: str


def curve_groups(evaluations: Sequence[Evaluation]) -> list[CurveGroup]:
    """A curve for each classifier, set of images and norm with a minimal attack.

    The parts of a cascade are left out, since they skip images; its worst case has all of them.
    """
    groups: dict[tuple[str, str, str, str, int], list[Evaluation]] = {}
    for evaluation in evaluations:
        result, threat = evaluation.result, evaluation.attack.threat
        in_question = threat.norm != "none" and not threat.targeted and result.per_image.epsilon is None
        if in_question and not result.left_out.any():
            key = (result.classifier_digest, result.dataset_digest, threat.norm, threat.per_image, threat.top)
            groups.setdefault(key, []).append(evaluation)
    minimal = [group for group in groups.values() if any(e.result.minimal for e in group)]
    return [CurveGroup(_curve(group), tuple(group)) for group in minimal]


def _curve(group: Sequence[Evaluation]) -> SecurityCurve:
    certificates = {id(e.certificate): e.certificate for e in group if e.certificate}
    return SecurityCurve.from_results([e.result for e in group], list(certificates.values()))


def curve_plots(groups: Sequence[CurveGroup]) -> list[dict[str, Any]]:
    """One figure for each norm, with the summary of each curve."""
    norms = dict.fromkeys(group.curve.norm for group in groups)
    return [_curve_plot(NORMS[norm], [g.curve for g in groups if g.curve.norm == norm]) for norm in norms]


def _curve_plot(norm: str, curves: list[SecurityCurve]) -> dict[str, Any]:
    return {
        "norm": norm,
        "summaries": [curve.summary() for curve in curves],
        "plot": Plot(
            inline_svg(figures.security_curve(curves)),
            f"Security curve in {norm}; the text beside it holds the medians.",
            f"Robust accuracy by epsilon in {norm}; the band is the 95 % interval.",
        ),
    }


def calibration(
    evaluations: Sequence[Evaluation], names: Sequence[str], summaries: Sequence[Summary]
) -> dict[str, Any]:
    """The calibration errors of all, the diagram of the strongest."""
    return {
        "rows": [
            (e, name, e.calibration_clean.error, e.calibration.error)
            for e, name in zip(evaluations, names, strict=True)
        ],
        "plot": Plot(
            inline_svg(figures.reliability([summary.strongest for summary in summaries])),
            "Reliability diagram; the table holds the calibration errors.",
            "Accuracy by confidence, in 15 equal bins.",
        ),
    }


def flows(summaries: Sequence[Summary]) -> list[Plot]:
    """The class flow of the strongest attack on each classifier, if it changes any correct image."""
    return [_flow(summary.strongest) for summary in summaries if _changed(summary.strongest)]


def _changed(evaluation: Evaluation) -> int:
    return int(evaluation.transitions.sum() - evaluation.transitions.trace())


def _flow(evaluation: Evaluation) -> Plot:
    counts = evaluation.transitions.copy()
    counts[range(len(counts)), range(len(counts))] = 0
    row, column = divmod(int(counts.argmax()), len(counts))
    source, target = evaluation.per_class[row].name, evaluation.per_class[column].name
    count = f"{counts[row, column]:,} of {_changed(evaluation):,} changed samples"
    label = f"{evaluation.classifier}: {source} becomes {target} most often: {count}."
    return Plot(inline_svg(figures.class_flow(evaluation)), label, label)


def transfer(evaluations: Sequence[Evaluation]) -> TransferMatrix | None:
    """Sources by targets; None unless some evaluation is of another classifier than the attacked one."""
    return transfer_matrix(evaluations) if any(e.transfer_from for e in evaluations) else None


def inline_svg(figure: Any) -> Markup:
    """A figure as SVG inside the page, its letters as large as in one that fills the column."""
    width = _COLUMN * figure.get_figwidth() / WIDTH
    return Markup(figures.svg(figure).replace("<svg", f'<svg style="max-width: {width:.1f}rem"', 1))
