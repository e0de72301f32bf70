"""Layers and functions of the user's own, from a Python file."""

from __future__ import annotations

import types
from os import PathLike
from pathlib import Path
from typing import Any

from advlab.errors import InvalidFile, InvalidValue
from advlab.user_code import run_file

_LIBRARIES = ("builtins", "keras", "numpy", "tensorflow", "tf_keras", "typing")


def read_custom_objects(path: str | PathLike[str], trust: bool) -> dict[str, Any]:
    """The classes and functions of a Python file by name, those that it imports from the user's other files too.

    The file is run, so this needs ``trust``. It may import what lies beside it. Raises ``InvalidFile`` for a file that
    is missing or fails.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidFile(f"There is no Python file '{file}'. Give the file that defines the layers of the model.")
    if not trust:
        raise InvalidValue(
            f"'{file}' is Python code, which would run on this machine. If it is yours, or you trust its origin, use "
            "--trust (trust=True in Python)."
        )
    module = run_file(file, "the layers and functions of the model")
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type | types.FunctionType)
        and not name.startswith("_")
        and value.__module__.split(".")[0] not in _LIBRARIES
    }
