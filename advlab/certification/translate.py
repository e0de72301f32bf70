"""A Keras classifier read layer by layer into a piecewise network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.certification.building import Building
from advlab.certification.layers import PASSING, add_layer
from advlab.certification.network import Network
from advlab.certification.nodes import Shape
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue

_CHECKED, _TOLERANCE = 8, 1e-3  # random images on which network and classifier must agree, relative to the logits
_RESHAPING = (keras.layers.Reshape, keras.layers.Flatten)


def network_of(classifier: Classifier, shape: Shape) -> Network:
    """The network of a classifier for images ``(h, w, c)``: pixel scaling included, the final softmax stripped.

    Batch normalisation is folded into a scale, dropout left out, and max-pooling becomes ReLUs of differences. It is
    made once for a classifier and its weights. Raises ``InvalidValue`` for a layer without bounds, and where the layers
    say another function than the classifier computes.
    """
    classifier.check_images(shape)
    known = classifier.compiled.get(("network", shape))
    digest = classifier.digest
    if known is not None and known[0] == digest:
        return known[1]
    network = _translated(classifier, shape)
    _check(network, classifier, shape)
    classifier.compiled["network", shape] = (digest, network)
    return network


def trainable_network(classifier: Classifier, shape: Shape) -> Network:
    """The same in float32, with the weights as they are whenever the function that is being traced runs."""
    return _translated(classifier, shape, lambda value: keras.ops.convert_to_tensor(value, "float32"))


def _translated(classifier: Classifier, shape: Shape, read: Callable[[Any], tf.Tensor] | None = None) -> Network:
    model, found, at = classifier.keras_model, Building(shape, read), 0
    if np.any(classifier.scale != 1) or np.any(classifier.offset != 0):
        at = found.scaled(at, classifier.scale, classifier.offset)
    inner = tuple(model.input_shape[1:])
    if classifier.adapted.channels_first:
        at = found.permuted(at, (2, 0, 1))
    elif len(inner) != 3:
        rest = math.prod(shape) // math.prod(size or 1 for size in inner)
        at = found.reshaped(at, tuple(rest if size is None else size for size in inner))
    at = _add_model(found, model, at, last=True)
    at = found.reshaped(at, (found.nodes[at].size,))
    if found.nodes[at].size == 1:
        at = found.dense(at, np.array([[0.0, 1.0]]), None)
    if at != len(found.nodes) - 1:  # the logits must be the last node
        found.scaled(at, 1.0, 0.0)
    return Network(tuple(found.nodes))


def _add_model(found: Building, model: keras.Model, at: int, last: bool) -> int:
    """Add a functional or sequential model whose input is node ``at``; ``last`` where its output is the last."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidValue(
            f"Model '{model.name}' has {len(model.inputs)} inputs and {len(model.outputs)} outputs. "
            "Bounds need one of each."
        )
    numbers = {id(model.inputs[0]): at}

    def visit(tensor: Any, last: bool) -> int:
        if id(tensor) not in numbers:
            layer, position, _ = tensor._keras_history
            linear = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear
            through = last and (isinstance(layer, PASSING + _RESHAPING) or linear)
            given = [visit(one, through) for one in layer._inbound_nodes[position].input_tensors]
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                numbers[id(tensor)] = _add_model(found, layer, given[0], last)
            else:
                numbers[id(tensor)] = add_layer(found, layer, given, last)
        return numbers[id(tensor)]

    return visit(model.outputs[0], last)


def _check(network: Network, classifier: Classifier, shape: Shape) -> None:
    """Measure that network and classifier agree: what a layer does is what was read from it."""
    x = np.random.default_rng(0).random((_CHECKED, *shape), np.float32)
    ours, theirs = network.logits(tf.constant(x)).numpy(), classifier.logits(tf.constant(x)).numpy()
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise InvalidValue(
            f"The logits of model '{classifier.name}' overflow on random images: its weights are too large for bounds. "
            "Train it again, with a smaller learning rate or with weight decay."
        )
    largest = np.abs(theirs).max(initial=1.0)
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=_TOLERANCE * largest):
        raise InvalidValue(
            f"The bounds of model '{classifier.name}' would be those of another function: its layers say one thing and "
            f"compute another (logits differ by up to {np.abs(ours - theirs).max():.3g}). "
            "Method 'smoothing' takes any classifier."
        )
