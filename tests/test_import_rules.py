"""The import rules: between rooms, of heavy libraries, and of commands that must start quickly."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "advlab"
HEAVY = ("tensorflow", "keras", "art")
ROOMS = {  # room: what it may import beside itself and the root
    "cli": "",
    "workflows": "distributed reporting figures evaluation results defenses training certification engine methods "
    "problem classifiers declarations data",
    "reporting": "evaluation figures",
    "figures": "evaluation declarations",
    "evaluation": "results declarations data",
    "results": "declarations",
    "distributed": "engine",
    "defenses": "engine methods problem classifiers data declarations",
    "training": "certification engine methods problem classifiers data declarations",
    "certification": "problem classifiers data declarations results engine",
    "engine": "problem classifiers data declarations results",
    "methods": "problem",
    "problem": "",
    "classifiers": "data",
    "declarations": "",
    "data": "",
    "root": "",
}
LIBRARIES = {  # library: the rooms that may import it
    "tensorflow": "problem methods engine certification classifiers training defenses workflows",
    "keras": "classifiers engine certification training defenses workflows",
    "art": "methods",
    "click": "cli",
    "rich": "cli",
    "jinja2": "reporting",
    "markupsafe": "reporting",
    "matplotlib": "figures",
    "tqdm": "root",
    "sklearn": "data workflows",
    "scipy": "certification",
    "PIL": "data",
    "pandas": "root",
    "h5py": "root classifiers",
    "onnx": "classifiers",
    "ray": "distributed",
    "fsspec": "root",
    "mlflow": "workflows",
}
IN_FUNCTIONS_ONLY = {"sklearn", "PIL", "art", "onnx", "tqdm", "rich", "pandas", "ray", "fsspec", "mlflow"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "shipped" not in path.parts)


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts[0] in ROOMS else "root"


def room_of_file(path: Path) -> str:
    return room_of(path.relative_to(PACKAGE).parts)


class Import(NamedTuple):
    module: str
    inside: bool  # a function
    display: bool  # a function that shows an object in a notebook


def imports(path: Path) -> list[Import]:
    """What a file imports, but for types alone."""
    result: list[Import] = []

    def visit(node: ast.AST, inside: bool, display: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef):
            inside, display = True, display or node.name == "_repr_html_"
        if isinstance(node, ast.Import):
            result.extend(Import(alias.name, inside, display) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            named = [f"{module}.{alias.name}" for alias in node.names]
            files = [name for name in named if is_file(name)]
            result.extend(Import(name, inside, display) for name in files or [module])
        for child in ast.iter_child_nodes(node):
            visit(child, inside, display)

    visit(ast.parse(path.read_text("utf-8")), False, False)
    return result


def is_file(module: str) -> bool:
    place = PACKAGE.parent.joinpath(*module.split("."))
    return module.startswith("advlab.") and (place.with_suffix(".py").is_file() or place.is_dir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_an_import_points_to_the_same_room_or_one_further_down(path):
    room = "cli" if path.name == "__main__.py" else room_of_file(path)
    for module, inside, display in imports(path):
        parts = tuple(module.split("."))
        if parts[0] == "advlab" and len(parts) > 1 and room != "cli" and not display:
            imported = room_of(parts[1:])
            assert imported in {room, "root", *ROOMS[room].split()}, f"{room} imports {module}"
        library = LIBRARIES.get(parts[0])
        assert library is None or room in library.split(), f"{room} imports {module}"
        assert inside or parts[0] not in IN_FUNCTIONS_ONLY, f"{path.name} imports {module} when it is loaded"


def test_the_rooms_are_the_folders_and_each_says_what_lives_there():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == ROOMS.keys() - {"root"}
    for folder in sorted(folders):
        assert ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8"))), folder


def test_no_circle_between_rooms():
    below = {room: set(names.split()) for room, names in ROOMS.items()}
    while below:
        free = {room for room, names in below.items() if not names & below.keys()}
        assert free, f"a circle among {sorted(below)}"
        below = {room: names for room, names in below.items() if room not in free}


def test_no_circle_between_files():
    """At the time of loading: what a function imports when it runs is judged by the rooms."""
    edges = {
        ".".join(("advlab", *path.relative_to(PACKAGE).with_suffix("").parts)): {
            module for module, inside, _ in imports(path) if not inside and module.startswith("advlab.")
        }
        for path in FILES
        if path.name != "__init__.py" and room_of_file(path) != "cli"
    }
    while edges:
        free = {name for name, modules in edges.items() if not modules & edges.keys()}
        assert free, f"a circle among {sorted(edges)}"
        edges = {name: modules for name, modules in edges.items() if name not in free}


def test_a_method_imports_nothing_but_what_methods_may():
    allowed = {"advlab.problem", "advlab.methods", "numpy", "tensorflow"}
    for path in (PACKAGE / "methods").glob("[a-z]*.py"):
        for module, _, _ in imports(path):
            root = ".".join(module.split(".")[:2]) if module.startswith("advlab") else module.split(".")[0]
            assert root in allowed or root in sys.stdlib_module_names, f"{path.name} imports {module}"


def test_results_evaluation_and_reports_never_load_tensorflow():
    for path in FILES:
        if room_of_file(path) in ("results", "evaluation", "figures", "reporting", "declarations", "data", "root"):
            assert not {m.split(".")[0] for m, _, _ in imports(path)} & set(HEAVY), path


def test_the_command_line_imports_only_public_names_and_errors():
    import advlab

    files = sorted((PACKAGE / "cli").glob("*.py"))
    own = {m for path in files for m, _, _ in imports(path) if m.startswith("advlab") and "advlab.cli" not in m}
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
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(process.stdout.splitlines()[-1]))


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
        "AdvlabError",
        "AdvlabWarning",
        "Attack",
        "AttackResult",
        "Attributions",
        "Audit",
        "BenchmarkPlan",
        "Certificate",
        "Classifier",
        "Comparison",
        "Cost",
        "Dataset",
        "DefenseReport",
        "Detection",
        "Detector",
        "Diagnosis",
        "Evaluation",
        "ExternalLoop",
        "FileExists",
        "Finding",
        "Hardened",
        "InvalidFile",
        "InvalidValue",
        "Loop",
        "Mismatch",
        "ModelFile",
        "ModelSummary",
        "NoiseEvaluation",
        "Predictions",
        "Problem",
        "PropertyCertificate",
        "Query",
        "Recipe",
        "START",
        "SecurityCurve",
        "SelfTest",
        "State",
        "StudyResult",
        "ThreatModel",
        "TransferMatrix",
        "UniversalLoop",
        "UnknownName",
        "Verification",
        "WorstCase",
        "attack",
        "attribute",
        "audit",
        "available",
        "benchmark",
        "certify",
        "certify_property",
        "compare",
        "compare_archives",
        "cost",
        "cross_findings",
        "curve",
        "defense_report",
        "demo",
        "docs_address",
        "doctor",
        "ensemble",
        "evaluate",
        "evaluate_detector",
        "evaluate_files",
        "evaluate_noise",
        "explain",
        "export",
        "figures",
        "harden",
        "import_images",
        "load_benchmark",
        "load_classifier",
        "load_dataset",
        "load_recipe",
        "load_result",
        "load_study",
        "load_suite",
        "new",
        "plan_benchmark",
        "predict",
        "report",
        "run",
        "selftest",
        "study",
        "summary",
        "table",
        "to_records",
        "track",
        "train",
        "transfer",
        "use_device",
        "use_workers",
        "verify",
        "worst_case",
    ]
    assert all(getattr(advlab, name) is not None for name in advlab.__all__)
    with pytest.raises(AttributeError, match="Public names: AdvlabError"):
        _ = advlab.nothing


def test_editors_see_the_lazy_names_where_they_live():
    import advlab

    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    shown = {}
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                shown |= {alias.asname: f"{line.module}.{alias.name}" for alias in line.names}
    assert shown == {"figures": "advlab.figures"} | {
        name: f"advlab.{room}.{name}" for name, room in advlab._ROOM.items()
    }
