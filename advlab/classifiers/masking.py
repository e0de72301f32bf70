"""What hides the gradient of a network, found by measuring: layers whose own says nothing, and logits out of sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.backward import StandIn, keeps_shape, operations_of, replaced_calls
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.logits import linear_twin

IMAGES = 32  # that are enough
DIRECTIONS = 4
STEPS = (0.1, 0.5)  # of the standard deviation of a layer's inputs
CORRELATION = 0.5  # of the slopes measured with those of the gradient, below which that is of no use
AGREEMENT = 0.9  # of the predictions read from inner logits with those of the classifier
SHORT, LONG = 0.01, 0.1  # steps between which a layer that jumps is told from one that bends
MISSED = 0.05  # of a change, what a gradient may miss of it over a short step


class Blind(NamedTuple):
    """Layers without a useful gradient: those for which something can stand in, and the names of the others."""

    stand_ins: dict[str, StandIn]
    others: tuple[str, ...]


def blind_layers(classifier: Classifier, x: np.ndarray) -> Blind:
    """The layers whose gradient does not say how their output changes, on images float32 ``(n, h, w, c)`` in [0, 1].

    Each layer is given its own inputs, moved a little along random directions. Its gradient is of no use where it is
    zero or not finite, or where what it foretells is hardly correlated with the change measured: a layer that rounds,
    thresholds or saturates, or whose gradient was stopped, turned round or made up. One that keeps the shape is passed
    straight through; one that ends in an activation is replaced by itself without that.
    """
    model = classifier.keras_model
    inputs = _inputs_of_layers(classifier, tf.constant(x))
    operations = operations_of(model)
    stand_ins: dict[str, StandIn] = {}
    others: list[str] = []
    for name, (call, arguments) in inputs.items():
        if _is_blind(call, arguments):
            if all(map(keeps_shape, operations[name])):
                stand_ins[name] = "identity"
            elif len(operations[name]) == 1 and hasattr(operations[name][0], "activation"):
                stand_ins[name] = _without_activation(operations[name][0])
            else:
                others.append(name)
    return Blind(stand_ins, tuple(others))


def jumping_layers(classifier: Classifier, x: np.ndarray) -> tuple[str, ...]:
    """The layers that keep the shape and jump, on images float32 ``(n, h, w, c)`` in [0, 1]; random ones left out.

    What a gradient foretells is the nearer the truth the shorter the step, of a layer that bends (ReLU) as well. Where
    a layer jumps it is the farther from it: a short step meets fewer jumps, but each is as high as before.
    """
    operations = operations_of(classifier.keras_model)
    inputs = _inputs_of_layers(classifier, tf.constant(x))
    return tuple(
        name
        for name, (call, arguments) in inputs.items()
        if all(map(keeps_shape, operations[name])) and _jumps(call, arguments)
    )


def inner_logits(classifier: Classifier, x: np.ndarray) -> Classifier | None:
    """The network up to the first tensor from which the same classes can be read as from its outputs, or None.

    Behind an opaque last layer (a softmax that saturates, rounded probabilities, a vote) lie logits whose gradient is
    whole. They count as the same where 90 % of the predictions agree, on images and on noisy ones.
    """
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, x.shape)
    images = np.concatenate([x, np.clip(x + noise, 0, 1).astype(np.float32)])
    logits, repeated = (classifier.logits(tf.constant(images)).numpy() for _ in range(2))
    tolerance = (
        1e-3 * np.abs(logits).mean() + 2 * np.abs(repeated - logits).mean()
    )  # of a random one, what it differs by
    deepest, network = None, _without_last(classifier.keras_model)
    while network is not None:
        candidate = classifier.with_network(network, name=f"{classifier.name}-inner", output="logit")
        values = candidate.logits(tf.constant(images)).numpy()
        agrees = np.mean(values.argmax(1) == logits.argmax(1)) >= AGREEMENT
        if agrees and np.abs(values - logits).mean() > tolerance:
            deepest = candidate
        network = _without_last(network)
    return deepest


def _inputs_of_layers(classifier: Classifier, x: tf.Tensor) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Name -> a layer's call and what it is given on the way from images to logits; the last time, if several."""
    seen: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def recorder(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrapper(call: Callable[..., Any]) -> Callable[..., Any]:
            def recorded(*inputs: Any, **options: Any) -> Any:
                seen[name] = (lambda *given: call(*given, **options)), inputs
                return call(*inputs, **options)

            return recorded

        return wrapper

    names = operations_of(classifier.keras_model)
    with replaced_calls(classifier.keras_model, {name: recorder(name) for name in names}):
        classifier.logits(x)
    return seen


def _is_blind(call: Callable[..., Any], inputs: tuple[Any, ...]) -> bool:
    """Whether the gradient of a layer is of no use for its first input; False for what has no float input or output."""
    x, *rest = inputs
    if not hasattr(x, "dtype") or not x.dtype.is_floating:
        return False
    first, second = call(x, *rest), call(x, *rest)
    if not hasattr(first, "dtype") or not first.dtype.is_floating or first.shape[:1] != x.shape[:1]:
        return False
    # The means of noise are what averaging over passes follows; only its gradient can be looked at.
    is_random = not np.array_equal(first, second)
    if not is_random and np.all(first == first[:1]):
        return False  # a constant
    generator = np.random.default_rng(0)
    value, gradient = _projection(call, inputs, first, generator)
    size = np.abs(np.asarray(gradient, np.float64)).reshape(len(x), -1).sum(1)
    if not np.all(np.isfinite(size)) or np.mean(size == 0) > 0.5:
        return True
    if is_random:
        return False
    return any(_correlation(*_changes(value, x, gradient, step, generator)) < CORRELATION for step in STEPS)


def _jumps(call: Callable[..., Any], inputs: tuple[Any, ...]) -> bool:
    """Whether a layer's output jumps where its first input moves; False for what is random."""
    x, *rest = inputs
    if not hasattr(x, "dtype") or not x.dtype.is_floating:
        return False
    output = call(x, *rest)
    if not np.array_equal(output, call(x, *rest)):
        return False
    generator = np.random.default_rng(0)
    value, gradient = _projection(call, inputs, output, generator)
    missed = []
    for step in (SHORT, LONG):
        measured, foretold = _changes(value, x, gradient, step, generator)
        missed.append(float(np.linalg.norm(measured - foretold)) / max(float(np.linalg.norm(foretold)), 1e-12))
    short, long = missed
    return bool(short > max(long, MISSED))


def _projection(
    call: Callable[..., Any], inputs: tuple[Any, ...], output: tf.Tensor, generator: np.random.Generator
) -> tuple[Callable[[tf.Tensor], tf.Tensor], tf.Tensor]:
    """One number for each row, a random mean of outputs, as a function of the first input; and its gradient."""
    x, *rest = inputs
    weights = tf.constant(generator.normal(size=(1, *output.shape[1:])), output.dtype)

    def value(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(weights * call(x, *rest), list(range(1, len(output.shape))))

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = value(x)
    return value, tape.gradient(total, x, unconnected_gradients="zero")


def _changes(
    value: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    gradient: tf.Tensor,
    step: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The changes of a value along random directions, by steps in standard deviations of ``x``: measured, foretold."""
    measured, foretold = [], []
    for _ in range(DIRECTIONS):
        change = tf.constant(step * max(float(np.std(x)), 1e-6) * generator.choice([-1.0, 1.0], x.shape), x.dtype)
        measured.append(np.asarray(value(x + change) - value(x - change), np.float64))
        foretold.append(np.asarray(2 * tf.reduce_sum(gradient * change, list(range(1, len(x.shape)))), np.float64))
    return np.concatenate(measured), np.concatenate(foretold)


def _correlation(measured: np.ndarray, foretold: np.ndarray) -> float:
    both = np.std(measured) > 0 and np.std(foretold) > 0
    return float(np.corrcoef(measured, foretold)[0, 1]) if both else 1.0


def _without_activation(layer: keras.layers.Layer) -> Callable[..., Any]:
    twin = linear_twin(layer)

    def without_activation(x: tf.Tensor) -> tf.Tensor:
        return twin(x)

    return without_activation


def _without_last(model: keras.Model) -> keras.Model | None:
    """The model without its last layer, if what that is given has as many units as it outputs.

    Of several such inputs, as a vote has, the mean.
    """
    last, node, _ = model.outputs[0]._keras_history
    tensors = last._inbound_nodes[node].input_tensors
    if not tensors:
        return None
    if isinstance(last, keras.Model):
        inner = _without_last(last)
        return None if inner is None else keras.Model(model.inputs[0], inner(tensors[0]))
    if isinstance(last, keras.layers.Average) or any(t.shape != model.outputs[0].shape for t in tensors):
        return None
    return keras.Model(model.inputs[0], tensors[0] if len(tensors) == 1 else keras.layers.Average()(list(tensors)))
