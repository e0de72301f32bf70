"""The summary of a classifier: its layers, and its model card."""

from __future__ import annotations

import hashlib
import html
import math
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import keras

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue
from advlab.formatting import Grid, Page, printable, shortened
from advlab.workflows.inputs import resolve_classifier

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Layer:
    """One layer: name, class, shape of its output for one image (None: any size), number of weights."""

    name: str
    type: str
    output: Shape
    parameters: int


@dataclass(frozen=True, repr=False)
class ModelSummary:
    """A classifier as its file and its card describe it; ``path``, ``bytes`` and ``sha256`` are None in memory only.

    ``input`` is the shape of one input, ``trainable`` the number of weights that training changes, ``digest`` that of
    ``Classifier.digest``, ``settings`` how it is fed and read (``scale``, ``offset``, ``preprocess``, ``output``,
    ``output_layer``, ``resize``, as far as they are said), ``card`` the model card, empty if advlab did not write the
    file.
    """

    name: str
    path: str | None
    bytes: int | None
    sha256: str | None
    digest: str
    input: Shape
    classes: int
    parameters: int
    trainable: int
    layers: tuple[Layer, ...]
    settings: dict[str, Any]
    card: dict[str, Any]

    def __repr__(self) -> str:
        return f"Summary of {self.name}: {len(self.layers)} layers, {self.parameters:,} parameters"

    def table(self) -> str:
        """The layers, a line for each, and below them the other facts: at most 100 columns wide."""
        body = [(layer.name, layer.type, _shape(layer.output), f"{layer.parameters:,}") for layer in self.layers]
        rows = [
            ("", "input", _shape(self.input), ""),
            *((*(shortened(printable(cell), _MAX_CELL) for cell in row[:3]), row[3]) for row in body),
            ("total", "", "", f"{self.parameters:,}"),
        ]
        header = ("layer", "type", "output", "parameters")
        facts = [(key, printable(value)) for key, value in self.facts().items()]
        return Page.of(Grid(header, rows, header[:3]), "", Grid((), facts, wraps=True))

    def facts(self) -> dict[str, str]:
        """Everything but the layers, in words, by subject."""
        card = self.card
        recipe = card.get("recipe") or {}
        published = card.get("published") or {}
        settings = (recipe.get("training") or {}).items()
        training = {key: value for key, value in settings if value or key == "seed"}
        names = card.get("class_names") or ()
        listed = (
            f": {', '.join(map(str, names[:_MAX_NAMES]))}{', ...' if len(names) > _MAX_NAMES else ''}" if names else ""
        )
        accuracies = [_accuracy(card, published, split) for split in ("test", "train", "validation")]
        facts = {
            "model": " ".join(
                filter(None, [recipe.get("title"), f"({recipe['source']})" if recipe.get("source") else ""])
            ),
            "data set": str(card.get("dataset") or ""),
            "classes": f"{self.classes}{listed}",
            "pixels": self._pixels(),
            "size": "images from files are resized to {} x {}".format(*self.settings["resize"])
            if "resize" in self.settings
            else "",
            "output": ", ".join(str(self.settings[key]) for key in ("output_layer", "output") if key in self.settings),
            "training only": ", ".join(layer.name for layer in self.layers if layer.type in _TRAINING_ONLY),
            "training": ", ".join(f"{key.replace('_', ' ')} {_setting(value)}" for key, value in training.items()),
            "trained": f"{card['epochs_run']} epochs in {card.get('seconds', 0):.1f} s" if "epochs_run" in card else "",
            "ended": str(card.get("ended") or ""),
            "accuracy": ", ".join(filter(None, accuracies)),
            "published": str(published.get("note", "")),
            "versions": ", ".join(f"{key} {value}" for key, value in (card.get("versions") or {}).items()),
            "card": "" if card else "none: advlab did not write this file",
            "weights": "" if self.trainable == self.parameters else f"{self.trainable:,} of them trainable",
            "digest": self.digest,
            "file": "" if self.path is None else f"{self.path}, {(self.bytes or 0) / 1e3:,.0f} kB",
            "SHA-256": self.sha256 or "",
        }
        return {key: value for key, value in facts.items() if value}

    def _pixels(self) -> str:
        """What is done to images in [0, 1]; nothing where they are given as they are."""
        if "preprocess" in self.settings:
            return f"preprocess {self.settings['preprocess']}"
        scale, offset = self.settings.get("scale", 1), self.settings.get("offset", 0)
        return f"scale {scale}, offset {offset}" if (scale, offset) != (1, 0) else ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"schema": 1, **asdict(self)}

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.table())}</pre>"


# Layers that change nothing when the model predicts.
_TRAINING_ONLY = {
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout"),
    *("GaussianNoise", "ActivityRegularization", "AugMix", "CutMix", "MixUp", "RandAugment"),
    *(name for name in vars(keras.layers) if name.startswith("Random")),
}
_MAX_CELL = 30
_MAX_NAMES = 12


def summary(
    model: Classifier | str | PathLike[str], *, save_settings: bool = False, trust: bool = False
) -> ModelSummary:
    """The layers of a classifier (or of its name, path or ``ModelFile``) and its model card.

    A Keras file that advlab did not write is summarised too. ``save_settings`` writes how it is fed and read into a
    small TOML file beside it, which is read whenever the model is. Raises ``UnknownName`` or ``InvalidFile``;
    ``trust=True`` allows code embedded in the file.
    """
    if isinstance(model, Classifier):
        classifier, path = model, None
    else:
        classifier, path = resolve_classifier(model, trust), workspace.find_weights(str(model))
    if save_settings:
        if path is None:
            raise InvalidValue("A classifier in memory has no file. Use classifier.save_settings(path).")
        if path.is_relative_to(workspace.shipped() / "models" / "pretrained"):
            raise InvalidValue(
                f"'{model}' is shipped with advlab, and its file says how it is fed. Save the settings of a file of "
                "your own, or copy this one first."
            )
        classifier.save_settings(path)
    content = path.read_bytes() if path and path.is_file() else None  # a SavedModel is a folder
    network = classifier.keras_model
    return ModelSummary(
        name=classifier.name,
        path=str(path) if path else None,
        bytes=None if content is None else len(content),
        sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        digest=classifier.digest,
        input=tuple(network.input_shape[1:]),
        classes=classifier.classes,
        parameters=network.count_params(),
        trainable=sum(math.prod(weight.shape) for weight in network.trainable_weights),
        layers=tuple(
            Layer(layer.name, type(layer).__name__, _output(layer), layer.count_params())
            for layer in network.layers
            if type(layer).__name__ != "InputLayer"
        ),
        settings=classifier.settings.to_dict(),
        card=classifier.card,
    )


def _output(layer: Any) -> Shape:
    """The shape of one output; the first of several."""
    output = layer.output
    return tuple((output[0] if isinstance(output, list | tuple) else output).shape[1:])


def _shape(shape: Shape) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape) or "1"


def _accuracy(card: dict[str, Any], published: dict[str, Any], split: str) -> str:
    key = f"{split}_accuracy"
    if card.get(key) is None:
        return ""
    published_text = f" (published {published[key]:.2%})" if published.get(key) is not None else ""
    return f"{split} {card[key]:.2%}{published_text}"


def _setting(value: Any) -> str:
    return " ".join(f"{key} {inner}" for key, inner in value.items()) if isinstance(value, dict) else str(value)
