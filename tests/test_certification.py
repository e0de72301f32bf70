"""advlab.certify: certificates of the shipped classifier, their file, the bracket with an attack, what is refused."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab.certification import unfinished, work
from advlab.certification.certify import certify as prove
from advlab.classifiers.classifier import Classifier
from advlab.cli import main
from advlab.data.dataset import Dataset
from advlab.errors import AdvlabWarning, FileExists, InvalidFile, InvalidValue, Mismatch, UnknownName
from advlab.results.certificate import Certificate


@pytest.fixture(scope="module")
def data():
    return advlab.load_dataset("digits", limit=40)


@pytest.fixture(scope="module")
def exact(trained, data):
    return advlab.certify(trained, data, epsilon=0.05, method="exact", progress=False)


@pytest.fixture(scope="module")
def attacked(trained, data):
    return advlab.attack(trained, data, "pgd", epsilon=0.05, early_stop=True, progress=False)


def test_every_image_is_decided_and_each_counterexample_is_one(trained, data, exact):
    assert not exact.unknown.any()
    assert exact.proven.sum() + exact.misclassified.sum() == 40
    assert (exact.misclassified | exact.correct).all()
    wrong = exact.misclassified
    assert wrong.any()
    assert np.abs(exact.x_adv.astype(np.float64) - data.x).max() <= 0.05 + 1e-7
    assert (trained.probabilities(exact.x_adv[wrong]).argmax(1) != data.y[wrong]).all()
    np.testing.assert_array_equal(exact.x_adv[~wrong], data.x[~wrong])


def test_each_method_proves_what_the_one_before_proves(trained, data, exact):
    proven = [
        advlab.certify(trained, data, epsilon=0.05, method=method, progress=False).proven
        for method in ("ibp", "crown", "alpha")
    ]
    for weaker, stronger in zip(proven, [*proven[1:], exact.proven], strict=True):
        assert (weaker <= stronger).all()
    assert 0 < proven[1].sum() < 40


def test_attack_and_proof_never_contradict_each_other(exact, attacked):
    bracket = exact.bracket(attacked)
    assert bracket.unknown == 0
    assert bracket.low == bracket.high == exact.proven.sum()
    assert bracket.missed == (exact.misclassified & attacked.robust).sum()
    assert f"{bracket.low} proven, 0 unknown" in str(bracket)
    table = exact.table({"pgd": attacked})
    assert max(map(len, table.splitlines())) <= 100
    assert "exact + pgd linf 0.05" in table


def test_what_contradicts_or_does_not_belong_is_refused(exact, attacked, trained, data):
    lying = replace(exact, status=np.ones_like(exact.status), margin=np.full(40, 9.0))
    with pytest.raises(Mismatch, match=r"which 'exact-linf-0\.05' proves"):
        lying.bracket(attacked)
    with pytest.raises(Mismatch, match="differ in: epsilon"):
        replace(exact, epsilon=0.1).bracket(attacked)
    with pytest.raises(InvalidValue, match="smoothed classifier"):
        replace(exact, method="smoothing").bracket(attacked)


def test_a_certificate_comes_back_from_its_file(exact, attacked, tmp_path):
    path = exact.save()
    assert path.parts[-3:] == ("certificates", exact.classifier, "exact-linf-0.05.h5")
    again = Certificate.load(path)
    for name in ("status", "margin", "x_adv", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(exact, name))
    assert again.to_dict() == exact.to_dict()
    json.dumps(exact.to_dict(), allow_nan=False)
    assert len(exact.to_frame()) == 40
    assert "<table>" in exact._repr_html_()
    assert "40 images" in repr(exact)
    with pytest.raises(FileExists, match="differs in: images"):
        replace(exact, dataset_digest="0" * 16).save()
    with pytest.raises(InvalidFile, match="not a complete certificate"):
        Certificate.load(attacked.save(tmp_path / "a.h5"))


def test_smoothing_certifies_a_radius_of_the_smoothed_classifier(trained, data):
    few = data.take(6)
    options = {"method": "smoothing", "norm": "l2", "draws": 300, "progress": False}
    found = advlab.certify(trained, few, epsilon=0.2, **options)
    assert (found.radius[found.proven] >= 0.2).all()
    assert found.radius.max() < 0.25 * 2.4
    again = advlab.certify(trained, few, epsilon=0.2, **options)
    np.testing.assert_array_equal(found.radius, again.radius)
    alone = advlab.certify(trained, few.take(1), epsilon=0.2, **options)
    assert alone.radius[0] == found.radius[0]
    assert "(smoothed)" in found.table()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon": 0}, InvalidValue, "clean accuracy"),
        ({"epsilon": "0/255"}, InvalidValue, "clean accuracy"),
        ({"epsilon": -1}, InvalidValue, r"in the range \[0, inf\)"),
        ({"epsilon": np.inf}, InvalidValue, "must be finite"),
        ({"norm": "l0", "epsilon": 3}, InvalidValue, "Images have no bounds under norm 'l0'.*linf, l2 or l1"),
        ({"norm": "l0", "epsilon": 0.1}, InvalidValue, "must be an int with norm 'l0'"),
        ({"method": "smoothing"}, InvalidValue, "no bounds under norm 'linf'. Choose one of: l2"),
        ({"method": "crwon"}, UnknownName, "Did you mean 'crown'"),
        ({"time_limit": 0}, InvalidValue, "time_limit must be a number of seconds above 0"),
        ({"samples": 0}, InvalidValue, "samples must be an int"),
        ({"method": "smoothing", "norm": "l2", "radii": True}, InvalidValue, "each image's radius anyway"),
        ({"sigma": 0}, InvalidValue, "sigma must be a float"),
    ],
)
def test_what_cannot_be_proven_is_refused(trained, data, options, error, words):
    with pytest.raises(error, match=words):
        advlab.certify(trained, data, **{"epsilon": 0.1, **options})


def test_bounds_that_overflow_are_refused(data):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    for _ in range(9):
        model.add(keras.layers.Dense(4, activation="relu", kernel_initializer=keras.initializers.Constant(3e38)))
    model.add(keras.layers.Dense(10, kernel_initializer=keras.initializers.Constant(-1e38)))
    with np.errstate(all="ignore"), pytest.raises(InvalidValue, match="overflow"):
        advlab.certify(Classifier.from_keras(model), data.take(2), epsilon=0.1, progress=False)


def test_a_linear_classifier_is_proven_up_to_its_closed_form_radius(linear):
    x = np.random.default_rng(0).uniform(0.4, 0.6, (12, 6, 6, 1)).astype(np.float32)
    labels = linear.probabilities(x).argmax(1)
    data = Dataset.from_arrays(x, labels, ["a", "b"])
    weights = linear.keras_model.get_weights()[0].astype(np.float64)
    difference = (weights[:, 0] - weights[:, 1]) * np.where(labels == 0, 1, -1)[:, None]
    margin = (difference * x.reshape(12, -1)).sum(1)
    for norm, order, epsilon in (("linf", 1, 0.05), ("l2", 2, 0.2), ("l1", np.inf, 0.35)):
        radius = margin / np.linalg.norm(difference, order, axis=1)
        found = advlab.certify(linear, data, norm=norm, epsilon=epsilon, method="exact", progress=False)
        np.testing.assert_array_equal(found.proven, radius > epsilon)


def test_the_largest_proven_radius_is_that_of_the_closed_form(linear):
    x = np.random.default_rng(0).uniform(0.4, 0.6, (12, 6, 6, 1)).astype(np.float32)
    labels = linear.probabilities(x).argmax(1)
    weights = linear.keras_model.get_weights()[0].astype(np.float64)
    difference = (weights[:, 0] - weights[:, 1]) * np.where(labels == 0, 1, -1)[:, None]
    size = np.linalg.norm(difference, axis=1)
    # Close to the boundary, so that the box does not matter.
    wanted = np.linspace(0.01, 0.06, 12) * size - (difference * x.reshape(12, -1)).sum(1)
    x = (x + ((wanted / size**2)[:, None] * difference).reshape(x.shape)).astype(np.float32)
    margin = (difference * x.reshape(12, -1)).sum(1)
    labels[0] = 1 - labels[0]
    data = Dataset.from_arrays(x, labels, ["a", "b"])
    for norm, order in (("linf", 1), ("l2", 2), ("l1", np.inf)):
        radius = margin / np.linalg.norm(difference, order, axis=1)
        epsilon = float(np.median(radius))
        found = advlab.certify(linear, data, "crown", norm=norm, epsilon=epsilon, radii=True, progress=False)
        assert (found.radius[1:] <= radius[1:]).all()
        assert (found.radius[1:] >= np.minimum(radius[1:], epsilon) * (1 - 1e-6) - epsilon / 256).all()
        assert found.radius[0] == 0
        assert found.largest_proven[0] == -np.inf
        assert found.slug.endswith("-radii")


@pytest.mark.parametrize(
    ("method", "function"), [("crown", "crown"), ("alpha", "alpha"), ("exact", "crown"), ("smoothing", "smoothed")]
)
def test_after_ctrl_c_the_same_call_goes_on_where_it_was(trained, data, workspace, monkeypatch, method, function):
    options = {"method": method, "epsilon": 0.05, "norm": "l2" if method == "smoothing" else "linf", "draws": 50}
    few, calls, original = data.take(8), [], getattr(work, function)
    whole = advlab.certify(trained, few, **options, progress=False)
    monkeypatch.setattr(work, "CELLS", 1)  # one image at a time
    monkeypatch.setattr(unfinished, "SAVE_AFTER", 0.0)

    def interrupted(*given, **named):
        calls.append(given)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*given, **named)

    monkeypatch.setattr(work, function, interrupted)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        advlab.certify(trained, few, **options, save=True, progress=False)
    assert len(calls) == 2
    path = whole.path.with_suffix(".partial.h5")
    assert path.is_file()
    assert not whole.path.exists()
    with pytest.raises(Mismatch, match=r"unfinished certificate with other settings .it differs in: dataset digest"):
        advlab.certify(trained, data.take(9), **options, save=True, progress=False)
    found = advlab.certify(trained, few, **options, save=True, progress=False)
    for name in ("status", "correct", "radius"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert not path.exists()
    if method == "smoothing":
        assert len(calls) == len(few)


def test_a_damaged_unfinished_certificate_is_set_aside(trained, data, workspace):
    path = workspace / "certificates" / trained.name / "ibp-linf-0.05.partial.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.warns(AdvlabWarning, match="The unfinished certificate in .* starts over"):
        advlab.certify(trained, data.take(2), "ibp", epsilon=0.05, save=True, progress=False)
    assert path.with_suffix(".damaged").is_file()


def test_without_time_what_is_left_is_unknown(trained, data):
    found = prove(trained, data, norm="linf", epsilon=0.05, method="exact", time_limit=0.0, progress=False)
    assert not found.proven.any()
    assert (found.unknown == found.correct).all()


def test_the_command_prints_a_table_or_json_and_writes_the_file(workspace):
    words = ["certify", "digits", "--epsilon", "0.02", "--samples", "5", "--method", "ibp"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "ibp linf 0.02" in done.stdout
    assert (workspace / "certificates" / "digits" / "ibp-linf-0.02.h5").is_file()
    done = CliRunner().invoke(main, [*words, "--json"])
    assert json.loads(done.stdout)["samples"] == 5
