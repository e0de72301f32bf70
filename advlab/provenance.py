"""Where a result comes from: the versions that it may depend on, and the command that was typed."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

from advlab import __version__

_LIBRARIES = ("tensorflow", "keras", "numpy")


def versions() -> dict[str, str]:
    """Versions of advlab, Python and the libraries that compute, by name, without importing them."""
    return {
        "advlab": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
    }


def command_line() -> str:
    """The command line as it was typed, quoted for a shell; empty where advlab was called from Python."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    is_command = program.stem == "advlab" or program.parts[-2:] == ("advlab", "__main__.py")
    return shlex.join(["advlab", *sys.argv[1:]]) if is_command else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
