"""Inputs that nobody means well with: command lines from the commands' own declarations, and altered files."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Any

import click
from hypothesis import strategies as st

from advlab.declarations.methods import load_method, method_names

HUGE = ("9" * 25, "1" + "0" * 6000, "-99999999999999999999", str(2**31), str(2**63), "0x7fffffff")
NUMBERS = ("0", "1", "2", "3", "-1", "1.5", "1e3", "1e400", "nan", "inf", "-inf", "", " ", "8/255", "1/0", "0/0", "a")
WORDS = ("", "a", "\x1b[31m", "=1+1", "../..", "/dev/null", "n" * 300, "ünï", "%s", "{0}", "-", "--", "linf", "7")
JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**30, 0.5, -0.5, 1e308, "", "a", "\x1b[31m", "8/255", [], [0], ["a"], [[]], {},
    {"a": 1}, {"name": []}, float("nan"), float("inf"), "x" * 500,
)  # fmt: skip
TOML_JUNK = (
    "5", "-5", "0", "1.5", "nan", "inf", "true", '""', '"a"', "[]", "[5]", '["linf"]', "[[1]]", "{}", "{ a = 1 }",
    "1979-05-27", "07:32:00", "9" * 6000, "0x" + "f" * 6000, "[" * 3000 + "]" * 3000, '"""\n"""', "99999999999999999",
)  # fmt: skip
_BYTES = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 8, b"\x80\0\0\0\0\0\0\0")


@st.composite
def command_lines(draw: st.DrawFn, commands: dict[str, click.Command], known: dict[str, list[str]]) -> list[str]:
    """A command with some of its arguments and options, most with a right value, one or two at the edge or absurd.

    ``known`` are right values by the name of the parameter.
    """
    name = draw(st.sampled_from(sorted(commands)))
    words = [name]
    method = draw(st.sampled_from(method_names()))
    absurd = draw(st.sets(st.sampled_from([str(parameter.name) for parameter in commands[name].params]), max_size=2))
    for parameter in commands[name].params:
        if isinstance(parameter, click.Argument):
            if parameter.required or draw(st.booleans()):
                words.append(draw(_values(parameter, known, absurd)))
        elif parameter.name in (*absurd, "method", "model", "samples") or not draw(st.integers(0, 3)):
            option = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
            if getattr(parameter, "is_flag", False):
                words.append(option)
            elif parameter.name == "method":
                words += [option, draw(st.sampled_from(WORDS)) if "method" in absurd else method]
            elif parameter.name == "settings":
                names = [*load_method(method).parameters, "norm", "epsilon", "steps", "classifier", "save", ""]
                for key in draw(st.lists(st.sampled_from(names), max_size=3)):
                    words += [option, f"{key}={draw(st.sampled_from([*NUMBERS, *HUGE, 'true', 'ce']))}"]
            else:
                words += [option, draw(_values(parameter, known, absurd))]
    return words


def _values(parameter: click.Parameter, known: dict[str, list[str]], absurd: set[str]) -> st.SearchStrategy[str]:
    right = known.get(str(parameter.name), ["1", "2"])
    if isinstance(parameter.type, click.Choice):
        right = list(parameter.type.choices)
    return st.sampled_from([*NUMBERS, *HUGE, *WORDS] if parameter.name in absurd else right)


@st.composite
def altered_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few bits flipped, bytes overwritten, pieces cut out, doubled or missing at the end."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(changed) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "flip", "write", "write", "cut", "double", "end"]))
        length = draw(st.integers(1, 64))
        if kind == "flip" and changed:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            new = draw(st.sampled_from(_BYTES))
            changed[place : place + len(new)] = new
        elif kind == "cut":
            del changed[place : place + length]
        elif kind == "double":
            changed[place:place] = changed[place : place + length]
        elif kind == "end":
            del changed[place:]
    return bytes(changed)


@st.composite
def altered_json(draw: st.DrawFn, value: Any) -> Any:
    """A copy of a JSON value in which one to three places, at any depth, hold something else or are missing."""
    copy = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        node = copy
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            if draw(st.integers(0, 5)) == 0:
                del node[key]
            else:
                node[key] = deepcopy(draw(st.sampled_from(JUNK)))
            break
    return copy


@st.composite
def altered_toml(draw: st.DrawFn, text: str) -> bytes:
    """The text with some values replaced, lines doubled, missing or new, or some bytes altered."""
    if draw(st.integers(0, 3)) == 0:
        return draw(altered_bytes(text.encode()))
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "value", "value", "double", "missing", "new"]))
        junk = draw(st.sampled_from(TOML_JUNK))
        if kind == "value":
            lines[row] = re.sub(r"=.*", lambda _, junk=junk: f"= {junk}", lines[row], count=1)
        elif kind == "double":
            lines.insert(row, lines[row])
        elif kind == "missing" and len(lines) > 1:
            del lines[row]
        elif kind == "new":
            keys = ["norm", "parameters", "under.linf", "attack", "row", "grid", "training", "a.b.c", "epsilon", "stop"]
            lines.insert(row, f"{draw(st.sampled_from(keys))} = {junk}")
    return "\n".join(lines).encode("utf-8", "replace")
