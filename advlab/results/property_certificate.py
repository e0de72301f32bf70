"""What is proven about a network and a VNN-LIB property."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from advlab.formatting import plain, printable

SCHEMA = 1
_WORDS = {"proven": "unsat", "violated": "sat", "unknown": "unknown"}


@dataclass(frozen=True, eq=False)
class PropertyCertificate:
    """Whether an input of the property's box reaches an output that the property excludes.

    ``status``: *proven* (none does), *violated* (``x`` does, float32 ``(d,)`` in the order of the property's inputs,
    with the outputs ``y`` ``(k,)`` that the network computes in float32) or *unknown*. ``margin``: a lower bound of how
    far every output of the box stays from the excluded ones (NaN where the method has none); ``rounding``: how far
    float32 may stray from that; ``branches``: how many branch and bound took.
    """

    network: str
    network_digest: str
    property: str
    method: str
    status: str
    x: np.ndarray | None
    y: np.ndarray | None
    margin: float
    rounding: float
    branches: int
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def __repr__(self) -> str:
        return f"PropertyCertificate of {self.network}, {self.property}: {self.status}"

    def table(self) -> str:
        """One line with the answer, and the counterexample as the verification competition writes it."""
        branches = f", {self.branches:,} branches" if self.branches else ""
        names = f"{printable(self.property)} of {printable(self.network)}"
        return f"{names}: {self.status} ({self.method}, {self.seconds:.3g} s{branches})\n{self.vnncomp()}"

    def vnncomp(self) -> str:
        """The answer as the verification competition's result file has it: ``sat``, ``unsat`` or ``unknown``."""
        if self.x is None or self.y is None:
            return _WORDS[self.status]
        named = [*((f"X_{i}", v) for i, v in enumerate(self.x)), *((f"Y_{i}", v) for i, v in enumerate(self.y))]
        lines = [f"({name} {np.format_float_positional(value, trim='0')})" for name, value in named]
        return "\n".join([_WORDS[self.status], "(" + "\n ".join(lines) + ")"])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return plain({"schema": SCHEMA} | {one.name: getattr(self, one.name) for one in fields(self)})
