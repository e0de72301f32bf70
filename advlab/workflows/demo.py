"""Train, attack, evaluate and report on the embedded digits."""

from __future__ import annotations

import tempfile
from os import PathLike
from pathlib import Path

from advlab import workspace
from advlab.evaluation.evaluation import Evaluation
from advlab.reporting.report import report
from advlab.workflows.train import train


def demo(output: str | PathLike[str] = "report.html", *, progress: bool | None = None) -> list[Evaluation]:
    """Train ``digits``, run the suite ``quick`` on its test images, and write the report to ``output``.

    Needs no network. Works in a temporary workspace: only the report is left.
    """
    from advlab.data.loading import load_dataset
    from advlab.workflows.run_suite import run

    path = Path(output).absolute()
    with tempfile.TemporaryDirectory() as folder, workspace.using(folder):
        classifier = train("digits", progress=progress)
        evaluations = run(classifier, load_dataset("digits"), "quick", progress=progress)
    report(evaluations, path)
    return evaluations
