"""The adaptive attacker's tools: a loss of one's own, stand-ins in the backward pass, the mean over random passes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from broken import Rounded, guarded
from click.testing import CliRunner

import advlab
from advlab.classifiers.backward import SPANS
from advlab.classifiers.classifier import Classifier
from advlab.cli import main
from advlab.declarations.methods import load_method, method_names
from advlab.errors import AdvlabError, InvalidValue, UnknownName

EPSILON = 0.05


def label_logit(logits, labels):
    """Falls as the logit of the label grows."""
    return -tf.gather(logits, labels, batch_dims=1)


def first_logit(logits, labels):
    """The logit of class 0, whatever the label."""
    return logits[:, 0]


class Wavering(keras.layers.Layer):
    """Multiplies all images of a call by 3 or by -1: the mean gradient points up, that of one pass often down."""

    def call(self, x):
        return x * tf.where(tf.random.uniform([]) < 0.5, 3.0, -1.0)


class Threshold(keras.layers.Layer):
    """Black or white."""

    def call(self, x):
        return tf.cast(x > 0.5, x.dtype)


def behind(classifier: Classifier, layer: keras.layers.Layer) -> Classifier:
    """The linear classifier of the fixtures behind a layer."""
    inputs = keras.Input((6, 6))
    return Classifier(keras.Model(inputs, classifier.keras_model(layer(inputs))), name="behind")


def columns(classifier: Classifier) -> np.ndarray:
    """float32 ``(k, 6, 6, 1)``: the gradient of each logit of the linear classifier."""
    return classifier.keras_model.layers[-1].get_weights()[0].T.reshape(-1, 6, 6, 1)


def step_along(data, direction: np.ndarray) -> np.ndarray:
    return data.x + np.float32(EPSILON) * np.sign(direction)


@pytest.fixture
def two(grey):
    """The grey images, labelled by two classes."""
    return advlab.Dataset("grey", "test", grey.x, grey.y % 2, grey.indices, ("a", "b"))


def gradient(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Of the logit of class 0."""
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = classifier.logits(images)[:, 0]
    return tape.gradient(value, images, unconnected_gradients="zero").numpy()


def fgsm(classifier, data, **settings) -> np.ndarray:
    return advlab.attack(classifier, data, "fgsm", epsilon=EPSILON, progress=False, **settings).x_adv


def test_a_loss_of_ones_own_is_what_a_step_climbs(linear, two):
    expected = step_along(two, columns(linear)[0])
    np.testing.assert_allclose(fgsm(linear, two, loss=first_logit), expected, atol=1e-6)


def test_with_a_target_it_is_given_the_target_as_the_label_and_lowered(linear, two):
    expected = step_along(two, columns(linear)[1])
    toward = fgsm(linear, two, loss=label_logit, target=1)
    np.testing.assert_allclose(toward[two.y == 0], expected[two.y == 0], atol=1e-6)


def test_every_method_that_climbs_a_loss_climbs_yours_and_every_other_refuses(linear, two):
    for name in method_names():
        method = load_method(name)
        if method.norms[0] == "none" or method.data == "texts":
            continue
        if method.native and method.goal == "bounded":
            counts = {n: min(int(v), 20) for n, v in method.parameters.items() if n in ("steps", "epochs")}
            result = advlab.attack(linear, two, name, epsilon=EPSILON, loss=first_logit, progress=False, **counts)
            gain = np.sum((result.x_adv - result.x) * columns(linear)[0], (1, 2, 3))
            assert gain.mean() > 0.2 or name == "noise", name
        else:
            with pytest.raises(InvalidValue, match="choose a"):
                advlab.Attack(name, loss=first_logit)


def test_a_loss_that_averages_over_images_is_refused_before_any_work(linear, two):
    with pytest.raises(InvalidValue, match=r"shape \(n,\).*Do not average"):
        fgsm(linear, two, loss=lambda logits, labels: tf.reduce_mean(logits))


def test_a_name_is_still_the_methods_own_parameter():
    assert advlab.Attack("apgd", loss="dlr").parameters["loss"] == "dlr"
    assert "loss" not in advlab.Attack("apgd", loss=first_logit).parameters
    with pytest.raises(UnknownName, match="'loss'"):
        advlab.Attack("pgd", loss="dlr")


@pytest.mark.parametrize(("stand_in", "slope"), [("identity", 1), (lambda x: -2 * x, -2)], ids=["identity", "function"])
def test_the_gradient_of_a_stand_in_is_taken_and_the_output_is_the_layers(linear, two, stand_in, slope):
    defended = behind(linear, Rounded(name="rounded"))
    through = defended.with_backward({"rounded": stand_in})
    np.testing.assert_array_equal(through.logits(two.x), defended.logits(two.x))
    np.testing.assert_allclose(gradient(through, two.x), slope * np.stack([columns(linear)[0]] * len(two)), rtol=1e-5)
    assert not np.any(gradient(defended, two.x))
    assert through.digest == defended.digest


def test_the_users_model_is_as_it_was_before(linear, two):
    layer = Rounded(name="rounded")
    defended = behind(linear, layer)
    before = dict(vars(layer))
    fgsm(defended, two, backward={"rounded": "identity"})
    assert vars(layer) == before
    plain = advlab.attack(defended, two, "fgsm", epsilon=EPSILON, progress=False)
    assert plain.diagnostics.zero_gradient.all()


def test_a_layer_inside_another_model_is_found_by_its_name(linear, two):
    inputs = keras.Input((6, 6))
    inner = behind(linear, Rounded(name="rounded")).keras_model
    outer = Classifier(keras.Model(inputs, inner(keras.layers.Identity()(inputs))), name="outer")
    found = gradient(outer.with_backward({"rounded": "identity"}), two.x)
    np.testing.assert_allclose(found, np.stack([columns(linear)[0]] * len(two)), rtol=1e-5)


def test_the_slopes_of_a_smoothed_layer_are_those_of_its_chords(linear, two):
    """Of one that doubles, two everywhere; of a threshold, over its steps in turn, height by length."""
    double = behind(linear, keras.layers.Rescaling(2.0, name="layer")).with_backward({"layer": "smoothed"})
    np.testing.assert_allclose(
        gradient(double, two.x), 2 * np.stack([columns(linear)[0]] * len(two)), rtol=1e-3, atol=1e-5
    )
    spread = float(np.std(two.x)) + 1e-6
    found = gradient(behind(linear, Threshold(name="layer")).with_backward({"layer": "smoothed"}), two.x)
    steps = [span * spread for span in SPANS]
    slopes = np.mean([np.where(np.abs(two.x - 0.5) < step, 1 / (2 * step), 0) for step in steps], axis=0)
    np.testing.assert_allclose(found, slopes * columns(linear)[0], rtol=1e-3, atol=1e-5)


def test_a_quantised_image_is_as_good_a_mask_as_none_once_passed_straight_through(trained, digits):
    defended, data = guarded(trained, Rounded(name="rounded")), digits.take(60)
    options = {"epsilon": 0.3, "progress": False}
    masked = advlab.attack(defended, data, "pgd", **options)
    aimed = advlab.attack(defended, data, "pgd", backward={"rounded": "identity"}, **options)
    assert masked.robust.mean() > 0.8
    assert aimed.robust.mean() < 0.05
    bfloat16 = advlab.attack(defended, data, "pgd", backward={"rounded": "identity"}, precision="bfloat16", **options)
    assert bfloat16.robust.mean() < 0.05


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        ({"roundet": "identity"}, UnknownName, "Did you mean 'rounded'"),
        ({"flat": "identity"}, InvalidValue, "changes the shape of its input"),
        ({"flat": "smoothed"}, InvalidValue, "'smoothed' cannot stand in for it"),
        ({"rounded": "sigmoid"}, InvalidValue, "'identity', 'smoothed' or a function"),
        ({"rounded": lambda x: x[:, :3]}, InvalidValue, "outputs the same shape as the layer"),
        (["rounded"], InvalidValue, "a mapping from names of layers"),
    ],
)
def test_a_stand_in_that_cannot_be_is_refused(linear, two, backward, error, message):
    inputs = keras.Input((6, 6))
    flat = keras.layers.Flatten(name="flat")(Rounded(name="rounded")(inputs))
    defended = Classifier(keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(flat)), name="defended")
    with pytest.raises(error, match=message):
        fgsm(defended, two, backward=backward)


def test_passes_follow_the_mean_of_what_is_random(linear, two):
    """One pass climbs the right way half the time; the mean of 64 does, but for one run in ten thousand."""
    wavering = behind(linear, Wavering())
    expected = step_along(two, columns(linear)[0])
    np.testing.assert_allclose(fgsm(wavering, two, loss=first_logit, passes=64), expected, atol=1e-6)
    single = [np.allclose(fgsm(wavering, two, loss=first_logit), expected, atol=1e-6) for _ in range(20)]
    assert not all(single)


def test_passes_are_counted_one_by_one(linear, two):
    def two_steps(problem, *, gradient: bool = True):
        """Two steps that take one more forward and two more backward passes each."""
        return advlab.Loop(2, lambda: {"x": problem.x}, lambda state, *_: state, gradient=gradient, extra=(1, 2))

    for with_gradient, backward in ((True, 2 + 4), (False, 4)):
        result = advlab.attack(linear, two, two_steps, gradient=with_gradient, passes=4, epsilon=0.1, progress=False)
        assert set(result.forward_passes) == {4 * (3 + 2)}
        assert set(result.backward_passes) == {4 * backward}


def test_of_a_model_that_is_not_random_the_mean_is_the_pass(trained, digits):
    one, three = (advlab.attack(trained, digits.take(30), "bim", steps=5, passes=n, progress=False) for n in (1, 3))
    assert np.mean(one.success == three.success) > 0.95


def test_an_archive_records_them_by_name_and_the_functions_by_their_source(linear, two, workspace):
    defended = behind(linear, Rounded(name="rounded"))
    spec = advlab.Attack("fgsm", loss=first_logit, passes=2, backward={"rounded": tf.identity})
    assert spec.slug.startswith("fgsm-linf-0.1-passes=2-loss=first_logit-backward")
    other = advlab.Attack("fgsm", loss=label_logit, passes=2, backward={"rounded": tf.identity})
    assert other.code != spec.code
    stored = advlab.load_result(advlab.attack(defended, two, spec, save=True, progress=False).path)
    assert (stored.attack.loss, stored.attack.passes, stored.attack.code) == ("first_logit", 2, spec.code)
    assert dict(stored.attack.backward) == {"rounded": "identity"}
    assert stored.attack.variant == "fgsm passes=2 loss=first_logit backward.rounded=identity"
    with pytest.raises(InvalidValue, match="'first_logit' is known by its name only"):
        advlab.attack(defended, two, stored.attack)


def test_an_attack_on_a_classifier_with_stand_ins_records_them(linear, two):
    def half(x):
        return x / 2

    through = behind(linear, Rounded(name="rounded")).with_backward({"rounded": half})
    spec = advlab.attack(through, two, "fgsm", progress=False).attack
    assert spec.to_dict()["backward"] == {"rounded": "half"}
    assert spec.code == advlab.Attack("fgsm", backward={"rounded": half}).code
    with pytest.raises(AdvlabError, match="known by its name only"):
        advlab.attack(through, two, advlab.Attack.from_dict(spec.to_dict()), progress=False)


def test_the_command_line_passes_straight_through_and_averages(tmp_path, linear, two):
    behind(linear, keras.layers.Rescaling(1.0, name="rescaled")).save(tmp_path / "behind.h5")
    np.savez(tmp_path / "two.npz", x=two.x, y=two.y)
    words = ["--model", tmp_path / "behind.h5", "--dataset", tmp_path / "two.npz", "--epsilon", "0.05"]
    outcome = CliRunner().invoke(
        main, ["attack", *map(str, words), "--straight-through", "rescaled", "--passes", "3", "--method", "pgd"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "pgd linf 0.05" in outcome.stdout
    assert "passes=3-backward.rescaled=identity" in outcome.stderr
    outcome = CliRunner().invoke(main, ["attack", *map(str, words), "--smoothed", "rescaled"])
    assert "backward.rescaled=smoothed" in outcome.stderr, outcome.output
