"""What ``--json`` prints of several evaluations: one object for each, and what comparing them shows."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from advlab.crosschecks import cross_findings
from advlab.evaluation import Evaluation


def as_json(
    evaluations: Sequence[Evaluation], archives: Sequence[str | PathLike[str]] | None = None
) -> list[dict[str, Any]]:
    """A list of objects ready for JSON, described in ``docs/json.md``.

    To ``Evaluation.to_dict`` each adds ``archive``, its path (None: null), and ``cross_findings``: those raised by
    comparing it with the others of the list that are about the same classifier and samples.
    """
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(_subject(evaluation), []).append(evaluation)
    raised = {subject: [finding._asdict() for finding in cross_findings(group)] for subject, group in groups.items()}
    paths = [None] * len(evaluations) if archives is None else [str(path) for path in archives]
    return [
        {**evaluation.to_dict(), "archive": path, "cross_findings": raised[_subject(evaluation)]}
        for evaluation, path in zip(evaluations, paths, strict=True)
    ]


def _subject(evaluation: Evaluation) -> tuple[str, str]:
    return evaluation.result.classifier_digest, evaluation.result.dataset_digest
