"""The command line: each command parses, makes one library call, prints.

Results go to standard output; progress and the next command to type go to standard error.
"""

from __future__ import annotations

import os
import sys
import warnings

from advlab.cli.main import main

__all__ = ["main", "start"]


def start() -> None:
    """The entry point: the command line without what TensorFlow's C++ part writes to standard error when it loads.

    Python's own standard error keeps the terminal; only the bare file descriptor is silenced, and not with --debug.
    """
    if "--debug" not in sys.argv:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        os.close(silent)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        # The reader has closed the pipe (as head does): discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout.flush()
    sys.stderr.flush()
    # Every file is closed by now. A full shutdown takes a tenth of the time of a listing, and more with TensorFlow.
    os._exit(code if isinstance(code, int) else int(code is not None))
