"""The command line: from training to the report, its help, and the errors for bad input."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from inspect import cleandoc
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab import workspace as advlab_workspace
from advlab.cli import main
from advlab.errors import InvalidFile
from advlab.results.result import load_result
from tests.conftest import commands

SHIPPED = Path(__file__).parent.parent


def call(*words: object, code: int = 0):
    """Run the command line in this process; the exit code is part of the contract."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*words: object) -> str:
    result = call(*words, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    return result.stderr


def attack(*words: object, code: int = 0):
    defaults = {"--model": "digits", "--samples": 40}
    return call("attack", *(w for o in defaults if o not in words for w in (o, defaults[o])), *words, code=code)


@pytest.fixture(scope="module")
def crafted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crafted")
    call("--workspace", folder, "attack", "--model", "digits", "--samples", 40)
    return folder / "attacks" / "digits" / "fgsm-linf-0.1.h5"


@pytest.fixture
def archive(crafted: Path, workspace: Path) -> Path:
    """An archive of forty digits under FGSM, in the workspace."""
    path = workspace / "attacks" / "digits" / crafted.name
    path.parent.mkdir(parents=True)
    return Path(shutil.copy(crafted, path))


def test_train_attack_evaluate_report_verify_and_list(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained = call("train", "digits", "--epochs", 2, "--seed", 5)
    assert trained.stdout.startswith("digits: test accuracy ")
    assert "Next: advlab attack" in trained.stderr
    result = attack("--method", "pgd", "--epsilon", "8/255", "--set", "steps=5", "--set", "random_start=no")
    path = workspace / "attacks" / "digits" / "pgd-linf-8_255-random_start=False-steps=5.h5"
    assert path.exists()
    assert "robust %" in result.stdout
    assert "Next: advlab report" in result.stderr
    assert "pgd linf 8/255" in call("evaluate", path).stdout
    data = json.loads(call("evaluate", path, "--json").stdout)
    assert data[0]["attack"]["parameters"] == {
        "steps": 5,
        "relative_step_size": 2.5,
        "step_size": None,
        "random_start": False,
    }
    assert call("report", path, "--output", "page.html").stdout == "page.html\n"
    assert Path("page.html").read_text("utf-8").startswith("<!doctype html>")
    assert "It holds." in call("verify", path).stdout
    listed = call("list").stdout
    assert "digits" in listed
    assert "trained here" in listed
    assert path.name in listed
    assert "pgd" in call("list", "methods").stdout


def test_a_suite_leaves_archives_a_table_and_a_page(workspace, tmp_path):
    page = tmp_path / "page.html"
    result = call("run", "quick", "--model", "digits", "--samples", 30, "--output", page)
    assert page.exists()
    assert sorted(p.stem for p in (workspace / "attacks" / "digits").iterdir()) == [
        "fgsm-linf-0.1",
        "noise-linf-0.1",
        "pgd-linf-0.1",
    ]
    assert all(word in result.stdout for word in ("noise", "fgsm", "pgd"))
    assert result.stderr.count("robust accuracy lies between") == 1
    assert "So it is with " in result.stderr


@pytest.mark.thorough
def test_the_demo_leaves_only_its_page(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("demo")
    robust = {line.split()[1]: float(line.split()[5]) for line in result.stdout.splitlines()[1:4]}
    assert robust["noise"] > 85 > 30 > robust["fgsm"] > robust["pgd"]
    assert [p.name for p in tmp_path.iterdir() if p != workspace] == ["report.html"]
    assert list(workspace.iterdir()) == []


def test_transfer_names_the_source(archive, workspace):
    call("train", "digits", "--epochs", 1)
    assert "from digits" in call("evaluate", archive, "--model", "digits").stdout


def test_a_target_is_a_number_or_a_name(workspace):
    attack("--target", 3)
    by_name = load_result(workspace / "attacks" / "digits" / "fgsm-linf-0.1-target=3.h5")
    attack("--target", "3", "--force")
    np.testing.assert_array_equal(by_name.attempted, by_name.labels != 3)
    assert "Unknown class of data set 'digits': 'three'" in attack("--target", "three", code=1).stderr


def test_own_data_and_own_model(tmp_path, trained, digits, workspace):
    np.savez(tmp_path / "mine.npz", x=digits.x[:30], y=digits.y[:30])
    trained.save(tmp_path / "own.h5")
    call("attack", "--model", tmp_path / "own.h5", "--dataset", tmp_path / "mine.npz")
    result = load_result(workspace / "attacks" / "own" / "fgsm-linf-0.1.h5")
    assert result.correct.mean() > 0.9
    assert "It holds." in call("verify", workspace / "attacks" / "own" / "fgsm-linf-0.1.h5").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "fgms"], "Did you mean 'fgsm'?"),
        (["--model", "digit"], "Did you mean 'digits'?"),
        (["--model", "none/here.h5"], "No model file at 'none/here.h5'"),
        (["--dataset", "minst"], "Did you mean 'mnist'?"),
        (["--norm", "linff"], "Did you mean 'linf'?"),
        (["--epsilon", "-1"], "epsilon must be a float in the range [0, inf)"),
        (["--epsilon", "nan"], "epsilon must be a float"),
        (["--epsilon", "8"], "write 8/255"),
        (["--epsilon", "a lot"], "epsilon must be a number such as 0.1 or 8/255. Got 'a lot'"),
        (["--set", "stepz=4"], "Unknown parameter of method 'fgsm': 'stepz'"),
        (["--method", "pgd", "--set", "stepss=4"], "Did you mean 'steps'?"),
        (["--method", "pgd", "--set", "steps=many"], "must be an int in the range [1, 1000000]. Got 'many'"),
        (["--target", "10"], "target must be a class in 0..9"),
        (["--seed", "-3"], "seed must be an int"),
    ],
)
def test_bad_values_get_a_clear_error(words, message):
    assert message in attack(*words, code=1).stderr


@pytest.mark.parametrize(
    "words",
    [["--set", "steps"], ["--samples", "0"], ["--no-such-option"], ["--restarts", "many"]],
)
def test_wrong_usage_exits_with_2(words):
    attack(*words, code=2)


@pytest.mark.parametrize("value", ["never", "success"])
def test_the_former_option_stop_names_its_replacement(value):
    message = attack("--stop", value, code=2).stderr
    assert "--stop is now the flag --early-stop" in message
    assert "--stop" not in call("attack", "--help").stdout.replace("--early-stop", "")


def single_valued():
    """Every option of every command that takes one value."""
    for name, command in commands().items():
        for option in command.params:
            flag = not isinstance(option, click.Option) or option.is_flag or option.count or option.multiple
            if not flag and not option.hidden:
                yield name, option.opts[0]


@pytest.mark.parametrize(("name", "option"), list(single_valued()))
def test_an_option_that_takes_one_value_is_refused_when_given_twice(name, option):
    message = call(name, option, "1", option, "2", code=2).stderr
    assert f"{option} takes one value, and was given 2 times. Keep one of them" in message


def test_options_of_the_group_too_and_repeatable_ones_may_be_repeated(tmp_path):
    assert "--workspace takes one value" in call("--workspace", "a", "--workspace", tmp_path, "list", code=2).stderr
    message = attack("--method", "pgd", "--set", "steps=2", "--set", "random_start=no", "--json", "--json")
    assert json.loads(message.stdout)[0]["attack"]["parameters"]["steps"] == 2


def test_options_of_the_group_are_taken_after_the_command_as_well(workspace, tmp_path):
    (tmp_path / "models").mkdir()
    assert (
        call("list", "archives", "--workspace", tmp_path).stdout
        == call("--workspace", tmp_path, "list", "archives").stdout
    )
    assert isinstance(CliRunner().invoke(main, ["evaluate", "none.h5", "--debug"]).exception, InvalidFile)
    assert "'--debug'" in refused("evaluate", "--", "--debug")


@pytest.mark.parametrize("words", [["audit"], ["run", "quick"], ["selftest"]])
def test_a_model_is_never_assumed_where_one_is_judged(words):
    message = call(*words, code=2).stderr
    assert "Which model? Name it with --model: cifar10, " in message
    assert ", digits, " in message
    assert "the path of a file" in message


@pytest.mark.parametrize("words", [["attack"], ["curve"], ["run", "quick"]])
def test_samples_that_are_not_there_are_said_not_to_be(words, tmp_path, monkeypatch, thirds):
    monkeypatch.chdir(tmp_path)
    call("train", "digits", "--dataset", thirds, "--epochs", 1)
    asked = call(*words, "--model", "digits-thirds", "--samples", 99999)
    assert "note: --samples asks for 99,999; there are only 60 images." in asked.stderr
    assert "--samples asks" not in call(*words, "--model", "digits-thirds").stderr


def test_recipes_suites_and_categories_that_do_not_exist():
    assert "Did you mean 'fashion'?" in refused("train", "fashin")
    assert "Did you mean 'quick'?" in refused("run", "quik", "--model", "digits")
    assert "Did you mean 'methods'?" in refused("list", "method")
    assert "epochs" in refused("train", "digits", "--epochs", 0)


def test_produced_weights_are_not_replaced_without_force(workspace):
    call("train", "digits", "--epochs", 1)
    before = (workspace / "models" / "digits.h5").read_bytes()
    assert "--force" in refused("train", "digits", "--epochs", 1, "--seed", 9)
    assert (workspace / "models" / "digits.h5").read_bytes() == before
    call("train", "digits", "--epochs", 1, "--seed", 9, "--force")
    assert (workspace / "models" / "digits.h5").read_bytes() != before


def test_an_archive_of_another_result_is_not_replaced_without_force(archive):
    before = archive.read_bytes()
    attack()
    message = refused("attack", "--model", "digits", "--samples", 40, "--seed", 1, "--output", archive)
    assert "holds another result, of 40 images (it differs in: attack, seed is 0 there and 1 here)" in message
    assert "name another place with --output" in message
    assert archive.read_bytes() == before
    call("attack", "--model", "digits", "--samples", 40, "--seed", 1, "--output", archive, "--force")
    assert archive.read_bytes() != before


def test_the_tracked_archive_holds_for_the_shipped_classifier():
    assert "It holds." in call("verify", next((SHIPPED / "attacks" / "reference").glob("*.h5"))).stdout


def test_verify_refuses_another_model_and_finds_doctored_images(archive, workspace):
    call("train", "digits", "--epochs", 1)
    assert "was crafted against another 'digits'" in refused("verify", archive)
    (workspace / "models" / "digits.h5").unlink()
    result = load_result(archive)
    doctored = result.x_adv.copy()
    doctored[3] = np.clip(doctored[3] + 0.01, 0, 1)
    from dataclasses import replace

    replace(result, x_adv=doctored).save(archive, force=True)
    outcome = call("verify", archive, code=1)
    assert "row 3: outside the budget, the box or the mask" in outcome.stdout
    assert "does not hold on this machine" in outcome.stderr


@pytest.mark.parametrize("content", ["a text", "half of one", "a model", "another HDF5 file", "missing", "unfinished"])
def test_files_that_are_no_archive(archive, tmp_path, content):
    import h5py

    path = tmp_path / "file.h5"
    if content == "a text":
        path.write_text("hello")
    elif content == "half of one":
        path.write_bytes(archive.read_bytes()[:20_000])
    elif content == "a model":
        shutil.copy(advlab_workspace.find_weights("digits"), path)
    elif content == "another HDF5 file":
        h5py.File(path, "w").close()
    elif content == "unfinished":
        shutil.copy(archive, path)
        with h5py.File(path, "a") as file:
            del file["x_adv"]
    expected = {
        "a model": "is a saved model, not an archive",
        "another HDF5 file": "not an archive",
        "missing": "No archive at",
        "unfinished": "it lacks x_adv",
    }
    for command in ("evaluate", "report", "verify"):
        assert expected.get(content, "cannot be read as an archive") in refused(command, path)


def damaged(header=None, **arrays):
    """Damage to an archive: header entries or arrays replaced."""

    def damage(file):
        if header is not None:
            old = json.loads(file.attrs["advlab"])
            file.attrs["advlab"] = json.dumps(old | header if isinstance(header, dict) else header)
        for name, value in arrays.items():
            del file[name]
            file[name] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damaged(header=[1]),
        damaged(header={"attack": {"method": 5}}),
        damaged(header={"classes": 5}),
        damaged(labels=np.full(40, 77)),
        damaged(clean_probabilities=np.zeros((40, 3))),
        damaged(x_adv=np.zeros((40, 5))),
        damaged(indices=np.arange(39)),
    ],
)
def test_a_damaged_archive_is_reported(archive, damage):
    import h5py

    with h5py.File(archive, "a") as file:
        damage(file)
    assert "archive" in refused("evaluate", archive) or "damaged" in refused("evaluate", archive)


def test_only_archives_are_replaced_even_with_force(workspace, archive, tmp_path):
    model = tmp_path / "model.h5"
    shutil.copy(advlab_workspace.find_weights("digits"), model)
    before = model.read_bytes()
    assert "is a saved model" in attack("--output", model, "--force", code=1).stderr
    assert model.read_bytes() == before
    assert "end it in .html" in refused("report", archive, "--output", archive)
    assert load_result(archive)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("size", "method", "said"),
    [
        ("300k", "fgsm", "The archive of 449 images takes up to 1.8 MB, and 303.1 kB are free"),
        ("1000k", "noise", "No space left on device. Nothing was changed."),
    ],
)
def test_a_full_disk_is_an_error_and_no_crash(tmp_path, size, method, said):
    """A small disk, where the machine lets this process make one: refused at once, or found full in the end."""
    words = f"mount -t tmpfs -o size={size} none {tmp_path} && cd {tmp_path} && {sys.executable} -c "
    words += f"'from advlab.cli import start; start()' attack --model digits --samples 449 --method {method}; "
    words += "find attacks -type f"
    process = subprocess.run(["unshare", "--mount", "sh", "-c", words], capture_output=True, text=True)
    if "Operation not permitted" in process.stderr:
        pytest.skip("this user may not mount a small disk")
    assert said in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout.splitlines() == []


def test_data_with_fewer_classes_than_the_model(tmp_path, digits, workspace):
    few = digits.y < 3
    np.savez(tmp_path / "few.npz", x=digits.x[few], y=digits.y[few])
    assert "robust %" in call("attack", "--model", "digits", "--dataset", tmp_path / "few.npz").stdout


def test_findings_go_to_standard_error(workspace, tmp_path, trained, digits):
    result = attack("--samples", 5)
    assert "info: fgsm-linf-0.1: 5 samples: robust accuracy lies between" in result.stderr


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    words = f"{sys.executable} -c 'from advlab.cli import start; start()' list | head -1"
    process = subprocess.run(["sh", "-c", words], capture_output=True, text=True, cwd=tmp_path)
    assert process.stdout.startswith("MODELS")
    assert process.stderr == ""


def test_a_model_given_as_archive_of_an_attack_is_refused(archive):
    assert "archive" in attack("--model", archive, "--force", code=1).stderr.lower()


def test_a_full_disk_leaves_no_incomplete_file(archive, workspace, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    before = archive.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert "No space left on device. Nothing was changed." in attack("--force", code=1).stderr
        assert "No space left" in attack("--method", "noise", code=1).stderr
    assert archive.read_bytes() == before
    assert [p.name for p in archive.parent.iterdir()] == [archive.name]


def test_a_workspace_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("--workspace", tmp_path / "file", "attack", "--model", "digits", "--samples", 10)
    assert "Cannot write" in message
    assert "--workspace" in message
    assert "Cannot write" in refused("--workspace", tmp_path / "file", "train", "digits")


PRINTS_EACH_CHUNK = """
from advlab import progress
from advlab.engine import run
run._SAVE_AFTER = -1
progress.Progress.advance = lambda self, amount=1, **facts: print("chunk", flush=True)
from advlab.cli import start
start()
"""


@pytest.mark.thorough
def test_ctrl_c_keeps_the_work_and_the_same_command_resumes(workspace, tmp_path):
    words = ["--workspace", str(workspace), "attack", "--model", "digits", "--samples", "100"]
    words += ["--method", "pgd", "--set", "steps=300000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen([sys.executable, "-c", PRINTS_EACH_CHUNK, *words], **pipes)
    assert process.stdout.readline() == "chunk\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    names = [path.name for path in (workspace / "attacks" / "digits").iterdir()]
    assert names == ["pgd-linf-0.1-steps=300000.partial.h5"]


def test_every_command_of_every_file_can_be_found():
    import pkgutil
    from importlib import import_module

    from advlab import cli

    for module in pkgutil.iter_modules(cli.__path__):
        import_module(f"advlab.cli.{module.name}")
    assert set(main.commands) == set(commands())
    assert all(commands().values())


def test_help_of_every_command_ends_with_an_example():
    for name, command in commands().items():
        assert command.help
        assert cleandoc(command.help).splitlines()[-1].startswith(f"Example: advlab {name}"), name
        assert "Example: advlab" in call(name, "--help").stdout, name


def test_help_shows_each_command_in_one_line_of_80_columns_under_what_a_person_wants(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = call("--help").stdout.partition("Make a model:\n")[2]
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles == ["Attack it:", "Judge the number:", "Defend:", "Share:", "Look around:"]
    names = [line.split()[0] for line in text.splitlines() if line.startswith(" ")]
    assert sorted(names) == sorted(commands())
    assert text.index(" harden ") > text.index("Defend:") > text.index(" audit ") > text.index("Judge the number:")


OWN_METHOD = """
import tensorflow as tf
from advlab import Loop
from offset import OFFSET
NORMS = ("linf",)
GOAL = "bounded"

def craft(problem, *, steps: int = 1, size: float = 1.0):
    change = size * OFFSET * tf.cast(problem.ball.epsilon, tf.float32)
    def update(state, query, step):
        return {"x": problem.ball.project(query.x + change)}
    return Loop(steps, lambda: {"x": problem.x}, update)
"""


def test_a_method_file_is_run_and_another_version_of_it_does_not_replace_its_archive(workspace, tmp_path):
    path = tmp_path / "brighter.py"
    path.write_text(OWN_METHOD)
    (tmp_path / "offset.py").write_text("OFFSET = 1.0")
    assert "brighter linf 0.05" in attack("--method", path, "--epsilon", 0.05, "--set", "size=0.5").stdout
    (archive,) = (workspace / "attacks" / "digits").glob("brighter-linf-0.05*size=0.5*.h5")
    result = load_result(archive)
    brighter = np.abs(result.x_adv - np.minimum(result.x + 0.025, 1)).max(axis=(1, 2, 3)) < 1e-6
    assert brighter.any()
    assert (brighter | (result.x_adv == result.x).all(axis=(1, 2, 3))).all()
    path.write_text(OWN_METHOD + "# another version")
    again = attack("--method", path, "--epsilon", 0.05, "--set", "size=0.5", code=1)
    assert "it differs in: attack" in again.stderr
    assert "norm" in attack("--method", path, "--norm", "l2", code=1).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no Python file"),
        ("x = 1", "defines no craft(problem, *, ...)"),
        ("1 / 0", "cannot be run: ZeroDivisionError: division by zero."),
        ("def craft(problem, steps): ...", "keyword-only parameters"),
    ],
)
def test_what_is_no_method_file_is_refused(text, message, tmp_path):
    path = tmp_path / "mine.py"
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    assert message in attack("--method", path, code=1).stderr


def test_show_explains_a_method_and_each_of_its_parameters_within_80_columns():
    text = call("show", "pgd").stdout
    assert text.startswith("pgd: Projected gradient descent (Linf, L2, L1)")
    assert "arXiv:1706.06083" in text
    assert "  steps  (int, default 40)\n      Gradient steps on each image.\n" in text
    assert "  step_size  (float, may be left out)" in text
    assert "one of uniform, gaussian, salt-and-pepper" in " ".join(call("show", "noise").stdout.split())
    for name in advlab.available("methods"):
        assert max(map(len, call("show", name).stdout.splitlines())) <= 80, name


def test_show_explains_every_finding_within_80_columns():
    findings = advlab.available("findings", details=True)
    for code, finding in findings.items():
        text = call("show", code).stdout
        assert max(map(len, text.splitlines())) <= 80, code
        words = " ".join(text.split())
        assert words == f"{code}: {finding.severity}, raised if {finding.raised_if}. {finding.means} Do: {finding.do}"
    assert json.loads(call("show", "zero-gradients", "--json").stdout)["code"] == "zero-gradients"
    assert list(findings)[-1] in call("list", "findings").stdout


def test_a_report_leads_to_the_address_of_the_documentation(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DOCS_URL", "")
    monkeypatch.chdir(tmp_path)
    call("report", archive)
    assert "findings.html" not in Path("report.html").read_text("utf-8")
    call("report", archive, "--docs-url", "https://robust.example/")
    assert 'href="https://robust.example/findings.html#few-samples"' in Path("report.html").read_text("utf-8")
    assert "must begin with http://" in refused("--docs-url", "javascript:x", "report", archive)
    monkeypatch.delenv("ADVLAB_DOCS_URL")
    Path("advlab.toml").write_text('docs-url = "../site"\n')
    call("report", archive)
    assert 'href="../site/findings.html#few-samples"' in Path("report.html").read_text("utf-8")
    monkeypatch.setenv("ADVLAB_DOCS_URL", "javascript:x")
    assert "must begin with http://" in refused("list")


def test_archives_are_listed_with_their_accuracy(archive):
    result = load_result(archive)
    line = call("list", "archives").stdout
    assert f"robust {result.robust.mean():.1%}, clean {result.correct.mean():.1%} of 40 images" in line
    archive.write_bytes(b"no archive")
    assert "cannot be read" in call("list", "archives").stdout


@pytest.mark.parametrize(("typed", "meant"), [("atack", "attack"), ("defence-report", "defense-report")])
def test_a_mistyped_command_gets_a_suggestion(typed, meant):
    message = call(typed, "--model", "digits", code=2).stderr
    assert f"Unknown command '{typed}'. Did you mean '{meant}'?" in message
    assert "Did you mean" not in call("xyzzy", code=2).stderr


LONG = "1" * 5000  # digits, more than Python turns into an int


@pytest.mark.parametrize(
    "words",
    [
        ["attack", "--model", "digits", "--target", LONG],
        ["attack", "--model", "digits", "--resize", LONG],
        ["attack", "--model", "digits", "--resize", f"28x{LONG}"],
        ["predict", "digits", LONG],
        ["predict", "digits", f"digits:{LONG}"],
        ["predict", "digits", f"1-{LONG}"],
        ["--ray", f"localhost:{LONG}", "attack", "--model", "digits"],
    ],
    ids=lambda words: " ".join(word[:12] for word in words),
)
def test_a_number_of_thousands_of_digits_is_refused_in_a_line(words):
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code in (1, 2)
    assert isinstance(outcome.exception, SystemExit)
    assert len(outcome.output) < 2500
