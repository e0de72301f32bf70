"""What is available, by category: name -> one line. Nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advlab import workspace
from advlab.data.official import DATASETS, WITH_NOISE
from advlab.declarations.methods import Method, load_method, method_names
from advlab.errors import unknown

CATEGORIES = ("models", "studies", "methods", "suites", "datasets", "archives")


def available(category: str) -> dict[str, str]:
    """Name -> what it is, for one of ``models, studies, methods, suites, datasets, archives``."""
    if category not in CATEGORIES:
        raise unknown("category", category, CATEGORIES)
    if category == "models":
        return _models()
    if category == "methods":
        return {name: _method(load_method(name)) for name in method_names()}
    if category == "suites":
        return _titles(workspace.suites())
    if category == "studies":
        return _titles(workspace.studies())
    if category == "datasets":
        return DATASETS | {f"<dataset>{WITH_NOISE}": "any of these, with noise after every ten images, class 'unknown'"}
    return {str(path): f"{path.stat().st_size / 1e6:.1f} MB" for path in workspace.archives()}


def _models() -> dict[str, str]:
    recipes, weights = workspace.recipes(), workspace.weights()
    produced = workspace.root() / "models"
    lines = {}
    for name in sorted(recipes.keys() | weights.keys()):
        state = (
            "not trained" if name not in weights else "trained here" if weights[name].parent == produced else "shipped"
        )
        title = _title(recipes[name].read_text("utf-8")) if name in recipes else "no recipe"
        lines[name] = f"{state:<12}  {title}"
    return lines


def _method(method: Method) -> str:
    parameters = " ".join(f"{name}={value}" for name, value in method.parameters.items())
    return f"{method.goal:<8} {'/'.join(method.norms):<18} {parameters or 'no parameters'}\n{method.summary}"


def _titles(declarations: Mapping[str, Path]) -> dict[str, str]:
    return {name: _title(path.read_text("utf-8")) for name, path in sorted(declarations.items())}


def _title(toml: str) -> str:
    """The value of ``title``: a listing need not parse whole files with tomllib."""
    line = next((line for line in toml.splitlines() if line.startswith("title")), "")
    return line.partition("=")[2].strip().strip("\"'")
