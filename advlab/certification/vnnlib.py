"""Whether a network has a VNN-LIB property: the question is put as one image of an ordinary classifier.

Around the network two layers are laid. Before it, an image in [0, 1] becomes an input of the box. After it, class 0 has
the logit 0 and each case of the property one that is positive where the case holds. So the image 0.5 is robust within
0.5 (Linf) just where no input of the box is in one of the cases, and all methods of ``certify`` answer it.
"""

from __future__ import annotations

import math
import time

import keras
import numpy as np
import tensorflow as tf

from advlab.certification.certify import certify
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.logits import last_activation
from advlab.data.dataset import Dataset
from advlab.declarations.vnnlib import Property
from advlab.errors import InvalidValue, Mismatch
from advlab.provenance import command_line, versions
from advlab.results.bracket import MISCLASSIFIED, PROVEN
from advlab.results.property_certificate import PropertyCertificate


def certify_property(
    classifier: Classifier, stated: Property, method: str, time_limit: float = math.inf, progress: bool | None = None
) -> PropertyCertificate:
    """What ``method`` finds out about a property of the classifier's network, in the units of its own input.

    Raises ``Mismatch`` where they differ in inputs or outputs, and what ``certify`` raises.
    """
    network = classifier.keras_model
    inner = tuple(network.input_shape[1:])
    outputs = math.prod(network.output_shape[1:])
    if None in inner or math.prod(inner) != len(stated.lower) or outputs != stated.outputs:
        raise Mismatch(
            f"Property '{stated.name}' speaks of {len(stated.lower)} inputs and {stated.outputs} outputs; network "
            f"'{classifier.name}' has inputs of shape {inner} and {outputs} outputs. Give the network that it is about."
        )
    if (activation := last_activation(network)) in ("softmax", "sigmoid"):
        raise InvalidValue(
            f"Network '{classifier.name}' ends in {activation}, and probabilities have no bounds. Give the network up "
            "to its logits, or ask about images: --epsilon (advlab.certify)."
        )
    began = time.perf_counter()
    asked = Classifier.from_keras(_around(network, stated), name=classifier.name, output="logit")
    shape = [size or 1 for size in asked.image_shape or (1, len(stated.lower), 1)]
    classes = tuple(map(str, range(asked.classes)))
    middle = np.full((1, *shape), 0.5, np.float32)
    image = Dataset(stated.name, "test", middle, np.zeros(1, np.int64), np.zeros(1, np.int64), classes)
    found = certify(asked, image, norm="linf", epsilon=0.5, method=method, time_limit=time_limit, progress=progress)
    unit = np.asarray(asked.adapted(tf.constant(found.x_adv)), np.float64).ravel()
    x = _inside(stated.lower + (stated.upper - stated.lower) * unit, stated)
    y = np.asarray(network(x.reshape(1, *inner), training=False)).ravel()
    violated = found.status[0] == MISCLASSIFIED and stated.violated_by(y)
    return PropertyCertificate(
        network=classifier.name,
        network_digest=classifier.digest,
        property=stated.name,
        method=method,
        status="violated" if violated else "proven" if found.status[0] == PROVEN else "unknown",
        x=x if violated else None,
        y=y if violated else None,
        margin=float(found.margin[0]),
        rounding=float(found.rounding[0]),
        branches=int(found.branches[0]),
        seconds=round(time.perf_counter() - began, 3),
        versions=versions(),
        command=command_line(),
    )


def _around(network: keras.Model, stated: Property) -> keras.Model:
    """The network between the box and the cases of the property."""
    inner = tuple(network.input_shape[1:])
    width = np.nextafter(stated.upper - stated.lower, np.inf)
    image = keras.Input(inner)
    box = keras.layers.Rescaling(width.reshape(inner).tolist(), stated.lower.reshape(inner).tolist())(image)
    y = keras.layers.Reshape((stated.outputs,))(network(box))
    # Each case is as far from holding as the farthest of its conditions; those with fewer repeat one.
    cases, most = len(stated.cases), max(len(shift) for _, shift in stated.cases)
    rows = [np.arange(most) % len(shift) for _, shift in stated.cases]
    weights = np.concatenate([w[row] for (w, _), row in zip(stated.cases, rows, strict=True)])
    shifts = np.concatenate([s[row] for (_, s), row in zip(stated.cases, rows, strict=True)])
    away = _dense(y, -weights.T, -shifts)
    if most > 1:
        away = keras.layers.MaxPooling2D((1, most))(keras.layers.Reshape((cases, most, 1))(away))
        away = keras.layers.Reshape((cases,))(away)
    logits = _dense(away, np.hstack([np.zeros((cases, 1)), -np.eye(cases)]), np.zeros(cases + 1))
    return keras.Model(image, logits)


def _dense(x: keras.KerasTensor, kernel: np.ndarray, bias: np.ndarray) -> keras.KerasTensor:
    layer = keras.layers.Dense(kernel.shape[1])
    y = layer(x)
    layer.set_weights([kernel, bias])
    return y


def _inside(x: np.ndarray, stated: Property) -> np.ndarray:
    """The nearest float32 numbers that lie in the box; where it holds none, those nearest to it."""
    near = x.astype(np.float32)
    near = np.where(near > stated.upper, np.nextafter(near, np.float32(-np.inf)), near)
    return np.where(near < stated.lower, np.nextafter(near, np.float32(np.inf)), near)
