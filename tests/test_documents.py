"""The documentation is true: README commands parse, its Python runs, its tables are generated."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import advlab
from advlab.cli import main
from advlab.declarations.methods import method_names
from advlab.evaluation.findings.checks import CHECKS
from advlab.evaluation.findings.cross import CROSS_CHECKS
from tests.conftest import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
}
LEARN = ("docs/learn/tutorial.md", "docs/learn/howto.md", "docs/learn/explanation.md")
GUIDES = ("README.md", "docs/attacking.md", "docs/judging.md", "docs/training.md", *LEARN)


def blocks(language: str, *pages: str) -> list[str]:
    return [block for page in pages for block in re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)]


COMMANDS = [line for block in blocks("sh", *GUIDES) for line in block.strip().splitlines() if line.startswith("advlab")]
PROGRAMS = blocks("python", *GUIDES)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_guide_parses(line):
    name, *words = shlex.split(line, comments=True)[1:]
    command = commands()[name]
    command.make_context(name, words)


def test_the_readme_names_the_two_set_up_commands_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in targets)


@pytest.mark.thorough
def test_command_line_and_python_side_by_side_give_the_same_images(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from advlab.results.result import load_result

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVLAB_WORKSPACE")
    for line in blocks("sh", "README.md")[1].strip().splitlines():
        outcome = CliRunner().invoke(main, shlex.split(line)[1:])
        assert outcome.exit_code == 0, outcome.output
    path = tmp_path / "attacks" / "digits" / "pgd-linf-0.1.h5"
    first = load_result(path).x_adv
    path.unlink()
    exec(compile(PROGRAMS[0], "README", "exec"), {})
    assert (load_result(path).x_adv == first).all()


TUTORIAL = blocks("python", "docs/learn/tutorial.md")


@pytest.mark.parametrize("number", [n for n, text in enumerate(PROGRAMS) if n and text not in TUTORIAL])
def test_python_of_a_guide_runs(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PROGRAMS[number], "guide", "exec"), {})
    assert capsys.readouterr().out


def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for step in TUTORIAL:
        exec(compile(step, "tutorial", "exec"), names)
        assert capsys.readouterr().out
    robust = [names[name].robust_accuracy.value for name in ("evaluation", "defended")]
    assert robust[0] < robust[1]
    assert names["certificate"].proven.any()


def test_the_site_is_built_without_a_warning_and_has_every_page_and_name(tmp_path):
    """A link or anchor that leads nowhere, or a name without a docstring to show, would be a warning."""
    script = ROOT / "docs" / "site" / "build.py"
    subprocess.run([sys.executable, script, tmp_path / "site", "--quick"], check=True, capture_output=True, text=True)
    site = {path.name: path.read_text("utf-8") for path in (tmp_path / "site").glob("*.html")}
    for page in PAGES:
        title = re.search(r"^# (.*)", PAGES[page], re.MULTILINE).group(1).replace("`", "").replace("'", "")
        assert any(title[:20] in text for text in site.values()), page
    assert all(f'id="{name}"' in site["methods.html"] for name in method_names())
    assert all(f"advlab {name}" in site["commands.html"] for name in commands())
    assert all(f"advlab.{name}" in site["python.html"] for name in advlab.__all__ if name != "figures")
    assert all(f'id="{check.code}"' in site["findings.html"] for check in (*CHECKS, *CROSS_CHECKS))
    assert not [
        name for name, text in site.items() if re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)', text)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_link_between_pages_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)", PAGES[page])
    broken = [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()]
    assert not broken


def test_the_readme_is_short_and_leads_to_every_guide():
    assert len(README.splitlines()) <= 120
    assert all(f"({page})" in README for page in PAGES if page != "README.md")


def test_the_tables_are_generated(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("readme", None)
    import readme

    for name, (path, block) in readme.BLOCKS.items():
        page = path.read_text("utf-8")
        assert readme.fill(page, name, block()) == page, "run: make readme"
    results = README.split("<!-- begin results -->")[1].split("<!-- end results -->")[0]
    assert "fgsm linf 0.1" in results
    assert "pgd linf 0.1" in results


def test_every_option_of_the_command_line_is_explained():
    for name, command in commands().items():
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, f"{name} {parameter.name}"
