"""Templates and their filters, shared by all pages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from advlab.reporting import phrases


def render(template: str, context: Mapping[str, Any]) -> str:
    """A page as HTML text; what a template names and the context lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": phrases.percent,
        "attack": phrases.attack_name,
        "budget": phrases.budget,
        "allowance": phrases.allowance,
    }
    return environment.get_template(template).render({"style": Markup(resource("style.css")), **context})


def resource(name: str) -> str:
    """A file of this folder as text."""
    return files(__package__).joinpath(name).read_text("utf-8")
