"""What a classifier predicts for a few images: the type that ``advlab.predict`` returns."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from advlab.errors import InvalidValue
from advlab.formatting import Grid, Page, printable, shortened

MAX_IMAGES = 15  # images in a notebook: five rows of three
SIGNS = {True: "✓", False: "✗"}
_COLUMNS = ("image", "predicted", "confidence", "true", "next")
_MAX_WIDTH = 40


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Images, and the probability that ``classifier`` (its name) gives to each class.

    ``x`` float32 ``(n, h, w, c)`` in [0, 1]; ``probabilities`` float32 ``(n, k)``; ``labels`` int64 ``(n,)``, -1 where
    the true class is not known; ``class_names`` the k names; ``sources`` n texts, where each image comes from;
    ``notes`` sentences on what a reader should know, such as that an image was resized. A slice has those images.
    """

    classifier: str
    x: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Predictions:
        if not isinstance(rows, slice):
            raise InvalidValue(f"Predictions are indexed with a slice, such as predictions[:5]. Got {rows!r}.")
        arrays = {name: getattr(self, name)[rows] for name in ("x", "probabilities", "labels", "sources")}
        return replace(self, **arrays)

    def __repr__(self) -> str:
        known = self.labels >= 0
        correct = (
            f", {int((self.predicted == self.labels)[known].sum())} of {int(known.sum())} correct" if any(known) else ""
        )
        return f"Predictions of {self.classifier}: {len(self)} images{correct}"

    @property
    def predicted(self) -> np.ndarray:
        """int64 ``(n,)``: the likeliest class of each image."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """float32 ``(n,)``: the probability of that class."""
        return self.probabilities.max(1, initial=0)

    def table(self, top: int = 3) -> str:
        """A line for each image: its likeliest class, how likely, the true class and a sign, and the next likeliest.

        ``top`` is how many classes a line names.
        """
        if top < 1:
            raise InvalidValue(f"The number of classes to name must be an int in the range [1, inf). Got {top}.")
        rows = [self._cells(row, top) for row in range(len(self))]
        columns = [name for name in _COLUMNS if name in ("image", "predicted") or any(row[name] for row in rows)]
        return Page.of(Grid(columns, [[row[name] for name in columns] for row in rows], set(columns) - {"confidence"}))

    def _cells(self, row: int, top: int) -> dict[str, str]:
        order = np.argsort(-self.probabilities[row], kind="stable")[:top]
        names = [shortened(printable(self.class_names[c]), _MAX_WIDTH) for c in order]
        confidences = [f"{self.probabilities[row, c]:.1%}" for c in order]
        label = int(self.labels[row])
        true = shortened(printable(self.class_names[label]), _MAX_WIDTH)
        return {
            "image": shortened(printable(self.sources[row]), _MAX_WIDTH),
            "predicted": names[0],
            "confidence": confidences[0],
            "true": "" if label < 0 else f"{SIGNS[label == int(order[0])]} {true}",
            "next": ", ".join(map(" ".join, zip(names[1:], confidences[1:], strict=True))),
        }

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; ``label`` and ``correct`` are null where the true class is not known."""
        known = [int(label) if label >= 0 else None for label in self.labels]
        return {
            "schema": 1,
            "classifier": self.classifier,
            "class_names": list(self.class_names),
            "images": [
                {
                    "source": source,
                    "predicted": int(predicted),
                    "name": self.class_names[predicted],
                    "confidence": float(confidence),
                    "label": label,
                    "correct": None if label is None else bool(label == predicted),
                    "probabilities": [float(p) for p in probabilities],
                }
                for source, predicted, confidence, label, probabilities in zip(
                    self.sources, self.predicted, self.confidence, known, self.probabilities, strict=True
                )
            ],
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        from advlab import figures

        limited = f"; the first {MAX_IMAGES}:" if len(self) > MAX_IMAGES else ""
        paragraphs = [f"{self!r}{limited}", *self.notes]
        return "".join(f"<p>{html.escape(text)}</p>" for text in paragraphs) + figures.svg(
            figures.predictions(self[:MAX_IMAGES])
        )
