"""An interrupted training run resumes to the weights of an uninterrupted one, and only when that is requested."""

from dataclasses import replace

import numpy as np
import pytest

from advlab.classifiers.classifier import Classifier
from advlab.declarations.recipes import EarlyStopping
from advlab.errors import AdvlabError, FileExists, InvalidFile, InvalidValue, Mismatch
from advlab.storage import read, write
from advlab.training import checkpoint, fit
from advlab.workflows.listing import available
from advlab.workflows.train import train
from tests.conftest import weights


class Stop(Exception):
    """Stands in for whatever ends a process in the middle of a training run."""


@pytest.fixture
def stopped_after(monkeypatch):
    """Trains until so many checkpoints are written, then stops."""

    def run(checkpoints_written, *arguments, **settings):
        calls = []

        def save(*values, save=checkpoint.save):
            save(*values)
            calls.append(values)
            if len(calls) == checkpoints_written:
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save)
            with pytest.raises(Stop):
                train(*arguments, **settings)

    return run


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ({"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_normalization": True}, {"optimizer": "adam"}),
        ({"name": "convnet", "filters": [4], "dropout": 0.3}, {"optimizer": "rmsprop"}),
        pytest.param(
            {"name": "rnn", "units": 8, "dropout": 0.3, "cell": "lstm"},
            {"optimizer": "nadam"},
            marks=pytest.mark.thorough,
        ),
        (None, {"validation_split": 0.2, "early_stopping": EarlyStopping(patience=2)}),
        (
            {"name": "resnet", "filters": [4]},
            {"learning_rate": 0.01, "schedule": "cosine", "random_shift": 1, "random_flip": True},
        ),
    ],
    ids=["mlp", "convnet", "rnn", "early stopping", "augmented resnet"],
)
def test_an_interrupted_run_resumes_to_the_same_weights(recipe, stopped_after, workspace, architecture, settings):
    small_recipe = recipe(architecture, epochs=6, **settings)
    uninterrupted = train(small_recipe, save=False)
    stopped_after(4, small_recipe)
    assert not (workspace / "models" / "thirds.h5").exists()
    resumed = train(small_recipe, resume=True)
    assert np.array_equal(weights(resumed), weights(uninterrupted))
    assert resumed.card["history"] == uninterrupted.card["history"]
    assert resumed.card["epochs_run"] == uninterrupted.card["epochs_run"]
    assert [path.name for path in workspace.rglob("*.h5")] == ["thirds.h5"]


@pytest.mark.thorough
def test_a_resumed_run_is_compiled_like_an_uninterrupted_one(recipe, stopped_after, monkeypatch):
    """XLA rounds otherwise than the plain graph: the choice must not depend on the number of remaining steps."""
    small_recipe, xla_choices = recipe({"name": "mlp", "hidden": [8], "dropout": 0.3}, epochs=4), []
    monkeypatch.setattr(fit, "_XLA_FROM_STEPS", 3 * 15)
    make = fit._make_train_function
    monkeypatch.setattr(fit, "_make_train_function", lambda *values: xla_choices.append(values[-1]) or make(*values))
    stopped_after(2, small_recipe)
    resumed = train(small_recipe, resume=True)
    assert xla_choices == [True, True]
    assert np.array_equal(weights(resumed), weights(train(small_recipe, save=False)))


def test_a_run_that_had_ended_is_not_trained_further(recipe, workspace, monkeypatch, last_fifth_wrong):
    """Interrupted after early stopping, before the classifier was saved."""
    settings = {"validation_split": 0.2, "learning_rate": 0.02, "epochs": 20}
    small_recipe = replace(recipe(**settings, early_stopping=EarlyStopping(patience=2)), dataset=last_fifth_wrong)
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", lambda *_: (_ for _ in ()).throw(AdvlabError("No space left on device")))
        with pytest.raises(AdvlabError, match="No space left"):
            train(small_recipe)
    card = train(small_recipe, resume=True).card
    assert card["epochs_run"] == 1 + 2
    assert card["ended"].startswith("No better val_loss than in epoch 1")


def test_a_checkpoint_of_more_epochs_than_requested_is_refused(recipe, stopped_after):
    stopped_after(3, recipe(epochs=4))
    with pytest.raises(Mismatch, match="has completed 3 epochs, more than the 2 requested"):
        train(recipe(epochs=4), epochs=2, resume=True)


def test_patience_is_counted_across_an_interruption(recipe, stopped_after, last_fifth_wrong):
    settings = {"validation_split": 0.2, "learning_rate": 0.02, "epochs": 20}
    small_recipe = replace(recipe(**settings, early_stopping=EarlyStopping(patience=3)), dataset=last_fifth_wrong)
    stopped_after(3, small_recipe)
    card = train(small_recipe, resume=True).card
    assert card["epochs_run"] == 1 + 3
    assert card["ended"] == "No better val_loss than in epoch 1 for 3 epochs; its weights are kept."


def test_a_run_whose_rate_falls_to_zero_is_not_prolonged(recipe, stopped_after):
    settings = {"learning_rate": 0.01, "schedule": "cosine", "epochs": 3}
    stopped_after(2, recipe(**settings))
    with pytest.raises(Mismatch, match=r"differs in: training\.epochs"):
        train(recipe(**settings), epochs=4, resume=True)


def test_a_resumed_run_may_have_more_epochs(recipe, stopped_after):
    stopped_after(1, recipe())
    longer = train(recipe(), epochs=5, resume=True)
    assert np.array_equal(weights(longer), weights(train(recipe(), epochs=5, save=False)))


def test_a_checkpoint_of_an_earlier_advlab_is_resumed(recipe, stopped_after, workspace):
    stopped_after(1, recipe())
    path = workspace / "models" / "thirds.partial.h5"
    header, arrays = read(path, checkpoint.CHECKPOINT)
    header["told"], header["kept_epoch"] = header.pop("specification"), header.pop("weights_epoch")
    header["told"]["architecture"]["kind"] = header["told"]["architecture"].pop("name")
    write(path, header, {name.replace("weights/", "kept/"): array for name, array in arrays.items()})
    assert np.array_equal(weights(train(recipe(), resume=True)), weights(train(recipe(), save=False)))


def test_resume_without_a_checkpoint_starts_at_the_beginning(recipe):
    assert np.array_equal(weights(train(recipe(), resume=True)), weights(train(recipe(), save=False)))


def test_an_interrupted_run_is_neither_overwritten_nor_resumed_unless_requested(
    recipe, stopped_after, workspace, monkeypatch
):
    stopped_after(1, recipe())
    partial = workspace / "models" / "thirds.partial.h5"
    before = partial.read_bytes()
    with pytest.raises(FileExists, match=r"thirds.partial.h5' holds an interrupted training.*--resume.*--force"):
        train(recipe())
    assert partial.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), force=True)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"learning_rate": 0.5}, "training.learning_rate"),
        ({"seed": 9}, "training.seed"),
        ({"architecture": {"name": "mlp", "hidden": [9]}}, "architecture.hidden"),
        ({"architecture": {"name": "mlp", "hidden": [8], "l2": 0.1}}, "architecture.l2"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_recipe_is_refused(recipe, stopped_after, workspace, other, difference):
    stopped_after(1, recipe())
    with pytest.raises(
        Mismatch, match=rf"checkpoint of another training run \(it differs in: {difference}\).*use --force"
    ):
        train(recipe(**other), resume=True)
    assert (workspace / "models" / "thirds.partial.h5").exists()


def test_a_checkpoint_of_other_images_or_classes_is_refused(recipe, stopped_after, thirds, tmp_path):
    stopped_after(1, recipe())
    with np.load(thirds) as arrays:
        np.savez(tmp_path / "four.npz", **arrays, classes=["a", "b", "c", "d"])
    with pytest.raises(Mismatch, match=r"it differs in: classes\)"):
        train(recipe(), dataset=tmp_path / "four.npz", name="thirds", resume=True)


def test_what_is_not_a_checkpoint_is_refused(recipe, workspace):
    (workspace / "models").mkdir()
    (workspace / "models" / "thirds.partial.h5").write_bytes(b"something else")
    with pytest.raises(InvalidFile, match=r"thirds.partial.h5' cannot be read as a checkpoint .*--force"):
        train(recipe(), resume=True)
    with pytest.raises(InvalidValue, match="Checkpoints are written only with save=True"):
        train(recipe(), resume=True, save=False)


def test_checkpoints_are_as_frequent_as_the_recipe_says(recipe, monkeypatch):
    epochs = []
    monkeypatch.setattr(checkpoint, "save", lambda path, specification, state, model: epochs.append(state.epochs))
    train(recipe(epochs=7, checkpoint_every=3))
    train(recipe(epochs=7, checkpoint_every=0), force=True)
    assert epochs == [3, 6]


def test_a_checkpoint_that_the_disk_refuses_does_not_cost_the_run(recipe, monkeypatch):
    def full(*_):
        raise AdvlabError("No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.warns(UserWarning, match="No checkpoint could be written.*No space left") as warnings:
        classifier = train(recipe(epochs=4))
    assert [warning.category for warning in warnings].count(UserWarning) == 1
    assert classifier.card["epochs_run"] == 4


def test_an_interruption_says_how_to_resume(recipe, stopped_after, monkeypatch, workspace):
    monkeypatch.setattr(checkpoint, "save", lambda *values, save=checkpoint.save: save(*values) or interrupt())

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"thirds.partial.h5'; --resume continues"):
        train(recipe())
    header, _ = read(workspace / "models" / "thirds.partial.h5", checkpoint.CHECKPOINT)
    assert header["history"].keys() == {"loss", "accuracy"}
    (workspace / "models" / "thirds.h5").write_text("of an earlier training")
    with pytest.raises(KeyboardInterrupt, match="--resume --force continues"):
        train(recipe(), force=True)


def test_an_unfinished_run_is_not_listed_as_a_model(recipe, stopped_after):
    stopped_after(1, recipe())
    assert not [name for name in available("models") if "thirds" in name]
