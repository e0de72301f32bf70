"""An archive grows by the images that it lacks, and answers for fewer: the arrays are those of a fresh run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab import workspace as advlab_workspace
from advlab.cli import main
from advlab.data.dataset import Dataset
from advlab.engine import attack as engine
from advlab.engine import run
from advlab.errors import FileExists, InvalidFile
from advlab.progress import Progress
from advlab.results.result import ROWS, load_result
from advlab.workflows.attack import attack
from tests.conftest import linear_classifier

# Batches of as many images as the archive grows by: the last bit of a logit depends on its batch.
BOUNDED = {"method": "pgd", "steps": 10, "restarts": 2, "batch_size": 40}
MINIMAL = {"method": "ddn", "steps": 20, "batch_size": 40}


@pytest.fixture
def crafted(monkeypatch):
    """The number of images of each call of the engine."""
    counts = []
    craft = engine.craft
    monkeypatch.setattr(engine, "craft", lambda *a, **o: (counts.append(len(a[1])), craft(*a, **o))[1])
    return counts


def assert_equal(result, fresh):
    """All but how long it took and how it was run."""
    assert result.specification() == fresh.specification()
    assert len(result) == len(fresh)
    for name in ("x", "x_adv", *ROWS):
        np.testing.assert_array_equal(getattr(result, name), getattr(fresh, name), err_msg=name)
    stored, arrays = result.diagnostics.arrays(), fresh.diagnostics.arrays()
    assert stored.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name], array, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [BOUNDED, MINIMAL, {"method": "square", "steps": 30, "batch_size": 40}, {**BOUNDED, "target": "random"}],
    ids=["bounded", "minimal", "no gradient", "random targets"],
)
def test_an_archive_grows_to_what_a_fresh_run_makes(options, trained, digits, crafted, capsys):
    fresh = attack(trained, digits.take(120), **options)
    first = attack(trained, digits.take(40), save=True, **options)
    capsys.readouterr()
    grown = attack(trained, digits.take(120), save=True, **options)
    assert crafted == [120, 40, 80]
    said = capsys.readouterr().err
    assert said == f"40 images of the archive '{first.path.name}' are kept, 80 are crafted.\n"
    assert_equal(grown, fresh)
    assert_equal(load_result(first.path), fresh)
    assert grown.path == first.path
    assert grown.seconds > first.seconds
    assert advlab.verify(first.path).holds
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


def test_one_that_is_killed_while_it_grows_keeps_its_images_and_is_continued(trained, digits, monkeypatch):
    fresh = attack(trained, digits.take(120), **BOUNDED)
    path = attack(trained, digits.take(40), save=True, **BOUNDED).path
    before, chunks = path.read_bytes(), []

    def advance(self, amount=1, **facts):
        chunks.append(amount)
        if sum(chunks) > 40 * 15:  # in the first of two batches, each of 2 restarts of 10 steps
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER", -1.0)
        patch.setattr(run, "_CHUNK_WORK", 1e5)
        patch.setattr(Progress, "advance", advance)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            attack(trained, digits.take(120), save=True, **BOUNDED)
    assert path.read_bytes() == before
    with h5py.File(advlab_workspace.partial_path(trained.name, fresh.attack.slug)) as file:
        assert len(file["best/x"]) == 80
    assert_equal(attack(trained, digits.take(120), save=True, **BOUNDED), fresh)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("options", [BOUNDED, MINIMAL], ids=["bounded", "minimal"])
def test_fewer_images_are_taken_from_the_archive_and_the_larger_one_stays(options, trained, digits, crafted, capsys):
    fresh = attack(trained, digits.take(40), **options)
    whole = attack(trained, digits.take(120), save=True, **options)
    before = whole.path.read_bytes()
    capsys.readouterr()
    fewer = attack(trained, digits.take(40), save=True, **options)
    assert crafted == [40, 120]
    assert f"The first 40 of the 120 images of the archive '{whole.path.name}' are taken" in capsys.readouterr().err
    assert_equal(fewer, fresh)
    assert 0 < fewer.seconds < whole.seconds
    assert whole.path.read_bytes() == before
    with pytest.raises(FileExists, match="holds 120 images, and 40 are asked for"):
        fewer.save()


def test_the_same_images_are_taken_and_force_starts_over(trained, digits, crafted, capsys):
    few = digits.take(40)
    first = attack(trained, few, save=True, **BOUNDED)
    again = attack(trained, few, save=True, **BOUNDED)
    assert "All 40 images of the archive" in capsys.readouterr().err
    assert (again.seconds, again.path) == (first.seconds, first.path)
    assert_equal(again, first)
    attack(trained, few, save=True, force=True, **BOUNDED)
    attack(trained, digits.take(60), save=True, force=True, progress=False, **BOUNDED)
    assert crafted == [40, 40, 60]
    assert attack(trained, few, save=True, progress=False, **BOUNDED).seconds < load_result(first.path).seconds
    assert capsys.readouterr().err == ""


def test_an_archive_of_something_else_is_refused(trained, digits, grey, crafted):
    few, more = digits.take(20), digits.take(40)
    path = attack(trained, few, save=True).path
    before = path.read_bytes()
    with pytest.raises(FileExists, match=r"differs in: attack, seed is 0 there and 1 here\)"):
        attack(trained, more, seed=1, output=path)
    attack(linear_classifier(4), grey.take(20), save=True, output=path.with_name("linear.h5"))
    with pytest.raises(FileExists, match=r"differs in: classifier\)"):
        attack(linear_classifier(4, seed=1), grey, output=path.with_name("linear.h5"))
    reversed_order = Dataset(more.name, "test", more.x[::-1], more.y[::-1], more.indices[::-1], more.classes)
    with pytest.raises(FileExists, match="holds 20 images, and 40 are asked for"):
        attack(trained, reversed_order, save=True)
    with pytest.raises(FileExists, match="holds 20 images, and 10 are asked for"):
        attack(trained, reversed_order.take(10), save=True)
    assert crafted == [20, 20]
    assert path.read_bytes() == before


def test_images_of_which_others_were_attempted_are_attacked_again(trained, digits, crafted):
    few, odd = digits.take(20), np.arange(40) % 2 == 1
    attack(trained, few, save=True, attempted=odd[:20], batch_size=10)
    with pytest.raises(FileExists, match="holds 20 images, and 40 are asked for"):
        attack(trained, digits.take(40), save=True)
    grown = attack(trained, digits.take(40), save=True, attempted=odd, batch_size=10)
    assert_equal(grown, attack(trained, digits.take(40), attempted=odd, batch_size=10))
    assert attack(trained, digits.take(40), save=True).attempted.all()
    assert crafted == [20, 20, 40, 40]


@pytest.mark.parametrize(
    ("method", "reason", "options"),
    [
        ("universal", "seeks one change of all images", {"epochs": 1}),
        ("newtonfool", "draws at random by the batch", {}),
    ],
)
def test_images_that_depend_on_one_another_start_anew(method, reason, options, trained, digits):
    path = attack(trained, digits.take(4), method, save=True, **options).path
    for images in (6, 2):
        with pytest.raises(FileExists, match=rf"holds 4 images, and {images} are asked.*{reason}.*--force"):
            attack(trained, digits.take(images), method, save=True, **options)
    assert len(attack(trained, digits.take(4), method, save=True, **options)) == 4
    assert len(attack(trained, digits.take(6), method, save=True, force=True, **options)) == 6
    assert len(load_result(path)) == 6


def test_an_archive_that_names_other_images_than_it_has_is_refused(trained, digits):
    path = attack(trained, digits.take(4), save=True).path
    with h5py.File(path, "a") as file:
        file["labels"][0] = (file["labels"][0] + 1) % 10
    with pytest.raises(InvalidFile, match="damaged"):
        attack(trained, digits.take(6), save=True)


def test_images_that_memory_does_not_hold_grow_too(monkeypatch):
    from advlab import lazy, load_dataset

    fresh = attack("digits", load_dataset("digits").take(30), **BOUNDED)
    for name, images in {"MOST_IN_MEMORY": 13, "_PART_BYTES": 10, "_BATCH_BYTES": 4}.items():
        monkeypatch.setattr(lazy, name, images * 28 * 28 * 4)
    options = {**BOUNDED, "batch_size": 10, "save": True}
    attack("digits", load_dataset("digits", limit=20), **options)
    grown = attack("digits", load_dataset("digits", limit=30), **options)
    assert isinstance(grown.x_adv, lazy.LazyImages)
    np.testing.assert_allclose(np.asarray(grown.x_adv), fresh.x_adv, atol=1e-6)
    few = attack("digits", load_dataset("digits", limit=12), **options)
    np.testing.assert_array_equal(few.x_adv, grown.x_adv[:12])


def test_the_command_line_keeps_images_too(workspace):
    def call(*words):
        result = CliRunner().invoke(main, ["attack", "--model", "digits", *words])
        assert result.exit_code == 0, result.output
        return result

    call("--samples", "20")
    grown = call("--samples", "60", "--batch-size", "10")
    assert "20 images of the archive 'fgsm-linf-0.1.h5' are kept, 40 are crafted." in grown.stderr
    assert "60 test images of digits" in grown.stdout
    few = call("--samples", "20")
    assert "The first 20 of the 60 images" in few.stderr
    assert "20 test images of digits" in few.stdout
    assert len(load_result(workspace / "attacks" / "digits" / "fgsm-linf-0.1.h5")) == 60


CASCADE = """
title = "Small"
mode = "cascade"
norms = ["linf"]
selftest = 0

[[attack]]
method = "fgsm"

[[attack]]
method = "pgd"
parameters = { steps = 10 }
"""


def test_a_suite_grows_and_answers_for_fewer(trained, digits, tmp_path, crafted):
    path = tmp_path / "small.toml"
    path.write_text(CASCADE)

    def suite(images, **options):
        return [e.result for e in advlab.run(trained, digits.take(images), str(path), progress=False, **options)]

    fresh, fresh_few = suite(60), suite(20)
    suite(20, save=True)
    crafted.clear()
    grown = suite(60, save=True)
    assert crafted == [40, 40]
    for result, expected in zip(grown, fresh, strict=True):
        assert len(load_result(result.path)) == 60
        np.testing.assert_array_equal(result.robust, expected.robust)
        np.testing.assert_allclose(result.x_adv, expected.x_adv, atol=1e-5)
    few = suite(20, save=True)
    assert crafted == [40, 40]
    for result, expected in zip(few, fresh_few, strict=True):
        np.testing.assert_array_equal(result.robust, expected.robust)
        assert len(load_result(result.path)) == 60
