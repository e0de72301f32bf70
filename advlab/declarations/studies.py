"""Studies: one recipe in many variations, declared in TOML and read into frozen dataclasses.

``models/studies/<name>.toml`` is a study; the file's name is its name. Each ``[[row]]`` changes some settings of a base
recipe, a ``[grid]`` adds a row for every combination of its values. Everything is checked here, before anything heavy
is imported: an unknown key, a wrong type or a value out of range is refused with the file and the row.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advlab import renamed, workspace
from advlab.declarations import toml
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import EarlyStopping, Recipe, load_recipe, settings, training_from
from advlab.declarations.suites import load_suite
from advlab.errors import InvalidValue, unknown
from advlab.threat import parse_epsilon
from advlab.validation import invalid, is_number, require_choice, require_int, require_str

_KEYS = (
    "columns",
    "epsilon",
    "grid",
    "norm",
    "note",
    "recipe",
    "row",
    "samples",
    "source",
    "suite",
    "title",
    "version",
)
_MOST_ROWS = 1000
_ROW_KEYS = ("architecture", "name", "note", "published", "recipe", "training")


@dataclass(frozen=True)
class Row:
    """One variation: a recipe of its own, named ``<study>-<row>``, and why its figures differ from its source's."""

    name: str
    recipe: Recipe
    note: str = ""


@dataclass(frozen=True)
class Study:
    """Variations of a recipe that are trained, attacked and shown together.

    Robust accuracy is the worst case of ``suite`` under ``norm`` and ``epsilon`` on the first ``samples`` images.
    ``columns`` are the settings that the table shows, such as ``architecture.dropout`` (empty: those that differ).
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    source: str = ""
    suite: str = "standard"
    norm: str = "linf"
    epsilon: float = 0.05
    samples: int = 1000
    columns: tuple[str, ...] = ()
    note: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        toml.require_description(self)
        for key in ("suite", "norm"):
            require_str(key, getattr(self, key))
        for key in ("source", "note"):
            if not isinstance(getattr(self, key), str):
                raise invalid(key, getattr(self, key), "a string in quotes")
        require_int("samples", self.samples, 1)
        if not (is_number(self.epsilon) and self.epsilon > 0):
            raise invalid("epsilon", self.epsilon, "a number above 0 such as 0.1, or a string such as '8/255'")
        suite = load_suite(self.suite)
        kinds = sorted({f"{a.goal} {a.threat.norm}" for a in suite.under(self.norm, self.epsilon)})
        # A cascade counts what a minimal method finds within epsilon.
        if suite.mode == "each" and len(kinds) > 1:
            raise InvalidValue(
                f"A study shows one worst case, of attacks of one goal and threat model. Got suite '{self.suite}' with "
                f"{', '.join(kinds)}; choose another suite, such as 'standard'."
            )
        if not self.rows:
            raise InvalidValue("A study needs at least one [[row]] table, or a [grid]. Got none.")
        for names in ([row.name for row in self.rows], [row.recipe.name for row in self.rows]):
            duplicate = next((name for number, name in enumerate(names) if name in names[:number]), None)
            if duplicate is not None:
                raise InvalidValue(f"Every row needs a name of its own. Got '{duplicate}' twice; change one.")
        settings = {key for row in self.rows for key in flat(row.recipe)}
        for column in self.columns:
            require_choice("columns", column, tuple(settings))

    @property
    def threat(self) -> dict[str, Any]:
        """How robust accuracy is measured, ready for JSON."""
        return {"suite": self.suite, "norm": self.norm, "epsilon": self.epsilon, "samples": self.samples}

    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe of each row, in order."""
        return tuple(row.recipe for row in self.rows)

    def varied_settings(self) -> tuple[str, ...]:
        """The settings that the table shows: ``columns``, or where that is empty those in which the rows differ."""
        rows = [flat(recipe) for recipe in self.recipes()]
        keys = dict.fromkeys(key for settings in rows for key in settings)
        return self.columns or tuple(k for k in keys if any(s.get(k) != rows[0].get(k) for s in rows))

    def adjusted(self, epochs: int | None = None, samples: int | None = None) -> Study:
        """The study with another number of epochs in every row, or of attacked images; None leaves it unchanged."""
        rows = self.rows
        if epochs is not None:
            rows = tuple(
                replace(r, recipe=replace(r.recipe, training=replace(r.recipe.training, epochs=epochs))) for r in rows
            )
        return replace(self, rows=rows, samples=self.samples if samples is None else samples)

    def select(self, rows: str | Iterable[str | int] | None = None) -> tuple[Row, ...]:
        """Some rows, in the order of the study: names, numbers from 1, ranges such as ``1,3-5``; None is all."""
        if rows is None:
            return self.rows
        words = rows.split(",") if isinstance(rows, str) else [str(row) for row in rows]
        numbers = {number for word in words for number in self._numbers(word.strip())}
        return tuple(row for number, row in enumerate(self.rows, 1) if number in numbers)

    def _numbers(self, word: str) -> range:
        names = [row.name for row in self.rows]
        if word in names:
            return range(names.index(word) + 1, names.index(word) + 2)
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if ends is None:
            raise unknown(f"row of study '{self.name}'", word, names, f"Or give numbers, 1-{len(names)}.")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not 1 <= first <= last <= len(names):
            raise InvalidValue(f"Study '{self.name}' has the rows 1-{len(names)}. Got '{word}'.")
        return range(first, last + 1)


def flat(recipe: Recipe) -> dict[str, Any]:
    """Every setting by its name in TOML, such as ``training.optimizer``; of the architecture only what it sets."""
    tables = {"architecture": recipe.architecture, "training": vars(recipe.training)}
    inner = {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}
    return {"dataset": recipe.dataset, **inner}


def load_study(name_or_path: str | Path) -> Study:
    """The study of that name, or in that TOML file; errors name the file, the row, the value and what is allowed."""
    path = workspace.find_study(str(name_or_path))
    table = toml.read(path)
    with toml.about(path):
        for key in table:
            if key not in _KEYS:
                raise unknown("key", key, _KEYS)
        base, rows, grid = table.pop("recipe", None), table.pop("row", []), table.pop("grid", {})
        if not isinstance(rows, list):
            raise invalid("row", rows, "a list of tables, each headed [[row]]")
        if isinstance(table.get("epsilon"), str):
            table["epsilon"] = parse_epsilon(table["epsilon"])
        if not isinstance(table.get("columns", []), list):
            raise invalid("columns", table["columns"], 'a list such as ["architecture.dropout"]')
        parsed_rows = []
        for number, row in enumerate(_merge_rows(rows, list(_combinations(toml.table(grid, "grid")))), 1):
            with toml.about(f"row {number}"):
                parsed_rows.append(_row(toml.table(row, "row"), base, path.stem))
        return Study(
            **{"title": None, **table, "columns": tuple(table.get("columns", ()))},
            name=path.stem,
            rows=tuple(parsed_rows),
        )


def _combinations(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a grid, the last key changing fastest, each named by its values."""
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise invalid(f"grid.{key}", values, 'a list, under a key in quotes: "architecture.dropout" = [0.1]')
        if key.partition(".")[0] not in ("architecture", "training") or "." not in key:
            raise InvalidValue(f"A key of [grid] is a setting such as \"training.optimizer\", in quotes. Got '{key}'.")
    rows = math.prod(map(len, grid.values()))
    if rows > _MOST_ROWS:
        raise invalid("grid", rows, f"at most {_MOST_ROWS} rows, as many as its values have combinations")
    for values in itertools.product(*grid.values()) if grid else ():
        row: dict[str, Any] = {"architecture": {}, "training": {}}
        for key, value in zip(grid, values, strict=True):
            table, _, setting = key.partition(".")
            row[table][setting] = value
        words = (f"{key.partition('.')[2]} {in_words(value)}" for key, value in zip(grid, values, strict=True))
        yield {"name": " ".join(words).replace("_", " "), **row}


def _merge_rows(rows: list[Any], grid: list[dict[str, Any]]) -> list[Any]:
    """The declared rows, then those of the grid; a row with the name of a grid row, perhaps for a note, adds to it."""
    grid_rows = {row["name"]: row for row in grid}
    other_rows = []
    for row in rows:
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str) or name not in grid_rows:
            other_rows.append(row)
            continue
        base = grid_rows[name]
        if base.keys() != {"name", "architecture", "training"}:
            raise InvalidValue(f"Every row needs a name of its own. Got '{name}' twice; change one.")
        for key in ("architecture", "training"):
            row = {**row, key: {**base[key], **toml.table(row.get(key, {}), key)}}
        grid_rows[name] = {"note": "", **row}
    return [*other_rows, *grid_rows.values()]


def _row(row: dict[str, Any], base: Any, study: str) -> Row:
    for key in row:
        if key not in _ROW_KEYS:
            raise unknown("key", key, _ROW_KEYS)
    name, note = row.get("name"), row.get("note", "")
    require_str("name", name)
    if "," in str(name):
        raise invalid("name", name, "a string without commas, which separate the rows of --rows")
    if not isinstance(note, str):
        raise invalid("note", note, "a string in quotes")
    with toml.about(f"'{name}'"):
        recipe_name = row.get("recipe", base)
        if not isinstance(recipe_name, str):
            raise invalid("recipe", recipe_name, "the name of a recipe, for the whole study or for each row")
        recipe = load_recipe(recipe_name)
        varied = _with_settings(recipe, row)
        # What the source printed for the base does not hold for another network.
        inherited = recipe.published if settings(varied) == settings(recipe) else {}
        published = toml.table(row.get("published", dict(inherited)), "published")
        slug = re.sub(r"[^a-z0-9.]+", "-", str(name).lower()).strip("-.")
        return Row(str(name), replace(varied, name=f"{study}-{slug}", title=str(name), published=published), note)


def _with_settings(base: Recipe, row: Mapping[str, Any]) -> Recipe:
    """The base with the row's settings; another architecture replaces all of the base's."""
    architecture = renamed.architecture(toml.table(row.get("architecture", {}), "architecture"))
    if architecture.get("name", base.architecture["name"]) == base.architecture["name"]:
        architecture = {**base.architecture, **architecture}
    training = {**vars(base.training), **toml.table(row.get("training", {}), "training")}
    return replace(base, architecture=architecture, training=training_from(training))


def in_words(value: Any) -> str:
    """A setting as a table shows it: ``256-256``, ``0.45``, ``adam``; empty where it is not set."""
    if isinstance(value, list | tuple):
        return "-".join(map(in_words, value)) or "none"
    if isinstance(value, Mapping | EarlyStopping | Adversary):
        return " ".join(map(in_words, (value if isinstance(value, Mapping) else vars(value)).values()))
    if value is None or isinstance(value, bool):
        return "yes" if value else "" if value is None else "no"
    return format(value, "g") if isinstance(value, float) else str(value)
