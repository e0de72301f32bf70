"""What may import what: the layers, and what must stay out of every light path."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "advlab"
HEAVY = ("tensorflow", "keras", "art")
LAYERS = {
    0: "__init__ archive datasets declared download errors inventory modelcard noise_images progress recipes samples"
    " schema studies suites threat unfinished workspace",
    1: "architectures classifier geometry hdf5 legacy losses methods norms problem random slopes softmax",
    2: "bests calibration checklists checkpoints checks combined comparison compiling crafting crosschecks curves"
    " displays engine evaluation exports figures fitting host looks loop metrics noise_evaluation objects"
    " predictions records studyresult sweep tables training transfers walks watch",
    3: "reporting workflows",
    4: "cli",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
LEFT = {
    "calibration",
    "checklists",
    "checks",
    "combined",
    "comparison",
    "crosschecks",
    "curves",
    "displays",
    "evaluation",
    "exports",
    "figures",
    "looks",
    "metrics",
    "noise_evaluation",
    "objects",
    "predictions",
    "records",
    "studyresult",
    "tables",
    "transfers",
    "walks",
}
RIGHT = {  # TensorFlow
    "bests",
    "checkpoints",
    "compiling",
    "crafting",
    "engine",
    "fitting",
    "host",
    "loop",
    "sweep",
    "training",
    "watch",
}
ONLY_IN = {
    "click": {"cli"},
    "jinja2": {"reporting"},
    "matplotlib": {"figures"},
    "tqdm": {"progress"},
    "sklearn": {"datasets", "workflows"},
    "PIL": {"datasets"},
    "art": {"methods"},
    "pandas": {"records"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "shipped" not in path.parts)


def place_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path, inside_functions: bool = True) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
        if inner is not node
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in hidden and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "advlab":
            found |= {f"advlab.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_an_import_points_to_the_same_or_a_lower_layer(path):
    here = place_of(path)
    for module in imports(path, inside_functions=False):
        parts = module.split(".")
        if parts[0] == "advlab" and len(parts) > 1:
            assert parts[1] in LAYER, f"{parts[1]} has no layer in this test: add it"
            assert LAYER[parts[1]] <= LAYER[here], f"{here} imports {module}"
            assert not (here in LEFT and parts[1] in RIGHT), f"{here} imports {module}"
        elif parts[0] in HEAVY:
            assert LAYER[here] in (1, 2), f"{here} imports {module}"
            assert here not in LEFT, f"{here} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_each_library_has_its_room(path):
    for module in imports(path):
        rooms = ONLY_IN.get(module.split(".")[0])
        assert rooms is None or place_of(path) in rooms, f"{path.name} imports {module}"
    outside = imports(path, inside_functions=False)
    assert not {m for m in outside if m.split(".")[0] in ("sklearn", "PIL", "art", "tqdm", "pandas")}


def test_the_command_line_imports_only_public_names_and_errors():
    import advlab

    files = sorted((PACKAGE / "cli").glob("*.py"))
    own = {m for path in files for m in imports(path) if m.startswith("advlab") and not m.startswith("advlab.cli")}
    assert own <= {"advlab", "advlab.errors"}
    used = {
        node.attr
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "advlab"
    }
    assert used <= {*advlab.__all__, "__version__"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    script = (
        f"import sys, json\nsys.argv = {['advlab', *arguments]!r}\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
    )
    script += "print(); print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def archive() -> str:
    return str(next((PACKAGE.parent / "attacks" / "reference").glob("*.h5")))


@pytest.mark.parametrize(
    "command", ["--help", "list", "list methods", "attack --help", "evaluate A", "report A", "export A --csv B"]
)
def test_light_commands_never_load_tensorflow(command, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [archive if word == "A" else word for word in command.split()]
    loaded = loaded_by("from advlab.cli import main; main()", *arguments)
    assert "click" in loaded
    assert not loaded & set(HEAVY)
    if "list" in command or "help" in command:
        assert not loaded & {"numpy", "h5py", "jinja2", "matplotlib"}


def test_importing_advlab_loads_nothing_but_the_standard_library():
    assert not loaded_by("import advlab") & {*HEAVY, "numpy", "h5py", "click", "jinja2", "matplotlib", "tqdm"}


def test_the_public_names():
    import advlab

    assert advlab.__all__ == [
        "Attack",
        "AttackResult",
        "Classifier",
        "Dataset",
        "Evaluation",
        "Predictions",
        "Recipe",
        "SecurityCurve",
        "ThreatModel",
        "as_json",
        "attack",
        "attack_to_archive",
        "audit",
        "catalogue",
        "compare",
        "cross_findings",
        "curve",
        "curve_of",
        "demo",
        "evaluate",
        "evaluate_noise",
        "export",
        "import_images",
        "load_classifier",
        "load_dataset",
        "load_result",
        "predict",
        "report",
        "run",
        "selftest",
        "study",
        "summary",
        "table",
        "train",
        "transfer",
        "verify",
    ]
    assert all(callable(getattr(advlab, name)) for name in advlab.__all__)
    with pytest.raises(AttributeError, match="Public names: Attack"):
        _ = advlab.nothing
