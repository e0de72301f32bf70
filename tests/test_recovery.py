"""What hides a gradient is found by measuring, and the number behind it is recovered."""

from __future__ import annotations

import html

import keras
import numpy as np
import pytest
import tensorflow as tf
from broken import Noisy, Rounded, guarded, saturated
from results import build

import advlab
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.masking import blind_layers, inner_logits, jumping_layers
from advlab.evaluation.recovery import Recovery, Step
from advlab.threat import ThreatModel
from advlab.workflows import recovery, surrogate
from advlab.workflows.audit import Audit
from advlab.workflows.recovery import MASKED, recover


class Around(keras.layers.Layer):
    """A layer around a function."""

    def __init__(self, function, name):
        super().__init__(name=name)
        self.function = function

    def call(self, x):
        return self.function(x)


@tf.custom_gradient
def made_up(x):
    return tf.identity(x), lambda upstream: tf.random.normal(tf.shape(upstream))


BLIND = {
    "rounding": lambda x: tf.round(3 * x) / 3,
    "threshold": lambda x: tf.cast(x > 0.5, tf.float32),
    "stopped": tf.stop_gradient,
    "turned round": lambda x: tf.stop_gradient(2 * x) - x,
    "made up": made_up,
    "ripple": lambda x: x + 0.01 * tf.sin(5000 * x),
    "saturated": lambda x: tf.sigmoid(1000 * (x - 0.5)),
    "not a number": lambda x: tf.where(x < 2, x, 1 / (0 * x)),
    "noise and rounding": lambda x: tf.floor(3 * x + tf.random.uniform(tf.shape(x))) / 3,
}
SEEING = {
    "nothing": tf.identity,
    "square": lambda x: x**2,
    "relu": lambda x: tf.nn.relu(x - 0.3),
    "tanh": tf.tanh,
    "median": lambda x: tf.math.top_k(tf.stack([x, 0.5 * x, 0 * x + 0.2], -1), 2).values[..., 1],
    "noise": lambda x: x + 0.1 * tf.random.normal(tf.shape(x)),
}


@pytest.mark.parametrize("name", [*BLIND, *SEEING])
def test_a_layer_without_a_useful_gradient_is_found_and_no_other(trained, digits, name):
    function = (BLIND | SEEING)[name]
    found = blind_layers(guarded(trained, Around(function, "mask")), digits.x[:40])
    assert found.stand_ins == ({"mask": "identity"} if name in BLIND else {})
    assert found.others == ()


def winners(x):
    units = tf.reshape(x, [-1, 784])
    return tf.reshape(tf.where(units >= tf.math.top_k(units, 100).values[:, -1:], units, 0 * units), tf.shape(x))


JUMPING = {"winners": winners, "one step": lambda x: x + tf.cast(x > 0.3, tf.float32)}


@pytest.mark.parametrize("name", [*JUMPING, *SEEING])
def test_a_layer_that_jumps_is_told_from_one_that_bends(trained, digits, name):
    noisy = np.clip(digits.x[:40] + np.random.default_rng(0).uniform(0, 0.5, (40, 28, 28, 1)), 0, 1).astype(np.float32)
    found = jumping_layers(guarded(trained, Around((JUMPING | SEEING)[name], "layer")), noisy)
    assert found == (("layer",) if name in JUMPING else ())


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "sigmoid", "softplus", "elu"])
def test_an_honest_network_has_none(rgb, activation):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    hidden = keras.layers.Conv2D(4, 3, activation=activation)(keras.layers.Rescaling(2.0)(inputs))
    hidden = keras.layers.AveragePooling2D(2)(keras.layers.BatchNormalization()(hidden))
    hidden = keras.layers.Dense(8, activation=activation)(keras.layers.Flatten()(hidden))
    classifier = Classifier.from_keras(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden)))
    assert blind_layers(classifier, rgb[1].x) == ({}, ())
    assert jumping_layers(classifier, rgb[1].x) == ()


def test_a_layer_that_ends_in_a_saturated_activation_is_replaced_by_itself_without_it(digits):
    steep = keras.layers.Dense(16, activation=lambda z: tf.sign(z), name="steep")
    inputs = keras.Input((28, 28))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(steep(keras.layers.Flatten()(inputs))))
    classifier = Classifier.from_keras(model)
    stand_ins = blind_layers(classifier, digits.x[:40]).stand_ins
    assert list(stand_ins) == ["steep"]
    x = tf.ones([2, 784])
    np.testing.assert_allclose(stand_ins["steep"](x), x @ steep.kernel + steep.bias)


def test_what_changes_the_shape_is_named_where_nothing_can_stand_in(digits):
    inputs = keras.Input((28, 28, 1))
    levels = np.arange(0.1, 0.95, 0.2, np.float32)
    encoded = Around(lambda x: tf.cast(x > levels, tf.float32), "thermometer")(inputs)
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(encoded))
    found = blind_layers(Classifier.from_keras(keras.Model(inputs, outputs)), digits.x[:40])
    assert found == ({}, ("thermometer",))


def test_logits_behind_an_opaque_last_layer_are_found(trained, digits):
    inner = inner_logits(saturated(trained), digits.x[:40])
    expected = trained.logits(digits.x[:40])
    np.testing.assert_allclose(inner.logits(digits.x[:40]), expected, rtol=1e-4, atol=1e-4)
    assert inner_logits(trained, digits.x[:40]) is None
    assert inner_logits(guarded(trained, Noisy()), digits.x[:40]) is None


def test_behind_a_vote_they_are_the_mean_of_the_voters(trained, digits):
    inputs = keras.Input((28, 28))
    answers = [trained.keras_model(inputs), trained.keras_model(keras.layers.Rescaling(0.9)(inputs))]
    vote = Around(lambda a: tf.add_n([tf.one_hot(tf.argmax(p, -1), 10) for p in a]) / 2, "vote")(answers)
    inner = inner_logits(Classifier.from_keras(keras.Model(inputs, vote)), digits.x[:40])
    values = inner.logits(digits.x[:40])
    np.testing.assert_allclose(np.sum(values, 1), 1, atol=1e-4)  # the mean of two softmaxes
    assert not np.isin(values, [0, 0.5, 1]).all()


def recovered(classifier, data, seconds=600.0, epsilon=0.3):
    """A recovery after PGD alone."""
    evaluation = advlab.evaluate(advlab.attack(classifier, data, "pgd", epsilon=epsilon, steps=5, progress=False))
    return recover(classifier, data, {"pgd": evaluation}, ThreatModel("linf", epsilon), seconds)


def test_the_number_behind_a_rounded_image_is_recovered(trained, digits):
    classifier, data = guarded(trained, Rounded(name="rounded")), digits.take(40)
    evaluations, done = recovered(classifier, data)
    assert done.before.value > 0.8
    assert done.after.value == 0
    steps = {step.name: step for step in done.steps}
    assert list(steps) == ["inner-logits", "straight-through", "smoothed", "mean-of-passes", "square", "labels-only"]
    assert "'rounded'" in steps["straight-through"].did
    assert steps["straight-through"].tried == steps["straight-through"].images == done.before.count
    assert (steps["square"].images, steps["square"].did) == (0, "nothing to do: no image is still robust")
    assert done.unknown == ()
    assert "brought down by straight-through" in done.sentence()
    found = evaluations["recovery-straight-through"]
    assert found.attack.to_dict()["backward"] == {"rounded": "identity"}
    assert found.result.classifier_digest == classifier.digest
    assert not found.robust.any()
    np.testing.assert_array_equal(found.result.attempted, evaluations["pgd"].robust)
    assert np.abs(found.result.x_adv - data.x).max() <= 0.3 + 1e-6


def test_the_number_behind_a_steep_unit_is_recovered(digits):
    """On its flat ends a unit has no gradient; passed straight through, one that is far off counts like any other."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28))
    hidden, last = keras.layers.Dense(64)(keras.layers.Flatten()(inputs)), keras.layers.Dense(10)
    model = keras.Model(inputs, last(keras.layers.Activation("sigmoid")(hidden)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train = advlab.load_dataset("digits", split="train")
    model.fit(train.x[..., 0], train.y, epochs=20, verbose=0)
    steep = Around(lambda z: tf.clip_by_value(40 * z + 0.5, 0, 1), "steep")(hidden)
    classifier = Classifier.from_keras(keras.Model(inputs, last(steep)), output="logit")
    robust = {}
    for way in ("identity", "smoothed"):
        options = {"epsilon": 0.1, "steps": 100, "backward": {"steep": way}, "progress": False}
        robust[way] = advlab.attack(classifier, digits.take(60), "apgd", **options).robust.mean()
    assert robust["smoothed"] < robust["identity"] / 2
    _, done = recovered(classifier, digits.take(20), seconds=5.0, epsilon=0.1)
    assert "'steep'" in {step.name: step for step in done.steps}["smoothed"].did


def test_the_number_behind_a_saturated_softmax_is_recovered(trained, digits):
    evaluations, done = recovered(saturated(trained), digits.take(40))
    assert done.after.value == 0 < done.before.value
    found = evaluations["recovery-inner-logits"]
    assert found.transfer_from == "saturated-inner"
    assert found.classifier == "saturated"


def test_without_time_nothing_is_tried_and_it_says_so(trained, digits):
    _, done = recovered(guarded(trained, Rounded()), digits.take(20), seconds=1e-3)
    assert done.before.count == done.after.count > 0
    assert [step.tried for step in done.steps] == [0] * 6
    left = f"straight-through ran out of time: {done.before.count} of {done.before.count} images were not tried"
    assert left in done.unknown
    assert f"Nothing brought the number below {done.before.value:.1%}." in done.table()


def test_a_random_classifier_is_attacked_and_judged_by_the_mean(trained, digits, monkeypatch):
    monkeypatch.setattr(recovery, "PASSES", 2)
    monkeypatch.setattr(recovery, "SQUARE_QUERIES", 5)
    monkeypatch.setattr(recovery._Recovery, "labels_only", lambda self: None)
    evaluations, done = recovered(guarded(trained, Noisy()), digits.take(30), epsilon=0.05)
    assert done.passes == recovery.JUDGED_PASSES
    assert evaluations["recovery-mean-of-passes"].attack.passes == 2
    assert "the mean of 30" in done.table().replace("\n", " ")


def test_a_surrogate_learns_what_the_classifier_predicts(trained, digits, monkeypatch):
    monkeypatch.setattr(surrogate, "COPIES", 5)
    monkeypatch.setattr(surrogate, "EPOCHS", 5)
    network = surrogate.distil(trained, digits.take(60), ThreatModel("linf", 0.1), seconds=120)
    agreement = network.probabilities(digits.x).argmax(1) == trained.probabilities(digits.x).argmax(1)
    assert agreement.mean() > 0.5


def test_every_finding_that_calls_for_a_recovery_exists():
    from advlab.evaluation.findings.checks import CHECKS
    from advlab.evaluation.findings.cross import CROSS_CHECKS

    assert {check.code for check in (*CHECKS, *CROSS_CHECKS)} >= MASKED


def test_the_report_of_an_audit_shows_what_brought_the_number_down():
    pgd = advlab.evaluate(build([0, 1, 2], [0, 1, 2], [1, 1, 2]))
    rate = pgd.robust_accuracy
    steps = (
        Step("straight-through", "passed the gradient straight through 'rounded'", 2, 2, rate, rate, 0.5),
        Step("mean-of-passes", "nothing to do: predictions are not random", 0, 0, rate, rate, 0.0),
    )
    done = Recovery(steps, rate, rate, ("no surrogate was distilled",), 120.0, 1)
    audit = Audit("stub", pgd.attack.threat, {"pgd": pgd}, {}, rate, (), (), done)
    page = html.unescape(advlab.report(audit))
    assert '<h2 id="recovery">Recovery</h2>' in page
    assert "passed the gradient straight through 'rounded'" in page
    assert "<li>no surrogate was distilled</li>" in page
    assert max(map(len, done.table().splitlines())) <= 100
    assert "Recovery</h2>" not in advlab.report(Audit("stub", pgd.attack.threat, {"pgd": pgd}, {}, rate, (), ()))
