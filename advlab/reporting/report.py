"""The report: one self-contained HTML page, without any request, from one or more evaluations."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from markupsafe import Markup

from advlab import figures, remote, writing
from advlab.documentation import docs_address
from advlab.errors import FileExists, InvalidValue
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.findings.checklists import TITLES, VERDICTS, Answer
from advlab.evaluation.findings.checks import CHECKS, SEVERITIES, Finding
from advlab.evaluation.findings.cross import CROSS_CHECKS, cross_findings
from advlab.evaluation.recovery import Recovery
from advlab.evaluation.table import as_evaluations, caption, cells, labels
from advlab.reporting import sections
from advlab.reporting.inspector import embedded, inspector
from advlab.reporting.pages import render, resource
from advlab.reporting.pictures import samples
from advlab.reporting.summary import summarize
from advlab.threat import ThreatModel

_HEAD_BYTES = 2000
_MARKS = (b'<meta name="generator" content="advlab">', b"<title>Robustness of ")  # the second: of earlier versions


@runtime_checkable
class Audited(Protocol):
    """What a report shows of an audit; ``advlab.audit`` returns one."""

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Role -> evaluation."""
        ...

    @property
    def threat(self) -> ThreatModel:
        """What it is about; all else that it ran is a control."""
        ...

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Of its checklists."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each code once."""
        ...

    @property
    def recovery(self) -> Recovery | None:
        """What followed a finding that gradients are masked; None where there was none."""
        ...


class Report(str):
    """A page as HTML text, which a notebook shows with its inspector, and a console in one line."""

    def __repr__(self) -> str:
        return f"Report: {len(self):,} characters of HTML. A notebook shows it; str(report) is the text."

    def _repr_html_(self) -> str:
        # The page has a style and a script of its own, which a frame keeps apart from those of the notebook.
        return (
            f'<iframe srcdoc="{html.escape(self)}" style="width:100%;height:720px;border:1px solid #8888" '
            'title="advlab report"></iframe>'
        )


def report(
    evaluations: Evaluation | Iterable[Evaluation] | Audited,
    path: str | PathLike[str] | None = None,
    *,
    docs_url: str | None = None,
) -> Report:
    """The page as HTML text, a string that a notebook shows; with ``path`` it is also written, whole or not at all.

    Of an audit it has the answers as its first table, and its headline is the worst case under the audit's own threat
    model, whatever its controls found. Otherwise each threat model has a headline of its own.

    Each finding leads to its explanation in the documentation at ``docs_url``, a web address or a path relative to the
    page (None: ``ADVLAB_DOCS_URL``, else that of the package); with none it names the command that explains it.

    It opens from disk without a server, adapts to light and dark, and stays below 5 MB: at most 40 sampled images of
    each attack are embedded. Raises ``InvalidValue`` without any evaluation and for another ``docs_url``, and
    ``FileExists`` where ``path`` is a file but no report. A URL is uploaded to.
    """
    audit = evaluations if isinstance(evaluations, Audited) else None
    evaluations = as_evaluations(evaluations.evaluations.values() if isinstance(evaluations, Audited) else evaluations)
    if not evaluations:
        raise InvalidValue("A report needs at least one evaluation. Got none.")
    if path is not None and Path(path).suffix not in (".html", ".htm"):
        raise InvalidValue(f"A report is an HTML page. Got the name '{path}'; end it in .html.")
    text = render("template.html", _context(evaluations, audit, docs_address(docs_url)))
    if path is not None:
        with remote.local(path) as page:
            _refuse_other_page(page)
            with writing.atomic_write(page) as temporary:
                temporary.write_bytes(text.encode("utf-8", "replace"))
    return Report(text)


def _refuse_other_page(path: Path) -> None:
    """A report replaces an earlier report, and nothing else."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not any(mark in head for mark in _MARKS):
        raise FileExists(
            f"'{path}' is no report of advlab, and would be replaced. Name another page with --output, or move it away."
        )


def _context(evaluations: list[Evaluation], audit: Audited | None, address: str) -> dict[str, Any]:
    names = labels(evaluations)
    pictures = samples(evaluations)
    summaries = summarize(evaluations, pictures, audit.threat if audit else None)
    curves = sections.curve_groups(evaluations)
    texts = all(e.result.vocabulary for e in evaluations)
    parts = {
        "findings": ("Findings", True),
        "recovery": ("Recovery", audit.recovery if audit else None),
        "checklists": ("Checklists", _checklists(audit.answers) if audit else None),
        "attacks": ("Attacks", True),
        "curves": ("Security curves", sections.curve_plots(curves)),
        "shift": ("Confidence", True),
        "calibration": ("Calibration", sections.calibration(evaluations, names, summaries)),
        "flow": ("Class flow", sections.flows(summaries)),
        "transfer": ("Transfer", sections.transfer(evaluations)),
        "inspector": ("Text by text" if texts else "Image by image", max(map(len, pictures))),
        "details": ("Details", True),
    }
    return {
        **{name: content for name, (_, content) in parts.items() if content is not True},
        "contents": [(name, title) for name, (title, content) in parts.items() if content],
        "script": Markup(resource("script.js")),
        "summaries": summaries,
        "findings": _findings(evaluations, names, audit.findings if audit else ()),
        "address": address,
        "checks": len(CHECKS) + len(CROSS_CHECKS),
        "rows": [(e, name, cells(e, name)) for e, name in zip(evaluations, names, strict=True)],
        "caption": caption(evaluations),
        "texts": texts,
        "text_columns": any(e.texts for e in evaluations),
        "thing": "text" if texts else "image",
        "things": "texts" if texts else "images",
        "certified": any(e.certificate for e in evaluations),
        "bars": sections.inline_svg(figures.accuracy_bars(evaluations)),
        "shift": sections.inline_svg(figures.confidence_shift(evaluations)),
        "boundary": any(e.at_boundary for e in evaluations),
        "data": embedded(inspector(evaluations, names, pictures, curves)),
    }


def _checklists(answers: tuple[Answer, ...]) -> dict[str, Any]:
    """The answers by checklist, each with its counts."""
    groups = {source: [answer for answer in answers if answer.source == source] for source in TITLES}
    return {
        "counts": _counts(answers),
        "groups": [(TITLES[source], source, _counts(group), group) for source, group in groups.items()],
    }


def _counts(answers: Iterable[Answer]) -> str:
    counts = Counter(answer.verdict for answer in answers)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def _findings(
    evaluations: list[Evaluation], names: list[str], audited: tuple[Finding, ...]
) -> list[tuple[Finding, list[tuple[str, str]]]]:
    """Each code once, gravest first, with the attacks that raised it and their evidence."""
    by_code: dict[str, tuple[Finding, list[tuple[str, str]]]] = {}
    for evaluation, name in zip(evaluations, names, strict=True):
        for finding in evaluation.findings:
            attack = f"{evaluation.classifier}, {name}"
            by_code.setdefault(finding.code, (finding, []))[1].append((attack, finding.evidence))
    for finding in cross_findings(evaluations):
        by_code.setdefault(finding.code, (finding, []))[1].append(("attacks compared", finding.evidence))
    for finding in audited:  # what only the audit as a whole knows
        by_code.setdefault(finding.code, (finding, [("audit", finding.evidence)]))
    return sorted(by_code.values(), key=lambda item: SEVERITIES.index(item[0].severity))
