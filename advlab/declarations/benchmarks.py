"""Benchmarks: many models under many attacks and budgets, declared in TOML and read into frozen dataclasses.

``attacks/benchmarks/<name>.toml`` is a benchmark; the file's name is its name. Its cells are all combinations of the
values of its keys, or of each ``[[grid]]`` table, which replaces some of them. Everything is checked here, before
anything heavy is imported: an unknown key, a wrong type or an attack that does not exist is refused with its cell.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from advlab import workspace
from advlab.declarations import toml
from advlab.declarations.attack import Attack
from advlab.declarations.methods import method_names
from advlab.declarations.suites import Entry, Suite, entry_from, load_suite
from advlab.errors import InvalidValue, unknown
from advlab.threat import NORMS, ThreatModel, parse_epsilon
from advlab.validation import as_int, invalid, require_choice, require_int, require_str

_MOST_CELLS = 10_000
_OF_THE_GRID = ("norm", "epsilon", "seed", "target")  # keys of an attack that a benchmark says once for all


@dataclass(frozen=True)
class Cell:
    """One number of a benchmark: a model on the first ``samples`` images of a data set, under an attack and a seed.

    ``dataset`` is empty where it is the one that the model was trained on. ``attack`` is what tables call it, and
    ``does`` the suite or the single attack itself. The robust accuracy counts images within ``epsilon`` under
    ``norm``; of a suite that names its own threat models ``norm`` is empty and ``epsilon`` infinite.
    """

    classifier: str
    dataset: str
    attack: str
    does: Suite | Entry
    norm: str
    epsilon: float
    seed: int
    samples: int

    def __str__(self) -> str:
        data = f" on {self.dataset}" if self.dataset else ""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.classifier}{data} under {self.attack}, {self.budget}{seed}"

    @property
    def budget(self) -> str:
        """The threat model in words: ``linf 0.1``; ``union`` where the suite names its own."""
        return ThreatModel(self.norm, self.epsilon).text if self.norm else "union"

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """What is run; a minimal method looks for the nearest image, of which those within epsilon count."""
        if isinstance(self.does, Suite):
            epsilon = None if self.does.mode == "smallest" or not self.norm else self.epsilon
            specs = self.does.under(self.norm or None, epsilon)
        else:
            specs = (self.does.attack(self.norm, self.epsilon),)
        return tuple(spec.replace(seed=self.seed) for spec in specs)

    @property
    def given_epsilon(self) -> float | None:
        """What its suite is given: None of one that looks for the smallest change, or names its own."""
        smallest = isinstance(self.does, Suite) and self.does.mode == "smallest"
        return None if smallest or not self.norm else self.epsilon

    @property
    def recipe(self) -> str:
        """16 hexadecimal digits that any change of what is run changes."""
        said = json.dumps([spec.to_dict() for spec in self.attacks], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def require_one_number(self) -> None:
        """Raise ``InvalidValue`` where its attacks are of several goals or norms: their worst case means nothing."""
        kinds = sorted({f"{spec.goal} {spec.threat.norm}" for spec in self.attacks})
        if isinstance(self.does, Suite) and self.does.mode == "each" and len(kinds) > 1:
            raise InvalidValue(
                f"A cell is one number, of attacks of one goal and norm. Got suite '{self.attack}' with "
                f"{', '.join(kinds)}; choose another suite, such as 'standard'."
            )


@dataclass(frozen=True)
class Benchmark:
    """Cells that are run and shown together."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    version: int = 1

    def __post_init__(self) -> None:
        toml.require_description(self)
        if not self.cells:
            raise InvalidValue("A benchmark needs at least one cell: classifiers, attacks and epsilons. Got none.")

    def adjusted(self, samples: int | None) -> Benchmark:
        """The benchmark on other numbers of images; None leaves it unchanged."""
        if samples is None:
            return self
        return replace(self, cells=tuple(replace(cell, samples=samples) for cell in self.cells))


@dataclass(frozen=True)
class _Grid:
    """What is combined; the fields are the keys of TOML."""

    classifiers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    attacks: tuple[Any, ...] = ()
    epsilons: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    samples: int = 1000

    def cells(self) -> Iterator[Cell]:
        """All combinations, the seed changing fastest."""
        for key, example in (("classifiers", "mnist"), ("attacks", "standard")):
            if not getattr(self, key):
                raise InvalidValue(f'A benchmark needs {key}: {key} = ["{example}"].')
        for key in ("classifiers", "datasets"):
            for name in getattr(self, key):
                require_str(key, name)
        require_int("samples", self.samples, 1)
        seeds = [as_int("seeds", seed, 0, 2**64 - 1) for seed in self.seeds]
        if not seeds:
            raise invalid("seeds", [], "a list of at least one whole number, such as [0, 1, 2]")
        budgets = [*_budgets(self.epsilons)]
        attacks = [_attack(given) for given in self.attacks]
        for classifier, dataset in itertools.product(self.classifiers, self.datasets or ("",)):
            for name, does in attacks:
                for norm, epsilon in _budgets_of(name, does, budgets):
                    for seed in seeds:
                        cell = Cell(classifier, dataset, name, does, norm, epsilon, seed, self.samples)
                        with toml.about(cell):
                            cell.require_one_number()
                        yield cell


def load_benchmark(name_or_path: str | Path) -> Benchmark:
    """The benchmark of that name, or in that TOML file; errors name the file, the cell and what is allowed."""
    path = workspace.find_benchmark(str(name_or_path))
    table = toml.read(path)
    with toml.about(path):
        grids = table.pop("grid", [{}])
        if not isinstance(grids, list) or not grids:
            raise invalid("grid", grids, "a list of tables, each headed [[grid]]")
        described = {key: table.pop(key) for key in ("title", "version") if key in table}
        cells: dict[tuple[Any, ...], Cell] = {}
        for number, grid in enumerate(grids, 1):
            with toml.about(f"grid {number}") if len(grids) > 1 else toml.about("its values"):
                for cell in itertools.islice(_grid({**table, **toml.table(grid, "grid")}).cells(), _MOST_CELLS + 1):
                    key = (cell.classifier, cell.dataset, cell.attack, cell.norm, cell.epsilon, cell.seed)
                    if key in cells:
                        raise InvalidValue(f"It has the cell '{cell}' twice. Leave one of them out.")
                    cells[key] = cell
        if len(cells) > _MOST_CELLS:
            raise InvalidValue(f"It has more than {_MOST_CELLS:,} cells. Declare several benchmarks.")
        if "title" not in described:
            raise InvalidValue('The key title is missing: title = "What is compared".')
        return Benchmark(path.stem, cells=tuple(cells.values()), **described)


def _grid(table: dict[str, Any]) -> _Grid:
    keys = [f.name for f in fields(_Grid)]
    for key in table:
        if key not in keys:
            raise unknown("key", key, [*keys, "grid", "title", "version"])
    toml.known_keys(_Grid, {key: value for key, value in table.items() if key != "attacks"}, "")
    if not isinstance(table.get("attacks", []), list):
        raise invalid("attacks", table["attacks"], 'a list of suites and methods such as ["standard", "pgd"]')
    values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in table.items()}
    return _Grid(**values)


def _budgets(epsilons: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for norm, values in epsilons.items():
        require_choice("epsilons", norm, NORMS[:-1])
        if not isinstance(values, list) or not values:
            raise invalid(f"epsilons.{norm}", values, 'a list such as [0.1, "8/255"]')
        for value in values:
            epsilon = parse_epsilon(value)
            if epsilon is None or not 0 < epsilon < math.inf:
                raise invalid(f"epsilons.{norm}", value, 'a number above 0 such as 0.1, or a string such as "8/255"')
            yield norm, ThreatModel(norm, epsilon).epsilon


def _budgets_of(name: str, does: Suite | Entry, budgets: list[tuple[str, float]]) -> list[tuple[str, float]]:
    if isinstance(does, Suite) and does.mode == "union":
        return [("", math.inf)]
    if not budgets:
        raise InvalidValue(f"'{name}' needs a norm and an epsilon: epsilons = {{ linf = [0.1] }}.")
    return budgets


def _attack(given: Any) -> tuple[str, Suite | Entry]:
    """What a table calls an attack, and the attack: of a string a method or a suite, of a table a method's settings."""
    if isinstance(given, str) and given not in method_names():
        if not workspace.looks_like_path(given) and given not in workspace.suites():
            raise unknown("suite or method", given, [*workspace.suites(), *method_names()])
        suite = load_suite(given)
        return suite.name, suite
    table = {"method": given} if isinstance(given, str) else given
    if not isinstance(table, dict) or not isinstance(table.get("method"), str):
        raise invalid("attacks", given, 'the name of a suite or method, or { method = "pgd", parameters = { … } }')
    for key in _OF_THE_GRID:
        if key in table:
            raise InvalidValue(f"'{key}' belongs to no attack of a benchmark: norms, epsilons and seeds are its own.")
    entry = entry_from(dict(table))
    if "early_stop" not in table:
        # Of a minimal method the nearest success is meant, not the first.
        entry = replace(entry, early_stop=entry.attack().goal == "bounded")
    return entry.attack().variant, entry
