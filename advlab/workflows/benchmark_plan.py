"""What a benchmark will do: every model and data set opened and checked, and what each cell costs at most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.data.dataset import Dataset
from advlab.declarations import toml
from advlab.declarations.benchmarks import Benchmark, Cell, load_benchmark
from advlab.formatting import Grid, Page, in_time, plain, printable
from advlab.workflows.inputs import must_fit, resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

SCHEMA = 1


@dataclass(frozen=True)
class PlannedCell:
    """A cell that can be run. ``passes`` are forward and backward, at most, for one image; None: not known ahead.

    ``seconds`` is what these take on this machine, at most; images that are misclassified early cost less.
    """

    cell: Cell
    classifier: Classifier
    data: Dataset
    passes: int | None
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        epsilon = self.cell.epsilon
        return plain(
            {
                "classifier": self.cell.classifier,
                "dataset": self.data.name,
                "samples": len(self.data),
                "attack": self.cell.attack,
                "norm": self.cell.norm or None,
                "epsilon": epsilon,
                "seed": self.cell.seed,
                "passes": self.passes,
                "seconds": self.seconds,
            }
        )


@dataclass(frozen=True)
class BenchmarkPlan:
    """The cells of a benchmark in the order in which they run."""

    benchmark: Benchmark
    cells: tuple[PlannedCell, ...]

    @property
    def seconds(self) -> float:
        """Of all cells whose cost is known, at most."""
        return sum(cell.seconds or 0.0 for cell in self.cells)

    def table(self) -> str:
        """A line for each cell, and the sum."""
        heads = ["model", "images", "attack", "budget", "seed", "passes", "seconds"]
        rows = [
            [
                printable(planned.cell.classifier),
                f"{len(planned.data):,} of {printable(planned.data.name)}",
                planned.cell.attack,
                planned.cell.budget,
                str(planned.cell.seed),
                "-" if planned.passes is None else f"{planned.passes:,}",
                "-" if planned.seconds is None else f"{planned.seconds:,.1f}",
            ]
            for planned in self.cells
        ]
        return Page.of(Grid(heads, rows, heads[:4]), "", self.caption())

    def caption(self) -> str:
        """The sum in words."""
        return (
            f"{len(self.cells)} cells, at most {in_time(self.seconds)} on this machine: passes (forward and backward, "
            "for each image) as if no image ended early."
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        cells = [cell.to_dict() for cell in self.cells]
        return {"schema": SCHEMA, "benchmark": self.benchmark.name, "seconds": self.seconds, "cells": cells}


def plan_benchmark(name: str | Path, *, samples: int | None = None, trust: bool = False) -> BenchmarkPlan:
    """Open every model and data set of a benchmark, and say what it will run and what that costs.

    Raises ``Mismatch`` or ``InvalidValue``, naming the cell, where a model does not fit its data or an attack cannot be
    run on it. ``samples`` replaces the declared number of images, ``trust`` is ``load_classifier``'s.
    """
    return make_plan(load_benchmark(name).adjusted(samples), trust)


def make_plan(benchmark: Benchmark, trust: bool = False) -> BenchmarkPlan:
    """The plan of a declaration; each model is loaded and timed once, each data set read once."""
    classifiers: dict[str, Classifier] = {}
    data: dict[tuple[str, str, int], Dataset] = {}
    speeds: dict[tuple[str, str], float] = {}
    cells = []
    for cell in benchmark.cells:
        with toml.about(f"'{cell}'"):
            if cell.classifier not in classifiers:
                classifiers[cell.classifier] = resolve_classifier(cell.classifier, trust)
            classifier = classifiers[cell.classifier]
            name = cell.dataset or classifier.dataset
            # A folder of images is made to fit each model.
            key = (name, cell.classifier if must_fit(name) else "", cell.samples)
            if key not in data:
                data[key] = resolve_dataset(name, classifier, cell.samples)
            classifier.check(data[key])
            cells.append(_planned(cell, classifier, data[key], speeds))
    return BenchmarkPlan(benchmark, tuple(cells))


def _planned(cell: Cell, classifier: Classifier, data: Dataset, speeds: dict[tuple[str, str], float]) -> PlannedCell:
    from advlab.engine.cost import most_passes, seconds_per_pass

    counted = [most_passes(spec, data.shape, classifier.classes) for spec in cell.attacks]
    known = [passes for passes in counted if passes is not None]
    key = (cell.classifier, data.name)
    if key not in speeds:
        speeds[key] = seconds_per_pass(classifier, data)
    passes = sum(map(sum, known)) if len(known) == len(counted) else None
    return PlannedCell(cell, classifier, data, passes, None if passes is None else passes * len(data) * speeds[key])
