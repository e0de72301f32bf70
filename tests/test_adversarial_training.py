"""Adversarial training crafts as attacks do, resumes, notices when it fails, and leaves a plain and sturdier model."""

import warnings
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.loading import load_dataset
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import EarlyStopping, load_recipe
from advlab.engine.steps import Batch
from advlab.errors import InvalidValue, Mismatch, UnknownName
from advlab.methods import pgd
from advlab.problem import random
from advlab.training import adversary as crafting
from advlab.training import callback as callbacks
from advlab.training import checkpoint, fit
from advlab.training.train import build
from advlab.workflows.attack import attack
from advlab.workflows.train import train
from tests.conftest import weights

METHODS = ("fgsm-rs", "n-fgsm", "pgd", "trades")
PGD = Adversary("pgd", 0.1, steps=3)


def untargeted(x, y, streams):
    none = tf.fill(y.shape, -1)
    x = tf.constant(x)
    return Batch(x, y, aim=none, target=none, streams=streams, restart=tf.zeros_like(y), nearest=x)


def batch(data, seed=0):
    y = tf.constant(data.y, tf.int32)
    streams = random.streams(seed, 0, tf.constant(data.indices, tf.int32))
    return untargeted(data.x, y, streams)


def crafted(settings, classifier, data, seed=0):
    function = tf.function(lambda batch: crafting.craft(settings, classifier.logits, batch), autograph=False)
    return function(batch(data, seed)).numpy()


def last_iterate(problem, *, steps: int = 3, relative_step_size: float = 2.5):
    """The attack pgd, which here returns its last iterate in place of the best one, as training does."""
    return pgd.craft(problem, steps=steps, relative_step_size=relative_step_size)._replace(keep="last")


last_iterate.NORMS, last_iterate.GOAL = ("linf", "l2"), "bounded"


@pytest.mark.parametrize(
    ("method", "norm", "steps", "size"), [("pgd", "linf", 3, 2.5), ("pgd", "l2", 3, 2.5), ("fgsm-rs", "l2", 1, 1.25)]
)
def test_the_batch_is_that_of_the_public_attack_from_the_same_start(trained, digits, method, norm, steps, size):
    data, epsilon = digits.take(60), {"linf": 0.1, "l2": 1.5}[norm]
    parameters = {"steps": steps, "relative_step_size": size}
    public = attack(trained, data, last_iterate, norm=norm, epsilon=epsilon, seed=3, **parameters)
    ours = crafted(Adversary(method, epsilon, norm, **parameters), trained, data, 3)
    np.testing.assert_allclose(ours, public.x_adv, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "norm"), [(m, n) for m in METHODS for n in ("linf", "l2") if (m, n) != ("n-fgsm", "l2")]
)
def test_the_batch_stays_in_ball_and_box_and_moves_towards_errors(trained, digits, method, norm):
    settings = Adversary(method, {"linf": 0.1, "l2": 1.5}[norm], norm)
    data = digits.take(100)
    x_adv = crafted(settings, trained, data)
    change = (x_adv.astype(np.float64) - data.x).reshape(100, -1)
    size = np.abs(change).max(1) if norm == "linf" else np.sqrt((change**2).sum(1))
    radius = settings.epsilon * (3 if method == "n-fgsm" else 1)
    assert size.max() <= radius
    assert size.max() > 0.9 * radius
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    clean, adversarial = (np.mean(trained.probabilities(x).argmax(1) == data.y) for x in (data.x, x_adv))
    assert adversarial < clean - 0.3


def test_fgsm_rs_starts_outside_of_the_box(linear, grey):
    """As the authors' code does: on black pixels a start that is clipped would leave changes of 0 and epsilon alone."""
    data = replace(grey, x=np.zeros_like(grey.x), y=grey.y % 2, classes=("a", "b"))
    change = crafted(Adversary("fgsm-rs", 0.1), linear, data)
    w = linear.keras_model.get_weights()[0]
    rising = np.sign(w[:, 1] - w[:, 0]).reshape(1, 6, 6, 1) * np.where(data.y == 0, 1, -1)[:, None, None, None] > 0
    assert (change[~rising] == 0).all()
    assert change[rising].min() == pytest.approx(0.025, abs=0.005)
    assert np.mean(change[rising] < 0.099) == pytest.approx(0.375, abs=0.05)


def test_n_fgsm_takes_one_step_of_epsilon_from_noise_of_twice_epsilon(linear, grey):
    """On a linear model of two classes the step is epsilon times a fixed sign, and what remains is the noise."""
    data = replace(grey, y=grey.y % 2, classes=("a", "b"))
    change = crafted(Adversary("n-fgsm", 0.05), linear, data) - data.x
    w = linear.keras_model.get_weights()[0]
    sign = np.sign(w[:, 1] - w[:, 0]).reshape(1, 6, 6, 1) * np.where(data.y == 0, 1, -1)[:, None, None, None]
    noise = change - 0.05 * sign
    assert np.abs(noise).max() <= 0.1 + 1e-6
    assert np.abs(noise).max() > 0.095
    assert noise.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.05)


def test_trades_climbs_the_divergence_from_the_clean_prediction_without_labels(trained, digits):
    data = digits.take(50)
    settings = Adversary("trades", 0.1)
    ours = crafted(settings, trained, data)
    other_labels = crafted(settings, trained, replace(data, y=(data.y + 1) % 10))
    assert np.array_equal(ours, other_labels)
    p, q = trained.probabilities(data.x), trained.probabilities(ours)
    assert np.mean((p * np.log(p / q)).sum(1)) > 1


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_each_step_trains_on_what_is_crafted_against_the_weights_before_it(recipe, monkeypatch, xla):
    """Parity with a train step written out: two steps of gradient descent on cross-entropy of crafted images."""

    monkeypatch.setattr(fit, "_XLA_FROM_STEPS", 0 if xla else 10**9)
    small = recipe(
        optimizer="sgd", learning_rate=0.1, batch_size=120, epochs=1, seed=4, validation_split=0.2, adversary=PGD
    )
    ours = train(small, save=False)
    data = load_dataset(small.dataset, split="train")
    keras.utils.set_random_seed(4)
    model = build(small, data)
    order = fit.order(240, 4, 0)
    for step in range(2):
        rows = order[120 * step : 120 * (step + 1)]
        y = tf.constant(data.y[rows], tf.int32)
        streams = random.streams(4, step, tf.range(120))
        images = untargeted(data.x[rows], y, streams)
        classifier = Classifier.from_keras(model)
        x_adv = tf.function(lambda b, c=classifier: crafting.craft(PGD, c.logits, b), autograph=False)(images)
        with tf.GradientTape() as tape:
            p = model(tf.reshape(x_adv, [-1, 6, 6]), training=True)
            loss = -tf.reduce_mean(tf.math.log(tf.gather(p, y, batch_dims=1)))
        for variable, gradient in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
        ):
            variable.assign_sub(0.1 * gradient)
    np.testing.assert_allclose(weights(ours), np.concatenate([np.ravel(w) for w in model.get_weights()]), atol=1e-5)


@pytest.fixture
def stop_after_one_epoch(monkeypatch):
    """Trains until the first checkpoint is written."""

    class Stop(Exception):
        pass

    def save(*values, save=checkpoint.save):
        save(*values)
        raise Stop

    def run(recipe):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save)
            with pytest.raises(Stop):
                train(recipe)

    return run


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_resumes_to_the_same_weights(recipe, stop_after_one_epoch, method):
    architecture = {"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_normalization": True}
    small = recipe(architecture, epochs=3, validation_split=0.2, adversary=Adversary(method, 0.05))
    uninterrupted = train(small, save=False)
    stop_after_one_epoch(small)
    resumed = train(small, resume=True)
    assert np.array_equal(weights(resumed), weights(uninterrupted))
    assert resumed.card["history"] == uninterrupted.card["history"]


@pytest.mark.parametrize("validated", [True, False])
def test_averaged_weights_are_the_moving_average_over_the_steps(recipe, validated):
    """Written out: gradient descent on the full batch, whose weights after each step another run tells."""
    split = {"validation_split": 0.2} if validated else {}
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 300} | split
    last = [weights(train(recipe(epochs=n, **settings), save=False)) for n in (1, 2, 3)]
    averaged = train(recipe(epochs=3, weight_averaging=0.8, **settings), save=False)
    expected = 0.8 * (0.8 * last[0] + 0.2 * last[1]) + 0.2 * last[2]
    np.testing.assert_allclose(weights(averaged), expected, atol=1e-6)


def test_an_interrupted_run_with_averaged_weights_and_a_warmup_resumes_to_the_same_weights(
    recipe, stop_after_one_epoch
):
    adversary = Adversary("fgsm-rs", 0.05, warmup_epochs=2)
    small = recipe(epochs=3, validation_split=0.2, weight_averaging=0.9, adversary=adversary)
    uninterrupted = train(small, save=False)
    stop_after_one_epoch(small)
    resumed = train(small, resume=True)
    assert np.array_equal(weights(resumed), weights(uninterrupted))
    assert resumed.card["history"] == uninterrupted.card["history"]


def test_epsilon_grows_over_the_warmup_epochs(recipe, monkeypatch):
    """With two batches in each of two epochs: a quarter, a half, three quarters and the whole of epsilon."""
    radii = []

    def crafted(adversary, logits, batch, epsilon, words, craft=crafting.craft):
        tf.numpy_function(lambda e: radii.append(float(e)), [epsilon], [])
        return craft(adversary, logits, batch, epsilon, words)

    monkeypatch.setattr(crafting, "craft", crafted)
    monkeypatch.setattr(crafting.RobustValidation, "on_epoch_end", lambda self, epoch, logs: None)
    settings = {"batch_size": 120, "validation_split": 0.2, "adversary": replace(PGD, warmup_epochs=2)}
    train(recipe(epochs=3, **settings), save=False)
    assert radii == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_a_checkpoint_of_another_adversary_is_refused(recipe, stop_after_one_epoch):
    small = recipe(epochs=2, validation_split=0.2, adversary=PGD)
    stop_after_one_epoch(small)
    other = replace(small, training=replace(small.training, adversary=replace(PGD, epsilon=0.2)))
    with pytest.raises(Mismatch, match=r"differs in: training\.adversary\.epsilon"):
        train(other, resume=True)


def test_a_plain_recipe_keeps_keras_own_train_step_and_loss(recipe, monkeypatch):
    """Its weights are those of one Keras call for each batch: test_fitting.py."""
    seen = []
    fitted = fit.fit
    monkeypatch.setattr(
        fit, "fit", lambda model, *values, **options: (seen.append(model), fitted(model, *values, **options))
    )
    train(recipe(validation_split=0.2), save=False)
    train(recipe(validation_split=0.2, adversary=PGD), save=False)
    plain, robust = seen
    assert not {"train_step", "compute_loss"} & vars(plain).keys()
    assert "train_step" in vars(robust)
    assert plain.loss == "sparse_categorical_crossentropy"


def test_trades_with_beta_0_is_plain_training(recipe):
    plain = recipe(epochs=3, validation_split=0.2)
    trades = replace(plain, training=replace(plain.training, adversary=Adversary("trades", 0.1, beta=0)))
    np.testing.assert_allclose(weights(train(trades, save=False)), weights(train(plain, save=False)), atol=1e-6)


def test_the_loss_of_trades_is_cross_entropy_plus_beta_times_the_divergence(recipe):
    """One step at rate 0: the epoch's loss is that of the first weights, written out here in NumPy."""

    settings = Adversary("trades", 0.1, beta=3)
    small = recipe(
        optimizer="sgd", learning_rate=1e-12, batch_size=240, epochs=1, validation_split=0.2, adversary=settings
    )
    loss = train(small, save=False).card["history"]["loss"][0]
    data = load_dataset(small.dataset, split="train")
    keras.utils.set_random_seed(0)
    classifier = Classifier.from_keras(build(small, data))
    rows = fit.order(240, 0, 0)
    y = tf.constant(data.y[rows], tf.int32)
    streams = random.streams(0, 0, tf.range(240))
    images = untargeted(data.x[rows], y, streams)
    x_adv = tf.function(lambda b: crafting.craft(settings, classifier.logits, b), autograph=False)(images).numpy()
    p, q = (classifier.probabilities(x).astype(np.float64) for x in (data.x[rows], x_adv))
    expected = np.mean(-np.log(p[np.arange(240), data.y[rows]])) + 3 * np.mean((p * np.log(p / q)).sum(1))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_history_and_the_logs_of_tensorboard_have_robust_validation_accuracy(recipe, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    card = train(recipe(validation_split=0.2, adversary=PGD), tensorboard=tmp_path / "logs", save=False).card
    robust = card["history"]["val_robust_accuracy"]
    assert len(robust) == 2
    assert card["robust_validation_accuracy"] == pytest.approx(robust[-1], abs=1e-4)
    logs = EventAccumulator(str(tmp_path / "logs" / "validation"))
    logs.Reload()
    logged = [float(tf.make_ndarray(event.tensor_proto)) for event in logs.Tensors("epoch_robust_accuracy")]
    assert logged == pytest.approx(robust, abs=1e-4)


def test_robust_validation_accuracy_is_that_of_the_last_validation_images_under_pgd(recipe):

    small = recipe(epochs=3, validation_split=0.2, learning_rate=0.01, adversary=replace(PGD, validation_steps=3))
    classifier = train(small, save=False)
    data = load_dataset(small.dataset, split="train")
    held_out = replace(data, x=data.x[240:], y=data.y[240:], indices=data.indices[240:])
    public = attack(classifier, held_out, last_iterate, epsilon=0.1, seed=1)
    robust = np.mean(
        (classifier.probabilities(held_out.x).argmax(1) == held_out.y)
        & (classifier.probabilities(public.x_adv).argmax(1) == held_out.y)
    )
    assert 0 < robust < 1
    assert classifier.card["robust_validation_accuracy"] == pytest.approx(robust, abs=2.5 / 60)  # another start


def scripted(monkeypatch, accuracies):
    """Robust validation reports these accuracies, one for each epoch."""
    values = iter(accuracies)

    def on_epoch_end(self, epoch, logs=None):
        logs["val_robust_accuracy"] = next(values)

    monkeypatch.setattr(crafting.RobustValidation, "on_epoch_end", on_epoch_end)


def test_the_most_robust_epoch_is_kept_where_the_recipe_monitors_it(recipe, monkeypatch):
    settings = {"validation_split": 0.2, "adversary": PGD}
    two = train(recipe(epochs=2, **settings), save=False)
    scripted(monkeypatch, [0.2, 0.5, 0.4, 0.3, 0.45])
    stopping = EarlyStopping(patience=3, monitor="val_robust_accuracy")
    kept = train(recipe(epochs=9, early_stopping=stopping, **settings), save=False)
    assert kept.card["epochs_run"] == 5
    assert kept.card["robust_validation_accuracy"] == 0.5
    assert np.array_equal(weights(kept), weights(two))


def test_catastrophic_overfitting_ends_training_with_the_weights_before_it_and_says_what_to_do(recipe, monkeypatch):
    settings = {"validation_split": 0.2, "learning_rate": 0.01, "adversary": Adversary("fgsm-rs", 0.05)}
    two = train(recipe(epochs=2, **settings), save=False)
    scripted(monkeypatch, [0.4, 0.5, 0.1])
    with pytest.warns(
        UserWarning, match=r"images of 'fgsm-rs' its.*not withstand PGD\. Use method 'n-fgsm' or 'pgd', or a sm"
    ):
        stopped = train(recipe(epochs=9, **settings), save=False)
    assert "Catastrophic overfitting in epoch 3 of 9" in stopped.card["ended"]
    assert "fell from 50.00% (epoch 2) to 10.00%; the weights of epoch 2 are kept" in stopped.card["ended"]
    assert np.array_equal(weights(stopped), weights(two))


@pytest.mark.parametrize(
    ("settings", "robust", "why"),
    [
        (Adversary("fgsm-rs", 0.05), [0.4, 0.5, 0.35], "a small fall"),
        (PGD, [0.4, 0.5, 0.1], "PGD is what is measured"),
    ],
    ids=["small fall", "pgd"],
)
def test_what_is_no_catastrophic_overfitting_does_not_end_training(recipe, monkeypatch, settings, robust, why):
    scripted(monkeypatch, robust)
    small = recipe(epochs=3, validation_split=0.2, learning_rate=0.01, adversary=settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert train(small, save=False).card["ended"] is None, why


def test_accuracy_that_falls_on_the_adversary_too_is_no_catastrophic_overfitting(recipe):
    state = checkpoint.TrainingState({"loss": [1, 1], "accuracy": [0.9, 0.5], "val_robust_accuracy": [0.8, 0.3]})
    state.weights = [np.zeros(1)]
    settings = recipe(epochs=3, validation_split=0.2, adversary=Adversary("fgsm-rs", 0.05))
    watching = callbacks.TrainingCallback.__new__(callbacks.TrainingCallback)
    watching._recipe, watching._state = settings, state
    assert not watching._overfits_catastrophically(settings.training.adversary)
    state.history["accuracy"] = [0.9, 0.95]
    assert watching._overfits_catastrophically(settings.training.adversary)


def test_the_saved_file_is_a_plain_keras_model_with_the_adversary_in_its_card(recipe, workspace):
    classifier = train(recipe(validation_split=0.2, adversary=Adversary("trades", "8/255")))
    path = workspace / "models" / "thirds.h5"
    model = keras.models.load_model(path, compile=False)
    assert type(model) is keras.Sequential
    assert "train_step" not in vars(model)
    with h5py.File(path) as file:
        assert b"advers" not in file.attrs["model_config"].encode()
    stored = classifier.card["recipe"]["training"]["adversary"]
    assert stored["method"] == "trades"
    assert (stored["epsilon"], stored["steps"], stored["beta"]) == (8 / 255, 10, 6)


def test_an_adversary_works_with_convolutions_and_mixed_precision(recipe):
    architecture = {"name": "convnet", "filters": [4], "dropout": 0.3}
    small = recipe(architecture, validation_split=0.2, precision="mixed_bfloat16", adversary=PGD)
    assert len(train(small, save=False).card["history"]["val_robust_accuracy"]) == 2


@pytest.mark.parametrize("setting", [{"label_smoothing": 0.2}, {"gaussian_noise": 0.3}], ids=str)
def test_label_smoothing_and_gaussian_noise_are_baselines(recipe, setting):
    small = recipe(epochs=20, learning_rate=0.02)
    plain, baseline = (
        train(small, save=False),
        train(replace(small, training=replace(small.training, **setting)), save=False),
    )
    assert baseline.card["history"]["loss"][-1] > plain.card["history"]["loss"][-1] + 0.05
    assert baseline.card["test_accuracy"] > 0.8


def test_with_label_smoothing_the_loss_is_the_cross_entropy_of_smoothed_labels(recipe):
    """Thirds are learned without error, so the loss falls to its least value: the entropy of the smoothed label."""
    smoothed = train(recipe(epochs=60, learning_rate=0.05, label_smoothing=0.3), save=False)
    p = np.array([0.8, 0.1, 0.1])  # 0.7 + 0.3 / 3 on the label, 0.3 / 3 on each other class
    assert smoothed.card["history"]["loss"][-1] == pytest.approx(-np.sum(p * np.log(p)), abs=0.05)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "epsilon"),
    # N-FGSM leaves the ball, up to 3 epsilon; within 0.3 of a digit nothing can be learned, by PGD neither.
    [("pgd", 0.1), ("fgsm-rs", 0.1), ("trades", 0.1), ("n-fgsm", 0.04)],
)
def test_a_robust_recipe_withstands_what_breaks_the_plain_one(digits, method, epsilon):
    plain = load_recipe("digits")
    settings = replace(plain.training, epochs=15, validation_split=0.1, adversary=Adversary(method, epsilon))
    accuracies = []
    for recipe in (plain, replace(plain, training=settings)):
        classifier = train(recipe, save=False)
        result = attack(classifier, digits, "pgd", epsilon=0.1, steps=20)
        accuracies.append(np.mean(classifier.probabilities(result.x_adv).argmax(1) == digits.y))
    assert accuracies[1] > accuracies[0] + 0.3


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epsilon": 0}, InvalidValue, r"training.adversary.epsilon must be a number above 0.*Got 0"),
        ({"epsilon": "8/0"}, InvalidValue, r"adversary.epsilon must be a number above 0.*Got '8/0'"),
        ({"epsilon": 8}, InvalidValue, r'at most 1 with norm \'linf\'.*Got 8. .*write "8/255"'),
        ({"method": "square"}, InvalidValue, r"'square' is a method of attacks that cannot run inside a train step"),
        ({"method": "pdg"}, UnknownName, r"Unknown training.adversary.method 'pdg'. Did you mean 'pgd'"),
        ({"norm": "l1"}, UnknownName, r"Unknown training.adversary.norm 'l1'"),
        ({"method": "n-fgsm", "norm": "l2"}, InvalidValue, r"norm must be 'linf' with method 'n-fgsm'"),
        ({"method": "fgsm-rs", "steps": 7}, InvalidValue, r"steps must be 1 with method 'fgsm-rs'. Got 7. Use 'pgd'"),
        ({"steps": 0}, InvalidValue, r"training.adversary.steps must be an int in the range \[1, 1000000\]"),
        ({"relative_step_size": 0}, InvalidValue, r"adversary.relative_step_size must be a number above 0"),
        ({"beta": 6}, InvalidValue, r"training.adversary.beta belongs to methods 'trades' and 'mart', not to 'pgd'"),
        ({"method": "trades", "beta": -1}, InvalidValue, r"adversary.beta must be a float in the range \[0, inf\)"),
        ({"recovery": True}, InvalidValue, r"recovery is for methods of a single step.*Got 'pgd'"),
        ({"augment_images": 9}, InvalidValue, r"augment_images belongs to method 'augment', not to 'pgd'"),
        ({"method": "augment", "weight_perturbation": 0.01}, InvalidValue, r"attack each batch.*of 'augment'"),
        ({"weight_perturbation": 1}, InvalidValue, r"adversary.weight_perturbation"),
        ({"warmup_epochs": -1}, InvalidValue, r"adversary.warmup_epochs"),
        ({"validation_images": 0}, InvalidValue, r"adversary.validation_images must be an int"),
    ],
    ids=str,
)
def test_an_adversary_that_cannot_be_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Adversary(**({"method": "pgd", "epsilon": 0.1} | settings))


def test_an_adversary_is_read_from_toml_and_errors_name_file_and_key(tmp_path):
    path, plain = (
        tmp_path / "mine.toml",
        (
            'title = "t"\ndataset = "digits"\n[architecture]\nname = "mlp"\nhidden = [8]\n[training]\n'
            'optimizer = "adam"\nbatch_size = 32\nepochs = 2\n'
        ),
    )
    table = 'validation_split = 0.1\n[training.adversary]\nmethod = "fgsm-rs"\nepsilon = "8/255"\nnorm = "Linf"\n'
    path.write_text(plain + table)
    loaded = load_recipe(path).training.adversary
    assert loaded == Adversary("fgsm-rs", 8 / 255, "linf", 1, 1.25)
    for old, new, error, message in (
        ("epsilon", "eps", UnknownName, r"mine.toml.*Unknown key 'training.adversary.eps'"),
        ('epsilon = "8/255"\n', "", InvalidValue, r"mine.toml.*training.adversary.epsilon is missing"),
        ("validation_split = 0.1", "", InvalidValue, r"mine.toml.*needs validation images.*validation_split"),
        ("validation_split = 0.1", "validation_split = 0.1\ngaussian_noise = 0.1", InvalidValue, r"without an advers"),
        ('"8/255"', "2", InvalidValue, r"mine.toml.*epsilon must be at most 1"),
    ):
        path.write_text((plain + table).replace(old, new))
        with pytest.raises(error, match=message):
            load_recipe(path)
    path.write_text(
        plain + 'validation_split = 0.1\nearly_stopping = {patience = 1, monitor = "val_robust_accuracy"}\n'
    )
    with pytest.raises(InvalidValue, match=r"measured only where the recipe has the table \[training.adversary\]"):
        load_recipe(path)


def test_an_l2_radius_beyond_the_data_is_refused_before_training(recipe):
    with pytest.raises(Mismatch, match=r"epsilon is 6.5 with norm 'l2', but no two images .* farther apart than 6\. "):
        train(recipe(validation_split=0.2, adversary=Adversary("pgd", 6.5, "l2")), save=False)
