"""Suites: which attacks to run together, declared in TOML and read into frozen dataclasses.

``attacks/<name>.toml`` is a suite; the file's name is its name. Every setting is checked here, before anything heavy is
imported: an unknown key, a wrong type or a value out of range is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from advlab import renamed, workspace
from advlab.declarations import toml
from advlab.declarations.attack import Attack
from advlab.declarations.methods import load_method
from advlab.errors import InvalidValue, unknown
from advlab.threat import DEFAULT_EPSILON, NORMS, ThreatModel, parse_epsilon
from advlab.validation import invalid, require_choice, require_int, require_str

MODES = ("each", "cascade", "smallest", "union")


@dataclass(frozen=True)
class Entry:
    """One attack of a suite, as the keyword arguments of ``advlab.attack``; None is the method's own default.

    ``under`` maps a norm to the settings that differ there: ``under.l1 = { restarts = 5 }``.
    """

    method: str
    norm: str | None = None
    epsilon: float | str | None = None
    target: int | None = None
    early_stop: bool = True
    restarts: int = 1
    seed: int = 0
    passes: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    under: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def attack(self, norm: str | None = None, epsilon: float | str | None = None) -> Attack:
        """The attack under a norm and an epsilon (None: the entry's own), with the settings of that norm.

        A minimal method takes no epsilon.
        """
        require_str("method", self.method)
        if self.norm is not None:
            require_str("norm", self.norm)
        if self.target is not None:
            require_int("target", self.target, 0)
        if not isinstance(self.early_stop, bool):
            raise invalid("early_stop", self.early_stop, "true or false")
        if not isinstance(self.parameters, Mapping):
            raise invalid("parameters", self.parameters, "a table such as { steps = 40 }")
        norm = norm or self.norm
        settings = {name: getattr(self, name) for name in ("early_stop", "restarts", "seed", "passes")}
        special = dict(self.under.get(norm or "", {}))
        parameters = {**self.parameters, **special.pop("parameters", {})}
        minimal = load_method(self.method).goal == "minimal"
        radius = None if minimal else self.epsilon if epsilon is None else epsilon
        return Attack.from_settings(
            self.method, parameters, norm=norm, epsilon=radius, target=self.target, **{**settings, **special}
        )


@dataclass(frozen=True)
class Suite:
    """Several attacks that are run one after the other and reported together.

    ``mode`` says how they are combined. ``each``: every attack has a result of its own. ``cascade``: each attacks only
    the images that are still robust after those before it, and the worst case is the result. ``smallest``: the nearest
    adversarial example of any attack is the result. Both have one norm for all, the first of ``norms`` unless the
    caller chooses another. ``union``: every attack names its norm and epsilon; those of one threat model are a cascade,
    and the worst case over all threat models is the result.
    A cascade is tested on ``selftest`` planted adversarial examples.
    """

    name: str
    title: str
    attacks: tuple[Entry, ...]
    mode: str = "each"
    norms: tuple[str, ...] = ()
    selftest: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        toml.require_description(self)
        require_choice("mode", self.mode, MODES)
        require_int("selftest", self.selftest, 0)
        if self.selftest and self.mode != "cascade":
            raise invalid("selftest", self.selftest, 'left out, unless mode is "cascade"')
        if not self.attacks:
            raise InvalidValue("A suite needs at least one [[attack]] table. Got none.")
        if self.mode == "union" and self.norms:
            raise invalid("norms", list(self.norms), 'left out where mode is "union": every attack names its own norm')
        if self.mode in ("cascade", "smallest") and not self.norms:
            raise InvalidValue(f'A suite of mode "{self.mode}" must say which norms it covers: norms = ["linf", "l2"].')
        for norm in self.norms:
            require_choice("norms", norm, NORMS)
        for number, entry in enumerate(self.attacks, 1):
            with toml.about(f"attack {number}"):
                require_str("method", entry.method)
                if self.mode == "union" and None in (entry.norm, entry.epsilon):
                    raise InvalidValue(
                        'Of mode "union" every attack names its norm and epsilon: norm = "l2", epsilon = 1.'
                    )
                if self.mode in ("cascade", "smallest") and (entry.norm, entry.epsilon) != (None, None):
                    raise InvalidValue(f'Norm and epsilon of a suite of mode "{self.mode}" are those of the suite.')
                covered = load_method(entry.method).norms
                for under in (*self.norms,) or (None,):
                    if self.mode != "smallest" or under in covered:
                        entry.attack(under)

    def threat(self, norm: str | None = None, epsilon: float | str | None = None) -> ThreatModel:
        """The threat model of the suite (modes ``cascade`` and ``smallest``); None is the suite's own choice."""
        norm = norm or self.norms[0]
        if norm not in self.norms:
            raise unknown(f"norm of suite '{self.name}'", norm, self.norms)
        if self.mode == "smallest":
            if epsilon is not None:
                raise InvalidValue(
                    f"Suite '{self.name}' looks for the smallest perturbation and takes no epsilon. Got {epsilon}. "
                    "Leave it out, or run suite 'standard'."
                )
            return ThreatModel(norm, float("inf"))
        radius = parse_epsilon(epsilon)
        return ThreatModel(norm, DEFAULT_EPSILON[norm] if radius is None else radius)

    def under(self, norm: str | None = None, epsilon: float | str | None = None) -> tuple[Attack, ...]:
        """The attacks under a norm and an epsilon (None: the declared ones); ``smallest`` has those that cover it."""
        if self.mode == "union" and (norm, epsilon) != (None, None):
            raise InvalidValue(
                f"Each attack of suite '{self.name}' names its own norm and epsilon. Got {norm or epsilon}; leave norm "
                "and epsilon out, or run suite 'standard'."
            )
        if self.mode in ("each", "union"):
            return tuple(entry.attack(norm, epsilon) for entry in self.attacks)
        threat = self.threat(norm, epsilon)
        return tuple(
            entry.attack(threat.norm, threat.epsilon)
            for entry in self.attacks
            if self.mode == "cascade" or threat.norm in load_method(entry.method).norms
        )

    def cascades(self, norm: str | None = None, epsilon: float | str | None = None) -> dict[ThreatModel, list[Attack]]:
        """Threat model -> the attacks that are a cascade under it: none of modes ``each`` and ``smallest``."""
        attacks = self.under(norm, epsilon)
        if self.mode == "cascade":
            return {self.threat(norm, epsilon): list(attacks)}
        groups: dict[ThreatModel, list[Attack]] = {}
        for entry, attack in zip(self.attacks, attacks, strict=True) if self.mode == "union" else ():
            # A minimal method has no epsilon of its own: the entry's is that within which its images count.
            radius = parse_epsilon(entry.epsilon)
            threat = replace(attack.threat, epsilon=math.inf if radius is None else radius)
            groups.setdefault(threat, []).append(attack)
        return groups


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of that name, or in that TOML file; errors name the file, the key, the value and what is allowed."""
    path = workspace.find_suite(str(name_or_path))
    table = toml.read(path)
    with toml.about(path):
        attacks = table.pop("attack", [])
        toml.known_keys(Suite, table, "", extra="attack")
        if not isinstance(attacks, list):
            raise invalid("attack", attacks, "a list of tables, each headed [[attack]]")
        norms = table.pop("norms", [])
        if not isinstance(norms, list):
            raise invalid("norms", norms, 'a list such as ["linf", "l2"]')
        entries = []
        for number, attack in enumerate(attacks, 1):
            with toml.about(f"attack {number}"):
                entries.append(entry_from(toml.table(attack, "attack")))
        return Suite(**table, name=path.stem, attacks=tuple(entries), norms=tuple(norms))


def entry_from(table: dict[str, Any]) -> Entry:
    """The attack that a TOML table declares; raises where it has a key or a value that none has."""
    table = renamed.attack_fields(table.get("method"), table)
    toml.known_keys(Entry, table, "")
    parse_epsilon(table.get("epsilon"))
    under = toml.table(table.get("under", {}), "under")
    table["under"] = {
        norm: renamed.attack_fields(table.get("method"), toml.table(s, f"under.{norm}")) for norm, s in under.items()
    }
    for norm, settings in table["under"].items():
        require_choice("under", norm, NORMS)
        for key in toml.table(settings, f"under.{norm}"):
            require_choice(f"under.{norm}", key, ("early_stop", "parameters", "passes", "restarts", "seed"))
        toml.known_keys(Entry, {"method": "", **settings}, f"under.{norm}.")
    return Entry(**table)
