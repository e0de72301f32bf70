"""The command line: the whole path, what a newcomer reads, and what bad input gets."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advlab import workspace as places
from advlab.cli import main
from advlab.results.result import load_result
from tests.conftest import commands

SHIPPED = Path(__file__).parent.parent


def call(*words: object, code: int = 0):
    """Run the command line in this process; the exit code is part of the contract."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def refused(*words: object) -> str:
    done = call(*words, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    return done.stderr


def attack(*words: object, code: int = 0):
    return call("attack", "--model", "digits", "--samples", 40, *words, code=code)


@pytest.fixture(scope="module")
def crafted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crafted")
    call("--workspace", folder, "attack", "--model", "digits", "--samples", 40)
    return folder / "attacks" / "digits" / "fgsm-linf-0.1.h5"


@pytest.fixture
def archive(crafted: Path, workspace: Path) -> Path:
    """An archive of forty digits under FGSM, at home in the workspace."""
    path = workspace / "attacks" / "digits" / crafted.name
    path.parent.mkdir(parents=True)
    return Path(shutil.copy(crafted, path))


def test_the_whole_path(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained = call("train", "digits", "--epochs", 2, "--seed", 5)
    assert trained.stdout.startswith("digits: test accuracy ")
    assert "Next: advlab attack" in trained.stderr
    done = attack("--method", "pgd", "--epsilon", "8/255", "--set", "steps=5", "--set", "random_start=no")
    made = workspace / "attacks" / "digits" / "pgd-linf-0.0313725-random_start=False-steps=5.h5"
    assert made.exists()
    assert "robust %" in done.stdout
    assert "Next: advlab report" in done.stderr
    assert "pgd linf 0.03137" in call("evaluate", made).stdout
    data = json.loads(call("evaluate", made, "--json").stdout)
    assert data[0]["attack"]["parameters"] == {
        "steps": 5,
        "relative_step_size": 2.5,
        "step_size": None,
        "random_start": False,
    }
    assert call("report", made, "--output", "page.html").stdout == "page.html\n"
    assert Path("page.html").read_text("utf-8").startswith("<!doctype html>")
    assert "It holds." in call("verify", made).stdout
    listed = call("list").stdout
    assert "digits" in listed
    assert "trained here" in listed
    assert made.name in listed
    assert "pgd" in call("list", "methods").stdout


def test_a_suite_leaves_archives_a_table_and_a_page(workspace, tmp_path):
    page = tmp_path / "page.html"
    done = call("run", "quick", "--model", "digits", "--samples", 30, "--output", page)
    assert page.exists()
    assert sorted(p.stem for p in (workspace / "attacks" / "digits").iterdir()) == [
        "fgsm-linf-0.1",
        "noise-linf-0.1",
        "pgd-linf-0.1",
    ]
    assert all(word in done.stdout for word in ("noise", "fgsm", "pgd"))


@pytest.mark.thorough
def test_the_demonstration_leaves_only_its_page(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("demo")
    robust = {line.split()[1]: float(line.split()[5]) for line in done.stdout.splitlines()[1:4]}
    assert robust["noise"] > 85 > 30 > robust["fgsm"] > robust["pgd"]
    assert [p.name for p in tmp_path.iterdir() if p != workspace] == ["report.html"]
    assert list(workspace.iterdir()) == []


def test_transfer_is_named_as_such(archive, workspace):
    call("train", "digits", "--epochs", 1)
    assert "from digits" in call("evaluate", archive, "--model", "digits").stdout


def test_targets_go_by_number_or_name(workspace):
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
        (["--method", "pgd", "--set", "steps=many"], "must be an int in the range [1, inf). Got 'many'"),
        (["--target", "10"], "target must be a class in 0..9"),
        (["--seed", "-3"], "seed must be an int"),
    ],
)
def test_bad_words_get_a_clear_error(words, message):
    assert message in attack(*words, code=1).stderr


@pytest.mark.parametrize(
    "words",
    [["--set", "steps"], ["--samples", "0"], ["--no-such-option"], ["--restarts", "many"]],
)
def test_wrong_usage_exits_with_2(words):
    attack(*words, code=2)


def test_recipes_suites_and_kinds_that_do_not_exist():
    assert "Did you mean 'fashion'?" in refused("train", "fashin")
    assert "Did you mean 'quick'?" in refused("run", "quik")
    assert "Did you mean 'methods'?" in refused("list", "method")
    assert "epochs" in refused("train", "digits", "--epochs", 0)


def test_produced_weights_are_not_replaced_without_force(workspace):
    call("train", "digits", "--epochs", 1)
    before = (workspace / "models" / "digits.h5").read_bytes()
    assert "--force" in refused("train", "digits", "--epochs", 1, "--seed", 9)
    assert (workspace / "models" / "digits.h5").read_bytes() == before
    call("train", "digits", "--epochs", 1, "--seed", 9, "--force")
    assert (workspace / "models" / "digits.h5").read_bytes() != before


def test_an_archive_of_something_else_is_not_replaced_without_force(archive):
    before = archive.read_bytes()
    attack()
    message = call("attack", "--model", "digits", "--samples", 41, code=1).stderr
    assert "holds another result, of 40 images (it differs in: dataset digest)" in message
    assert "--force" in message
    np.testing.assert_array_equal(len(load_result(archive)), 40)
    call("attack", "--model", "digits", "--samples", 41, "--force")
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
    done = call("verify", archive, code=1)
    assert "row 3: outside the budget or the box" in done.stdout
    assert "does not hold on this machine" in done.stderr


@pytest.mark.parametrize("what", ["a text", "half of one", "a model", "another HDF5 file", "missing", "unfinished"])
def test_files_that_are_no_archive(archive, tmp_path, what):
    import h5py

    path = tmp_path / "file.h5"
    if what == "a text":
        path.write_text("hello")
    elif what == "half of one":
        path.write_bytes(archive.read_bytes()[:20_000])
    elif what == "a model":
        shutil.copy(places.find_weights("digits"), path)
    elif what == "another HDF5 file":
        h5py.File(path, "w").close()
    elif what == "unfinished":
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
        assert expected.get(what, "cannot be read as an archive") in refused(command, path)


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
def test_a_damaged_archive_is_named_so(archive, damage):
    import h5py

    with h5py.File(archive, "a") as file:
        damage(file)
    assert "archive" in refused("evaluate", archive) or "damaged" in refused("evaluate", archive)


def test_nothing_but_an_archive_is_replaced_even_with_force(workspace, archive, tmp_path):
    model = tmp_path / "model.h5"
    shutil.copy(places.find_weights("digits"), model)
    before = model.read_bytes()
    assert "is a saved model" in attack("--output", model, "--force", code=1).stderr
    assert model.read_bytes() == before
    assert "end it in .html" in refused("report", archive, "--output", archive)
    assert load_result(archive)


@pytest.mark.thorough
def test_a_full_disk_is_an_error_and_no_crash(tmp_path):
    """A disk of 300 kB, where the machine lets this process make one."""
    words = f"mount -t tmpfs -o size=300k none {tmp_path} && cd {tmp_path} && {sys.executable} -c "
    words += "'from advlab.cli import start; start()' attack --model digits --samples 449; ls -A attacks/digits"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", words], capture_output=True, text=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("this user may not mount a small disk")
    assert "No space left on device. Nothing was changed." in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1:] == []


def test_data_with_fewer_classes_than_the_model(tmp_path, digits, workspace):
    few = digits.y < 3
    np.savez(tmp_path / "few.npz", x=digits.x[few], y=digits.y[few])
    assert "robust %" in call("attack", "--model", "digits", "--dataset", tmp_path / "few.npz").stdout


def test_findings_are_told(workspace, tmp_path, trained, digits):
    done = attack("--samples", 5)
    assert "info: fgsm-linf-0.1: 5 images: robust accuracy lies between" in done.stderr


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    words = f"{sys.executable} -c 'from advlab.cli import start; start()' list | head -1"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("MODELS")
    assert done.stderr == ""


def test_a_model_given_as_archive_of_an_attack_is_refused(archive):
    assert "archive" in attack("--model", archive, "--force", code=1).stderr.lower()


def test_a_full_disk_leaves_no_half_file(archive, workspace, monkeypatch):
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
run._KEEP_AFTER = -1
progress.Progress.advance = lambda self, amount=1, **facts: print("chunk", flush=True)
from advlab.cli import start
start()
"""


@pytest.mark.thorough
def test_ctrl_c_keeps_the_work_and_the_same_command_continues(workspace, tmp_path):
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
    left = [path.name for path in (workspace / "attacks" / "digits").iterdir()]
    assert left == ["pgd-linf-0.1-steps=300000.partial.h5"]


def test_every_command_of_every_file_can_be_found():
    import pkgutil
    from importlib import import_module

    from advlab import cli

    for module in pkgutil.iter_modules(cli.__path__):
        import_module(f"advlab.cli.{module.name}")
    assert set(main.commands) == set(commands())
    assert all(commands().values())


def test_help_shows_an_example_for_every_command():
    for name, command in commands().items():
        text = call(name, "--help").stdout
        assert command.help
        assert "Example:" in text or name in ("list", "demo"), name
