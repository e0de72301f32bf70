"""What is available, by category: name -> one line, or what a listing says of it. Nothing heavy is imported for it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

from advlab import workspace
from advlab.data.official import DATASETS, WITH_NOISE
from advlab.declarations.methods import Method, load_method, method_names
from advlab.errors import InvalidFile, unknown
from advlab.formatting import plain

CATEGORIES = ("models", "studies", "methods", "suites", "benchmarks", "datasets", "archives", "findings")
_WIDTH = 80  # of a page about a method
_GOALS = {
    "bounded": "the worst image within epsilon",
    "minimal": "the nearest adversarial image; it takes no epsilon",
}


class ListedModel(NamedTuple):
    """A model: what its recipe is called (None: it has no recipe), and whether it is trained."""

    title: str | None
    state: str

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/json.md`` says."""
        return dict(plain(self))

    def __str__(self) -> str:
        return f"{self.state:<12}  {self.title or 'no recipe'}"


class ListedParameter(NamedTuple):
    """A parameter of a method. ``default`` is as one writes it after --set; None: it may be left out."""

    type: str
    default: str | None
    choices: tuple[str, ...]
    description: str


class ListedMethod(NamedTuple):
    """A method: what its file says of it. The first of ``norms`` is the default."""

    name: str
    summary: str
    source: str
    goal: str
    norms: tuple[str, ...]
    parameters: Mapping[str, ListedParameter]

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/json.md`` says."""
        return dict(plain(self))

    def __str__(self) -> str:
        parameters = " ".join(f"{name}={p.default}" for name, p in self.parameters.items())
        return f"{self.goal:<8} {'/'.join(self.norms):<18} {parameters or 'no parameters'}\n{self.summary}"

    def page(self) -> str:
        """All of it as text of 80 columns."""
        lines = [f"{self.name}: {self.summary}", "", *_paragraphs(self.source)]
        lines += [f"goal   {self.goal}: {_GOALS[self.goal]}"]
        lines += [f"norms  {', '.join(self.norms)}" + (" (the first is the default)" if len(self.norms) > 1 else "")]
        lines += [
            "",
            "Parameters, each given as --set NAME=VALUE or as a keyword:" if self.parameters else "No parameters.",
        ]
        for name, parameter in self.parameters.items():
            default = "may be left out" if parameter.default is None else f"default {parameter.default}"
            choices = f"; one of {', '.join(parameter.choices)}" if parameter.choices else ""
            lines += [f"  {name}  ({parameter.type}, {default}{choices})", f"      {parameter.description}"]
        return "\n".join(part for line in lines for part in _wrapped(line))


class ListedArchive(NamedTuple):
    """An archive; ``classifier`` to ``robust_accuracy`` are None where it cannot be read.

    Where ``unfinished`` it holds the images that an attack has finished, which is running or was interrupted.
    """

    bytes: int
    classifier: str | None = None
    samples: int | None = None
    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    unfinished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/json.md`` says."""
        return dict(plain(self))

    def __str__(self) -> str:
        size = f"{self.bytes / 1e6:.1f} MB"
        if self.samples is None:
            return f"{size:>8}  cannot be read as an archive"
        return (
            f"{size:>8}  robust {self.robust_accuracy:.1%}, clean {self.clean_accuracy:.1%} of {self.samples:,} images"
            f"{' so far' if self.unfinished else ''}"
        )


class ListedFinding(NamedTuple):
    """What evaluation, suites and audits may say against a number."""

    code: str
    severity: str
    raised_if: str
    means: str
    do: str

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/json.md`` says."""
        return dict(plain(self))

    def __str__(self) -> str:
        return f"{self.severity:<8} {self.raised_if}"

    def page(self) -> str:
        """All of it as text of 80 columns."""
        lines = [f"{self.code}: {self.severity}, raised if {self.raised_if}.", "", self.means, "", f"Do: {self.do}"]
        return "\n".join(part for line in lines for part in _wrapped(line))


@overload
def available(category: Literal["models"], *, details: Literal[True]) -> dict[str, ListedModel]: ...
@overload
def available(category: Literal["methods"], *, details: Literal[True]) -> dict[str, ListedMethod]: ...
@overload
def available(category: Literal["archives"], *, details: Literal[True]) -> dict[str, ListedArchive]: ...
@overload
def available(category: Literal["findings"], *, details: Literal[True]) -> dict[str, ListedFinding]: ...
@overload
def available(category: str, *, details: Literal[False] = False) -> dict[str, str]: ...
@overload
def available(category: str, *, details: bool) -> dict[str, Any]: ...
def available(category: str, *, details: bool = False) -> dict[str, Any]:
    """Name -> what it is, for one of ``models, studies, methods, suites, benchmarks, datasets, archives, findings``.

    One line of text, or with ``details`` a named tuple of a model, a method, an archive or a finding.
    """
    if category not in CATEGORIES:
        raise unknown("category", category, CATEGORIES)
    entries = _entries(category)
    return entries if details else {name: str(entry) for name, entry in entries.items()}


def _entries(category: str) -> dict[str, Any]:
    if category == "models":
        return _models()
    if category == "methods":
        return {name: _method(load_method(name)) for name in method_names()}
    if category == "suites":
        return _titles(workspace.suites())
    if category == "findings":
        return _findings()
    if category == "studies":
        return _titles(workspace.studies())
    if category == "benchmarks":
        return _titles(workspace.benchmarks())
    if category == "datasets":
        return DATASETS | {f"<dataset>{WITH_NOISE}": "any of these, with noise after every ten images, class 'unknown'"}
    entries = {str(path): _archive(path) for path in workspace.archives()}
    unfinished = {str(path): _archive(path) for path in workspace.unfinished_archives()}
    return entries | {path: archive._replace(unfinished=True) for path, archive in unfinished.items()}


def _models() -> dict[str, ListedModel]:
    recipes, weights = workspace.recipes(), workspace.weights()
    produced = workspace.root() / "models"
    entries = {}
    for name in sorted(recipes.keys() | weights.keys()):
        state = (
            "not trained" if name not in weights else "trained here" if weights[name].parent == produced else "shipped"
        )
        entries[name] = ListedModel(_title(recipes[name].read_text("utf-8")) if name in recipes else None, state)
    return entries


def _method(method: Method) -> ListedMethod:
    parameters = {
        name: ListedParameter(
            method.types[name],
            None if default is None else str(default),
            method.choices.get(name, ()),
            method.descriptions.get(name, ""),
        )
        for name, default in method.parameters.items()
    }
    return ListedMethod(method.name, method.summary, method.source, method.goal, method.norms, parameters)


def _findings() -> dict[str, ListedFinding]:
    from advlab.evaluation.findings.checks import CHECKS, Finding, gravest_first
    from advlab.evaluation.findings.cross import CROSS_CHECKS

    found = gravest_first(Finding(*check[:-1], "") for check in (*CHECKS, *CROSS_CHECKS))
    return {finding.code: ListedFinding(*finding[:-1]) for finding in found}


def _archive(path: Path) -> ListedArchive:
    from advlab.results.result import load_result

    size = path.stat().st_size
    try:
        result = load_result(path)
    except InvalidFile:
        return ListedArchive(size)
    accuracies = float(result.correct.mean()), float(result.robust.mean())
    return ListedArchive(size, result.classifier, len(result), *accuracies)


def _titles(declarations: Mapping[str, Path]) -> dict[str, str]:
    return {name: _title(path.read_text("utf-8")) for name, path in sorted(declarations.items())}


def _title(toml: str) -> str:
    """The value of ``title``: a listing need not parse whole files with tomllib."""
    line = next((line for line in toml.splitlines() if line.startswith("title")), "")
    return line.partition("=")[2].strip().strip("\"'")


def _paragraphs(text: str) -> list[str]:
    """Each paragraph in one line, and an empty one after it."""
    return [line for paragraph in text.split("\n\n") for line in (" ".join(paragraph.split()), "")]


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]
