"""What a study measured: a record for each finished row, kept as JSON and shown as text, Markdown or HTML."""

from __future__ import annotations

import html
import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from advlab import writing
from advlab.declarations.recipes import settings
from advlab.declarations.studies import Row, Study, flat, in_words
from advlab.errors import InvalidFile
from advlab.evaluation.findings.checks import CHECKS
from advlab.evaluation.metrics import Rate
from advlab.formatting import Grid, Page, page_width, printable, shortened
from advlab.validation import is_number, json_object, shown

SCHEMA = 1
Cell = Callable[[int, Row], str]
POINT = 0.01
_TYPES: dict[str, type | tuple[type, ...]] = {  # first word of a field's annotation: what it may hold
    "Mapping": dict,
    "Rate": Rate,
    "float": (int, float),
    "int": int,
    "str": str,
    "tuple": tuple,
}
ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy")


@dataclass(frozen=True)
class MeasuredRow:
    """One row of a study that was run.

    ``settings`` is what was trained (data set, architecture, training) and ``threat`` what it was attacked with.
    Accuracies are in [0, 1]: ``test_accuracy`` of all test images, ``train_accuracy`` as Keras' ``fit`` reports it (a
    mean over the last epoch, with dropout active), ``clean_accuracy`` and ``robust_accuracy`` of the attacked
    images. ``findings`` are the codes of what speaks against the robust accuracy. ``ended`` says why training stopped
    early, ``error`` why there is no result; then every number is None.
    """

    name: str
    settings: Mapping[str, Any]
    threat: Mapping[str, Any]
    parameters: int | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    clean_accuracy: Rate | None = None
    robust_accuracy: Rate | None = None
    findings: tuple[str, ...] = ()
    epochs_run: int | None = None
    train_seconds: float | None = None
    attack_seconds: float | None = None
    ended: str | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        rates = {key: None if rate is None else vars(rate) for key, rate in self._rates().items()}
        return {**vars(self), **rates, "findings": list(self.findings)}

    def _rates(self) -> dict[str, Rate | None]:
        return {"clean_accuracy": self.clean_accuracy, "robust_accuracy": self.robust_accuracy}

    def is_of(self, row: Row, study: Study) -> bool:
        """Whether it was measured with the settings and the threat model that the study declares now."""
        return self.error is None and self.settings == settings(row.recipe) and self.threat == study.threat


@dataclass(frozen=True)
class StudyResult:
    """The finished rows of a study, in its order, and ``versions``: the libraries and machine of the last run.

    Published figures and notes are those of the study as it is declared now.
    """

    study: Study
    rows: tuple[MeasuredRow, ...] = ()
    versions: Mapping[str, str] | None = None

    def row(self, name: str) -> MeasuredRow | None:
        """The measured row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    def adding(self, measured: MeasuredRow) -> StudyResult:
        """The same with one row more, in place of an older one of its name."""
        by_name = {row.name: row for row in self.rows} | {measured.name: measured}
        return replace(self, rows=tuple(by_name[row.name] for row in self.study.rows if row.name in by_name))

    def differences(self, measured: MeasuredRow) -> dict[str, float]:
        """Accuracy -> measured minus published, where the two lie more than a point apart."""
        published = self._declared(measured).recipe.published
        differences = {
            key: getattr(measured, key) - published[key]
            for key in ACCURACIES
            if key in published and getattr(measured, key) is not None
        }
        return {key: value for key, value in differences.items() if abs(value) > POINT + 1e-9}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, what the study's ``.json`` holds."""
        return {
            "schema": SCHEMA,
            "study": self.study.name,
            "versions": dict(self.versions or {}),
            "rows": [row.to_dict() for row in self.rows],
        }

    def save(self, path: Path) -> Path:
        """Write the JSON file, whole or not at all."""
        with writing.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
        return path

    def table(self) -> str:
        """A line for each row, at most 100 columns; of the published figures only test accuracy."""
        heads, *bodies = self._cells(_row_name(), printed=("test_accuracy",))
        others = [max(map(len, column)) for column in zip(heads[1:], *(cells for _, *cells in bodies), strict=True)]
        name_width = max(page_width() - sum(others) - 2 * len(others), 12)
        rows = [[shortened(name, name_width), *cells] for name, *cells in bodies]
        return Page.of(Grid(heads, rows, heads[:1]), "", *textwrap.wrap(self._caption(), page_width()))

    def markdown(self) -> str:
        """The table with the varied settings, and the notes below it."""
        varied = {
            (key.partition(".")[2] or key).replace("_", " "): _setting(key) for key in self.study.varied_settings()
        }
        heads, *bodies = self._cells({"row": lambda number, row: str(number), **varied}, printed=ACCURACIES)
        rules = [":--" if number <= len(varied) else "--:" for number in range(len(heads))]
        escaped = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in line] for line in bodies]
        rows = [f"| {' | '.join(line)} |" for line in (heads, rules, *escaped)]
        notes = ["", *(f"- {line}" for line in self.notes())] if self.notes() else []
        return "\n".join([*rows, "", self._caption(), *notes]) + "\n"

    def notes(self) -> list[str]:
        """A sentence on rows that differ from their source by more than a point, or failed; equal ones together."""
        rows_by_text: dict[str, list[int]] = {}
        for number, row in enumerate(self.study.rows, 1):
            measured = self.row(row.name)
            if measured is None:
                continue
            differences = self.differences(measured)
            unexplained = [f"unexplained: {_points(differences)}."] if differences else []
            texts = [" ".join(row.note.split())] if row.note else unexplained
            texts += [text for text in (measured.error, measured.ended) if text]
            codes = [check.code for check in CHECKS if check.code in measured.findings and check.severity != "info"]
            if codes:
                texts.append(f"findings speak against the robust accuracy: {', '.join(codes)}.")
            if measured.error is None and not measured.is_of(row, self.study):
                texts.append("measured with other settings than the study has now; --resume computes it again.")
            for text in texts:
                rows_by_text.setdefault(text, []).append(number)
        return [f"Row{'s' * (len(rows) > 1)} {_numbers(rows)}: {text}" for text, rows in rows_by_text.items()]

    def __repr__(self) -> str:
        return f"StudyResult {self.study.name}: {len(self.rows)} of {len(self.study.rows)} rows"

    def _repr_html_(self) -> str:
        heads, *bodies = self._cells(_row_name(), printed=ACCURACIES)
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
        lines = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in line)}</tr>" for line in bodies)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in (self._caption(), *self.notes()))
        title = html.escape(self.study.title)
        return f"<table><caption>{title}</caption><tr>{head}</tr><tbody>{lines}</tbody></table><ul>{notes}</ul>"

    def _declared(self, measured: MeasuredRow) -> Row:
        return next(row for row in self.study.rows if row.name == measured.name)

    def _cells(self, first: Mapping[str, Cell], printed: Sequence[str]) -> list[list[str]]:
        """Heads, then a line for each finished row: ``first``, and the accuracies in percent that any row has.

        Those named in ``printed`` are followed by the published figure.
        """
        columns = [key for key in ACCURACIES if any(getattr(m, key) is not None for m in self.rows)]
        heads = [*first, "parameters", *(f"{key.partition('_')[0]} %" for key in columns), "robust % [95%]", "seconds"]
        lines = [heads]
        for number, row in enumerate(self.study.rows, 1):
            measured = self.row(row.name)
            if measured is None:
                continue
            published, differences = row.recipe.published, self.differences(measured)
            line = [cell(number, row) for cell in first.values()]
            line.append("-" if measured.parameters is None else f"{measured.parameters:,}")
            for key in columns:
                value = getattr(measured, key)
                source = f" ({100 * published[key]:.2f})" if key in published and key in printed else ""
                line.append(("-" if value is None else f"{100 * value:.2f}") + source + "*" * (key in differences))
            lines.append(line + _robust(measured))
        return lines

    def _caption(self) -> str:
        study = self.study
        finished = (
            f" {len(self.rows)} of {len(study.rows)} rows are finished." if len(self.rows) < len(study.rows) else ""
        )
        return (
            "In brackets what the source printed, with * where it is more than a point apart. train: mean over the "
            f"last epoch, with dropout active. robust: {study.suite}, {study.norm} {study.epsilon:.4g}, the first "
            f"{study.samples:,} test images, with 95% Wilson interval. seconds: training + attacking.{finished}"
        )


def load_study_result(study: Study, path: Path) -> StudyResult:
    """What was measured of a study; rows that it no longer has are left out. Raises ``InvalidFile``."""
    try:
        table = json_object(path.read_text("utf-8"), "it", constants_as=None)
        if table.get("schema") != SCHEMA:
            raise InvalidFile(
                f"'{path}' has schema {shown(table.get('schema'))}; this advlab reads {SCHEMA}. Delete it and run the "
                "study again."
            )
        result = StudyResult(study, versions=dict(table["versions"]))
        for row in table["rows"]:
            if row["name"] in {declared.name for declared in study.rows}:
                result = result.adding(_measured(row))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidFile(
            f"'{path}' is not a valid result of a study: {error!r}. Restore it, or delete it and run again."
        ) from error
    return result


def _measured(row: Mapping[str, Any]) -> MeasuredRow:
    values = {f.name: row[f.name] for f in fields(MeasuredRow)}
    values["settings"] = settings(row["settings"])
    rates = {key: row[key] and Rate(**row[key]) for key in ("clean_accuracy", "robust_accuracy")}
    measured = MeasuredRow(**{**values, **rates, "findings": tuple(row["findings"])})
    for f in fields(MeasuredRow):
        value, kind = getattr(measured, f.name), re.split(r"\W", str(f.type), maxsplit=1)[0]
        if value is not None and not isinstance(value, _TYPES[kind]):
            raise ValueError(f"'{f.name}' is {shown(value)}")
    numbers = [v for rate in rates.values() if rate for v in vars(rate).values()]
    numbers += [v for v in vars(measured).values() if isinstance(v, float)]
    if not all(is_number(v) and math.isfinite(v) for v in numbers) or not all(map(_is_text, measured.findings)):
        raise ValueError("it holds something else than finite numbers, or findings that are no text")
    return measured


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _row_name() -> dict[str, Cell]:
    return {"row": lambda number, row: f"{number} {printable(row.name)}"}


def _setting(key: str) -> Cell:
    return lambda number, row: in_words(flat(row.recipe).get(key))


def _robust(measured: MeasuredRow) -> list[str]:
    rate, training, attacking = measured.robust_accuracy, measured.train_seconds, measured.attack_seconds
    if rate is None or training is None or attacking is None:
        return ["failed", "-"]
    return [
        rate.text,
        f"{training:.0f} + {attacking:.0f}",
    ]


def _numbers(rows: Sequence[int]) -> str:
    """``1-3, 5`` for the rows 1, 2, 3 and 5."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][-1] + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _points(differences: Mapping[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {100 * value:+.2f} points" for key, value in differences.items())
