"""What can go wrong, and how advlab says it.

    AdvlabError                     anything a user can fix; the command line prints it without a traceback
    ├── UnknownName                 a method, model, data set, suite or parameter that does not exist
    ├── InvalidValue                a value outside its allowed range
    ├── InvalidFile                 a file that is missing, truncated, incomplete or of another program
    ├── Mismatch                    things that do not belong together: archive and model, model and data
    └── FileExists                  a produced file that would be overwritten

    AdvlabWarning                   a result is valid, but a reader should know something about it

Each message says what, which value, what is allowed and what to do next.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

# What Python and the libraries that read files raise on content that is damaged or made to harm.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class AdvlabError(Exception):
    """Base of every error that advlab raises on purpose."""


class UnknownName(AdvlabError):
    """A name that does not exist; ``unknown`` writes the message, with the nearest one that does."""


class InvalidValue(AdvlabError, ValueError):
    """A value outside the allowed range."""


class InvalidFile(AdvlabError):
    """A file that is missing, truncated, incomplete or of another program."""


class Mismatch(AdvlabError):
    """Things that do not belong together, such as an archive and another model."""


class FileExists(AdvlabError):
    """A produced file that would be overwritten without ``--force``."""


class AdvlabWarning(UserWarning):
    """A result is valid, but a reader should know something about it."""


def unknown(what: str, name: object, available: Iterable[str], hint: str = "") -> UnknownName:
    """The error for a name that does not exist, with the nearest existing one, or a ``hint`` in its place."""
    import difflib

    names = sorted(available)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    message = f"Unknown {what}: '{name}'." if "'" in what else f"Unknown {what} '{name}'."
    if nearest and not hint:
        message += f" Did you mean '{nearest[0]}'?"
    message += f" Available: {', '.join(names) or 'none'}."
    return UnknownName(f"{message} {hint}".rstrip())


def in_words(error: BaseException) -> str:
    """What an error says to a user: that of the operating system or of Python without numbers and class names."""
    if isinstance(error, MemoryError):
        return "There is not enough memory for this. Take fewer samples, or a smaller batch size."
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    if error.errno == errno.ENAMETOOLONG:
        return f"The name '{error.filename}' is too long for this file system. Give a shorter one."
    return f"'{error.filename}': {error.strerror}. Give another path, or change its permissions."


def for_terminal(text: str) -> str:
    """The text without control characters, which steer a terminal, and with words that have no end cut short.

    Names of layers, classes and files come from strangers.
    """
    visible = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return re.sub(r"\S{300,}", lambda match: f"{match[0][:100]}…{match[0][-20:]}", visible)
