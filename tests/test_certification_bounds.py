"""Bounds of a network: equal to those worked out by hand, ordered, and never crossed by any image."""

from __future__ import annotations

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.certification.alpha import alpha
from advlab.certification.crown import crown, ibp, margins
from advlab.certification.region import region_of
from advlab.certification.translate import network_of
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue

NORMS = [("linf", 0.05), ("linf", 0.3), ("l2", 0.3), ("l1", 0.8)]
layers = keras.layers


@pytest.fixture(autouse=True)
def eager():
    """Without tracing: each network here is used a few times only."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def two_neurons() -> Classifier:
    """Two pixels a and b; hidden relu(a + b - 1) and relu(a - b); logits their sum, and 0.25."""
    inputs = keras.Input((1, 2, 1))
    hidden = layers.Dense(2, activation="relu", name="hidden")
    outputs = layers.Dense(2, name="outputs")
    model = keras.Model(inputs, outputs(hidden(layers.Flatten()(inputs))))
    hidden.set_weights([np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([-1.0, 0.0])])
    outputs.set_weights([np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.25])])
    return Classifier.from_keras(model)


def random_network(seed: int) -> Classifier:
    """Every layer with bounds, in turns, with weights that are not small."""
    keras.utils.set_random_seed(seed)
    draw = np.random.default_rng(seed)

    def activation(number: int) -> str:
        return ["relu", "tanh", "sigmoid", "leaky_relu"][(seed + number) % 4]

    inputs = keras.Input((6, 6, 2))
    padding, strides = ("same", "valid")[seed % 2], 1 + seed % 2
    hidden = layers.Conv2D(3, 3, padding=padding, strides=strides, activation=activation(0))(inputs)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.Add()([hidden, layers.Conv2D(3, 3, padding="same", activation=activation(1))(hidden)])
    if seed % 3 == 0:
        pools = (layers.MaxPooling2D, layers.AveragePooling2D)
        hidden = layers.Concatenate()([pool(2, strides=1, padding="same")(hidden) for pool in pools])
    hidden = layers.Dropout(0.5)(layers.Flatten()(hidden))
    hidden = layers.Dense(7, activation=activation(2))(hidden)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(hidden))
    for weight in model.weights:
        if "variance" not in weight.path and "seed" not in weight.path:
            weight.assign(weight + 0.3 * draw.normal(size=weight.shape))
    return Classifier.from_keras(model, scale=[1.0, 2.0], offset=-0.1)


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, *shape)).astype(np.float32)


def inside(x: np.ndarray, norm: str, epsilon: float, draw: np.random.Generator) -> np.ndarray:
    """Random images at the edge of each region."""
    change = draw.laplace(size=(len(x), x[0].size)) ** (5 if norm == "l1" else 1)
    size = {"linf": None, "l2": np.linalg.norm(change, axis=1), "l1": np.abs(change).sum(1)}[norm]
    change = epsilon * (np.sign(change) if size is None else change / size[:, None])
    return np.clip(x.reshape(len(x), -1) + change, 0, 1).reshape(x.shape)


def bounds_of(classifier: Classifier, x: np.ndarray, norm: str, epsilon: float):
    network = network_of(classifier, x.shape[1:])
    labels = tf.constant(classifier.probabilities(x).argmax(1))
    region = region_of(x, norm, epsilon)
    by_intervals, _ = ibp(network, region, labels)
    backwards, hidden = crown(network, region, labels)
    return network, labels, by_intervals.numpy(), backwards.numpy(), hidden


def test_bounds_of_two_neurons_are_those_worked_out_by_hand():
    x = np.array([0.8125, 0.5], np.float32).reshape(1, 1, 2, 1)
    network = network_of(two_neurons(), (1, 2, 1))
    labels = tf.constant([0])
    region = region_of(x, "linf", 0.125)
    # a + b - 1 and a - b both lie in [0.0625, 0.5625]: intervals add them up, lines cancel b.
    by_intervals, _ = ibp(network, region, labels)
    backwards, _ = crown(network, region, labels)
    np.testing.assert_allclose(by_intervals, [[2 * 0.0625 - 0.25]], atol=1e-12)
    np.testing.assert_allclose(backwards, [[2 * 0.6875 - 1.25]], atol=1e-12)
    # Within 0.1875 both may be negative; their lower lines are the steeper ones, and the least 2 a - 1.25 is reached.
    wide = region_of(x, "linf", 0.1875)
    np.testing.assert_allclose(crown(network, wide, labels)[0], [[2 * 0.625 - 1.25]], atol=1e-12)
    np.testing.assert_allclose(alpha(network, wide, labels)[0], [[0.0]], atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_least_of_a_linear_function_is_found_where_the_box_cuts_the_ball(norm):
    draw = np.random.default_rng(1)
    x = np.clip(draw.normal(0.5, 0.6, (4, 12)), 0, 1)
    a, epsilon = draw.normal(size=(4, 1, 12)), {"linf": 0.3, "l2": 0.7, "l1": 1.1}[norm]
    region = region_of(x.reshape(4, 2, 6, 1), norm, epsilon)
    found = region.minimum(tf.constant(a)).numpy()[:, 0]
    least = region.minimiser(tf.constant(a[:, 0])).numpy()
    reached = (a[:, 0] * least).sum(1)
    assert (found <= reached + 1e-12).all()
    if norm == "l2":
        reached = [_by_scipy(a[row, 0], x[row], epsilon) for row in range(4)]
    np.testing.assert_allclose(found, reached, atol=1e-6)
    slacker = region.minimum(tf.constant(a), slack=tf.constant(0.25, tf.float64)).numpy()[:, 0]
    np.testing.assert_allclose(slacker, found - 0.25 * np.abs(a).sum((1, 2)), atol=1e-12)


def test_a_bound_lies_below_the_exact_one_whatever_is_rounded():
    """The least margins of a linear classifier in fractions of whole numbers; bounds are no farther than rounding."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((14, 14, 1)), layers.Reshape((7, 28)), layers.Flatten(), layers.Dense(4)])
    classifier, x, epsilon = Classifier.from_keras(model), images(12, 14, 14, 1), 0.0625
    _, labels, _, backwards, _ = bounds_of(classifier, x, "linf", epsilon)
    kernel, shift = ([[Fraction(float(v)) for v in row] for row in np.atleast_2d(w)] for w in model.get_weights())
    for row, label in enumerate(labels.numpy()):
        pixels = [Fraction(float(v)) for v in x[row].ravel()]
        ends = [(max(p - Fraction(epsilon), Fraction(0)), min(p + Fraction(epsilon), Fraction(1))) for p in pixels]
        for place, other in enumerate(k for k in range(4) if k != label):
            weights = [line[label] - line[other] for line in kernel]
            products = (w * (low if w > 0 else high) for w, (low, high) in zip(weights, ends, strict=True))
            exact = sum(products, shift[0][label] - shift[0][other])
            assert exact - Fraction(1, 10**9) < Fraction(float(backwards[row, place])) <= exact


def _by_scipy(a: np.ndarray, x: np.ndarray, epsilon: float) -> float:
    from scipy import optimize

    ball = {"type": "ineq", "fun": lambda y: epsilon**2 - ((y - x) ** 2).sum(), "jac": lambda y: -2 * (y - x)}
    bounds = [(0, 1)] * len(x)
    return optimize.minimize(lambda y: a @ y, x, jac=lambda y: a, bounds=bounds, constraints=[ball]).fun


@pytest.mark.parametrize("seed", range(3))
def test_no_image_of_the_region_crosses_a_bound_and_crown_is_no_looser_than_intervals(seed):
    classifier, x, draw = random_network(seed), images(4, 6, 6, 2), np.random.default_rng(seed)
    for norm, epsilon in NORMS:
        network, labels, by_intervals, backwards, hidden = bounds_of(classifier, x, norm, epsilon)
        assert (by_intervals <= backwards).all()
        for _ in range(8):
            values = network.values(tf.constant(inside(x, norm, epsilon, draw)))
            reached = np.einsum("nrk,nk->nr", margins(network, labels), values[-1])
            assert (backwards <= reached + 1e-12).all()
            for number, (low, high) in hidden.items():
                assert (low <= values[number] + 1e-12).numpy().all()
                assert (values[number] <= high + 1e-12).numpy().all()


def test_optimised_slopes_are_sound_and_no_looser_than_crown():
    x, draw = images(3, 6, 6, 2), np.random.default_rng(3)
    network, labels, _, backwards, _ = bounds_of(random_network(1), x, "linf", 0.1)
    better, _ = alpha(network, region_of(x, "linf", 0.1), labels, steps=3)
    assert (backwards <= better).numpy().all()
    assert (backwards < better).numpy().any()
    stopped, _ = alpha(network, region_of(x, "linf", 0.1), labels, steps=3, stop=lambda: True)
    assert (backwards <= stopped).numpy().all()
    assert (stopped < better).numpy().any()
    for _ in range(8):
        logits = network.logits(tf.constant(inside(x, "linf", 0.1, draw)))
        assert (better <= np.einsum("nrk,nk->nr", margins(network, labels), logits) + 1e-12).numpy().all()


def test_slopes_of_hidden_bounds_are_optimised_for_the_margins():
    """At the start all of them tie with CROWN's bounds, from where the gradient must lead away."""
    keras.utils.set_random_seed(0)
    hidden_layers = [layers.Dense(20, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), *hidden_layers, layers.Dense(3)])
    classifier, x = Classifier.from_keras(model), images(4, 4, 4, 1)
    network, labels, _, backwards, hidden = bounds_of(classifier, x, "linf", 0.1)
    better, optimised = alpha(network, region_of(x, "linf", 0.1), labels, steps=20)
    first, *others = sorted(hidden)
    widths = {n: [tf.reduce_sum(high - low).numpy() for low, high in (hidden[n], optimised[n])] for n in hidden}
    assert widths[first][0] == widths[first][1]
    assert all(widths[number][1] < 0.99 * widths[number][0] for number in others)
    fixed = _with_fixed_hidden_bounds(network, region_of(x, "linf", 0.1), labels, hidden)
    assert (better.numpy() > fixed).mean() > 0.9
    assert (fixed >= backwards - 1e-12).all()


def _with_fixed_hidden_bounds(network, region, labels, hidden):
    """The margins when the slopes of the last pass alone are optimised, by many steps of gradient ascent."""
    from advlab.certification.intervals import propagate
    from advlab.certification.linear import lower_bound
    from advlab.certification.relaxation import steeper

    coefficients, bounds = margins(network, labels), propagate(network, region, hidden)
    count = coefficients.shape[1]
    lines = {n: tf.repeat(steeper(*hidden[network.nodes[n].inputs[0]])[:, None], count, 1) for n in network.activations}
    best = np.full((4, count), -np.inf)
    for step in range(60):
        with tf.GradientTape() as tape:
            tape.watch(lines)
            found = lower_bound(network, network.output, coefficients, bounds, region, lines).bound
        best = np.maximum(best, found)
        slopes = tape.gradient(found, lines)
        lines = {n: tf.clip_by_value(lines[n] + 0.3 * 0.95**step * tf.sign(slopes[n]), 0.0, 1.0) for n in lines}
    return best


def test_images_are_optimised_in_parts_to_the_same_bounds(monkeypatch):
    """As far as they are not proven, after which a part ends."""
    x, region = images(5, 6, 6, 2), region_of(images(5, 6, 6, 2), "linf", 0.1)
    network, labels, *_ = bounds_of(random_network(0), x, "linf", 0.1)
    whole, _ = alpha(network, region, labels, steps=3)
    monkeypatch.setattr("advlab.certification.alpha.NUMBERS", 1)
    parts, _ = alpha(network, region, labels, steps=3)
    np.testing.assert_allclose(np.minimum(parts, 0), np.minimum(whole, 0), atol=1e-9)
    assert (whole < 0).numpy().any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_bounds_fall_with_epsilon_and_do_not_depend_on_the_batch(norm):
    classifier, x = random_network(4), images(3, 6, 6, 2)
    wide = [bounds_of(classifier, x, norm, epsilon) for epsilon in (0.02, 0.06, 0.2)]
    for place in (2, 3):
        values = [found[place] for found in wide]
        assert (values[0] >= values[1]).all()
        assert (values[1] >= values[2]).all()
    alone = np.concatenate([bounds_of(classifier, x[row : row + 1], norm, 0.06)[3] for row in range(3)])
    np.testing.assert_allclose(alone, wide[1][3], rtol=1e-9, atol=1e-9)


def test_a_layer_without_bounds_is_named_with_those_supported():
    inputs = keras.Input((6, 6, 1))
    outputs = layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3, activation="gelu", name="first")(inputs)))
    with pytest.raises(InvalidValue, match=r"layer 'first' \(Conv2D with activation 'gelu'\).*Supported: Dense"):
        network_of(Classifier.from_keras(keras.Model(inputs, outputs)), (6, 6, 1))


def test_several_inputs_inside_are_refused():
    inner_inputs = [keras.Input((4,)), keras.Input((4,))]
    inner = keras.Model(inner_inputs, layers.Add()(inner_inputs), name="inner")
    inputs = keras.Input((2, 2, 1))
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, layers.Dense(2)(inner([flat, flat])))
    with pytest.raises(InvalidValue, match="'inner' has 2 inputs"):
        network_of(Classifier.from_keras(model), (2, 2, 1))
