"""What an attack would cost is said before it is run, and one that cannot be kept is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple

import pytest
from click.testing import CliRunner

import advlab
from advlab.cli import main
from advlab.engine import cost as engine_cost
from advlab.errors import InvalidValue, UnknownName
from advlab.workflows.cost import archive_bytes, cost

Usage = namedtuple("Usage", "total used free")


def test_the_passes_are_those_that_the_attack_counts(trained, digits):
    data = digits.take(20)
    said = cost(trained, data, "pgd", steps=7, restarts=2, epsilon=0.01)
    result = advlab.attack(trained, data, "pgd", steps=7, restarts=2, epsilon=0.01)
    counted = result.forward_passes + result.backward_passes
    assert [c.passes for c in said.attacks] == [counted[result.robust].max()]
    assert said.images == 20
    assert said.seconds == said.attacks[0].seconds > 0


def test_a_method_of_another_library_has_no_known_cost(trained, digits):
    said = cost(trained, digits, [advlab.Attack("newtonfool"), advlab.Attack("fgsm")], samples=5)
    assert [c.passes for c in said.attacks] == [None, 3]
    assert "newtonfool" in said.table()


@pytest.mark.parametrize(
    ("attacks", "error", "said"),
    [([], InvalidValue, "at least one attack"), ("fgms", UnknownName, "Did you mean 'fgsm'")],
)
def test_what_cannot_be_costed_is_refused(trained, digits, attacks, error, said):
    with pytest.raises(error, match=said):
        cost(trained, digits, attacks)


def test_the_archive_is_no_larger_than_was_said(trained, digits, tmp_path):
    result = advlab.attack(trained, digits, "noise", output=tmp_path / "a.h5")
    assert result.path.stat().st_size < archive_bytes(len(digits), digits.shape, 10)


def test_an_archive_that_the_disk_cannot_hold_is_refused_before_the_attack(trained, digits, workspace, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 9 * 10**5, 10**5))
    with pytest.raises(InvalidValue, match=r"449 images takes up to 1\.8 MB, and 100\.0 kB are free.*--samples"):
        advlab.attack(trained, digits, save=True)
    with pytest.raises(InvalidValue, match="are free"):
        advlab.run(trained, digits, "quick", save=True)
    assert not list(workspace.rglob("*.h5"))
    advlab.attack(trained, digits.take(20), save=True)


def test_a_batch_that_the_memory_cannot_hold_is_refused_with_one_that_fits(trained, digits, monkeypatch):
    """Before it is tried: a processor has no memory to run out of, the system ends the process."""
    monkeypatch.setattr(engine_cost, "available_memory", lambda: 10**6)
    for use in (advlab.attack, advlab.cost):
        with pytest.raises(InvalidValue, match=r"A batch of 449 images takes at least 1\.8 MB.*--batch-size 100 ") as e:
            use(trained, digits, "fgsm", batch_size=10_000)
    fitting = int(re.search(r"--batch-size (\d+)", str(e.value))[1])
    assert len(advlab.attack(trained, digits, "fgsm", batch_size=fitting)) == len(digits)
    advlab.attack(trained, digits, "fgsm")  # the size that is chosen by the network is bounded


def test_the_memory_that_was_said_is_enough(tmp_path):
    """In a process of its own (whose ru_maxrss is its parent's), with a convolutional network: activations count."""
    code = """
        import keras, numpy as np, advlab
        from pathlib import Path
        model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(64, 3, activation="relu"),
                                  keras.layers.Conv2D(64, 3, activation="relu"), keras.layers.Flatten(),
                                  keras.layers.Dense(10)])
        data = advlab.Dataset.from_arrays(np.zeros((200, 28, 28, 1), np.float32), np.zeros(200, int))
        said = advlab.cost(model, data, "pgd", steps=2).memory
        advlab.attack(model, data, "pgd", steps=2, progress=False)
        facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(said, int(facts["VmHWM"].split()[0]) * 1024)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    said, used = map(int, run.stdout.split())
    assert used < said < 3 * used


def test_free_memory_is_that_of_this_machine():
    assert engine_cost.available_memory() is None or 10**7 < engine_cost.available_memory() < 10**14


@pytest.mark.parametrize("words", [["attack", "--method", "pgd"], ["run", "quick"]])
def test_a_dry_run_attacks_nothing(words, workspace):
    outcome = CliRunner().invoke(main, [*words, "--model", "digits", "--samples", "20", "--dry-run"])
    assert outcome.exit_code == 0
    assert "20 images of digits on digits: at most" in outcome.stdout
    assert not list(workspace.rglob("*"))
