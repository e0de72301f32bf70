"""Do adversarial images fool a classifier that they were not crafted against? Sources by targets, from evaluations."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from advlab.errors import InvalidValue
from advlab.evaluation.html_table import html_table
from advlab.evaluation.metrics import Rate
from advlab.evaluation.table import SIGN, labels
from advlab.formatting import Grid, Page, number, page_width, plain, printable, shortened

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

SCHEMA = 1
_SOURCE, _TARGET = 40, 18  # the most columns that a name may take
_CORNER = "crafted against"

_Key = tuple[str, str, str]


class Source(NamedTuple):
    """Where images come from: an attack on one classifier, on one set of samples."""

    classifier: str
    digest: str
    attack: str
    dataset: str
    dataset_digest: str
    samples: int


class Target(NamedTuple):
    """A classifier that the images are evaluated on."""

    classifier: str
    digest: str


class Cell(NamedTuple):
    """One source on one target. ``success_rate`` is among samples that the *target* classifies correctly when clean.

    ``white_box``: the target is the classifier that the images were crafted against.
    """

    robust_accuracy: Rate
    success_rate: Rate
    white_box: bool


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Sources in rows, targets in columns; a cell is None where that pair was not measured."""

    sources: tuple[Source, ...]
    targets: tuple[Target, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    evaluations: tuple[Evaluation, ...]

    def __repr__(self) -> str:
        measured = sum(cell is not None for row in self.cells for cell in row)
        rows, columns = len(self.sources), len(self.targets)
        return f"TransferMatrix: {rows} sources by {columns} targets, {measured} of {rows * columns} pairs measured"

    @property
    def shared_names(self) -> list[str]:
        """The names that more than one classifier has."""
        names = {s.digest: s.classifier for s in self.sources} | {t.digest: t.classifier for t in self.targets}
        return sorted(name for name, count in Counter(names.values()).items() if count > 1)

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """What rows and columns are called: with the start of the digest where classifiers share a name."""
        differ = len({source.dataset_digest for source in self.sources}) > 1
        rows = [
            f"{self._name(source)}: {source.attack}" + f" on {source.samples:,} of {source.dataset}" * differ
            for source in self.sources
        ]
        return rows, [self._name(target) for target in self.targets]

    def _name(self, named: Source | Target) -> str:
        return f"{named.classifier} ({named.digest[:6]})" if named.classifier in self.shared_names else named.classifier

    def table(self) -> str:
        """Robust accuracy and success rate in percent, sources by targets, and a caption: at most 100 columns wide.

        Where the targets do not fit side by side, the table continues below.
        """
        rows, columns = ([printable(name) for name in names] for names in self.names)
        texts = [[_text(cell) for cell in row] for row in self.cells]
        head_width = min(max(map(len, (*rows, _CORNER))), _SOURCE)
        widths = [min(max(len(name), *(len(row[c]) for row in texts)), _TARGET) for c, name in enumerate(columns)]
        blocks: list[list[int]] = [[]]
        for column in range(len(columns)):
            if blocks[-1] and head_width + sum(2 + widths[c] for c in (*blocks[-1], column)) > page_width():
                blocks.append([])
            blocks[-1].append(column)
        parts: list[Grid | str] = []
        for block in blocks:
            heads, *bodies = (
                [shortened(name, head_width), *(shortened(line[c], widths[c]) for c in block)]
                for name, line in zip((_CORNER, *rows), (columns, *texts), strict=True)
            )
            parts += [Grid(heads, bodies, heads[:1]), ""]
        return Page.of(*parts, *textwrap.wrap(self.caption(), page_width()))

    def caption(self) -> str:
        """What a reader of the table must know."""
        rates = [
            rate for row in self.cells for cell in row if cell for rate in (cell.robust_accuracy, cell.success_rate)
        ]
        reach = max((max(rate.high - rate.value, rate.value - rate.low) for rate in rates if rate.total), default=0.0)
        text = (
            "robust accuracy % / success rate % on the column's classifier, of images crafted against the row's. "
            "robust: correct clean and perturbed; success: among images that the target classifies correctly clean. "
            f"95% Wilson intervals reach at most {100 * reach:.1f} points to a side. {SIGN} white box. - not measured."
        )
        if self.shared_names:
            shared = ", ".join(f"'{printable(name)}'" for name in self.shared_names)
            text += f" Different classifiers are called {shared}: the start of their digests tells them apart."
        if len({source.dataset_digest for source in self.sources}) > 1:
            text += " The rows differ in their images and are not directly comparable."
        return text

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; the value of a rate over no samples, and a pair that was not measured, are null."""
        return {
            "schema": SCHEMA,
            **plain({"sources": self.sources, "targets": self.targets, "cells": self.cells}),
        }

    def _repr_html_(self) -> str:
        rows, columns = self.names
        lines = [(name, *map(_text, cells)) for name, cells in zip(rows, self.cells, strict=True)]
        return html_table(self.caption(), (_CORNER, *columns), lines, named=True)


def transfer_matrix(evaluations: Iterable[Evaluation]) -> TransferMatrix:
    """The matrix of evaluations, of which some have ``transfer_from``: a look-up, nothing is crafted or predicted.

    Classifiers are told apart by their digest; sources also by the whole attack and by their samples. The classifiers
    that were attacked are the first columns, in the order of their rows, so that the white boxes lie on the diagonal.
    The parts of a cascade are left out: they attack only the images that are still robust. Raises
    ``InvalidValue`` where no evaluation remains.
    """
    measured = [evaluation for evaluation in evaluations if not evaluation.result.left_out.any()]
    if not measured:
        raise InvalidValue(
            "A transfer matrix needs at least one attack on all of its images. Got none; of a cascade, give the "
            "archive of its worst case."
        )
    first_of_source: dict[_Key, Evaluation] = {}
    targets: dict[str, Target] = {}
    cells: dict[tuple[_Key, str], Cell] = {}
    for evaluation in measured:
        key, digest = _key(evaluation), evaluation.result.classifier_digest
        first_of_source.setdefault(key, evaluation)
        targets.setdefault(digest, Target(evaluation.classifier, digest))
        cell = Cell(evaluation.robust_accuracy, evaluation.success_rate, evaluation.transfer_from is None)
        cells.setdefault((key, digest), cell)
    columns = list(dict.fromkeys([*(key[0] for key in first_of_source if key[0] in targets), *targets]))
    return TransferMatrix(
        sources=_sources(first_of_source),
        targets=tuple(targets[digest] for digest in columns),
        cells=tuple(tuple(cells.get((key, digest)) for digest in columns) for key in first_of_source),
        evaluations=tuple(measured),
    )


def _key(evaluation: Evaluation) -> _Key:
    """What tells sources apart: the digest of the classifier, the attack, the samples."""
    result = evaluation.result
    digest = result.source_digest or result.classifier_digest
    return str(digest), str(result.attack.to_dict()), result.dataset_digest


def _sources(first_of_source: dict[_Key, Evaluation]) -> tuple[Source, ...]:
    # As if each had been evaluated where it was crafted: attacks are named in full where two of one source read alike.
    white_box = [
        replace(evaluation, transfer_from=None, result=replace(evaluation.result, classifier=f"{key[0]} {key[2]}"))
        for key, evaluation in first_of_source.items()
    ]
    return tuple(
        Source(e.transfer_from or e.classifier, key[0], attack, e.result.dataset, key[2], len(e))
        for (key, e), attack in zip(first_of_source.items(), labels(white_box), strict=True)
    )


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "- "
    robust, success = (number(100 * rate.value, ".1f") for rate in (cell.robust_accuracy, cell.success_rate))
    return f"{robust} / {success}{SIGN if cell.white_box else ' '}"
