"""Generate the tables of README and docs from the declarations, the results by running the commands above them.

python benchmarks/readme.py             the tables, in seconds
python benchmarks/readme.py --results   the results too, on the real data (ADVLAB_DATA)
python benchmarks/readme.py --pictures  the pictures too, with Chromium, on the real data
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from advlab.declarations.methods import load_method, method_names
from advlab.evaluation.findings.checks import CHECKS, SEVERITIES, Check
from advlab.evaluation.findings.cross import CROSS_CHECKS

ROOT = Path(__file__).parent.parent
README, RESULTS, PICTURES = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "pictures"
_LIBRARIES = ("advlab, float32", "Foolbox", "CleverHans", "ART")
_NETWORKS = ("fashion", "fashion-convnet")


def methods() -> str:
    """A row for each method, from its file."""
    rows = ["| method | goal | norms | parameters | |", "|---|---|---|---|---|"]
    for name in method_names():
        method = load_method(name)
        parameters = ", ".join(f"`{key}={value}`" for key, value in method.parameters.items())
        rows.append(f"| `{name}` | {method.goal} | {', '.join(method.norms)} | {parameters} | {method.summary} |")
    return "\n".join(rows)


def findings() -> str:
    """A row for each check, gravest first."""
    rows = ["| finding | | raised if | means | do |", "|---|---|---|---|---|"]
    checks: list[Check[Any]] = sorted((*CHECKS, *CROSS_CHECKS), key=lambda check: SEVERITIES.index(check.severity))
    rows += [f"| `{c.code}` | {c.severity} | {c.raised_if} | {c.means} | {c.do} |" for c in checks]
    return "\n".join(rows)


def peers() -> str:
    """A row for each library: its fastest run of PGD on each network, from the block of that name in RESULTS.md."""
    page = RESULTS.read_text("utf-8")
    fastest: dict[str, list[str]] = {library: [] for library in _LIBRARIES}
    for network in _NETWORKS:
        section = page.split(f"## PGD on `{network}`")[1].split("\n## ")[0]
        runs = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if "|" in line][2:]
        for library, cells in fastest.items():
            seconds = [
                float(run[2])
                for run in runs
                if (run[0] == library if "," in library else run[0].startswith(library)) and run[2]
            ]
            cells.append(f"{min(seconds):.2f} s" if seconds else "failed")
    rows = [f"| {library.split(',')[0]} | {' | '.join(cells)} |" for library, cells in fastest.items()]
    return "\n".join(
        ("| 10,000 images, PGD of 40 steps | dense network | convolutional network |", "|---|---|---|", *rows)
    )


def pictures() -> None:
    """The first screen of a report, and what an attack adds to two images."""
    from PIL import Image

    import advlab

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        evaluations = advlab.run("fashion", samples=500, epsilon=0.01)
        advlab.report(evaluations, Path(folder) / "report.html")
        result = advlab.attack("fashion", None, "pgd", epsilon="8/255", samples=60)
        advlab.figures.save(advlab.figures.addition(result), Path(folder) / "addition.png")
        chromium = ("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,720")
        address = (Path(folder) / "report.html").as_uri()
        subprocess.run([*chromium, f"--screenshot={folder}/report.png", address], check=True, stderr=subprocess.DEVNULL)
        for name in ("report.png", "addition.png"):
            image = Image.open(Path(folder) / name).convert("RGB").quantize(64)
            image.save(PICTURES / name, optimize=True)


def results(readme: str) -> str:
    """The output of the commands of the section on the real data."""
    section = readme.split("## On the real data")[1]
    commands = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = commands.group(1).strip().splitlines() if commands else []
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"ADVLAB_WORKSPACE": ""}
        outputs = []
        for line in lines:
            words = [str(Path(sys.executable).with_name("advlab")), *shlex.split(line)[1:]]
            process = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            outputs.append(process.stdout.rstrip())
    return f"```text\n{outputs[0]}\n\n{outputs[-1]}\n```"


def fill(readme: str, name: str, text: str) -> str:
    """The README with the block ``name`` replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", readme)


BLOCKS = {  # name of the block: the page that has it, and what writes it
    "methods": (ROOT / "docs" / "attacking.md", methods),
    "findings": (ROOT / "docs" / "judging.md", findings),
    "peers": (README, peers),
}


def main() -> None:
    """Write the pages again."""
    for name, (page, block) in BLOCKS.items():
        page.write_text(fill(page.read_text("utf-8"), name, block()), "utf-8")
    if "--results" in sys.argv:
        text = README.read_text("utf-8")
        README.write_text(fill(text, "results", results(text)), "utf-8")
    if "--pictures" in sys.argv:
        pictures()


if __name__ == "__main__":
    main()
