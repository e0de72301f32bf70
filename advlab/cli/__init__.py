"""The command line: each command parses, makes one library call, prints.

Results go to standard output; progress and the next command to type go to standard error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

from advlab.cli.main import main
from advlab.cli.tables import folded
from advlab.errors import for_terminal

__all__ = ["main", "start"]


def start() -> None:
    """The entry point: the command line without what TensorFlow's C++ part writes to standard error when it loads.

    Python's own standard error keeps the terminal; only the bare file descriptor is silenced, and not with --debug.
    """
    _open_standard_streams()
    # Whoever stops the process keeps what is computed, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "--debug" not in sys.argv:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        os.close(silent)
    if sys.stderr.isatty():
        sys.meta_path.insert(0, _Announcer())
    warnings.formatwarning = lambda message, *_, **__: f"warning: {folded(for_terminal(str(message)), 'warning: ')}\n"
    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        # The reader has closed the pipe (as head does): discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print("Error: Interrupted. No incomplete file was left.", file=sys.stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        print(f"Error: The output could not be written: {error.strerror}.", file=sys.stderr)
        code = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Every file is closed by now. A full shutdown takes a tenth of the time of a listing, and more with TensorFlow.
    os._exit(code if isinstance(code, int) else int(code is not None))


class _Announcer:
    """Says on a terminal what the seconds before the first result are spent on, once something imports TensorFlow."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Find nothing: the import goes on as without it."""
        if name == "tensorflow":
            sys.meta_path.remove(self)
            print("Loading TensorFlow ...", file=sys.stderr, flush=True)


def _open_standard_streams() -> None:
    """Give a process that was started without standard streams (``advlab list >&-``) some that lead nowhere.

    Otherwise the next file that is opened, such as an archive, would take the place of standard output.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(descriptor), "w" if descriptor else "r"))
