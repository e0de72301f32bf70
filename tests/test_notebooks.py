"""The example notebooks: stored without outputs, they run from top to bottom and tell what their text tells."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
STORY = {
    "quickstart": ["noise linf 0.1", "half of the images flip within", " MB"],
    "epsilon_sweep": ["SecurityCurve digits", "epsilon 0.05: PGD", "falls last: image"],
    "transfer": ["wide: white box", "digits: noise linf 0.1"],
    "is_this_defence_real": [
        "warning: zero-gradients",
        "warning: weaker-than-transfer",
        "FAIL        Is the white box",
    ],
}


def test_there_is_a_story_for_each_notebook():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(STORY)


@pytest.mark.thorough
@pytest.mark.parametrize("name", STORY)
def test_a_notebook_executes(name, tmp_path):
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    stored = [cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells]
    assert not any(stored), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    for words in STORY[name]:
        assert words in said
    drawn = [kind for output in outputs for kind in output.get("data", {}) if kind in ("text/html", "image/png")]
    assert drawn, "a notebook without a picture"
    assert (tmp_path / "report.html").exists() == (name == "quickstart")
