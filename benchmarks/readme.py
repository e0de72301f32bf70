"""Generate the tables of the README from the declarations, and its results by running the commands above them.

python benchmarks/readme.py            all but the results, in seconds
python benchmarks/readme.py --results  the results too, on the real data (ADVLAB_DATA)
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

README = Path(__file__).parent.parent / "README.md"


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


def main() -> None:
    """Write the README again."""
    text = README.read_text("utf-8")
    for name, block in {"methods": methods, "findings": findings}.items():
        text = fill(text, name, block())
    if "--results" in sys.argv:
        text = fill(text, "results", results(text))
    README.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
