"""What an attack would cost is said before it is run, and one that cannot be kept is refused."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
from click.testing import CliRunner

import advlab
from advlab.cli import main
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


@pytest.mark.parametrize("words", [["attack", "--method", "pgd"], ["run", "quick"]])
def test_a_dry_run_attacks_nothing(words, workspace):
    outcome = CliRunner().invoke(main, [*words, "--model", "digits", "--samples", "20", "--dry-run"])
    assert outcome.exit_code == 0
    assert "20 images of digits on digits: at most" in outcome.stdout
    assert not list(workspace.rglob("*"))
