"""The whole path on the embedded digits: train, attack, evaluate, report."""

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

    Needs no network. Works in a temporary workspace: the report is all that stays.
    """
    from advlab.data.loading import load_dataset
    from advlab.workflows.run_suite import run

    place = Path(output).absolute()
    with tempfile.TemporaryDirectory() as folder, workspace.using(folder):
        classifier = train("digits", progress=progress)
        evaluations = run("quick", classifier, load_dataset("digits"), progress=progress)
    report(evaluations, place)
    return evaluations
