"""Unfinished attacks that were damaged: set aside with a message, and the attack starts over to the same images."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import advlab
from advlab import workspace as advlab_workspace
from advlab.engine import run
from advlab.errors import AdvlabWarning
from advlab.progress import Progress
from advlab.workflows.attack import attack

OPTIONS = {"method": "pgd", "steps": 40, "restarts": 2, "batch_size": 60, "epsilon": 0.1}


@pytest.fixture(scope="module")
def hundred(digits):
    return digits.take(100)


@pytest.fixture(scope="module")
def uninterrupted(trained, hundred):
    return attack(trained, hundred, **OPTIONS)


@pytest.fixture
def partial(trained, hundred, uninterrupted, monkeypatch) -> Path:
    """What an interruption in the middle of a batch leaves."""
    calls = []

    def advance(self, amount=1, **facts):
        calls.append(amount)
        if len(calls) == 17:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER", -1.0)
        patch.setattr(run, "_CHUNK_WORK", 1e5)  # a few steps at a time
        patch.setattr(Progress, "advance", advance)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            attack(trained, hundred, save=True, **OPTIONS)
    path = advlab_workspace.partial_path(trained.name, uninterrupted.attack.slug)
    with h5py.File(path) as file:
        assert len(file["rows"])
        assert len(file["carry"])
    return path


def test_one_that_ended_in_the_refinement_is_continued(trained, hundred, monkeypatch, recwarn):
    """The refinement may have more steps than the method itself."""
    few_steps = {"method": "ddn", "steps": 4, "batch_size": 100}
    whole = attack(trained, hundred, **few_steps)
    chunks = []

    def advance(self, amount=1, **facts):
        chunks.append(amount)
        if sum(chunks) > 100 * (4 + 12):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER", -1.0)
        patch.setattr(run, "_CHUNK_WORK", 1e5)
        patch.setattr(Progress, "advance", advance)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            attack(trained, hundred, save=True, **few_steps)
    with h5py.File(advlab_workspace.partial_path(trained.name, whole.attack.slug)) as file:
        assert json.loads(file.attrs["advlab"])["position"]["step"] > 4
    np.testing.assert_array_equal(attack(trained, hundred, save=True, **few_steps).x_adv, whole.x_adv)
    assert not [w for w in recwarn if issubclass(w.category, AdvlabWarning)]


def edited(change):
    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def repositioned(**position: object):
    """As a forger would who leaves the digests of the arrays alone."""

    def change(file: h5py.File) -> None:
        header = json.loads(file.attrs["advlab"])
        header["position"] |= position
        file.attrs["advlab"] = json.dumps(header)

    return edited(change)


def flipped(path: Path) -> None:
    with h5py.File(path) as file:
        rows = file["rows"][()].tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(rows) + 8] ^= 16
    path.write_bytes(content)


def unsigned(file: h5py.File) -> None:
    header = json.loads(file.attrs["advlab"])
    del header["digests"]
    file.attrs["advlab"] = json.dumps(header)


def shortened(name: str):
    def change(file: h5py.File) -> None:
        values = file[name][:-1]
        del file[name]
        file[name] = values

    return edited(change)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3000]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit": flipped,
    "no best images": edited(lambda file: file.pop("best/x")),
    "no state": edited(lambda file: file.pop("carry")),
    "no part of the state": edited(lambda file: file.pop("carry/success")),
    "no rows": edited(lambda file: file.pop("rows")),
    "fewer best images": shortened("best/x"),
    "fewer rows": shortened("rows"),
    "another count": repositioned(computed=7),
    "a batch that is not there": repositioned(batch=99),
    "another step": repositioned(step=3),
    "no digests": edited(unsigned),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_set_aside_and_the_attack_starts_over(partial, trained, hundred, uninterrupted, damage):
    damage(partial)
    content = partial.read_bytes()
    with pytest.warns(AdvlabWarning, match=rf"{partial.stem}.*moved to '{partial.stem}\.damaged'.*starts over"):
        result = attack(trained, hundred, save=True, **OPTIONS)
    np.testing.assert_array_equal(result.x_adv, uninterrupted.x_adv)
    assert partial.with_suffix(".damaged").read_bytes() == content
    assert not partial.exists()


def test_one_that_is_whole_is_continued(partial, trained, hundred, uninterrupted):
    result = attack(trained, hundred, save=True, **OPTIONS)
    np.testing.assert_array_equal(result.x_adv, uninterrupted.x_adv)
    assert not partial.with_suffix(".damaged").exists()


def interrupted(classifier, data, monkeypatch, chunks, **options):
    """Attack until the bar has moved so often, with all work kept at once."""
    calls = []

    def advance(self, amount=1, **facts):
        calls.append(amount)
        if len(calls) == chunks:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER", -1.0)
        patch.setattr(run, "_SAVE_EVERY", -1.0)
        patch.setattr(Progress, "advance", advance)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            attack(classifier, data, save=True, **options)


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("method", ["universal", "patch"])
def test_one_perturbation_of_all_images_is_continued(trained, hundred, monkeypatch, method, restarts):
    """To the same images, and without the epochs that were done."""
    options = {"method": method, "epochs": 6, "restarts": restarts, "batch_size": 40}
    whole = attack(trained, hundred, **options)
    interrupted(trained, hundred, monkeypatch, 6 * restarts - 2, **options)
    epochs = []
    monkeypatch.setattr(Progress, "advance", lambda self, amount=1, **facts: epochs.append(amount))
    continued = attack(trained, hundred, save=True, **options)
    assert sum(epochs[1:]) < 3 * len(hundred) < sum(epochs)
    np.testing.assert_array_equal(continued.x_adv, whole.x_adv)
    np.testing.assert_array_equal(continued.diagnostics.zero_gradient, whole.diagnostics.zero_gradient)
    if method == "patch":
        np.testing.assert_array_equal(continued.patch, whole.patch)


@pytest.mark.parametrize(
    "damage", [edited(lambda f: f["carry"].move("score", "scores")), edited(lambda f: f.pop("carry/state"))]
)
def test_a_damaged_perturbation_of_all_images_starts_over(trained, hundred, monkeypatch, damage):
    options = {"method": "universal", "epochs": 4}
    whole = attack(trained, hundred, **options)
    interrupted(trained, hundred, monkeypatch, 3, **options)
    damage(advlab_workspace.partial_path(trained.name, whole.attack.slug))
    with pytest.warns(AdvlabWarning, match="starts over"):
        again = attack(trained, hundred, save=True, **options)
    np.testing.assert_array_equal(again.x_adv, whole.x_adv)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "pgd", "steps": 5, "batch_size": 30},
        {"method": "ddn", "steps": 5, "batch_size": 30, "epsilon": None},
        {"method": "pgd", "steps": 5, "batch_size": 30, "target": "least-likely"},
        {"method": "pgd", "steps": 5, "batch_size": 30, "epsilon": None, "epsilon_per_image": np.linspace(0, 0.2, 100)},
    ],
    ids=["bounded", "minimal", "targets", "epsilons"],
)
def test_an_attack_that_is_running_can_be_read_up_to_its_last_finished_batch(trained, hundred, monkeypatch, options):
    """As an archive of the first images, equal to that of an attack on them alone; it goes when all are there."""
    options = {"epsilon": 0.1} | options
    batches_and_rounds = 6 if options["method"] == "ddn" else 3
    whole = attack(trained, hundred, **options)
    interrupted(trained, hundred, monkeypatch, batches_and_rounds, **options)
    (path,) = advlab_workspace.unfinished_archives()
    so_far = advlab.load_result(path)
    assert 0 < len(so_far) < len(hundred)
    first = hundred.take(len(so_far))
    assert so_far.dataset_digest == first.digest
    np.testing.assert_array_equal(so_far.x_adv, whole.x_adv[: len(so_far)])
    np.testing.assert_array_equal(so_far.success, whole.success[: len(so_far)])
    assert advlab.evaluate(so_far).clean_accuracy.total == len(so_far)
    (entry,) = advlab.available("archives", details=True).values()
    assert entry.unfinished
    assert f"{len(so_far)} images so far" in str(entry)
    np.testing.assert_array_equal(attack(trained, hundred, save=True, **options).x_adv, whole.x_adv)
    assert not advlab_workspace.unfinished_archives()
