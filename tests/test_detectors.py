"""Detectors: each score is what its paper says, the threshold keeps its promise, and an attack that knows it is run."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score, roc_curve

import advlab
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.defenses.adaptive import craft_joint
from advlab.defenses.detector import Detector, _halves
from advlab.defenses.statistics import STATISTICS
from advlab.errors import InvalidValue, Mismatch, UnknownName
from advlab.evaluation.detection import Detection, attacked, auc, roc
from advlab.evaluation.metrics import rate
from advlab.threat import ThreatModel

RNG = np.random.default_rng(5)
LINF = ThreatModel("linf", 0.1)


@pytest.fixture(scope="module")
def with_dropout():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(20, "relu"), layers.Dropout(0.5)])
    model.add(layers.Dense(10, activation="softmax"))
    return Classifier.from_keras(model, name="with-dropout")


@pytest.fixture(scope="module")
def clusters():
    """Images of 2 x 2 pixels in three classes, and a classifier whose last dense layer sees the pixels themselves."""
    y = np.arange(300) % 3
    x = np.clip(0.25 * y[:, None] + 0.25 + 0.03 * RNG.normal(size=(300, 4)), 0, 1).astype(np.float32)
    model = keras.Sequential([keras.Input((2, 2)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.layers[-1].set_weights([np.outer(np.ones(4), [-20.0, 0, 20]), np.array([30.0, 0, -50])])
    return Classifier.from_keras(model, name="clusters"), Dataset(
        "clusters", "test", x.reshape(-1, 2, 2, 1), y, y, "abc"
    )


def fitted(name, classifier, data, rate=0.05, **settings):
    return Detector(name, **settings).fit(classifier, data, rate)


def test_confidence_and_energy_are_those_of_the_logits(trained, digits):
    logits = trained.logits(digits.x).numpy().astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(fitted("maximum-softmax", trained, digits).score(digits.x), 1 - p.max(1), atol=1e-6)
    expected = -(np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1))
    np.testing.assert_allclose(fitted("energy", trained, digits).score(digits.x), expected, rtol=1e-4)


def test_mahalanobis_is_the_distance_to_the_nearest_class_in_units_of_the_common_covariance(clusters):
    classifier, data = clusters
    half = _halves(data)[0]
    x, y = half.x.reshape(-1, 4).astype(np.float64), half.y
    means = [x[y == c].mean(0) for c in range(3)]
    inverse = np.linalg.inv(np.cov((x - np.stack(means)[y]).T, bias=True))
    points = RNG.random((20, 2, 2, 1)).astype(np.float32)
    expected = [min(mahalanobis(point, mean, inverse) ** 2 for mean in means) for point in points.reshape(-1, 4)]
    np.testing.assert_allclose(fitted("mahalanobis", classifier, data).score(points), expected, rtol=1e-3)


def test_what_squeezing_leaves_alone_is_not_suspicious_and_noise_is(trained, digits):
    detector = fitted("feature-squeezing", trained, digits, bits=3, size=3)
    blocks = np.repeat(np.repeat(RNG.integers(0, 2, (10, 4, 4, 1)), 7, 1), 7, 2).astype(np.float32)
    plain = trained.probabilities(blocks)
    smoothed = trained.probabilities(trained.with_defense("median-smoothing", size=3).keras_model.layers[1](blocks))
    np.testing.assert_allclose(detector.score(blocks), np.abs(plain - smoothed).sum(1), atol=1e-5)
    assert detector.score(np.full((1, 28, 28, 1), 1.0, np.float32))[0] == pytest.approx(0, abs=1e-6)


def test_dropout_spreads_predictions_and_leaves_the_classifier_as_it_was(with_dropout, digits):
    data = digits.take(60)
    before = with_dropout.probabilities(data.x)
    labelled = Dataset("own", "test", data.x, before.argmax(1), data.indices, data.classes)
    detector = fitted("dropout", with_dropout, labelled, passes=30)
    score = detector.score(data.x)
    assert score.shape == (60,)
    assert np.all(score > 0)
    assert not np.array_equal(score, detector.score(data.x))
    np.testing.assert_array_equal(with_dropout.probabilities(data.x), before)
    assert not any("call" in vars(layer) for layer in with_dropout.keras_model.layers)


def test_the_variance_of_dropout_is_that_of_its_masks():
    """One dropped unit of two: a logit of 0 or 2 z with equal chance, in closed form."""
    inputs = keras.Input((1, 1))
    features = layers.Dropout(0.5)(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", kernel_initializer="ones")(features))
    model.layers[-1].set_weights([np.array([[3.0, 0.0]]), np.zeros(2)])
    classifier = Classifier.from_keras(model)
    x = np.full((400, 1, 1, 1), 1.0, np.float32)
    data = Dataset("ones", "test", x, np.zeros(400, int), np.arange(400), "ab")
    high = 1 / (1 + np.exp(-6))
    expected = 2 * ((high - 0.5) / 2) ** 2
    assert fitted("dropout", classifier, data, passes=1000).score(x).mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_threshold_refuses_the_chosen_fraction_of_the_held_out_images(trained, digits, rate):
    half = _halves(digits)[1]
    held_out = half.x[trained.probabilities(half.x).argmax(1) == half.y]
    for name in STATISTICS:
        if name != "dropout":
            refused = fitted(name, trained, digits, rate).detects(held_out).mean()
            assert rate - 0.02 <= refused <= rate


def test_a_detector_without_use_is_refused(trained, digits, clusters):
    with pytest.raises(InvalidValue, match=r"'digits' has no dropout layers.*mnist-dropout-adam"):
        fitted("dropout", trained, digits)
    classifier, data = clusters
    known = data.y < 2
    two_classes = Dataset("two", "test", data.x[known], data.y[known], data.indices[known], "abc")
    with pytest.raises(InvalidValue, match="none of class 2 among 100; fit it on more images"):
        fitted("mahalanobis", classifier, two_classes)
    with pytest.raises(InvalidValue, match=r"at least 100 correctly classified images.*fit on more images"):
        fitted("energy", trained, digits.take(60), 0.01)
    for wrong in (0, 1, -0.1, "5%"):
        with pytest.raises(InvalidValue, match="false_positive_rate must lie between 0 and 1"):
            fitted("energy", trained, digits, wrong)


def test_the_halves_are_all_images_and_each_has_every_class(digits):
    first, second = _halves(digits)
    assert sorted([*first.indices, *second.indices]) == digits.indices.tolist()
    assert abs(len(first) - len(second)) <= 1
    assert set(first.y) == set(second.y) == set(range(10))


def test_names_and_settings_are_checked():
    with pytest.raises(UnknownName, match=r"Unknown detector 'enegry'\. Did you mean 'energy'"):
        Detector("enegry")
    with pytest.raises(UnknownName, match=r"setting of detector 'dropout': 'pases'\. Did you mean 'passes'"):
        Detector("dropout", pases=3)
    with pytest.raises(InvalidValue, match=r"has not been fitted\. Call fit\(classifier, data\)"):
        Detector("energy").score(np.zeros((1, 28, 28, 1)))


def test_a_detector_of_another_model_is_refused(trained, digits):
    detector = fitted("energy", advlab.load_classifier("digits-robust"), digits)
    with pytest.raises(Mismatch, match=r"fitted on 'digits-robust' \(\w{6}\), not on 'digits'.*Fit it again"):
        advlab.evaluate_detector(trained, detector, digits, samples=10)


class Bright:
    """A detector with the interface of the adversarial-robustness-toolbox."""

    def detect(self, x):
        bright = x.mean((1, 2, 3))
        return {"predictions": np.stack([1 - bright, bright], 1)}, bright > 0.5


def test_a_detector_of_the_toolbox_scores_by_its_predictions(trained, digits):
    detector = Detector.from_art(Bright()).fit(trained, digits)
    np.testing.assert_allclose(detector.score(digits.x), digits.x.mean((1, 2, 3)), atol=1e-6)
    assert detector.name == "art-Bright"
    found = advlab.evaluate_detector(trained, detector, digits, attacks=["fgsm"], samples=20, steps=5, progress=False)
    assert found.detector == "art-Bright"


def test_curve_and_area_are_those_of_scikit_learn():
    clean, adversarial = RNG.normal(size=150).round(1), RNG.normal(0.7, size=40).round(1)
    truth, scores = np.r_[np.zeros(150), np.ones(40)], np.r_[clean, adversarial]
    assert auc(clean, adversarial) == pytest.approx(roc_auc_score(truth, scores))
    ours, theirs = roc(clean, adversarial), roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(ours.false_positives, theirs[0], atol=1e-12)
    np.testing.assert_allclose(ours.detected, theirs[1], atol=1e-12)


def test_without_adversarial_images_there_is_no_area():
    assert np.isnan(auc(np.ones(3), np.zeros(0)))
    assert roc(np.ones(3), np.zeros(0)).detected.tolist() == [0, 1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_joint_attack_stays_in_ball_and_box_and_moves_the_score_down(trained, digits, norm):
    data, threat = digits.take(40), ThreatModel(norm, {"linf": 0.1, "l2": 1.5}[norm])
    detector = fitted("mahalanobis", trained, digits)
    x_adv = craft_joint(detector, data, threat, steps=30, progress=False)
    change = (x_adv.astype(np.float64) - data.x).reshape(40, -1)
    assert (np.abs(change).max() if norm == "linf" else np.sqrt((change**2).sum(1)).max()) <= threat.epsilon
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    pgd = advlab.attack(trained, data, "pgd", norm=norm, epsilon=threat.epsilon, progress=False).x_adv
    wrong = trained.probabilities(x_adv).argmax(1) != data.y
    assert wrong.mean() > 0.8
    assert detector.score(x_adv)[wrong].mean() < 0.7 * detector.score(pgd)[wrong].mean()


def test_an_attack_that_knows_the_detector_passes_it(trained, digits):
    """Images that do not know it are farther from all classes than clean ones; those that do are nearer."""
    found = advlab.evaluate_detector(trained, "mahalanobis", digits, attacks=["pgd"], samples=60, progress=False)
    static, adaptive, together = found.attacks
    assert [attack.attack for attack in found.attacks] == ["pgd", "adaptive", "all"]
    assert static.auc > 0.7 > 0.4 > adaptive.auc
    assert together.accepted_errors.count >= max(static.accepted_errors.count, adaptive.accepted_errors.count)
    assert together.auc <= min(static.auc, adaptive.auc)


def detection():
    clean, wrong = np.linspace(0, 1, 100), np.arange(50) < 40
    static = attacked("pgd", wrong, np.linspace(0.5, 1.5, 50), clean, 0.95)
    adaptive = attacked("adaptive", wrong, np.linspace(0, 1, 50), clean, 0.95)
    return Detection("energy", {}, "stub", "c" * 16, LINF, 0.95, rate(clean > 0.95), (static, adaptive, adaptive))


def test_the_conclusion_counts_the_errors_that_are_accepted():
    text = detection().conclusion()
    assert text.startswith("The number that counts is 80.0%: of so many images an attacker who knows 'energy' makes")
    assert "at 5.0% of clean images refused" in text
    assert detection().attacks[0].accepted_errors.count == 23
    assert detection().table().count("adaptive") == 2
    assert "80.0" in detection()._repr_html_()


def test_it_is_ready_for_json_and_drawn():
    assert json.loads(json.dumps(detection().to_dict(), allow_nan=False))["attacks"][0]["attack"] == "pgd"
    lines = advlab.figures.roc(detection()).axes[0].lines
    assert len(lines) == 1 + 3 + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0}, "epsilon must be a number above 0"),
        ({"steps": 0}, "steps"),
        ({"samples": 449}, "fitted on the images after the 449 attacked ones"),
    ],
)
def test_bad_requests_are_refused_before_any_work(trained, digits, settings, message):
    with pytest.raises(InvalidValue, match=message):
        advlab.evaluate_detector(trained, "energy", digits, **settings)
    with pytest.raises(UnknownName, match="Unknown norm 'l0'"):
        advlab.evaluate_detector(trained, "energy", digits, norm="l0")
