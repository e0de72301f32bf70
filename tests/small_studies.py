"""A study of two rows on digits, and its rows as if they had been run."""

from __future__ import annotations

from pathlib import Path

from advlab.declarations.recipes import settings
from advlab.evaluation.metrics import Rate, wilson
from advlab.evaluation.study import MeasuredRow

HEAD = 'title = "Small"\nrecipe = "digits"\nsuite = "quick"\nepsilon = 0.1\nsamples = 8\n'
ROWS = """
[[row]]
name = "base"
training = { epochs = 1 }
published = { test_accuracy = 0.5 }
note = "because"

[[row]]
name = "linear"
architecture = { activation = "linear" }
training = { epochs = 1, optimizer = "sgd" }
"""


def write_study(folder: Path, text: str = ROWS, head: str = HEAD, name: str = "small") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(head + text, "utf-8")
    return path


def measured(study, number: int, test: float, robust: int = 50, **fields) -> MeasuredRow:
    """A row as if it had been run; ``robust`` of 100 images are still robust."""
    row = study.rows[number]
    rates = {"clean_accuracy": rate(90), "robust_accuracy": rate(robust)}
    seconds = {"train_seconds": 12.3, "attack_seconds": 80.0}
    figures = {"parameters": 50890, "train_accuracy": 0.9, "test_accuracy": test, "epochs_run": 1, **rates, **seconds}
    return MeasuredRow(row.name, settings(row.recipe), study.threat, **figures, **fields)


def rate(count: int) -> Rate:
    return Rate(count / 100, *wilson(count, 100), count, 100)
