"""The methods and their parameters, read from their files without importing them.

A method's file is its registration and the signature of its ``craft`` is its schema: parameter names, types, defaults.
"""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from advlab.errors import InvalidValue, unknown
from advlab.validation import MOST, invalid

if TYPE_CHECKING:
    from advlab.threat import Value

FOLDER = Path(__file__).parent.parent / "methods"
GOALS = ("bounded", "minimal")


class Method(NamedTuple):
    """One method as its file declares it. ``norms``: the first is the default. ``parameters``: name -> default.

    ``choices``: name of a str parameter -> the allowed values, from ``CHOICES`` where it is declared. ``source`` is
    what the docstring of the file says below its first line, ``descriptions`` what that of ``craft`` says in ``Args:``.
    ``data`` says what it attacks, ``images`` or ``texts``, from ``DATA``.
    """

    name: str
    summary: str
    norms: tuple[str, ...]
    goal: str
    native: bool
    parameters: Mapping[str, Value]
    types: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]]
    code: str = ""
    source: str = ""
    descriptions: Mapping[str, str] = MappingProxyType({})
    data: str = "images"

    def resolve(self, parameters: Mapping[str, Any]) -> dict[str, Value]:
        """Every parameter of the method with its value: the given ones, checked, and the defaults of the others."""
        resolved = dict(self.parameters)
        for name, value in parameters.items():
            if name not in resolved:
                hint = self._hint(name)
                raise unknown(f"parameter of method '{self.name}'", name, resolved, hint, guess=not hint)
            resolved[name] = self._parse(name, value)
        if {"step_size", "relative_step_size"} <= {name for name, value in parameters.items() if value is not None}:
            raise InvalidValue(
                f"Method '{self.name}' takes step_size (in pixel units) or relative_step_size (in units of epsilon / "
                "steps), not both. Leave one of them out."
            )
        return resolved

    def _hint(self, name: str) -> str:
        """What a parameter of another library is called in this one."""
        own_name = next((own for own, foreign in _FOREIGN.items() if name in foreign and own in self.parameters), None)
        if name in _FOREIGN["step_size"] and {"step_size", "relative_step_size"} <= self.parameters.keys():
            return "Here it is called 'step_size', in pixel units; 'relative_step_size' is in units of epsilon / steps."
        if name in _OF_CLASSIFIERS:
            return f"It belongs to the classifier: advlab.load_classifier(path, {name}=...), or --{name}."
        if name in _FOREIGN_EPSILON:
            return "Here it is called 'epsilon'."
        return f"Here it is called '{own_name}'." if own_name else ""

    def _parse(self, name: str, value: Any) -> Value:
        if value is None and self.parameters[name] is None:
            return None
        type_ = self.types[name]
        try:
            parsed = _PARSERS[type_](value)
        except (TypeError, ValueError, KeyError, ZeroDivisionError, OverflowError):
            parsed = None
        low = 0 if self.parameters[name] in (0, None) or type_ == "float" else 1
        if (
            parsed is None
            or (type_ == "int" and not low <= parsed <= MOST)
            or (type_ == "float" and not low <= parsed < math.inf)
        ):
            allowed = {"int": f"an int in the range [{low}, {MOST}]", "float": f"a float in the range [{low}, inf)"}
            raise invalid(f"Parameter '{name}' of method '{self.name}'", value, allowed.get(type_, type_))
        if parsed not in self.choices.get(name, (parsed,)):
            raise unknown(f"'{name}' of method '{self.name}'", parsed, self.choices[name])
        return parsed


def _parse_int(value: Any) -> int:
    if isinstance(value, bool) or (not isinstance(value, str) and int(value) != value):
        raise ValueError
    return int(value)


def _parse_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    numerator, _, denominator = str(value).partition("/")
    return float(numerator) / float(denominator) if denominator else float(numerator)


def _parse_bool(value: Any) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return values[str(value).lower()]


def _parse_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_OF_CLASSIFIERS = ("scale", "offset", "preprocess")
_FOREIGN_EPSILON = ("eps", "max_eps", "maximum_epsilon", "radius")
_FOREIGN = {  # own parameter: what other libraries call it
    "steps": ("num_steps", "n_steps", "nb_iter", "n_iter", "max_iter", "iterations", "num_iterations"),
    "step_size": ("step", "alpha", "eps_step", "eps_iter", "abs_stepsize", "stepsize", "lr"),
    "relative_step_size": ("rel_stepsize",),
    "searches": ("binary_search_steps",),
    "learning_rate": ("lr", "stepsize"),
    "constant": ("initial_const", "c"),
    "n_target_classes": ("targets", "n_targets", "target_classes"),
    "random_start": ("num_random_init", "rand_init", "rand_start"),
    "decay": ("mu", "momentum"),
    "confidence": ("kappa",),
    "queries": ("n_queries", "max_eval"),
}
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "int": _parse_int,
    "float": _parse_float,
    "bool": _parse_bool,
    "str": _parse_str,
}


def method_names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted(n.removesuffix(".py") for n in os.listdir(FOLDER) if n.endswith(".py") and not n.startswith("_"))


def load_method(name: str) -> Method:
    """The declaration of the method called ``name``, read from its file."""
    if name not in (names := method_names()):
        raise unknown("method", name, names)
    return _read(FOLDER / f"{name}.py")


def _read(path: Path) -> Method:
    # Only up to the end of the docstring: a listing need not parse the bodies.
    header, define, rest = path.read_text("utf-8").partition("\ndef craft(")
    signature, _, body = rest.partition(":\n")
    docstring = body.split('"""')[1] if body.lstrip().startswith('"""') else ""
    tree = ast.parse(f'{header}{define}{signature}:\n    """{docstring}"""' if define else header)
    constants: dict[str, Any] = {}
    craft = None
    native = True
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            constants[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name == "craft":
            craft = node
        elif isinstance(node, ast.ImportFrom) and node.module == "advlab.methods._art":
            native = False
    if craft is None or not {"NORMS", "GOAL"} <= constants.keys():
        raise InvalidValue(f"'{path.name}' must define NORMS, GOAL and craft(problem, *, ...) to be a method.")
    arguments = craft.args
    parameters, types = {}, {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        annotation = "" if argument.annotation is None else ast.unparse(argument.annotation).removesuffix(" | None")
        if default is None or annotation not in _PARSERS:
            raise InvalidValue(
                f"Parameter '{argument.arg}' in '{path.name}' needs a default and a type: {', '.join(_PARSERS)}."
            )
        parameters[argument.arg] = ast.literal_eval(default)
        types[argument.arg] = annotation
    summary, _, source = (ast.get_docstring(tree) or "").partition("\n")
    norms, goal, choices = constants["NORMS"], constants["GOAL"], constants.get("CHOICES", {})
    return Method(
        path.stem,
        summary,
        norms,
        goal,
        native,
        parameters,
        types,
        choices,
        source=source.strip(),
        descriptions=_arguments(ast.get_docstring(craft) or ""),
        data=constants.get("DATA", "images"),
    )


def _arguments(docstring: str) -> dict[str, str]:
    """Name -> text of the section ``Args:``; a text goes on in lines that are indented further."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    arguments = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in arguments}


def describe(craft: Callable[..., Any]) -> Method:
    """The declaration of a user's own ``craft(problem, *, ...)``: a plain function needs no file.

    Attributes ``NORMS``, ``GOAL`` and ``CHOICES`` of the function are respected; without them it is bounded, in every
    norm, and accepts any str. Raises ``UnknownName`` for another goal or norm than there are.
    """
    import inspect

    name = getattr(craft, "__name__", type(craft).__name__)
    parameters: dict[str, Value] = {}
    types: dict[str, str] = {}
    for parameter in list(inspect.signature(craft).parameters.values())[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or type(parameter.default).__name__ not in _PARSERS:
            raise InvalidValue(
                f"Method '{name}' must take one problem and keyword-only parameters with int, "
                f"float, bool or str defaults: def craft(problem, *, steps: int = 10). Got parameter '{parameter}'."
            )
        parameters[parameter.name] = parameter.default
        types[parameter.name] = type(parameter.default).__name__
    from advlab.threat import DEFAULT_EPSILON, NORMS

    summary = (inspect.getdoc(craft) or "").partition("\n")[0]
    declared = getattr(craft, "NORMS", tuple(DEFAULT_EPSILON))
    norms = (declared,) if isinstance(declared, str) else tuple(declared)
    goal, choices = getattr(craft, "GOAL", "bounded"), getattr(craft, "CHOICES", {})
    if goal not in GOALS:
        raise unknown(f"GOAL of method '{name}'", str(goal), GOALS)
    for norm in norms:
        if norm not in NORMS:
            raise unknown(f"norm in NORMS of method '{name}'", str(norm), NORMS)
    return Method(name, summary, norms, goal, True, parameters, types, choices, code_of(craft))


def code_of(*functions: Callable[..., Any]) -> str:
    """8 hexadecimal digits of a user's functions, so that results of an earlier version are not mistaken for theirs.

    Empty without any. They depend on the source alone: values that a function refers to are not in it. A function with
    an attribute ``SOURCE`` is known by that text, the whole file that it comes from.
    """
    import hashlib
    import inspect

    text = ""
    for function in functions:
        try:
            text += getattr(function, "SOURCE", "") or inspect.getsource(function)
        except (OSError, TypeError):
            text += getattr(getattr(function, "__code__", None), "co_code", b"").hex()
    return hashlib.sha256(text.encode()).hexdigest()[:8] if functions else ""
