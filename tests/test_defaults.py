"""Options without a word: defaults of a file, and how much is said."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import advlab
from advlab.cli import main

ATTACK = ["attack", "--model", "digits", "--samples", "20"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("name", ["advlab.toml", "pyproject.toml"])
def test_an_archive_records_the_values_that_resulted(here, workspace, name):
    prefix = "tool.advlab." if name == "pyproject.toml" else ""
    (here / name).write_text(
        f'[{prefix}attack]\nmodel = "digits"\nmethod = "pgd"\nepsilon = "8/255"\nset = ["steps=3"]\nsamples = 20\n'
    )
    assert run("attack").exit_code == 0
    assert run("attack", "--epsilon", "0.2", "--seed", "3").exit_code == 0
    found = {path.stem: advlab.load_result(path) for path in (workspace / "attacks" / "digits").iterdir()}
    assert set(found) == {"pgd-linf-8_255-steps=3", "pgd-linf-0.2-steps=3-seed=3"}
    assert {len(result) for result in found.values()} == {20}


def test_the_first_of_the_two_files_counts_and_a_project_without_the_table_is_none(here):
    (here / "pyproject.toml").write_text("[tool.ruff]\nline-length = 120\n")
    assert run("list", "methods").exit_code == 0
    (here / "pyproject.toml").write_text("[tool.advlab]\nnonsense = 1\n")
    assert "pyproject.toml" in run("list").stderr
    (here / "advlab.toml").write_text("")
    assert run("list", "methods").exit_code == 0


def test_the_words_in_a_comment_are_no_table(here):
    (here / "pyproject.toml").write_text("tool = 3 # [tool.advlab]\n")
    assert run("list", "methods").exit_code == 0
    (here / "pyproject.toml").write_text("# [tool.advlab]\n[tool.ruff]\n")
    assert run("list", "methods").exit_code == 0


def test_a_folder_of_a_stranger_runs_no_code(here):
    (here / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\ndef craft(problem): ...\n")
    for text in ('method = "evil.py"', 'method = "./evil.py"', 'custom = "evil.py"\ntrust = true'):
        (here / "advlab.toml").write_text(f'[attack]\nmodel = "digits"\nsamples = 5\n{text}\n')
        assert run("attack").exit_code == 1
        assert not (here / "ran").exists()


def test_options_of_the_program_have_defaults_and_the_environment_counts_more(here, workspace, monkeypatch):
    (here / "advlab.toml").write_text('workspace = "elsewhere"\n')
    assert run(*ATTACK).exit_code == 0
    assert list(workspace.rglob("*.h5"))
    monkeypatch.delenv("ADVLAB_WORKSPACE")
    assert run(*ATTACK).exit_code == 0
    assert list((here / "elsewhere").rglob("*.h5"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[attack]\nmethd = "pgd"\n', "Unknown option 'attack.methd'. Did you mean 'attack.method'?"),
        ("[atack]\n", "Unknown command 'atack'. Did you mean 'attack'?"),
        ("wrkspace = 1\n", "Unknown option 'wrkspace'"),
        ("[attack]\nearly-stop = 1\n", "attack.early-stop must be true or false. Got 1."),
        ("[attack]\ntrust = true\n", "attack.trust cannot be set in a file"),
        ('[attack]\ncustom = "evil.py"\n', "attack.custom cannot be set in a file"),
        ('[attack]\nmethod = "evil.py"\n', "attack.method cannot be set in a file"),
        ("[train]\nforce = true\n", "train.force cannot be set in a file"),
        ('ray = "10.0.0.1:6379"\n', "ray cannot be set in a file"),
        ("[attack]\nsamples = true\n", "attack.samples must be a number or a text. Got True."),
        ("[attack]\nmodel = [1, 2]\n", "attack.model takes one value. Got 2."),
        ("[attack]\nmodel = 1979-05-27\n", "attack.model must be a number, a text"),
        ("[attack\n", "cannot be read as TOML"),
        ("a = " + "[" * 5000, "cannot be read as TOML"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(here, text, said):
    (here / "advlab.toml").write_text(text)
    outcome = run("list", "methods")
    assert outcome.exit_code == 1
    assert "'advlab.toml'" in outcome.stderr
    assert said in outcome.stderr


def test_a_value_that_an_option_does_not_take_is_refused_as_on_the_command_line(here):
    (here / "advlab.toml").write_text('[attack]\nsamples = "many"\n')
    outcome = run("attack", "--model", "digits")
    assert outcome.exit_code == 2
    assert "'many' is not a valid" in outcome.stderr


def test_quiet_prints_the_result_and_errors_alone():
    loud, quiet = run(*ATTACK), run("--quiet", *ATTACK, "--force")
    assert "Archive: " in loud.stderr
    assert quiet.stderr == ""
    assert "robust" in quiet.stdout
    failed = run("-q", "attack", "--model", "digits", "--method", "fgms")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "Did you mean 'fgsm'" in failed.stderr
    assert json.loads(run("list", "methods", "--json", "-q").stdout)


def test_verbose_says_what_is_read_run_and_written(tmp_path):
    """In a process of its own: it sets up logging for all of it."""
    import subprocess
    import sys

    words = [sys.executable, "-m", "advlab", "--workspace", str(tmp_path), "-v", *ATTACK, "--method", "pgd"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    assert "opens the model" in said
    assert "pgd on digits: 20 of 20 images, batches: 1 of at most 20, 40 steps each, as a graph, on CPU" in said
    assert "wrote '" in said
    assert run("-q", "-v", "list").exit_code == 2
