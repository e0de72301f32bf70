"""Folders with a TensorFlow SavedModel, which hold a graph of operations and no layers."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from advlab.classifiers.formats.config import explain
from advlab.classifiers.formats.values import FAILURES
from advlab.errors import InvalidFile

_ENDPOINTS = ("serve", "serving_default")  # of model.export of Keras 3, and of everything else


def read(path: Path) -> keras.Model:
    """The graph in the folder ``path`` as a model of one layer, with gradients. Only for folders that are trusted."""
    try:
        signatures = tf.saved_model.load(str(path)).signatures
        endpoint = next(name for name in _ENDPOINTS if name in signatures)
        (shape,) = [list(spec.shape) for spec in signatures[endpoint].structured_input_signature[1].values()]
        layer = keras.layers.TFSMLayer(str(path), call_endpoint=endpoint)
        image = keras.Input(shape[1:], name="image")
        outputs = layer(image)
        outputs = list(outputs.values()) if isinstance(outputs, dict) else outputs
        return keras.Model(image, outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs)
    except StopIteration as error:
        raise InvalidFile(
            f"Cannot open '{path}': its endpoints are {', '.join(signatures) or 'none'}, and none of {_ENDPOINTS}. "
            "Export the model again with model.export(path)."
        ) from error
    except FAILURES as error:
        raise InvalidFile(
            f"Cannot open '{path}': {explain(error)}. Export the model again with model.export(path), or as .h5."
        ) from error
