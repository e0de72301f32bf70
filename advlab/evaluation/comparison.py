"""Several classifiers under several attacks and budgets: their numbers, and which differ by more than chance."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab import writing
from advlab.errors import InvalidFile
from advlab.evaluation.metrics import Rate, rate, wilson
from advlab.evaluation.significance import SIGNIFICANCE, mcnemar
from advlab.formatting import plain
from advlab.validation import json_object, shown

SCHEMA = 1


class Model(NamedTuple):
    """A classifier: what it is called, and the digest that tells it from others of that name."""

    name: str
    digest: str


class Column(NamedTuple):
    """What is compared in one column: an attack within a budget, on the same images.

    ``norm`` is empty where several norms count, and ``epsilon`` is then infinite.
    """

    dataset: str
    dataset_digest: str
    attack: str
    budget: str
    norm: str
    epsilon: float


@dataclass(frozen=True, eq=False)
class Score:
    """One number: a classifier under one attack, budget and seed, and where it comes from.

    ``robust`` bool ``(n,)`` says of each image whether it is classified correctly clean and perturbed, ``correct``
    bool ``(n,)`` clean. ``passes`` are forward and backward, per image. ``archive`` is the path of the archive,
    ``archive_digest`` 16 digits of the SHA-256 of its bytes, ``command`` what makes it again, ``recipe`` a digest of
    what was run, ``findings`` the codes of what speaks against the number.
    """

    model: Model
    column: Column
    seed: int
    correct: np.ndarray
    robust: np.ndarray
    passes: float = 0.0
    seconds: float = 0.0
    findings: tuple[str, ...] = ()
    archive: str = ""
    archive_digest: str = ""
    command: str = ""
    recipe: str = ""
    versions: Mapping[str, str] | None = None

    @property
    def accuracy(self) -> Rate:
        """Robust accuracy over all images."""
        return rate(self.robust)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; the flags of the images are hexadecimal digits, the first image the highest bit."""
        flags = {name: _packed(getattr(self, name)) for name in ("correct", "robust")}
        rates = {"clean_accuracy": rate(self.correct), "robust_accuracy": self.accuracy}
        stored = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in flags}
        return plain({**stored, **rates, "samples": len(self.robust), **flags})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """The inverse of ``to_dict``."""
        epsilon = data["column"]["epsilon"]
        values = {f.name: data[f.name] for f in fields(cls)}
        values |= {name: _unpacked(data[name], int(data["samples"])) for name in ("correct", "robust")}
        values["model"] = Model(**data["model"])
        values["column"] = Column(**{**data["column"], "epsilon": math.inf if epsilon is None else float(epsilon)})
        return cls(**{**values, "findings": tuple(data["findings"])})


class Summary(NamedTuple):
    """The seeds of one model in one column. ``rate`` is the mean accuracy, its interval that of one seed's images.

    More seeds draw no more images, so they do not narrow it; ``spread`` is the standard deviation over seeds, NaN for
    one. ``is_best`` where every other model of the column has a lower mean and McNemar's exact test says so of every
    seed.
    """

    rate: Rate
    spread: float
    seeds: int
    is_best: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of several classifiers; ``failed`` says of each cell that has none why."""

    title: str
    scores: tuple[Score, ...]
    failed: Mapping[str, str] | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """Every classifier, in the order of its first score."""
        return tuple(dict.fromkeys(score.model for score in self.scores))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Everything that is compared; what is on the same images stands together."""
        columns = dict.fromkeys(score.column for score in self.scores)
        order = list(dict.fromkeys(column.dataset_digest for column in columns))
        return tuple(sorted(columns, key=lambda column: order.index(column.dataset_digest)))

    @property
    def by_images(self) -> dict[str, tuple[Column, ...]]:
        """Digest of the images -> the columns about them."""
        groups: dict[str, list[Column]] = {}
        for column in self.columns:
            groups.setdefault(column.dataset_digest, []).append(column)
        return {digest: tuple(columns) for digest, columns in groups.items()}

    def of(self, model: Model | None = None, column: Column | None = None) -> tuple[Score, ...]:
        """The scores of a model, of a column, or of both, in the order of their seeds."""
        chosen = [
            s for s in self.scores if (model is None or s.model == model) and (column is None or s.column == column)
        ]
        return tuple(sorted(chosen, key=lambda score: score.seed))

    def clean(self, model: Model, dataset_digest: str) -> Rate | None:
        """Clean accuracy on some images; None where the model was not attacked on them."""
        scores = [s for s in self.scores if s.model == model and s.column.dataset_digest == dataset_digest]
        return rate(scores[0].correct) if scores else None

    def summary(self, model: Model, column: Column) -> Summary | None:
        """The model in a column, None where it has no score there."""
        scores = self.of(model, column)
        if not scores:
            return None
        values = [score.accuracy.value for score in scores]
        total, mean = len(scores[0].robust), statistics.fmean(values)
        count = round(mean * total)
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        return Summary(Rate(mean, *wilson(count, total), count, total), spread, len(scores), model == self.best(column))

    def best(self, column: Column) -> Model | None:
        """The model that is more robust than every other one of a column by more than chance; None where none is."""
        seeds = {model: self.of(model, column) for model in self.models}
        means = {model: statistics.fmean(s.accuracy.value for s in scores) for model, scores in seeds.items() if scores}
        if len(means) < 2:
            return None
        first = max(means, key=lambda model: means[model])
        others = [model for model in means if model != first]
        is_first = all(
            mcnemar(one.robust, other.robust).p_value < SIGNIFICANCE and one.robust.sum() > other.robust.sum()
            for model in others
            for one, other in zip(seeds[first], seeds[model], strict=False)
        )
        return first if is_first else None

    def table(self) -> str:
        """Numbers with intervals, at most 100 columns wide; ``*`` marks the best where it is more than chance."""
        from advlab.evaluation.comparison_tables import table

        return table(self)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "scores": [score.to_dict() for score in self.scores],
            "failed": dict(self.failed or {}),
        }

    def save(self, path: Path) -> Path:
        """Write the JSON file, whole or not at all."""
        with writing.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """What ``save`` wrote; raises ``InvalidFile`` for anything else."""
        try:
            table = json_object(path.read_text("utf-8"), "it")
            if table.get("schema") != SCHEMA:
                raise InvalidFile(
                    f"'{path}' has schema {shown(table.get('schema'))}; this advlab reads {SCHEMA}. Delete it and run "
                    "the benchmark again."
                )
            scores = tuple(map(Score.from_dict, table["scores"]))
            return cls(str(table["title"]), scores, {str(k): str(v) for k, v in table["failed"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidFile(
                f"'{path}' is not a valid result of a benchmark: {error!r}. Restore it, or delete it and run again."
            ) from error

    def adding(self, score: Score) -> Comparison:
        """The same with one score more, in place of an older one of its model, column and seed."""
        key = (score.model.name, score.column, score.seed)
        kept = [s for s in self.scores if (s.model.name, s.column, s.seed) != key]
        return replace(self, scores=(*kept, score))

    def __repr__(self) -> str:
        return f"Comparison: {len(self.models)} models, {len(self.columns)} columns, {len(self.scores)} scores"

    def _repr_html_(self) -> str:
        from advlab.evaluation.comparison_tables import as_html

        return as_html(self)


def _packed(flags: np.ndarray) -> str:
    return np.packbits(flags).tobytes().hex()


def _unpacked(text: str, count: int) -> np.ndarray:
    flags = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    if not 0 <= len(flags) - count < 8:
        raise ValueError(f"it has flags of {len(flags)} images, and says {count}")
    return flags[:count].astype(bool)
