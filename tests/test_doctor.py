"""What ``advlab doctor`` says of a machine that works, and of one that does not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from advlab.cli import main
from advlab.data.official import SOURCES
from advlab.workflows.doctor import doctor


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()


def checks() -> dict:
    return {check.name: check for check in doctor().checks}


def test_a_machine_that_works(workspace):
    outcome = CliRunner().invoke(main, ["doctor"])
    assert outcome.exit_code == 0
    assert "broken" not in outcome.stdout
    found = checks()
    assert found["device"].text.startswith(("CPU", "GPU"))
    assert str(workspace) in found["workspace"].text
    assert list(workspace.rglob("*")) == []


def test_data_sets_are_found_where_they_lie_and_missing_ones_are_no_fault(tmp_path):
    assert checks()["mnist"].state == "note"
    folder = tmp_path / "data" / "mnist"
    folder.mkdir()
    for file in SOURCES["mnist"].md5:
        (folder / f"{file}.gz").touch()
    assert checks()["mnist"][1:3] == ("ok", f"in {folder}")
    next(folder.iterdir()).unlink()
    assert checks()["mnist"].text == "3 of 4 files found"


def test_what_is_broken_comes_with_what_fixes_it(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(tmp_path / "file"))
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path / "nowhere"))
    outcome = CliRunner().invoke(main, ["doctor"])
    assert outcome.exit_code == 1
    assert "cannot be written to" in outcome.stdout
    assert "Fix: Choose another with --workspace DIR." in outcome.stdout
    assert "which is no folder" in outcome.stdout


def test_a_tensorflow_that_cannot_be_loaded_is_a_finding_and_no_crash(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libcudart is missing')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from advlab.cli import start; start()"
    process = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 1
    assert "TensorFlow cannot be loaded: libcudart is missing" in process.stdout
    assert "Traceback" not in process.stderr
