"""Build the documentation site: the pages of this checkout, and a reference made from the code itself.

    python docs/site/build.py [FOLDER] [--quick]

Writes the site into FOLDER, ``build/site`` by default; open its ``index.html``. Nothing is fetched from elsewhere.
``--quick`` leaves out what takes minutes: the pictures, and the notebooks, which are run. Needs ``advlab[docs]``.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pictures import GALLERY, drawn, method_pictures

import advlab
from advlab.cli import main
from advlab.cli.main import SECTIONS, declared
from advlab.declarations.methods import method_names
from advlab.evaluation.findings.checks import CHECKS, SEVERITIES, Check
from advlab.evaluation.findings.cross import CROSS_CHECKS

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MOST_BYTES = 200_000  # of a file that a page links to, and that travels with the site
# Section of the site -> its pages, by their paths in the checkout. Other pages of docs/ are guides.
SECTIONS_OF_PAGES = {
    "Learn": ("docs/learn/tutorial.md", "docs/learn/howto.md", "docs/learn/explanation.md"),
    "Guides": ("docs/attacking.md", "docs/judging.md", "docs/training.md"),
    "Reference": ("docs/json.md",),
    "Evidence": (
        "models/README.md",
        "docs/models.md",
        "docs/studies.md",
        "benchmarks/RESULTS.md",
        "benchmarks/DEMONSTRATIONS.md",
        "docs/audit.md",
        "docs/reliability.md",
    ),
    "Project": ("CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"),
}
Navigation = dict[str, list[str]]


def pages() -> dict[str, str]:
    """Path in the checkout -> path in the site, of each page written by hand or by a benchmark."""
    placed = [page for section in SECTIONS_OF_PAGES.values() for page in section]
    others = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/*.md"))]
    found = {"README.md": "index.md"}
    for page in (*placed, *(page for page in others if page not in placed)):
        name = Path(page).stem if Path(page).stem != "README" else Path(page).parent.name + "-zoo"
        found[page] = f"{name.lower()}.md"
    return found


def write_pages(folder: Path) -> Navigation:
    """Copy the pages with their links led to each other, and return which section has which."""
    placed = pages()
    navigation: Navigation = {"Home": ["index.md"]}
    for page, target in placed.items():
        text = (ROOT / page).read_text("utf-8")
        (folder / target).write_text(_with_links(text, page, placed, folder), "utf-8")
        section = next((name for name, members in SECTIONS_OF_PAGES.items() if page in members), "Guides")
        if page != "README.md":
            navigation.setdefault(section, []).append(target)
    return navigation


def _with_links(text: str, page: str, placed: Mapping[str, str], folder: Path) -> str:
    def replace(match: re.Match[str]) -> str:
        bang, words, target, anchor = match.groups()
        if "://" in target or not target:
            return match.group(0)
        file = (ROOT / page).parent.joinpath(target).resolve()
        inside = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
        if inside in placed:
            return f"{bang}[{words}]({placed[inside]}{anchor})"
        if inside and file.is_file() and file.stat().st_size <= MOST_BYTES:
            copy = folder / "files" / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            return f"{bang}[{words}](files/{inside})"
        return words

    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    linked = [re.sub(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", replace, part) for part in parts[::2]]
    parts[::2] = [part.replace("(None)", "()") for part in linked]
    return "".join(parts)


def commands() -> Iterator[str]:
    """Every command, as its own help explains it."""
    yield from ("# Commands", "", "What `advlab COMMAND --help` prints, by what a person wants to do.", "")
    context = click.Context(main, info_name="advlab", terminal_width=90)
    found = {name: command for name in main.list_commands(context) if (command := main.get_command(context, name))}
    for section, title in SECTIONS.items():
        members = {name: command for name, command in found.items() if declared(name)[0] == section}
        if members:
            yield from (f"## {title}", "")
        for name, command in members.items():
            inner = click.Context(command, info_name=name, parent=context, terminal_width=90)
            yield from (f"### advlab {name}", "", "```text", command.get_help(inner), "```", "")


def methods(pictures: Mapping[str, str]) -> Iterator[str]:
    """Every method: what it is, where it comes from, its parameters, and what it adds to the same five images."""
    yield from ("# Methods", "", "Each is one file of `advlab/methods/`; `advlab show NAME` prints the same.", "")
    yield "Pictures: five test images of `digits`, and below each what the method adds (slow ones with fewer steps).\n"
    from click.testing import CliRunner

    for name in method_names():
        outcome = CliRunner().invoke(main, ["show", name], catch_exceptions=False)
        yield from (f"## {name}", "")
        if name in pictures:
            yield from (f"![What {name} adds to five images]({pictures[name]})", "")
        yield from ("```text", outcome.stdout.rstrip(), "```", "")


def findings() -> Iterator[str]:
    """Every finding under an anchor of its own, gravest first."""
    yield from (
        "# Findings",
        "",
        "What evaluation, suites and audits say against a number, and what to do about it.",
        "",
    )
    checks: list[Check[Any]] = [*CHECKS, *CROSS_CHECKS]
    for severity in SEVERITIES:
        for check in checks:
            if check.severity == severity:
                yield from (f"## {check.code}", "", f"*{severity}*, raised if {check.raised_if}.", "")
                yield from (f"**Means**: {check.means}", "", f"**Do**: {check.do}", "")


def python() -> Iterator[str]:
    """Every public name, from its docstring."""
    yield from ("# Python", "", "`import advlab` has these names, and `advlab.figures` those that draw.", "")
    rooms = advlab._ROOM
    for name in sorted(rooms, key=lambda name: (name[0].isupper(), name.lower())):
        yield from (f"::: advlab.{rooms[name]}.{name}", "    options:", f"      heading: advlab.{name}", "")
    yield from ("## Figures", "")
    init = ast.parse((ROOT / "advlab" / "figures" / "__init__.py").read_text("utf-8"))
    for node in init.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name.islower():
                    yield from (f"::: {node.module}.{alias.name}", "    options:")
                    yield from (f"      heading: advlab.figures.{alias.name}", "")


def gallery(folder: Path) -> Iterator[str]:
    """The figures, drawn now on the embedded digits."""
    yield from (
        "# Gallery",
        "",
        "Figures of `advlab.figures`, each drawn on the embedded digits by the lines above it.",
        "",
    )
    for title, code in GALLERY.items():
        name = f"{title.lower().replace(' ', '-')}.svg"
        advlab.figures.save(drawn(code), folder / name)
        yield from (f"## {title}", "", "```python", code, "```", "", f"![{title}]({name})", "")


def notebook(path: Path, folder: Path) -> str:
    """A notebook, run now, as a page."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    document = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        resources = {"metadata": {"path": place}}
        NotebookClient(document, timeout=600, kernel_name="python3", resources=resources).execute()
    for cell in document.cells:  # a page has its own style sheet
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("text/html", None) if "text/plain" in output.get("data", {}) else None
    text, extras = MarkdownExporter().from_notebook_node(document)
    for name, data in extras.get("outputs", {}).items():
        (folder / f"{path.stem}-{name}").write_bytes(data)
        text = text.replace(f"({name})", f"({path.stem}-{name})")
    return text


def write_site(target: Path, quick: bool) -> None:
    """Write the sources of the site into a temporary folder, and build it; a warning is an error."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "docs")
        folder.mkdir()
        navigation = write_pages(folder)
        pictures = {} if quick else method_pictures(folder)
        generated = {
            "commands": commands(),
            "python": python(),
            "methods": methods(pictures),
            "findings": findings(),
        }
        for name, lines in generated.items():
            (folder / f"{name}.md").write_text("\n".join(lines) + "\n", "utf-8")
        navigation["Reference"][:0] = [f"{name}.md" for name in generated]
        if not quick:
            (folder / "gallery.md").write_text("\n".join(gallery(folder)) + "\n", "utf-8")
            navigation["Evidence"].append("gallery.md")
            navigation["Notebooks"] = []
            for path in sorted((ROOT / "examples").glob("*.ipynb")):
                (folder / f"{path.stem}.md").write_text(notebook(path, folder), "utf-8")
                navigation["Notebooks"].append(f"{path.stem}.md")
        shutil.copyfile(HERE / "style.css", folder / "style.css")
        text = io.StringIO()
        text.write((HERE / "mkdocs.yml").read_text("utf-8"))
        text.write(f"docs_dir: {folder}\nsite_dir: {target.resolve()}\nnav:\n")
        order = ("Home", "Learn", "Guides", "Notebooks", "Reference", "Evidence", "Project")
        for section in order:
            if section in navigation:
                text.write(f"  - {section}:\n" + "".join(f"      - {page}\n" for page in navigation[section]))
        configuration = Path(place, "mkdocs.yml")
        configuration.write_text(text.getvalue(), "utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(configuration)]
        # Without the theme's advertisement of its successor.
        environment = os.environ | {
            "NO_MKDOCS_2_WARNING": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--quick", action="store_true", help="without pictures and notebooks")
    arguments = parser.parse_args()
    write_site(arguments.folder, arguments.quick)
    print(f"Wrote {arguments.folder / 'index.html'}. Open it in a browser.")
