"""What archives and certificates must hold, field by field and array by array."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as np

from advlab.results.per_image import PerImage
from advlab.storage import Array, Layout
from advlab.threat import NAMED_TARGETS
from advlab.validation import is_int, shown

ARCHIVE = Layout(
    noun="archive",
    kind="archive",
    fix="Craft one with 'advlab attack'; 'advlab list archives' shows those of the workspace.",
    header={
        "attack": dict,
        "classifier": str,
        "classifier_digest": str,
        "dataset": str,
        "split": str,
        "dataset_digest": str,
        "classes": list,
        "seconds": (int, float),
        "versions": dict,
        "command": str,
        "notes": list,
    },
    # n images of h x w pixels and c channels, k classes, t queries of a trace, g masks of d channels. An image made
    # elsewhere may leave the box, and a classifier may answer NaN: those are findings.
    arrays={
        "x": Array("fu", "nhwc", 0, 1, images=True),
        "x_adv": Array("f", "nhwc", images=True),
        "labels": Array("iu", "n", 0),
        "indices": Array("iu", "n", 0),
        "clean_probabilities": Array("f", "nk"),
        "adversarial_probabilities": Array("f", "nk"),
        "attempted": Array("b", "n"),
        "forward_passes": Array("iu", "n", 0),
        "backward_passes": Array("iu", "n", 0),
        "patch": Array("f", "abc", 0, 1, required=False),
        "vocabulary": Array("u", "v", required=False),
        "attributions/rows": Array("iu", "r", 0, required=False),
        "attributions/clean": Array("f", "rhwc", required=False),
        "attributions/adversarial": Array("f", "rhwc", required=False),
        "per_image/mask": Array("b", "ghwd", required=False),
        "per_image/epsilon": Array("f", "n", 0, required=False),
        "per_image/target": Array("iu", "n", 0, required=False),
        "diagnostics/loss_trace": Array("f", "nt", required=False),
        "diagnostics/trace_steps": Array("iu", "t", 0, required=False),
        "diagnostics/first_success": Array("iu", "n", -1, required=False),
        "diagnostics/zero_gradient": Array("b", "n", required=False),
        "diagnostics/nonfinite": Array("b", "n", required=False),
        "diagnostics/unchanged": Array("b", "n", required=False),
        "diagnostics/repeat_difference": Array("f", "m", required=False),
        "diagnostics/misclassified_by": Array("iu", "n", -1, required=False),
        "diagnostics/broken_by": Array("iu", "n", -1, required=False),
        "diagnostics/similarity": Array("f", "n", -1, 1, required=False),
    },
)

ANSWERS = {  # of a certificate, finished or not, for each image
    "status": Array("i", "n", 0, 2),
    "correct": Array("b", "n"),
    "margin": Array("f", "n"),
    "radius": Array("f", "n"),
    "rounding": Array("f", "n"),
    "branches": Array("iu", "n", 0),
    "x_adv": Array("f", "nhwc", 0, 1),
}
CERTIFICATE = Layout(
    noun="certificate",
    kind="certificate",
    fix="'advlab certify' writes certificates.",
    header={
        "classifier": str,
        "classifier_digest": str,
        "dataset": str,
        "split": str,
        "dataset_digest": str,
        "norm": str,
        "epsilon": (int, float),
        "method": str,
        "seconds": (int, float),
        "settings": dict,
        "versions": dict,
        "command": str,
    },
    arrays={
        **ANSWERS,
        "labels": Array("iu", "n", 0),
        "indices": Array("iu", "n", 0),
    },
)

_TYPES: dict[str, type | tuple[type, ...]] = {  # what is read of the specification, and of how it was run
    "attack.method": str,
    "attack.norm": str,
    "attack.epsilon": (int, float, NoneType),
    "attack.target": (int, NoneType),
    "attack.targets": (str, NoneType),
    "attack.per_image": (str, NoneType),
    "attack.top": int,
    "attack.parameters": dict,
    "attack.overrides": list,
    "attack.seed": int,
    "attack.restarts": int,
    "attack.code": str,
    "attack.any_of": list,
    "attack.passes": int,
    "attack.loss": str,
    "attack.backward": dict,
    "attribution_method": str,
    "execution": dict,
    "execution.computed_fraction": (int, float),
    "execution.model": str,
    "execution.preprocess": str,
    "execution.output": str,
    "execution.output_layer": str,
    "parts": list,
    "selftest": (dict, NoneType),
    "source_digest": str,
    "provenance": str,
    "settings": dict,  # where an earlier version kept the last four
    "settings.attacks": list,
    "settings.computed_fraction": (int, float),
    "settings.computed_share": (int, float),
    "settings.goal": str,
    "settings.kind": str,
    "settings.model": str,
    "settings.selftest": dict,
    "settings.source_digest": str,
}


def require_consistent(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ``ValueError`` where what lies inside the fields of an archive is of another type, or does not fit."""
    for key, types in _TYPES.items():
        table: Any = header
        *outer, name = key.split(".")
        for part in outer:
            table = table.get(part) or {}
        value = table.get(name)
        if name in table and (not isinstance(value, types) or (isinstance(value, bool) and types is not bool)):
            raise ValueError(f"its '{key}' is {shown(value)}")
    attack, earlier = header["attack"], header.get("settings", {})
    parts, test = header.get("parts") or earlier.get("attacks", []), header.get("selftest") or earlier.get("selftest")
    overrides, parameters = attack.get("overrides", []), attack.get("parameters", {})
    if not all(
        isinstance(t, str) for t in [*header["classes"], *header["notes"], *header["versions"].values(), *parts]
    ):
        raise ValueError("a name in its header is no text")
    if not all(isinstance(value, str | int | float | NoneType) for value in parameters.values()):
        raise ValueError("a parameter in its header is no single value")
    if not all(isinstance(name, str) for name in attack.get("backward", {}).values()):
        raise ValueError("a stand-in in its header is no name")
    if not all(isinstance(name, str) and name in parameters for name in overrides):
        raise ValueError("its overrides are no parameters")
    if test:
        counts = [test.get(name) for name in ("planted", "found", "random")]
        if not all(is_int(count) and 0 <= count <= counts[0] for count in counts):
            raise ValueError("its self-test is incomplete, or found more than was planted")
    pixels = [(header.get("execution") or earlier).get(name, 0) for name in ("scale", "offset")]
    if not all(isinstance(value, int | float) for given in pixels for value in np.ravel(given).tolist()):
        raise ValueError("its scale or offset is no number")
    n, k = arrays["clean_probabilities"].shape
    if not n or not k or arrays["labels"].max() >= k or not arrays["x"].size:
        raise ValueError(f"its arrays do not fit together: {n} images of {k} classes")
    _require_consistent_images(attack, arrays)
    rows = arrays.get("attributions/rows")
    if rows is not None and (rows.max(initial=-1) >= n or np.any(np.diff(rows.astype(np.int64)) <= 0)):
        raise ValueError("its attributions are of images that it does not have")
    if "diagnostics/loss_trace" in arrays and "diagnostics/trace_steps" not in arrays:
        raise ValueError("it has a trace without its steps")
    for name in ("diagnostics/misclassified_by", "diagnostics/broken_by"):
        if name in arrays and arrays[name].max() >= len(parts):
            raise ValueError(f"'{name}' names an attack that it does not have")


def _require_consistent_images(attack: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ``ValueError`` where what was given for each image does not fit, or is not what the attack names."""
    (n, *_, c), k = arrays["x"].shape, arrays["clean_probabilities"].shape[1]
    mask, target = arrays.get("per_image/mask"), arrays.get("per_image/target")
    if mask is not None and (mask.shape[0] not in (1, n) or mask.shape[3] not in (1, c)):
        raise ValueError(f"its mask has the shape {mask.shape}")
    if (target is not None and target.max() >= k) or bool(attack.get("targets")) != (target is not None):
        raise ValueError("it lacks its targets, or has a target that is no class")
    given = None if attack.get("targets") in NAMED_TARGETS else target
    if PerImage(mask, arrays.get("per_image/epsilon"), given).digest != (attack.get("per_image") or ""):
        raise ValueError("its masks, epsilons or targets are not those that its attack names")
