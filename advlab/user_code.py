"""A Python file of the user's own, run because the user named it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from advlab.errors import InvalidFile


def run_file(path: Path, contents: str) -> ModuleType:
    """The module of a Python file, which may import what lies beside it; ``contents`` says what belongs into it.

    Raises ``InvalidFile`` for what is no regular ``.py`` file, and for one that fails.
    """
    if not path.is_file():
        raise InvalidFile(f"There is no Python file '{path}'. Give a .py file with {contents}.")
    spec = importlib.util.spec_from_file_location(f"advlab_user_{path.stem}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise InvalidFile(f"'{path}' is no Python file. Give a .py file with {contents}.")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it may raise anything
        raise InvalidFile(
            f"'{path}' cannot be run: {type(error).__name__}: {error}. Fix it, and leave in it only {contents}."
        ) from error
    finally:
        sys.path.remove(folder)
    return module
