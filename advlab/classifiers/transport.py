"""A classifier as bytes, for another process: its network as HDF5, with how it is fed and read."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.files import read_model, write_model
from advlab.errors import AdvlabError, InvalidValue, Mismatch


class Parcel:
    """What is pickled in place of a classifier: unpickled it is the classifier, without stand-ins and traced functions.

    Raises ``InvalidValue`` for a network whose code HDF5 cannot hold.
    """

    def __init__(self, classifier: Classifier):
        self._parts = _packed(classifier)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, self._parts


def _packed(classifier: Classifier) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        try:
            write_model(classifier.keras_model, path, {})
        except AdvlabError as error:
            raise InvalidValue(
                f"Model '{classifier.name}' cannot be sent to other processes: {str(error).partition('. ')[0]}."
            ) from error
        content = path.read_bytes()
    # The network has its output selected already, and the card has the names of the classes.
    settings = dataclasses.replace(classifier.settings, output_layer=None, classes=None)
    said = (classifier.name, classifier.source, settings, classifier.card, classifier.loss)
    return (*said, classifier.digest, content)


def _unpacked(*parts: Any) -> Classifier:
    """The classifier; raises ``Mismatch`` where this process reads another network from its bytes."""
    name, source, settings, card, loss, digest, content = parts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        path.write_bytes(content)
        # Its code runs already in the process that sends it.
        model = read_model(path, trust=True)
    classifier = Classifier(model, name=name, settings=settings, card=card, loss=loss)
    classifier.source = source
    if classifier.digest != digest:
        raise Mismatch(
            f"Model '{name}' has digest {classifier.digest} in this process, and {digest} where it was sent from. Use "
            "the same versions of Keras and TensorFlow in both."
        )
    return classifier
