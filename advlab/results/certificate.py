"""What is proven about a classifier on some images, and its file: the certificate.

On disk it is HDF5 like an archive: a JSON header in the root attribute ``advlab``, and one data set for each array.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from advlab import storage, workspace
from advlab.errors import InvalidFile
from advlab.formatting import Grid, Page, frame, number, page_width, plain, printable, shortened
from advlab.results.bracket import MISCLASSIFIED, PROVEN, STATUSES, UNKNOWN, Bracket, bracket
from advlab.results.layout import CERTIFICATE
from advlab.results.result import AttackResult, refuse_other
from advlab.threat import ThreatModel

SCHEMA = 1
_NAME = 30  # columns of a name
_ARRAYS = ("status", "correct", "margin", "radius", "rounding", "branches", "x_adv", "labels", "indices")
_HEADER = (
    "classifier",
    "classifier_digest",
    "dataset",
    "split",
    "dataset_digest",
    "norm",
    "epsilon",
    "method",
    "seconds",
    "settings",
    "versions",
    "command",
)


def certificate_slug(method: str, threat: ThreatModel, radii: bool) -> str:
    """What a certificate is called in file names."""
    return f"{method}-{threat.norm}-{threat.epsilon_text}{'-radii' * radii}"


@dataclass(frozen=True, eq=False)
class Certificate:
    """What a method proves on ``n`` images within ``epsilon`` in ``norm``, intersected with the box [0, 1].

    ``status`` int8 ``(n,)``, indices of ``STATUSES``: *proven* (no image of the region is misclassified),
    *misclassified* (``x_adv``, float32 ``(n, h, w, c)``, is, as the classifier itself predicts it in float32; clean
    errors among them) or *unknown*; where there is no counterexample ``x_adv`` is the clean image. ``correct`` bool: so
    is the clean image. ``margin`` float64: a lower bound of the label's logit minus the largest other one (NaN where
    the method has none, 0 where branching showed its sign alone). ``rounding`` float64: a bound on how far a margin
    computed in float32 strays from that of real numbers, which proofs are about. ``radius`` float64: the largest that
    is proven (NaN where none was sought; ``smoothing`` always has one). ``branches`` int64: how many branch and bound
    took. A certificate of ``smoothing`` speaks of the smoothed classifier, another one than ``classifier``.
    """

    classifier: str
    classifier_digest: str
    dataset: str
    split: str
    dataset_digest: str
    norm: str
    epsilon: float
    method: str
    status: np.ndarray
    correct: np.ndarray
    margin: np.ndarray
    radius: np.ndarray
    rounding: np.ndarray
    branches: np.ndarray
    x_adv: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def __len__(self) -> int:
        return len(self.status)

    def __repr__(self) -> str:
        return (
            f"Certificate {self.slug} of {self.classifier}, {self.dataset} {self.split}: {len(self)} images, "
            f"{self.proven.sum()} proven, {self.misclassified.sum()} misclassified, {self.unknown.sum()} unknown"
        )

    @property
    def proven(self) -> np.ndarray:
        """bool ``(n,)``."""
        return self.status == PROVEN

    @property
    def misclassified(self) -> np.ndarray:
        """bool ``(n,)``."""
        return self.status == MISCLASSIFIED

    @property
    def unknown(self) -> np.ndarray:
        """bool ``(n,)``."""
        return self.status == UNKNOWN

    @property
    def within_rounding(self) -> np.ndarray:
        """bool ``(n,)``: proven, but by a margin that float32 may round away, or by branching, which has none."""
        return np.logical_and(self.proven, self.margin <= self.rounding)

    @property
    def largest_proven(self) -> np.ndarray:
        """float64 ``(n,)``: the largest radius that is known to be proven; -inf where the clean image is wrong."""
        at_least = np.where(self.proven, self.epsilon, 0.0)
        return np.where(self.correct, np.fmax(at_least, self.radius), -np.inf)

    @property
    def slug(self) -> str:
        """A short name for files: ``exact-linf-0.01``."""
        return certificate_slug(self.method, self.threat, self.settings.get("radii", False))

    @property
    def threat(self) -> ThreatModel:
        """What it is proven against."""
        return ThreatModel(self.norm, self.epsilon)

    @property
    def path(self) -> Path:
        """Where ``save`` puts it unless told otherwise: ``certificates/<classifier>/<slug>.h5`` in the workspace."""
        return workspace.certificate_path(self.classifier, self.slug)

    def bracket(self, result: AttackResult | None = None) -> Bracket:
        """How many images are proven and how many still robust, given an attack of the same threat.

        Raises ``Mismatch`` where ``result`` is about something else, or contradicts what is proven.
        """
        return bracket(self, result)

    def rows(self, results: Mapping[str, AttackResult] | None = None) -> list[dict[str, str]]:
        """Column -> text: the certificate's own row, and one for it together with each attack."""
        brackets = {self.method: self.bracket()}
        brackets |= {f"{self.method} + {name}": self.bracket(result) for name, result in (results or {}).items()}
        return [
            {
                "model": printable(self.classifier) + (" (smoothed)" if self.method == "smoothing" else ""),
                "method": f"{name} {self.norm} {self.threat.epsilon_text}",
                "clean %": number(100 * float(self.correct.mean()), ".1f"),
                "misclassified": f"{bracket.misclassified:,}",
                "proven": f"{bracket.low:,}",
                "unknown": f"{bracket.unknown:,}",
                "robust %": f"{100 * bracket.low / bracket.total:.1f} to {100 * bracket.high / bracket.total:.1f}",
                "missed": "-" if name == self.method else f"{bracket.missed:,}",
                "seconds": f"{self.seconds:.3g}",
            }
            for name, bracket in brackets.items()
        ]

    def table(self, results: Mapping[str, AttackResult] | None = None) -> str:
        """Misclassified, proven and unknown images, and a row for each named attack result; a caption below."""
        rows = self.rows(results)
        rows = [
            row | {"model": shortened(row["model"], _NAME), "method": shortened(row["method"], _NAME)} for row in rows
        ]
        grid = Grid(list(rows[0]), [list(row.values()) for row in rows], ("model", "method"), gap=" ")
        return Page.of(grid, "", *textwrap.wrap(printable(self.caption()), page_width()))

    def caption(self) -> str:
        """What a reader of the table must know."""
        text = (
            f"{len(self):,} images of {self.dataset} ({self.split}). proven: no image within epsilon is misclassified; "
            "misclassified: a counterexample is kept, clean errors included; unknown: neither. robust: what that "
            "leaves for robust accuracy."
        )
        if self.method == "smoothing":
            return f"{text} All of it speaks of the smoothed classifier: {printable(str(dict(self.settings)))}."
        error = np.fmax.reduce(self.rounding, initial=0.0)
        return (
            f"{text} Proofs are about real numbers, from which float32 strays: by at most {error:.2g} in a margin. "
            f"{self.within_rounding.sum():,} proven images may have a smaller one."
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary: counts, and each image's answer."""
        arrays = (self.indices, self.status, self.margin, self.radius, self.branches)
        columns = [array.tolist() for array in arrays]
        return plain(
            {
                "schema": SCHEMA,
                "classifier": {"name": self.classifier, "digest": self.classifier_digest},
                "dataset": {"name": self.dataset, "split": self.split, "digest": self.dataset_digest},
                "norm": self.norm,
                "epsilon": self.epsilon,
                "method": self.method,
                "samples": len(self),
                "clean_accuracy": float(self.correct.mean()),
                "proven": int(self.proven.sum()),
                "misclassified": int(self.misclassified.sum()),
                "unknown": int(self.unknown.sum()),
                "within_rounding": int(self.within_rounding.sum()),
                "images": [
                    {"index": index, "status": STATUSES[status], "margin": margin, "radius": radius, "branches": count}
                    for index, status, margin, radius, count in zip(*columns, strict=True)
                ],
                "settings": dict(self.settings),
                "seconds": self.seconds,
                "versions": dict(self.versions),
                "command": self.command,
            }
        )

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each image."""
        return frame(
            {
                "index": self.indices,
                "label": self.labels,
                "status": np.array(STATUSES)[self.status],
                "correct": self.correct,
                "margin": self.margin,
                "radius": self.radius,
                "branches": self.branches,
            }
        )

    def _repr_html_(self) -> str:
        cells = [(html.escape(name), html.escape(value)) for name, value in self.rows()[0].items()]
        body = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in cells)
        return f"<table><caption>{html.escape(self.caption())}</caption><tbody>{body}</tbody></table>"

    def specification(self) -> dict[str, Any]:
        """What it depends on; equal specifications may replace each other's files."""
        names = ("classifier_digest", "dataset", "dataset_digest", "norm", "epsilon", "method")
        return {name: getattr(self, name) for name in names} | {"smoothing": self.settings.get("smoothing")}

    def save(self, path: str | PathLike[str] | None = None, *, force: bool = False) -> Path:
        """Write the file, whole or not at all, and return its path.

        Raises ``FileExists`` where ``path`` holds something other than a certificate of the same specification.
        """
        place = self.path if path is None else Path(path)
        refuse_other(place, {} if force else self.specification(), CERTIFICATE)
        header = {name: getattr(self, name) for name in _HEADER} | {"kind": "certificate", "samples": len(self)}
        header["smoothing"] = self.settings.get("smoothing")
        storage.write(place, header, {name: getattr(self, name) for name in _ARRAYS})
        return place

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Certificate:
        """Read what ``save`` wrote; raises ``InvalidFile`` for anything else."""
        header, arrays = storage.read(Path(path), CERTIFICATE)
        fields = {name: header[name] for name in _HEADER} | {name: arrays[name] for name in _ARRAYS}
        if not len(arrays["status"]):
            raise InvalidFile(f"'{path}' is damaged: it has no images. Certify again.")
        return cls(**fields)
