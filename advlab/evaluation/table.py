"""How an evaluation is shown: one row of a table, as text, Markdown or HTML."""

from __future__ import annotations

import html
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from advlab.errors import InvalidValue
from advlab.evaluation.compare import compare
from advlab.evaluation.significance import SIGNIFICANCE
from advlab.evaluation.texts import CAPTION as TEXT_CAPTION
from advlab.formatting import WIDTH, Grid, Page, as_list, number, page_width, printable, shortened
from advlab.threat import GIVEN

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

SIGN = "*"
_LEFT_OUT_FIRST = ("seconds", "passes", "distance")  # where the terminal is narrow, or the columns are many
_MANY_COLUMNS = 11
_SIGNED = f"{SIGN} ends where it first succeeds (early_stop, smallest change): not comparable with other shifts."
_INFINITE = "inf: the attack failed on more than half of the images."


def label(evaluation: Evaluation, full: bool = False) -> str:
    """The attack in a few words, ``pgd linf 0.1``; ``full`` adds every setting that is not the default."""
    attack, threat = evaluation.attack, evaluation.attack.threat
    words = [attack.method, threat.text if threat.any_of else threat.norm]
    words += [epsilon_text(evaluation)] if math.isfinite(threat.epsilon) else []
    words += ["target", target_text(evaluation)] if threat.targeted else []
    words += [f"top {threat.top}"] if threat.top > 1 else []
    words += ["in a mask"] if evaluation.result.per_image.mask is not None else []
    words += attack.variant.split()[1:] if full else []
    words += [f"from {evaluation.transfer_from}"] if evaluation.transfer_from else []
    return " ".join(words)


def epsilon_text(evaluation: Evaluation) -> str:
    """Epsilon as people write it, or the range of those of each image: ``0.1``, ``0.02-0.2``."""
    epsilon = evaluation.result.per_image.epsilon
    largest = evaluation.attack.threat.epsilon_text
    return largest if epsilon is None else f"{epsilon.min():.4g}-{largest}"


def target_text(evaluation: Evaluation) -> str:
    """The name of the class to reach, or how that of each image was chosen: ``least-likely``, ``random``, ``given``."""
    threat = evaluation.attack.threat
    if threat.target is not None:
        return evaluation.per_class[threat.target].name
    return "given" if threat.targets == GIVEN else threat.targets


def as_evaluations(evaluations: Evaluation | Iterable[Evaluation]) -> list[Evaluation]:
    """One evaluation, or any iterable of them, as a list; raises ``InvalidValue`` for anything else."""
    return as_list(
        evaluations, "robust_accuracy", "evaluations, such as advlab.evaluate(result) or advlab.evaluate(path)"
    )


def labels(evaluations: Sequence[Evaluation]) -> list[str]:
    """``label`` of each, in full where the short one would name two rows of one classifier alike."""
    short = [(e.classifier, label(e)) for e in evaluations]
    short_count = Counter(short)
    longer = [(e.classifier, label(e, full=short_count[key] > 1)) for e, key in zip(evaluations, short, strict=True)]
    longer_count = Counter(longer)
    # Those that are still alike differ in how they stop.
    return [e.attack.slug if longer_count[key] > 1 else key[1] for e, key in zip(evaluations, longer, strict=True)]


def distance(evaluation: Evaluation) -> float:
    """Median distance in the norm of the threat: of the successes, or for a minimal method of all attacked images."""
    threat = evaluation.attack.threat
    if threat.norm == "none":
        return math.nan
    return evaluation.median_distance if math.isinf(threat.epsilon) else evaluation.distances[threat.norm].median


def cells(evaluation: Evaluation, name: str | None = None) -> dict[str, str]:
    """Column -> text of the row of one evaluation; ``name`` replaces the words for the attack."""
    robust, seconds, bracket = evaluation.robust_accuracy, evaluation.result.seconds, evaluation.bracket
    sign = SIGN if evaluation.at_boundary else ""
    proven = {} if bracket is None else {"proven %": number(100 * bracket.low / bracket.total, ".1f")}
    texts = {} if evaluation.texts is None else evaluation.texts.cells()
    return {
        "model": printable(evaluation.classifier),
        "attack": printable(label(evaluation) if name is None else name),
        "clean %": number(100 * evaluation.clean_accuracy.value, ".1f"),
        "robust % [95%]": (
            f"{number(100 * robust.value, '.1f')} [{f'{100 * robust.low:.1f}':>4}, {f'{100 * robust.high:.1f}':>4}]"
        ),
        "success %": number(100 * evaluation.success_rate.value, ".1f"),
        "shift": number(100 * evaluation.shift.mean, "+.1f") + sign,
        "distance": number(distance(evaluation), ".3g"),
        **texts,
        "passes": _count(evaluation.forward_passes + evaluation.backward_passes),
        "seconds": f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:.3g}",
    } | proven


def _count(value: float) -> str:
    """Four digits, and no exponent: ``20,000``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


class Evaluations(list["Evaluation"]):
    """Evaluations that show themselves as one table."""

    def __repr__(self) -> str:
        return table(self) if self else "[]"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def table(evaluations: Evaluation | Iterable[Evaluation], markdown: bool = False) -> str:
    """Clean against perturbed accuracy and confidence shift, a row for each evaluation, and a caption below.

    Plain text fits in 100 columns (long names lose their middle), or in those of a narrower terminal, without what a
    run cost, as do texts, which have more columns; Markdown keeps every name whole. Robust accuracy
    counts images that are classified correctly clean and perturbed; shifts are in points of confidence.
    """
    evaluations = as_evaluations(evaluations)
    if not evaluations:
        raise InvalidValue("A table needs at least one evaluation. Got none.")
    rows = [cells(e, name) for e, name in zip(evaluations, labels(evaluations), strict=True)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    rows = [{column: row.get(column, "-") for column in columns} for row in rows]
    if markdown:
        return "\n".join([*_markdown(rows), "", *caption(evaluations)])
    lines = [wrapped for line in caption(evaluations) for wrapped in textwrap.wrap(line, page_width())]
    return Page.of(_grid(rows), "", *lines)


def caption(evaluations: Sequence[Evaluation]) -> list[str]:
    """What a reader of the table must know: which images, which interval, and what is not comparable."""
    images = list(dict.fromkeys(printable(e.images) for e in evaluations))
    lines = [
        f"{' and '.join(images)}. robust: correct clean and perturbed, with 95% Wilson interval. shift: mean change "
        "of the confidence in the label, in points, where the clean image is correct. distance: median, in the norm "
        "of the attack. passes: forward and backward, per image."
    ]
    if any(e.texts for e in evaluations):
        lines.append(TEXT_CAPTION)
    if len(images) > 1:
        lines.append("The rows differ in their images and are not directly comparable.")
    if len(evaluations) == 2 and len({e.result.dataset_digest for e in evaluations}) == 1:
        lines.append(_difference(*evaluations))
    if any(e.at_boundary for e in evaluations):
        lines.append(_SIGNED)
    if any(math.isinf(distance(e)) for e in evaluations):
        lines.append(_INFINITE)
    if any(e.result.left_out.any() for e in evaluations):
        lines.append(
            "The attacks of a cascade get only the images that are still robust; robust counts all so far, shift those."
        )
    lines += [bracket_line(e) for e in evaluations if e.bracket]
    return lines + [line for e in evaluations if e.joins for line in _suite_lines(e)]


def bracket_line(evaluation: Evaluation) -> str:
    """Robust accuracy from both sides, and the attack judged by it; empty without a certificate."""
    certificate, bracket = evaluation.certificate, evaluation.bracket
    if certificate is None or bracket is None:
        return ""
    return f"{label(evaluation)}, bracketed by {certificate.method}: {bracket}; {bracket.score}."


def _difference(first: Evaluation, second: Evaluation) -> str:
    """Whether two rows on the same images differ by more than chance."""
    test = compare(first, second)
    text = (
        f"Robust in the first row only: {test.only_first:,}, in the second only: {test.only_second:,}; "
        f"p = {test.p_value:.2g} by McNemar's exact test."
    )
    if test.p_value < SIGNIFICANCE:
        return text
    return f"{text} To see a difference of one point takes about {test.images_needed:,} images."


def _suite_lines(evaluation: Evaluation) -> list[str]:
    """How many images each attack of a suite succeeded on and left, and what its self-test found."""
    result = evaluation.result
    counts = Counter(
        map(int, () if result.diagnostics.misclassified_by is None else result.diagnostics.misclassified_by)
    )
    successes = ", ".join(f"{part} {counts[number]:,}" for number, part in enumerate(result.parts))
    wrong, robust = int((~result.correct).sum()), int(result.robust.sum())
    left = [int(result.correct.sum())]
    for part in range(len(result.parts)):
        left.append(left[-1] - counts[part])
    funnel = (
        []
        if result.minimal or result.attack.threat.any_of
        else [f"Robust after each attack: {' -> '.join(f'{n:,}' for n in left)}."]
    )
    lines = [
        f"{label(evaluation)}: wrong before any attack {wrong:,}; misclassified by {successes}; "
        f"still robust {robust:,}."
    ]
    lines += funnel
    if test := result.selftest:
        lines.append(
            f"Self-test: the suite found {test.found} of {test.planted} planted adversarial examples, a random "
            f"search {test.random}."
        )
    return lines


def as_html(evaluation: Evaluation) -> str:
    """A small table for notebooks."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in cells(evaluation).items()
    )
    notes = "".join(
        f"<li><b>{html.escape(f.severity)}</b> {html.escape(f.code)}: {html.escape(f.evidence)}</li>"
        for f in evaluation.findings
    )
    return f"<table><caption>{html.escape(evaluation.images)}</caption><tbody>{rows}</tbody></table><ul>{notes}</ul>"


def _grid(rows: list[dict[str, str]]) -> Grid:
    heads = list(rows[0])
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in heads}
    is_crowded = page_width() < WIDTH or len(heads) >= _MANY_COLUMNS
    for head in _LEFT_OUT_FIRST:
        if is_crowded and sum(widths[h] + 1 for h in heads) - 1 > page_width():
            heads.remove(head)
    gap = "  " if sum(widths.values()) + 2 * (len(heads) - 1) <= page_width() else " "
    room = page_width() - sum(widths[h] for h in heads[2:]) - len(gap) * (len(heads) - 1)
    widths["model"] = min(widths["model"], max(room - widths["attack"], room // 3))
    widths["attack"] = min(widths["attack"], room - widths["model"])
    return Grid(heads, [[shortened(row[h], widths[h]) for h in heads] for row in rows], heads[:2], gap)


def _markdown(rows: list[dict[str, str]]) -> list[str]:
    rules = ["---" if head in ("model", "attack") else "--:" for head in rows[0]]
    bodies = [[" ".join(cell.replace("|", "\\|").split()) for cell in row.values()] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (list(rows[0]), rules, *bodies)]
