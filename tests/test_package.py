"""The wheel: what is in it, and that it works from an empty folder. The dependencies are those installed here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import advlab

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the source distribution, so that both are complete."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_declarations_and_shipped_weights_are_in_it_and_produced_files_are_not(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("advlab/shipped/")}
    models = {f"advlab/shipped/models/{path.name}" for path in (ROOT / "models").glob("*.toml")}
    models |= {f"advlab/shipped/models/pretrained/{path.name}" for path in (ROOT / "models/pretrained").glob("*.h5")}
    models |= {f"advlab/shipped/models/studies/{path.name}" for path in (ROOT / "models/studies").iterdir()}
    attacks = {f"advlab/shipped/attacks/{path.name}" for path in (ROOT / "attacks").glob("*.toml")}
    attacks |= {f"advlab/shipped/attacks/benchmarks/{p.name}" for p in (ROOT / "attacks/benchmarks").glob("*.toml")}
    attacks |= {f"advlab/shipped/attacks/reference/{path.name}" for path in (ROOT / "attacks/reference").glob("*.h5")}
    assert inside == models | attacks
    assert len(models) >= 16


def test_the_version_is_that_of_the_code_and_the_newest_of_the_changelog(wheel):
    assert wheel.name.split("-")[1] == advlab.__version__
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(advlab.__version__)} \(\d{{4}}-\d\d-\d\d\)", heads[0])
    assert len(set(heads)) == len(heads)


@pytest.mark.thorough
def test_it_works_from_an_empty_folder(wheel, tmp_path, workspace):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("ADVLAB_WORKSPACE")

    def run(*words: str) -> str:
        process = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True, check=True)
        return process.stdout

    where = run(sys.executable, "-c", "import advlab; print(advlab.__file__)").strip()
    assert Path(where).is_relative_to(site)
    advlab = [sys.executable, str(site / "bin" / "advlab")]
    assert "shipped" in run(*advlab, "list", "models")
    assert "quick" in run(*advlab, "list", "suites")
    assert "fgsm linf 0.1" in run(*advlab, "attack", "--model", "digits", "--samples", "20")
    assert [path.name for path in empty.iterdir()] == ["attacks"]


def test_the_editable_checkout_works_from_an_empty_folder(tmp_path):
    advlab = Path(sys.executable).with_name("advlab")
    process = subprocess.run([advlab, "list"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "shipped" in process.stdout
    assert "quick" in process.stdout


def test_pins_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert lines
    for line in lines:
        name, equals, version = line.partition("==")
        assert name
        assert equals
        assert version
        assert not set(line) & set("@/ :")
