"""Prove a VNN-LIB property of a network, or show an input that violates it."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING

from advlab.declarations.vnnlib import load_property
from advlab.errors import unknown
from advlab.results.property_certificate import PropertyCertificate
from advlab.validation import invalid, is_number
from advlab.workflows.inputs import resolve_classifier

if TYPE_CHECKING:
    from advlab.workflows.inputs import ClassifierLike

METHODS = ("ibp", "crown", "alpha", "exact")


def certify_property(
    classifier: ClassifierLike,
    property: str | PathLike[str],
    method: str = "exact",
    *,
    time_limit: float | None = None,
    trust: bool = False,
    progress: bool | None = None,
) -> PropertyCertificate:
    """Prove that a network has the property of a ``.vnnlib`` file, or show an input that violates it.

    ``classifier`` is as in ``certify``: an ``.onnx`` file, any other saved model, or one in memory. The property's
    inputs are those of the network itself, row by row (of an ``.onnx`` file channels first), before any pixel scaling;
    its outputs are what the network outputs. ``method`` is one of ``certify``'s but ``smoothing``; ``exact`` attacks,
    bounds, branches. After ``time_limit`` seconds the answer is unknown. A counterexample is checked in float32.

    Raises ``InvalidFile`` for a property that is not a box and conditions on outputs, ``Mismatch`` for one of another
    network, and what ``certify`` raises.
    """
    if method not in METHODS:
        raise unknown("method for a property", method, METHODS)
    if time_limit is not None and not (is_number(time_limit) and time_limit > 0):
        raise invalid("time_limit", time_limit, "a number of seconds above 0")
    stated = load_property(property)
    model = resolve_classifier(classifier, trust)

    from advlab.certification.vnnlib import certify_property as prove

    return prove(model, stated, method, math.inf if time_limit is None else time_limit, progress)
