"""The example notebooks: stored without outputs, they run from top to bottom and print what their text says."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from results import build

from advlab import figures
from advlab.evaluation.evaluation import evaluate

EXAMPLES = Path(__file__).parent.parent / "examples"
EXPECTED = {
    "quickstart": ["noise linf 0.1", "half of the images are misclassified within", " MB"],
    "epsilon_sweep": ["SecurityCurve digits", "epsilon 0.05: PGD", "most robust: image"],
    "transfer": ["wide: white box", "digits: noise linf 0.1"],
    "from_broken_to_defended": [
        "The defence gains nothing",
        "so many images 'digits-robust' classifies correctly",
        "an attacker who knows 'mahalanobis'",
        "Hardened digits-hardened: robust accuracy",
    ],
    "is_this_defence_real": [
        "warning: zero-gradients",
        "warning: weaker-than-transfer",
        "FAIL        Is the white box",
    ],
}


def test_each_notebook_has_an_expected_output():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(EXPECTED)


def test_a_figure_as_the_last_line_of_a_cell_is_shown_in_that_cell(tmp_path):
    drawn = "figures.reliability(advlab.evaluate(result))"
    sources = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        "import advlab; from advlab import figures; from results import build",
        "result = build([0, 1], [0, 1], [1, 1])",
        drawn,
        f"from matplotlib import pyplot\n{drawn}",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells[3:]:
        (output,) = cell.outputs
        assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG"), cell.source


@pytest.mark.parametrize(
    "draw", [figures.accuracy_bars, figures.confidence_shift, figures.reliability, figures.class_flow]
)
def test_every_figure_of_an_evaluation_shows_itself(draw):
    assert draw(evaluate(build([0, 1], [0, 1], [1, 1])))._repr_png_().startswith(b"\x89PNG")


@pytest.mark.thorough
@pytest.mark.parametrize("name", EXPECTED)
def test_a_notebook_executes(name, tmp_path):
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    stored = [cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells]
    assert not any(stored), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    for words in EXPECTED[name]:
        assert words in printed
    mime_types = {mime_type for output in outputs for mime_type in output.get("data", {})}
    assert mime_types & {"text/html", "image/png"}, "a notebook without a picture"
    assert (tmp_path / "report.html").exists() == (name == "quickstart")
