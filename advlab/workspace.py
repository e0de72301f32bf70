"""Where files live: the only module that turns a name into a path.

The workspace holds two folders, ``models/`` and ``attacks/``. Declarations (recipes, suites) are read from them and
artefacts (weights, archives) are written to them. Reading looks for what was produced in the workspace, then for what
is shipped or declared there, then in the copy that came with the installation. Writing always goes to the workspace.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

from advlab.errors import InvalidFile, UnknownName, unknown

_current: ContextVar[Path | None] = ContextVar("workspace", default=None)
_archives: ContextVar[Path | None] = ContextVar("archives", default=None)


def root() -> Path:
    """The workspace: the one chosen with ``using``, else ``ADVLAB_WORKSPACE``, else the current directory."""
    return _current.get() or Path(os.environ.get("ADVLAB_WORKSPACE") or Path.cwd())


@contextlib.contextmanager
def using(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Work in another workspace for the length of a ``with`` block (None: leave it as it is)."""
    token = _current.set(Path(folder) if folder else _current.get())
    try:
        yield root()
    finally:
        _current.reset(token)


@contextlib.contextmanager
def archives_in(folder: Path) -> Iterator[None]:
    """Write the archives of attacks below another folder than ``attacks/`` for the length of a ``with`` block."""
    token = _archives.set(folder)
    try:
        yield
    finally:
        _archives.reset(token)


def shipped() -> Path:
    """The folder with the copies of ``models/`` and ``attacks/`` that came with the installation."""
    package = Path(__file__).parent
    inside_wheel = package / "shipped"
    return inside_wheel if inside_wheel.is_dir() else package.parent


def looks_like_path(name: str) -> bool:
    """Whether a name given by the user is a path: it contains a folder or ends in a suffix that advlab reads."""
    suffixes = (".h5", ".hdf5", ".keras", ".onnx", ".toml", ".npz", ".csv", ".jsonl")
    return os.sep in name or "/" in name or Path(name).suffix in suffixes


def _search(folder: str, suffix: str, *subfolders: str) -> dict[str, Path]:
    """Name -> path of the files with this suffix. The workspace wins over shipped files, then the first sub-folder."""
    paths: dict[str, Path] = {}
    for base in dict.fromkeys((root(), shipped())):
        for subfolder in subfolders:
            directory = os.path.join(base, folder, subfolder)
            # os.listdir, since pathlib's glob is slower and listings should start at once.
            for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
                if name.endswith(suffix) and not name.startswith("."):
                    paths.setdefault(name.removesuffix(suffix), Path(directory, name))
    return paths


def recipes() -> dict[str, Path]:
    """Every recipe that can be trained, by name; ``model.h5.toml`` holds the settings of a model beside it."""
    paths = _search("models", ".toml", "")
    return {name: path for name, path in paths.items() if Path(name).suffix not in (".h5", ".hdf5", ".keras")}


def weights() -> dict[str, Path]:
    """Every classifier that is ready to be loaded, by name: produced ones before shipped ones."""
    paths = _search("models", ".h5", "", "pretrained")
    return {name: path for name, path in paths.items() if not name.endswith(".partial")}


def suites() -> dict[str, Path]:
    """Every suite of attacks, by name."""
    return _search("attacks", ".toml", "")


def studies() -> dict[str, Path]:
    """Every study that can be run, by name."""
    return _search("models", ".toml", "studies")


def benchmarks() -> dict[str, Path]:
    """Every benchmark that can be run, by name."""
    return _search("attacks", ".toml", "benchmarks")


def archives() -> list[Path]:
    """Every finished archive of the workspace, sorted."""
    return sorted(
        path
        for path in (root() / "attacks").glob("*/**/*.h5")
        if not path.name.endswith(".partial.h5") and not path.name.startswith(".")
    )


def find_recipe(name: str) -> Path:
    """The path of a recipe, given its name or a path to a TOML file."""
    return _find(name, "recipe", recipes())


def find_suite(name: str) -> Path:
    """The path of a suite, given its name or a path to a TOML file."""
    return _find(name, "suite", suites())


def find_study(name: str) -> Path:
    """The path of a study, given its name or a path to a TOML file."""
    return _find(name, "study", studies())


def find_benchmark(name: str) -> Path:
    """The path of a benchmark, given its name or a path to a TOML file."""
    return _find(name, "benchmark", benchmarks())


def find_weights(name: str) -> Path:
    """The path of a saved classifier, given its name or a path to a file."""
    available = weights()
    if name in recipes() and name not in available:
        raise UnknownName(f"Model '{name}' is a recipe that is not trained yet. Train it first: advlab train {name}")
    return _find(name, "model", available)


def _find(name: str, category: str, available: dict[str, Path]) -> Path:
    if "://" in name:
        from advlab.remote import fetch

        return fetch(name)
    path = Path(name)
    is_folder = category == "model" and path.is_dir()  # a SavedModel is a folder
    if looks_like_path(name) or (name not in available and (is_folder or (path.suffix and path.is_file()))):
        if path.is_file() or is_folder:
            return path
        names = ", ".join(sorted(available))
        raise InvalidFile(f"No {category} file at '{name}'. Give a path that exists, or one of: {names}.")
    if name not in available:
        raise unknown(category, name, available)
    return available[name]


def find_data(name: str, available: Iterable[str]) -> Path:
    """The path of the user's own data set; ``available`` holds the names that need no path."""
    if "://" in name:
        from advlab.remote import fetch

        return fetch(name)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if looks_like_path(name):
        names = ", ".join(available)
        raise InvalidFile(f"No data set at '{name}'. Give a .npz file or a folder that exists, or one of: {names}.")
    raise unknown("data set", name, available, "Or give the path of a .npz file or of a folder of images by class.")


def data_folder(name: str) -> Path | None:
    """The folder of a data set below ``ADVLAB_DATA``; None where the variable is not set."""
    base = os.environ.get("ADVLAB_DATA")
    return Path(base).expanduser() / name if base else None


def cache_folder(name: str) -> Path:
    """The folder of a data set in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "advlab" / name


def weights_path(name: str) -> Path:
    """Where the weights produced by the recipe ``name`` are written."""
    return root() / "models" / f"{as_file_name(name)}.h5"


def checkpoint_path(name: str) -> Path:
    """Where the state of an unfinished training run is stored until it is resumed."""
    return weights_path(name).with_suffix(".partial.h5")


def study_path(name: str, suffix: str) -> Path:
    """Where the results of a study are written: ``.json`` the numbers, ``.md`` the table, ``.svg`` the figure."""
    return root() / "models" / "studies" / f"{name}{suffix}"


def benchmark_folder(name: str) -> Path:
    """Where the results, the pages and the archives of a benchmark are written."""
    return root() / "attacks" / "benchmarks" / as_file_name(name)


def archive_path(classifier: str, slug: str, suite: str = "") -> Path:
    """Where the archive of an attack on a classifier is written; the parts of a cascade have a folder of their own."""
    folder = _archive_folder(classifier)
    return (folder / as_file_name(suite) if suite else folder) / f"{as_file_name(slug)}.h5"


def certificate_path(classifier: str, slug: str) -> Path:
    """Where what was proven about a classifier is written."""
    return root() / "certificates" / as_file_name(classifier) / f"{as_file_name(slug)}.h5"


def unfinished_certificate_path(classifier: str, slug: str) -> Path:
    """Where the answers of an unfinished certificate are stored until it is resumed."""
    return certificate_path(classifier, slug).with_suffix(".partial.h5")


def partial_path(classifier: str, slug: str) -> Path:
    """Where an unfinished attack is stored until it is resumed."""
    return _archive_folder(classifier) / f"{as_file_name(slug)}.partial.h5"


def _archive_folder(classifier: str) -> Path:
    return (_archives.get() or root() / "attacks") / as_file_name(classifier)


def part_path(partial: Path, number: int) -> Path:
    """Where one whole part of an unfinished attack is stored, beside its other work."""
    return partial.with_name(f"{partial.name.removesuffix('.partial.h5')}.part-{number:04}.partial.h5")


def finished_path(partial: Path) -> Path:
    """Where an attack that is still running keeps an archive of the images that it has finished."""
    return partial.with_name(f"{partial.name.removesuffix('.partial.h5')}.finished.partial.h5")


def unfinished_archives() -> list[Path]:
    """The archives of finished images of attacks that are running or were interrupted, sorted."""
    return sorted((root() / "attacks").glob("*/**/*.finished.partial.h5"))


def forget_unfinished(partial: Path) -> None:
    """Delete what is stored of an unfinished attack, its whole parts and finished images included."""
    stem = partial.name.removesuffix(".partial.h5")
    finished_path(partial).unlink(missing_ok=True)
    for part in partial.parent.glob(f"{glob.escape(stem)}.part-*.partial.h5"):
        part.unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


def as_file_name(name: str) -> str:
    """The name without characters that would lead to another folder."""
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in name).lstrip(".") or "model"
