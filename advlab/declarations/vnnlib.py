"""A VNN-LIB property, as verifiers exchange it: a box of inputs, and outputs that none of them may reach.

The language is that of the competition's version 1 (vnnlib.org), as far as image classifiers use it: bounds on inputs,
linear comparisons of outputs, joined by ``and`` and ``or``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab.errors import InvalidFile

_MAX_BYTES, _MOST_CASES, _DEEPEST = 1 << 26, 1_000, 100
_TOKEN = re.compile(r"[()]|[^\s()]+")
_VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,8})\Z")
_COMPARISONS = {"<=": -1.0, "<": -1.0, ">=": 1.0, ">": 1.0}


@dataclass(frozen=True, eq=False)
class Property:
    """It is violated by an input ``lower <= x <= upper``, float64 ``(d,)``, whose output is in one of the ``cases``.

    A case is a pair of weights ``(c, k)`` and shift ``(c,)``: it holds where ``weights @ y + shift >= 0``, all of them.
    """

    name: str
    lower: np.ndarray
    upper: np.ndarray
    cases: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def outputs(self) -> int:
        """How many outputs the network has that it speaks of."""
        return int(self.cases[0][0].shape[1])

    def violated_by(self, y: np.ndarray) -> bool:
        """Whether an output ``(k,)`` is in one of the cases, computed in float64."""
        return any(bool((weights @ y.astype(np.float64) + shift >= 0).all()) for weights, shift in self.cases)


class _Comparison(NamedTuple):
    """``sum of factor * variable + shift >= 0``, of inputs X or of outputs Y."""

    factors: dict[str, float]
    shift: float

    @property
    def about(self) -> str:
        return next(iter(self.factors))[0]


_Cases = list[list[_Comparison]]  # any of these, in which all hold


def load_property(path: str | PathLike[str]) -> Property:
    """Read a ``.vnnlib`` file; raises ``InvalidFile`` for what is damaged, or not one box and cases of outputs."""
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InvalidFile(f"it has more than {_MAX_BYTES >> 20} MB")
        return _property(file.stem, _parsed(file.read_text("utf-8")))
    except OSError as error:
        raise InvalidFile(f"Cannot read property '{path}': {error.strerror}. Give a .vnnlib file.") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(
            f"Cannot read property '{path}': it is not text. Unpack it first if it ends in .gz."
        ) from error
    except InvalidFile as error:
        raise InvalidFile(f"Cannot read property '{path}': {error}.") from error


def _parsed(text: str) -> list[Any]:
    """The expressions of a file as nested lists of words."""
    open_ones: list[list[Any]] = [[]]
    for token in _TOKEN.findall(re.sub(r";.*", "", text)):
        if token == "(":
            open_ones.append([])
            if len(open_ones) > _DEEPEST:
                raise InvalidFile(f"its brackets are nested more than {_DEEPEST} deep")
        elif token != ")":
            open_ones[-1].append(token)
        elif len(open_ones) == 1:
            raise InvalidFile("a bracket closes that was not opened")
        else:
            done = open_ones.pop()
            open_ones[-1].append(done)
    if len(open_ones) != 1:
        raise InvalidFile("a bracket is not closed: the file may be incomplete")
    return open_ones[0]


def _property(name: str, commands: list[Any]) -> Property:
    declared: list[str] = []
    cases: _Cases = [[]]
    for command in commands:
        match command:
            case ["declare-const", str(variable), "Real"] if _VARIABLE.match(variable):
                declared.append(variable)
            case ["assert", expression]:
                cases = _both(cases, _cases(expression))
            case _:
                raise InvalidFile(
                    f"'{_text(command)}' is neither (declare-const X_0 Real) nor (assert ...), what version 1 of "
                    "VNN-LIB has"
                )
    sizes = [_size(declared, kind) for kind in "XY"]
    known = set(declared)
    for variable in {name for case in cases for one in case for name in one.factors}:
        if variable not in known:
            raise InvalidFile(f"'{variable}' is not declared")
    boxes = [_box([one for one in case if one.about == "X"], sizes[0]) for case in cases]
    lower, upper = boxes[0]
    if any(not (np.array_equal(lower, low) and np.array_equal(upper, high)) for low, high in boxes):
        raise InvalidFile("its cases have boxes of their own. Write a file for each box")
    outputs = [_system([one for one in case if one.about == "Y"], sizes[1]) for case in cases]
    if any(not len(shift) for _, shift in outputs):
        raise InvalidFile("it says nothing about the outputs")
    return Property(name, lower, upper, tuple(outputs))


def _size(declared: list[str], kind: str) -> int:
    numbers = sorted(int(variable[2:]) for variable in declared if variable[0] == kind)
    if not numbers or numbers != list(range(len(numbers))):
        raise InvalidFile(f"it must declare {kind}_0, {kind}_1 and so on, each once")
    return len(numbers)


def _cases(expression: Any) -> _Cases:
    match expression:
        case ["and", *parts]:
            found: _Cases = [[]]
            for part in parts:
                found = _both(found, _cases(part))
            return found
        case ["or", *parts] if parts:
            return [case for part in parts for case in _cases(part)]
        case [("<=" | ">=" | "<" | ">") as sign, left, right]:
            return [[_comparison(_COMPARISONS[sign], left, right)]]
    raise InvalidFile(f"'{_text(expression)}' is not a comparison by <= or >=, nor 'and' or 'or' of such")


def _both(left: _Cases, right: _Cases) -> _Cases:
    if len(left) == len(right) == 1:
        left[0].extend(right[0])  # thousands of bounds follow one another
        return left
    if len(left) * len(right) > _MOST_CASES:
        raise InvalidFile(f"it has more than {_MOST_CASES:,} cases")
    return [[*a, *b] for a, b in product(left, right)]


def _comparison(sign: float, left: Any, right: Any) -> _Comparison:
    factors: dict[str, float] = {}
    shift = 0.0
    for side, word in ((sign, left), (-sign, right)):
        if isinstance(word, str) and _VARIABLE.match(word):
            factors[word] = factors.get(word, 0.0) + side
        else:
            shift += side * _number(word)
    if len({variable[0] for variable in factors}) != 1:
        raise InvalidFile(f"'{_text([left, right])}' compares neither inputs nor outputs alone")
    return _Comparison(factors, shift)


def _number(word: Any) -> float:
    if isinstance(word, list) and len(word) == 2 and word[0] == "-":
        return -_number(word[1])
    try:
        value = float(word)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise InvalidFile(f"'{_text(word)}' is neither a number nor a variable such as X_0 or Y_0")
    return value


def _box(comparisons: list[_Comparison], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of each input, one unit of float64 wider than read: a decimal number lies between two of them."""
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    for one in comparisons:
        variable, factor = next(iter(one.factors.items()))
        if len(one.factors) != 1 or not factor:
            raise InvalidFile("it compares inputs with one another, which is not a box")
        place = int(variable[2:])
        if factor > 0:
            lower[place] = max(lower[place], -one.shift)
        else:
            upper[place] = min(upper[place], one.shift)
    for place in np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper) & (lower <= upper)))[:1]:
        raise InvalidFile(f"X_{place} must have a lower and an upper bound, and lower <= upper")
    return np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf)


def _system(comparisons: list[_Comparison], size: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.zeros((len(comparisons), size))
    for row, one in enumerate(comparisons):
        for variable, factor in one.factors.items():
            weights[row, int(variable[2:])] = factor
    return weights, np.array([one.shift for one in comparisons])


def _text(expression: Any) -> str:
    text = f"({' '.join(map(_text, expression))})" if isinstance(expression, list) else str(expression)
    return text if len(text) <= 60 else f"{text[:57]}..."
