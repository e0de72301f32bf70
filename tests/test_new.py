"""``advlab new``: the files to begin with work as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from advlab.cli import main
from advlab.declarations.recipes import load_recipe
from advlab.declarations.studies import load_study


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*words: object, code: int = 0):
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    assert outcome.exit_code == code, outcome.output
    return outcome


def test_a_new_method_attacks_under_each_of_its_norms(workspace):
    written = call("new", "method", "mine")
    assert written.stdout == "mine.py\n"
    assert "Next: edit it, then advlab attack --method mine.py" in written.stderr
    for norm in ("linf", "l2"):
        words = ["--model", "digits", "--samples", 30, "--method", "mine.py", "--norm", norm, "--json"]
        call("attack", *words)
    assert len(list((workspace / "attacks" / "digits").glob("mine-*.h5"))) == 2


def test_a_new_recipe_and_a_new_study_are_read_and_listed(workspace):
    assert "Next: edit it, then advlab train mine" in call("new", "recipe", "mine").stderr
    assert load_recipe("mine").dataset == "digits"
    assert "mine" in call("list", "models").stdout
    call("new", "study", "mine")
    assert [row.recipe.architecture["hidden"] for row in load_study("mine").rows] == [[16], [128]]
    uncommented = "".join(
        line.removeprefix("# ") if "adversary" in line or "= " in line else line
        for line in (workspace / "models" / "mine.toml").read_text("utf-8").splitlines(keepends=True)
    )
    (workspace / "models" / "mine.toml").write_text(uncommented)
    assert load_recipe("mine").training.adversary.method == "pgd"


def test_what_is_there_is_not_replaced_without_force(workspace):
    Path("mine.py").write_text("precious")
    assert "--force" in call("new", "method", "mine", code=1).stderr
    assert Path("mine.py").read_text() == "precious"
    call("new", "method", "mine", "--force")
    assert "came with advlab" in call("new", "recipe", "digits", code=1).stderr
    assert "came with advlab" in call("new", "method", "pgd", code=1).stderr


@pytest.mark.parametrize("name", ["../mine", "a b", "", ".mine"])
def test_a_name_is_the_name_of_a_file(name):
    assert "letters, digits, '-' and '_' only" in call("new", "method", name, code=1).stderr


def test_another_kind_is_answered_with_those_there_are():
    assert "Did you mean 'method'? Available: method, recipe, study." in call("new", "methods", "x", code=1).stderr
