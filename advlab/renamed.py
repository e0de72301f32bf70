"""Old names in files of an earlier advlab -> today's: archives, suites, recipes and model cards stay readable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TARGETS = {"targets": "n_target_classes"}
_RELATIVE = {"step": "relative_step_size"}
# By method: other methods, those of users among them, may have parameters of these names.
_PARAMETERS = {
    "apgd": _TARGETS,
    "bim": _RELATIVE,
    "fab": _TARGETS,
    "fmn": {"step": "step_size"},
    "jsma": {"share": "fraction", **_TARGETS},
    "mim": _RELATIVE,
    "naive": {"kind": "distribution"},
    "noise": {"share": "fraction", "kind": "distribution"},
    "pgd": _RELATIVE,
    "sigma_zero": {"step": "step_size"},
    "universal": _RELATIVE,
    "zoo": {"step": "learning_rate"},
}
_SETTINGS = {"kind": "goal", "computed_share": "computed_fraction"}
_DIAGNOSTICS = {"broken_by": "misclassified_by"}
_CHECKPOINT = {"told": "specification", "kept_epoch": "weights_epoch"}


def attack_fields(method: object, table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an attack, from an archive or a suite, under today's names."""
    fields = dict(table)
    if "stop" in fields:
        fields["early_stop"] = fields.pop("stop") == "success"
    if isinstance(fields.get("parameters"), Mapping):
        fields["parameters"] = parameters(method, fields["parameters"])
    if "overrides" in fields:
        fields["overrides"] = [parameter(method, name) for name in fields["overrides"]]
    return fields


def parameters(method: object, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a method under today's names."""
    renamed = {parameter(method, name): value for name, value in values.items()}
    if "relative_step_size" in renamed:
        renamed.setdefault("step_size", None)
    step, epochs = values.get("step"), values.get("epochs", 100)
    if method == "universal" and isinstance(step, int | float) and isinstance(epochs, int | float):
        renamed["relative_step_size"] = step * epochs  # was in units of epsilon alone
    return renamed


def parameter(method: object, name: str) -> str:
    """The name that a parameter of a method has today."""
    return _PARAMETERS.get(str(method), {}).get(name, name)


def architecture(table: Mapping[str, Any]) -> dict[str, Any]:
    """``[architecture]`` of a recipe, whose ``name`` was called ``kind``."""
    return {"name" if key == "kind" else key: value for key, value in table.items()}


def settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """How a result was run, under today's names."""
    return {_SETTINGS.get(key, key): value for key, value in table.items()}


def checkpoint(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the arrays of a training checkpoint, under today's names."""
    fields = {_CHECKPOINT.get(key, key): value for key, value in header.items()}
    if "architecture" in fields["specification"]:
        fields["specification"] |= {"architecture": architecture(fields["specification"]["architecture"])}
    return fields, {f"weights/{name[5:]}" if name.startswith("kept/") else name: a for name, a in arrays.items()}


def diagnostics(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The diagnostics of an archive under today's names."""
    return {_DIAGNOSTICS.get(key, key): array for key, array in arrays.items()}
